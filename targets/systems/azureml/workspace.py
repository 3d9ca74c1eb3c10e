"""A workspace of Azure Machine Learning: what is asked of it, through its SDK and with the
environment's own login."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import requests

from pipeline.contract.schema import AzureMLSystem
from targets.errors import EnvironmentUnable
from targets.remote.address import azure_store
from targets.remote.failure import RemoteFailed
from targets.remote.store import Store
from targets.systems.azureml.sdk import asking, login, quiet, require_sdk

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential
    from obstore.store import AzureCredential, AzureCredentialProvider, ObjectStore

_ARTIFACTS = "workspaceartifactstore"
"""The datastore in which the service keeps what jobs write to their standard output."""
LOGS = "user_logs"
"""Its folder for what jobs write, a file for each process."""
FIRST_LOG = re.compile(r"user_logs/std_log\D*0*\.txt", re.ASCII)
"""The file of the first process; the SDK looks for the same names."""
_STORAGE = "https://storage.azure.com/.default"
_SERVICE = "https://management.azure.com/.default"
_WAITING = ("NotStarted", "Starting", "Provisioning", "Preparing", "Queued")
_OVER = ("Completed", "Failed", "Canceled")
_ANSWER_SECONDS = 60
_CANCEL_SECONDS = 600
_PASSING_SECONDS = 60
"""How long somebody who ends a job goes on asking a service that refuses or is away."""
_LOOK_AGAIN_SECONDS = 2.0

Phase = Literal["queued", "running", "ended"]


@dataclass(frozen=True)
class Machine:
    """What one machine of a compute has, as far as the service says."""

    words: str
    cores: int | None
    gpus: int
    stays: int
    """How many of the cluster run, and cost, although there is no job."""


@dataclass(frozen=True)
class SeenJob:
    """A job as the service shows it."""

    status: str
    created: datetime
    history: str
    """Where the service tells what happened to it."""

    @property
    def phase(self) -> Phase:
        """Return how far it is."""
        if self.status in _OVER:
            return "ended"
        return "queued" if self.status in _WAITING else "running"


@dataclass(frozen=True)
class Told:
    """What the service tells of a job that is over."""

    error: str
    queued_seconds: float
    billed_seconds: float


class Workspace:
    """One workspace; nothing is asked before it has to be."""

    def __init__(self, table: AzureMLSystem) -> None:
        self._table = table

    @property
    def words(self) -> str:
        """Return what it is called in messages."""
        return f"the workspace {self._table.workspace}"

    @cached_property
    def _credential(self) -> TokenCredential:
        return login()

    @cached_property
    def client(self) -> MLClient:
        """Return the SDK's client."""
        require_sdk()
        from azure.ai.ml import MLClient

        table = self._table
        return MLClient(
            *(self._credential, table.subscription, table.resource_group, table.workspace),
            show_progress=False,
        )

    def machine(self) -> Machine:
        """Return what a machine of the compute has. Raises ``EnvironmentUnable``."""
        name = self._table.compute
        with self.asking(f"the compute {name}"):
            compute = self.client.compute.get(name)
            if str(compute.type).lower() != "amlcompute":
                return _of_kubernetes(compute, self._table.instance_type)
            sizes = {str(size.name).lower(): size for size in self.client.compute.list_sizes()}
        size = sizes.get(str(compute.size).lower())
        cores, gpus = (None, 0) if size is None else (size.v_cp_us, size.gpus or 0)
        return Machine(str(compute.size), cores, gpus, int(compute.min_instances or 0))

    def store(self, datastore: str, prefix: str) -> Store:
        """Return the blobs of ``datastore`` below ``prefix``."""
        with self.asking(f"the datastore {datastore}"):
            found = self.client.datastores.get(datastore)
        account = getattr(found, "account_name", None)
        container = getattr(found, "container_name", None)
        if not (account and container):
            raise EnvironmentUnable(
                f"the datastore {datastore} holds no blobs", "name one of type AzureBlob"
            )
        return Store(f"az://{account}/{container}/{prefix}".rstrip("/"), self._opened)

    def log(self, name: str) -> Store:
        """Return the folder in which the job ``name`` has :data:`LOGS`."""
        return self.store(_ARTIFACTS, f"ExperimentRun/dcid.{name}")

    def look(self, name: str) -> SeenJob | None:
        """Return the job ``name``; ``None`` if there is none."""
        from azure.core.exceptions import ResourceNotFoundError

        with self.asking(f"the job {name}"):
            try:
                job = self.client.jobs.get(name)
            except ResourceNotFoundError:
                return None
        created = job.creation_context.created_at if job.creation_context else None
        tracking = (job.services or {}).get("Tracking")
        return SeenJob(
            str(getattr(job.status, "value", job.status)),
            created or datetime.now(timezone.utc),
            str(getattr(tracking, "endpoint", "")),
        )

    def told(self, name: str, seen: SeenJob) -> Told:
        """Return what the run history tells of a job that is over; nothing where it does not
        answer, since the job is over all the same."""
        host = seen.history.partition("://")[2].partition("/")[0]
        table = self._table
        address = (
            f"https://{host}/history/v1.0/subscriptions/{table.subscription}/resourceGroups/"
            f"{table.resource_group}/providers/Microsoft.MachineLearningServices/workspaces/"
            f"{table.workspace}/runs/{name}/details"
        )
        token = self._credential.get_token(_SERVICE).token
        try:
            answer = requests.get(
                address, headers={"Authorization": f"Bearer {token}"}, timeout=_ANSWER_SECONDS
            )
            answer.raise_for_status()
            found = answer.json()
        except (requests.RequestException, ValueError):
            return Told("", 0, 0)
        return _told(found if isinstance(found, dict) else {}, seen.created)

    def create(
        self,
        name: str,
        environment: str,
        command: str,
        code: Path,
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        title: str,
        experiment: str,
        machines: int,
    ) -> None:
        """Start the job ``name``; ``inputs`` and ``outputs`` are folders of the datastore. Each of
        ``machines`` runs ``command`` once, and is told where the first one is."""
        with quiet():
            from azure.ai.ml import Input, Output, PyTorchDistribution
            from azure.ai.ml import command as command_job
            from azure.ai.ml.entities import ManagedIdentityConfiguration

        table = self._table
        root = f"azureml://datastores/{table.datastore}/paths"
        job: Any = command_job(
            name=name,
            display_name=title,
            experiment_name=experiment,
            command=command,
            code=str(code),
            environment=environment,
            compute=table.compute,
            instance_count=machines,
            distribution=PyTorchDistribution(process_count_per_instance=1)
            if machines > 1
            else None,
            instance_type=table.instance_type,
            timeout=max(60, round(table.max_hours * 3600)),
            inputs={
                key: Input(type="uri_folder", path=f"{root}/{path}", mode="ro_mount")
                for key, path in inputs.items()
            },
            outputs={
                key: Output(type="uri_folder", path=f"{root}/{path}", mode="rw_mount")
                for key, path in outputs.items()
            },
            tags=dict(table.tags),
            identity=ManagedIdentityConfiguration() if table.keyvault else None,
        )
        # Unless one of these is there, the SDK tells of the git repository that it is called in.
        job.properties = {"mlflow.source.git.repoURL": "none", "azureml.git.dirty": "none"}
        with self.asking(f"the job {name}"):
            self.client.jobs.create_or_update(job)

    def begin_cancel(self, name: str) -> None:
        """Have the job end, and do not wait for it."""
        from azure.core.exceptions import ResourceNotFoundError

        with self.asking(f"the end of the job {name}"):
            try:
                self.client.jobs.begin_cancel(name, polling=False)
            except ResourceNotFoundError:
                return

    def cancel(self, name: str) -> None:
        """End the job, and return when that is so. Raises ``EnvironmentUnable``."""
        deadline = time.monotonic() + _CANCEL_SECONDS
        asked = False
        while (seen := self._look_again(name)) is not None and seen.phase != "ended":
            if not asked:
                self.begin_cancel(name)
                asked = True
            if time.monotonic() > deadline:
                raise EnvironmentUnable(
                    f"Azure has not ended the job {name} within {_CANCEL_SECONDS // 60} minutes",
                    f"see to it there: `az ml job cancel --name {name}`",
                )
            time.sleep(_LOOK_AGAIN_SECONDS)

    def _look_again(self, name: str) -> SeenJob | None:
        """Return the job, as :meth:`look` does; what passes is waited for."""
        deadline = time.monotonic() + _PASSING_SECONDS
        while True:
            try:
                return self.look(name)
            except EnvironmentUnable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_AGAIN_SECONDS)

    @contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """Raise ``EnvironmentUnable`` for what Azure, or a store of it, answers to ``what``."""
        require_sdk()
        with stored(), quiet(), asking(f"{what} of {self.words}"):
            yield

    def _opened(self, address: str, patience: float) -> ObjectStore:
        return azure_store(address, patience, self._provider())

    def _provider(self) -> AzureCredentialProvider:
        credential = self._credential

        def give() -> AzureCredential:
            token = credential.get_token(_STORAGE)
            expires = datetime.fromtimestamp(token.expires_on, timezone.utc)
            return {"token": token.token, "expires_at": expires}

        return give


