"""The control plane of a workspace: what the SDK asks of it, with answers as Azure publishes them
(examples of Azure/azure-rest-api-specs, ``machinelearningservices``, 2024-10-01), and refusals."""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.azure.job_runner import CONTAINERS, Job, JobRunner
from tests.support.object_stores.azurite import ACCOUNT, KEY, shared_access
from tests.support.object_stores.identities import azure_token

TENANT = "00000000-0000-0000-0000-000000000001"
SUBSCRIPTION = "0000-subscription"
GROUP, WORKSPACE, COMPUTE, REGION = "our-group", "our-workspace", "gpu-cluster", "westeurope"
ARC = "arc"
"""A Kubernetes cluster that is attached to the workspace."""
INSTANCE_TYPES: dict[str, dict[str, str]] = {"small": {}, "large": {"nvidia.com/gpu": "2"}}
VAULT = "our-vault"
_GROUP_PATH = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
_PROVIDER = "providers/Microsoft.MachineLearningServices"
_WORKSPACE_PATH = f"{_GROUP_PATH}/{_PROVIDER}/workspaces/{WORKSPACE}"
_REGISTRY_PATH = (
    rf"/mferp/managementfrontend/subscriptions/{SUBSCRIPTION}/resourceGroups/registries/"
    rf"{_PROVIDER}/registries/azureml"
)
_BLOBS = f"https://{ACCOUNT}.blob.core.windows.net"
_MICROSOFT = "https://login.microsoftonline.com"

_MLFLOW = {"modelType": "mlflow_model", "flavors": {"transformers": {"data": {"code": ""}}}}

Answer = tuple[int, Any]


