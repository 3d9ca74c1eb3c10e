"""A job's token of the hub comes from a key vault, as the identity of the compute."""

from __future__ import annotations

import time

import pytest

from targets.systems.azureml import in_job
from tests.support.azure.control_plane import VAULT
from tests.support.azure.world import AzureWorld
from tests.support.object_stores.identities import answering

pytestmark = pytest.mark.servers


def test_the_token_comes_from_the_vault(world: AzureWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.plane.in_vault = "hf_PLANTED"
    world.plane.tokens["of-the-compute"] = time.time() + 60
    with answering({"access_token": "of-the-compute"}) as (port, asked):
        monkeypatch.setenv("MSI_ENDPOINT", f"http://127.0.0.1:{port}/token")
        monkeypatch.setenv("MSI_SECRET", "of-this-machine")
        monkeypatch.setenv("DEFAULT_IDENTITY_CLIENT_ID", "the-computes")
        assert in_job.secret(VAULT) == "hf_PLANTED"
    (question,) = asked
    assert "resource=https%3A%2F%2Fvault.azure.net" in question
    assert "clientid=the-computes" in question


def test_a_compute_without_an_identity_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MSI_ENDPOINT", raising=False)
    with pytest.raises(SystemExit, match="the compute has no identity"):
        in_job.secret(VAULT)