@contextmanager
def stored() -> Iterator[None]:
    """Raise ``EnvironmentUnable`` where a store of blobs cannot be used."""
    try:
        yield
    except RemoteFailed as failed:
        raise EnvironmentUnable(str(failed), failed.advice) from None


def _of_kubernetes(compute: Any, chosen: str | None) -> Machine:
    """Return what an instance of a Kubernetes compute may use."""
    properties = getattr(compute, "properties", None) or {}
    kinds = properties.get("instanceTypes") or {}
    name = chosen or str(properties.get("defaultInstanceType") or "defaultinstancetype")
    limits = ((kinds.get(name) or {}).get("resources") or {}).get("limits") or {}
    cores = str(limits.get("cpu") or "")
    gpus = str(limits.get("nvidia.com/gpu") or "0")
    return Machine(
        f"{name} of Kubernetes",
        int(cores) if cores.isdecimal() else None,
        int(gpus) if gpus.isdecimal() else 0,
        0,
    )


def _told(details: dict[str, Any], created: datetime) -> Told:
    error = details.get("error")
    inner = error.get("error") if isinstance(error, dict) else None
    message = str((inner or {}).get("message") or "") if isinstance(inner, dict) else ""
    begun, ended = _moment(details.get("startTimeUtc")), _moment(details.get("endTimeUtc"))
    if begun is None:
        return Told(message, 0, 0)
    billed = (ended - begun).total_seconds() if ended is not None else 0
    return Told(message, max(0, (begun - created).total_seconds()), max(0, billed))


def _moment(text: object) -> datetime | None:
    """Return a time as the service writes it: with any number of digits, and a ``Z``."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(f"{text[:19]}+00:00")
    except ValueError:
        return None