@dataclass
class Refusal:
    """An answer in place of the usual one, so many times."""

    method: str
    path: str
    status: int
    code: str
    message: str
    times: int = 1_000_000
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class ControlPlane:
    """The state of the workspace, and what is asked of it."""

    runner: JobRunner
    jobs: dict[str, Job] = field(default_factory=dict)
    codes: dict[str, dict[str, Any]] = field(default_factory=dict)
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    """What was sent to it, as it came, but to log in."""
    refusals: list[Refusal] = field(default_factory=list)
    token_seconds: int = 3600
    tokens: dict[str, float] = field(default_factory=dict)
    """Until when each token is good."""
    stays: int = 0
    """Machines of the cluster that run without any job."""
    gpus: int = 0
    keys_allowed: bool = True
    in_vault: str = ""

    def refuse(
        self, method: str, path: str, status: int, code: str, message: str, **more: Any
    ) -> None:
        self.refusals.append(Refusal(method, path, status, code, message, **more))

    def left(self) -> list[str]:
        """Return the jobs that are not over."""
        return [job.name for job in self.jobs.values() if not job.over]

    def answer(
        self, method: str, host: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, Any, dict[str, str]]:
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        self.asked.append(f"{method} {host}{path}")
        if host == "login.microsoftonline.com":
            return *self._login(path), {}
        self.bodies.append(body.decode("utf-8", "replace"))
        if host == "identity" or (authorized := self._authorized(headers)):
            authorized = True
        if not authorized:
            return 401, _error("ExpiredAuthenticationToken", "The access token expired."), {}
        for refusal in self.refusals:
            if refusal.times and refusal.method == method and re.search(refusal.path, path):
                refusal.times -= 1
                return refusal.status, _error(refusal.code, refusal.message), refusal.headers
        for pattern, take in self._routes().items():
            matched = re.fullmatch(pattern, f"{method} {path}", re.IGNORECASE)
            if matched:
                given = json.loads(body) if body else {}
                status, content = take(*matched.groups(), query=query, body=given)
                more = {}
                if status == 202:
                    more["Location"] = f"https://management.azure.com{path}/over"
                return status, content, more
        return 404, _error("ResourceNotFound", f"The resource {path} was not found."), {}

    def _authorized(self, headers: dict[str, str]) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind == "Bearer" and self.tokens.get(token, 0) > time.time()

    def _login(self, path: str) -> Answer:
        if path.endswith("/discovery/instance"):
            return 200, {
                "tenant_discovery_endpoint": f"{_MICROSOFT}/{TENANT}/v2.0/.well-known/"
                "openid-configuration",
                "api-version": "1.1",
                "metadata": [
                    {
                        "preferred_network": "login.microsoftonline.com",
                        "preferred_cache": "login.windows.net",
                        "aliases": ["login.microsoftonline.com", "login.windows.net"],
                    }
                ],
            }
        if path.endswith("/openid-configuration"):
            return 200, {
                "token_endpoint": f"{_MICROSOFT}/{TENANT}/oauth2/v2.0/token",
                "authorization_endpoint": f"{_MICROSOFT}/{TENANT}/oauth2/v2.0/authorize",
                "issuer": f"{_MICROSOFT}/{TENANT}/v2.0",
            }
        token = azure_token()
        # Another one each time, as Azure's are.
        token = f"{token}{len(self.tokens)}"
        self.tokens[token] = time.time() + self.token_seconds
        return 200, {
            "token_type": "Bearer",
            "expires_in": self.token_seconds,
            "ext_expires_in": self.token_seconds,
            "access_token": token,
        }

    def _routes(self) -> dict[str, Callable[..., Answer]]:
        inside = re.escape(_WORKSPACE_PATH)
        return {
            rf"GET {inside}": self._workspace,
            rf"GET {inside}/computes/{COMPUTE}": self._compute,
            rf"GET {inside}/computes/{ARC}": self._kubernetes,
            rf"GET /subscriptions/{SUBSCRIPTION}/{_PROVIDER}/locations/{REGION}/vmSizes": (
                self._sizes
            ),
            rf"GET {inside}/datastores": self._datastores,
            rf"GET {inside}/datastores/([^/]+)": self._datastore,
            rf"POST {inside}/datastores/([^/]+)/listSecrets": self._secrets,
            rf"GET {inside}/environments/([^/]+)/versions/([^/]+)": self._environment,
            rf"PUT {inside}/environments/([^/]+)/versions/([^/]+)": self._make_environment,
            rf"GET {inside}/codes/([^/]+)/versions": self._codes,
            rf"POST {inside}/codes/([^/]+)/versions/([^/]+)/startPendingUpload": self._upload,
            rf"GET {inside}/codes/([^/]+)/versions/([^/]+)": self._code,
            rf"PUT {inside}/codes/([^/]+)/versions/([^/]+)": self._make_code,
            rf"GET {inside}/jobs/([^/]+)": self._job,
            rf"PUT {inside}/jobs/([^/]+)": self._make_job,
            rf"POST {inside}/jobs/([^/]+)/cancel": self._cancel,
            rf"GET {inside}/jobs/([^/]+)/cancel/over": self._cancelled,
            rf"GET /history/v1.0{inside}/runs/([^/]+)/details": self._details,
            r"GET /secrets/hf-token": self._vault,
            rf"GET {inside}/models/([^/]+)/versions/([^/]+)": self._model,
            r"GET /registrymanagement/v1.0/registries/azureml/discovery": self._registry,
            rf"GET {_REGISTRY_PATH}/models/([^/]+)/versions/([^/]+)": self._shared_model,
            rf"POST {_REGISTRY_PATH}/datarefs/([^/]+)/versions/([^/]+)": self._reference,
        }

    def _workspace(self, **_: Any) -> Answer:
        tracking = f"azureml://{REGION}.api.azureml.ms/mlflow/v1.0{_WORKSPACE_PATH}"
        return 200, _resource(
            _WORKSPACE_PATH,
            {
                "workspaceId": "11111111-2222-3333-4444-555555555555",
                "friendlyName": WORKSPACE,
                "storageAccount": f"{_GROUP_PATH}/providers/Microsoft.Storage/storageAccounts/"
                f"{ACCOUNT}",
                "keyVault": f"{_GROUP_PATH}/providers/Microsoft.KeyVault/vaults/{VAULT}",
                "discoveryUrl": f"https://{REGION}.api.azureml.ms/discovery",
                "mlFlowTrackingUri": tracking,
                "provisioningState": "Succeeded",
            },
            location=REGION,
        )

    def _compute(self, **_: Any) -> Answer:
        return 200, _resource(
            f"{_WORKSPACE_PATH}/computes/{COMPUTE}",
            {
                "computeType": "AmlCompute",
                "computeLocation": REGION,
                "provisioningState": "Succeeded",
                "properties": {
                    "vmSize": "STANDARD_DS2_V2",
                    "vmPriority": "LowPriority",
                    "scaleSettings": {
                        "maxNodeCount": 4,
                        "minNodeCount": self.stays,
                        "nodeIdleTimeBeforeScaleDown": "PT2M",
                    },
                    "allocationState": "Steady",
                    "currentNodeCount": self.stays,
                },
            },
            location=REGION,
        )

    def _kubernetes(self, **_: Any) -> Answer:
        resources = {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": None}
        return 200, _resource(
            f"{_WORKSPACE_PATH}/computes/{ARC}",
            {
                "computeType": "Kubernetes",
                "provisioningState": "Succeeded",
                "resourceId": f"{_GROUP_PATH}/providers/Microsoft.Kubernetes/connectedClusters/a",
                "properties": {
                    "namespace": "default",
                    "defaultInstanceType": "small",
                    "instanceTypes": {
                        name: {
                            "nodeSelector": None,
                            "resources": {"requests": resources, "limits": {**resources, **more}},
                        }
                        for name, more in INSTANCE_TYPES.items()
                    },
                },
            },
            location=REGION,
        )

    def _sizes(self, **_: Any) -> Answer:
        return 200, {
            "value": [
                {
                    "name": "Standard_DS2_v2",
                    "family": "standardDSv2Family",
                    "vCPUs": 2,
                    "gpus": self.gpus,
                    "osVhdSizeMB": 1047552,
                    "maxResourceVolumeMB": 14336,
                    "memoryGB": 7.0,
                    "lowPriorityCapable": True,
                    "premiumIO": True,
                    "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
                }
            ]
        }

    def _datastores(self, **_: Any) -> Answer:
        return 200, {"value": [_datastore(name) for name in CONTAINERS]}

    def _datastore(self, name: str, **_: Any) -> Answer:
        if name not in CONTAINERS:
            return 404, _error("UserError", f"Could not find datastore with name {name}.")
        return 200, _datastore(name)

    def _secrets(self, _name: str, **_: Any) -> Answer:
        if not self.keys_allowed:
            return 403, _error(
                "KeyBasedAuthenticationNotPermitted",
                "Key based authentication is not permitted on this storage account.",
            )
        return 200, {"secretsType": "AccountKey", "key": KEY}

    def _environment(self, name: str, version: str, **_: Any) -> Answer:
        found = self.environments.get(f"{name}:{version}")
        if found is None:
            return 404, _error("UserError", f"The environment {name}:{version} was not found.")
        return 200, found

    def _make_environment(self, name: str, version: str, body: dict[str, Any], **_: Any) -> Answer:
        path = f"{_WORKSPACE_PATH}/environments/{name}/versions/{version}"
        made = _resource(path, body["properties"])
        self.environments[f"{name}:{version}"] = made
        return 201, made

    def _codes(self, _name: str, query: dict[str, list[str]], **_: Any) -> Answer:
        wanted = query.get("hash", [""])[0]
        found = [one for one in self.codes.values() if _hash(one) == wanted]
        return 200, {"value": found}

    def _code(self, name: str, version: str, **_: Any) -> Answer:
        found = self.codes.get(f"{name}:{version}")
        return (200, found) if found else (404, _error("UserError", "no such code"))

    def _upload(self, name: str, version: str, **_: Any) -> Answer:
        until = datetime.now(timezone.utc) + timedelta(hours=1)
        container = f"{_BLOBS}/code-{abs(hash((name, version))) % 10**8}"
        self.runner_container(container.rpartition("/")[2])
        return 200, {
            "blobReferenceForConsumption": {
                "blobUri": container,
                "storageAccountArmId": f"{_GROUP_PATH}/providers/Microsoft.Storage/"
                f"storageAccounts/{ACCOUNT}",
                "credential": {
                    "credentialType": "SAS",
                    "sasUri": f"{container}?{shared_access('racwl', until)}",
                },
            },
            "pendingUploadId": None,
            "pendingUploadType": "TemporaryBlobReference",
        }

    def _make_code(self, name: str, version: str, body: dict[str, Any], **_: Any) -> Answer:
        path = f"{_WORKSPACE_PATH}/codes/{name}/versions/{version}"
        made = _resource(path, body["properties"])
        self.codes[f"{name}:{version}"] = made
        return 201, made

    def _job(self, name: str, **_: Any) -> Answer:
        job = self.jobs.get(name)
        if job is None:
            return 404, _error("UserError", f"Run with id {name} was not found.")
        return 200, _shown(job)

    def _make_job(self, name: str, body: dict[str, Any], **_: Any) -> Answer:
        properties = body["properties"]
        for output in properties.get("outputs", {}).values():
            if "assetVersion" in output and output["assetVersion"] is not None:
                return 400, _error("UserError", "The output's assetVersion is not supported.")
        if name in self.jobs:
            return 409, _error("Conflict", f"A job with the name {name} exists already.")
        compute = str(properties.get("computeId", "")).rpartition("/")[2]
        if compute not in (COMPUTE, ARC):
            return 404, _error("ComputeNotFound", f"The compute {compute} was not found.")
        code = self.codes[":".join(str(properties["codeId"]).split("/")[-3::2])]
        job = self.jobs[name] = Job(name, properties)
        self.runner.submit(job, code["properties"]["codeUri"])
        return 201, _shown(job)

    def _cancel(self, name: str, **_: Any) -> Answer:
        if name not in self.jobs:
            return 404, _error("UserError", f"Run with id {name} was not found.")
        self.jobs[name].asked_to_end = True
        return 202, None

    def _cancelled(self, name: str, **_: Any) -> Answer:
        return (200, None) if self.jobs[name].over else (202, None)

    def _details(self, name: str, **_: Any) -> Answer:
        job = self.jobs[name]
        error = {"error": {"code": "UserError", "message": job.error}} if job.error else None
        return 200, {
            "runId": name,
            "status": job.status,
            "startTimeUtc": job.begun and job.begun.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "endTimeUtc": job.ended and job.ended.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "error": error,
            "logFiles": {},
        }

    def _model(self, name: str, version: str, **_: Any) -> Answer:
        datastore = f"azureml:/{_WORKSPACE_PATH}/datastores/workspaceblobstore".replace(
            "/providers/Microsoft.MachineLearningServices", ""
        )
        uri = f"{datastore}/paths/models/{name}/{version}"
        path = f"{_WORKSPACE_PATH}/models/{name}/versions/{version}"
        return 200, _resource(path, {"modelUri": uri, **_MLFLOW})

    def _registry(self, **_: Any) -> Answer:
        return 200, {
            "registryName": "azureml",
            "primaryRegionResourceProviderUri": f"https://cert-{REGION}.api.azureml.ms/",
            "resourceGroup": "registries",
            "subscriptionId": SUBSCRIPTION,
            "registryFqdns": {},
        }

    def _shared_model(self, name: str, version: str, **_: Any) -> Answer:
        uri = f"{_BLOBS}/team/shared/{name}/{version}"
        return 200, _resource(
            f"azureml://registries/azureml/models/{name}/versions/{version}",
            {"modelUri": uri, **_MLFLOW},
        )

    def _reference(self, name: str, version: str, **_: Any) -> Answer:
        until = datetime.now(timezone.utc) + timedelta(hours=1)
        uri = f"{_BLOBS}/team/shared/{name}/{version}"
        credential = {
            "credentialType": "SAS",
            "sasUri": f"{_BLOBS}/team?{shared_access('rl', until)}",
        }
        return 200, {"blobReferenceForConsumption": {"blobUri": uri, "credential": credential}}

    def _vault(self, **_: Any) -> Answer:
        return 200, {"value": self.in_vault, "id": f"https://{VAULT}.vault.azure.net/secrets/x"}

    runner_container: Callable[[str], None] = lambda _name: None


def _hash(code: dict[str, Any]) -> str:
    found = code["properties"].get("properties", {}).get("hash_sha256", "")
    return str(found)


def _shown(job: Job) -> dict[str, Any]:
    tracking = f"azureml://{REGION}.api.azureml.ms/mlflow/v1.0{_WORKSPACE_PATH}?"
    services = {
        "Tracking": {"jobServiceType": "Tracking", "endpoint": tracking},
        "Studio": {
            "jobServiceType": "Studio",
            "endpoint": f"https://ml.azure.com/runs/{job.name}?wsid={_WORKSPACE_PATH}",
        },
    }
    properties = {**job.properties, "status": job.status, "services": services}
    return _resource(f"{_WORKSPACE_PATH}/jobs/{job.name}", properties, created=job.created)


def _datastore(name: str) -> dict[str, Any]:
    return _resource(
        f"{_WORKSPACE_PATH}/datastores/{name}",
        {
            "datastoreType": "AzureBlob",
            "accountName": ACCOUNT,
            "containerName": CONTAINERS[name],
            "endpoint": "core.windows.net",
            "protocol": "https",
            "serviceDataAccessAuthIdentity": "None",
            "credentials": {"credentialsType": "AccountKey"},
            "isDefault": name == "workspaceblobstore",
            "tags": {},
            "properties": {},
        },
    )


def _resource(
    path: str,
    properties: dict[str, Any],
    created: datetime | None = None,
    **more: Any,
) -> dict[str, Any]:
    moment = (created or datetime.now(timezone.utc)).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
    return {
        "id": path,
        "name": path.rpartition("/")[2],
        "type": "Microsoft.MachineLearningServices/workspaces/x",
        "properties": properties,
        "systemData": {
            "createdAt": moment,
            "createdBy": "team",
            "createdByType": "User",
            "lastModifiedAt": moment,
        },
        **more,
    }


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


@contextmanager
def serving(plane: ControlPlane, certificates: Path) -> Iterator[int]:
    """Serve ``plane`` over TLS until the block ends; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

        def give(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            host = headers.get("host", "").partition(":")[0]
            try:
                status, content, more = plane.answer(self.command, host, self.path, headers, body)
            except Exception as error:
                status, content, more = 500, _error("StandIn", repr(error)), {}
            text = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = give  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
