"""A registry of Azure Machine Learning: models that many workspaces share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import requests

from targets.errors import EnvironmentUnable
from targets.remote.address import azure_store
from targets.remote.store import Store
from targets.systems.azureml.sdk import asking, login, quiet

if TYPE_CHECKING:
    from obstore.store import AzureCredential, ObjectStore

_DISCOVERY = "https://eastus.api.azureml.ms/registrymanagement/v1.0/registries/{}/discovery"
_REFERENCES = (
    "{}mferp/managementfrontend/subscriptions/{}/resourceGroups/{}/providers/"
    "Microsoft.MachineLearningServices/registries/{}/datarefs/{}/versions/{}"
)
_VERSION = "2021-10-01-dataplanepreview"
_SCOPE = "https://management.azure.com/.default"
_BLOB = re.compile(r"https://([^./]+)\.blob\.[^/]+/([^/?]+)/([^?]*)")
_ANSWER_SECONDS = 60


def registry_model(registry: str, name: str, version: str) -> tuple[Store, str]:
    """Return the store in which the files of a registry's model lie, and the folder there.

    Raises ``EnvironmentUnable``.
    """
    what = f"the model {name} {version} of the registry {registry}"
    with quiet(), asking(what):
        from azure.ai.ml import MLClient

        client = MLClient(login(), registry_name=registry, enable_telemetry=False)
        uri = str(client.models.get(name, version=version).path)
    found = _ask(what, "GET", _DISCOVERY.format(quote(registry, safe="")))
    address = _REFERENCES.format(
        found.get("primaryRegionResourceProviderUri"),
        *(found.get("subscriptionId"), found.get("resourceGroup")),
        *(quote(part, safe="") for part in (registry, name, version)),
    )
    asset = f"azureml://registries/{registry}/models/{name}/versions/{version}"
    answer = _ask(what, "POST", address, {"assetId": asset, "blobUri": uri})
    reference = answer.get("blobReferenceForConsumption") or {}
    signature = str((reference.get("credential") or {}).get("sasUri", "")).partition("?")[2]
    match = _BLOB.fullmatch(uri)
    if match is None or not signature:
        raise EnvironmentUnable(f"{what} lies where it cannot be read from", "fetch it by hand")
    account, container, folder = match.groups()

    def given() -> AzureCredential:
        return {"sas_token": signature, "expires_at": None}

    def opened(at: str, patience: float) -> ObjectStore:
        return azure_store(at, patience, given)

    return Store(f"az://{account}/{container}", opened), folder.strip("/")


def _ask(what: str, method: str, address: str, body: object = None) -> dict[str, Any]:
    with asking(what):
        token = login().get_token(_SCOPE).token
    try:
        answer = requests.request(
            method,
            address,
            params={"api-version": _VERSION} if method == "POST" else None,
            headers={"Authorization": f"Bearer {token}"},
            json=body,
            timeout=_ANSWER_SECONDS,
        )
        answer.raise_for_status()
        found = answer.json()
    except requests.HTTPError as error:
        raise EnvironmentUnable(
            f"Azure refuses {what} ({error.response.status_code})",
            "are registry, name and version right, and may you see them?",
        ) from None
    except (requests.RequestException, ValueError):
        raise EnvironmentUnable(
            f"Azure cannot be reached for {what}", "look at the network and at proxies"
        ) from None
    return found if isinstance(found, dict) else {}
