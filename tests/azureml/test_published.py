"""What the stand-in answers has the shapes that Azure publishes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.azure.control_plane import (
    _PROVIDER,
    _WORKSPACE_PATH,
    COMPUTE,
    GROUP,
    REGION,
    SUBSCRIPTION,
    ControlPlane,
)
from tests.support.azure.job_runner import Job, JobRunner
from tests.support.azure.published import faults
from tests.support.azure.world import SDK
from tests.support.object_stores.server import python_packages

pytestmark = pytest.mark.servers

_JOB = {
    "jobType": "Command",
    "command": "python in_job.py",
    "computeId": f"{_WORKSPACE_PATH}/computes/{COMPUTE}",
    "environmentId": f"{_WORKSPACE_PATH}/environments/quern-cpu/versions/1",
    "experimentName": "small",
    "limits": {"jobLimitsType": "Command", "timeout": "PT1H"},
    "inputs": {
        "blobs": {"jobInputType": "uri_folder", "uri": "azureml://x", "mode": "ReadOnlyMount"}
    },
    "outputs": {"made": {"jobOutputType": "uri_folder", "uri": "azureml://x"}},
    "resources": {"instanceCount": 2},
    "distribution": {"distributionType": "PyTorch", "processCountPerInstance": 1},
}
ANSWERS = [
    ("Workspace", "GET", _WORKSPACE_PATH),
    ("ComputeResource", "GET", f"{_WORKSPACE_PATH}/computes/{COMPUTE}"),
    ("ComputeResource", "GET", f"{_WORKSPACE_PATH}/computes/arc"),
    (
        "VirtualMachineSizeListResult",
        "GET",
        f"/subscriptions/{SUBSCRIPTION}/{_PROVIDER}/locations/{REGION}/vmSizes",
    ),
    ("Datastore", "GET", f"{_WORKSPACE_PATH}/datastores/workspaceblobstore"),
    ("DatastoreSecrets", "POST", f"{_WORKSPACE_PATH}/datastores/workspaceblobstore/listSecrets"),
    ("EnvironmentVersion", "GET", f"{_WORKSPACE_PATH}/environments/quern-cpu/versions/1"),
    ("CodeVersion", "GET", f"{_WORKSPACE_PATH}/codes/quern/versions/1"),
    (
        "PendingUploadResponseDto",
        "POST",
        f"{_WORKSPACE_PATH}/codes/quern/versions/1/startPendingUpload",
    ),
    ("JobBase", "GET", f"{_WORKSPACE_PATH}/jobs/quern-1"),
    ("ModelVersion", "GET", f"{_WORKSPACE_PATH}/models/story/versions/1"),
    ("ErrorResponse", "GET", f"{_WORKSPACE_PATH}/jobs/none"),
]


@pytest.fixture(scope="module")
def models(cache_dir: Path) -> Any:
    sdk = str(python_packages(SDK, cache_dir / "object_stores"))
    if sdk not in sys.path:
        sys.path.append(sdk)
    from azure.ai.ml._restclient.arm_ml_service import models

    return models


@pytest.fixture
def plane() -> ControlPlane:
    made = ControlPlane(cast("JobRunner", None))
    made.runner_container = lambda _name: None
    image = {"image": "registry/quern@sha256:0", "osType": "Linux"}
    made._make_environment("quern-cpu", "1", {"properties": image})
    made._make_code("quern", "1", {"properties": {"codeUri": "https://x"}})
    made.jobs["quern-1"] = Job("quern-1", dict(_JOB))
    return made


def asked(plane: ControlPlane, method: str, path: str) -> Any:
    _, content, _ = plane.answer(method, "identity", path, {}, b"")
    return content


@pytest.mark.parametrize(("name", "method", "path"), ANSWERS)
def test_an_answer_has_the_published_shape(
    models: Any, plane: ControlPlane, name: str, method: str, path: str
) -> None:
    answer = asked(plane, method, path)
    assert answer, GROUP
    assert list(faults(getattr(models, name), answer)) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("properties", "vmsize"), "x", "vmsize is not in AmlCompute"),
        (("properties", "properties", "vmPriority"), "Cheap", "vmPriority is 'Cheap'"),
        (("properties", "properties", "scaleSettings", "maxNodeCount"), None, "is missing"),
    ],
)
def test_a_planted_fault_is_found(
    models: Any, plane: ControlPlane, path: tuple[str, ...], value: object, said: str
) -> None:
    answer = asked(plane, "GET", f"{_WORKSPACE_PATH}/computes/{COMPUTE}")
    *way, last = path
    inner = answer
    for name in way:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    (fault,) = faults(models.ComputeResource, answer)
    assert said in fault
