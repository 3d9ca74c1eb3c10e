"""Resolves names of models and data sets on the Hugging Face hub to commits."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Literal

from pipeline.contract.schema import HUB_PREFIX
from targets.errors import EnvironmentUnable

_ENDPOINT = "https://huggingface.co"
_TIMEOUT_SECONDS = 15
_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


@dataclass(frozen=True)
class HubModel:
    """A repository and a revision of it: a commit, a tag or a branch."""

    repo: str
    revision: str

    @property
    def is_pinned(self) -> bool:
        """Return whether the revision is a commit, which cannot change."""
        return bool(_COMMIT.match(self.revision))


RepoKind = Literal["model", "dataset"]

_LOCAL: dict[RepoKind, str] = {
    "model": "a local folder with --model",
    "dataset": "a file with --data NAME=PATH",
}


def parse_hub_model(source: str, kind: RepoKind = "model") -> HubModel:
    """Parse ``hf:org/name@revision``; the revision defaults to ``main``.

    Raises ``ValueError`` with the problem of ``source``.
    """
    repo, _, revision = source.removeprefix(HUB_PREFIX).partition("@")
    if not _NAME.match(repo):
        raise ValueError(f"'{source}' is not a {kind} of the hub; write hf:org/name@revision")
    if revision.startswith("<"):
        raise ValueError(f"fill in the revision {revision}")
    return HubModel(repo, revision or "main")


def pinned(model: HubModel, kind: RepoKind = "model") -> HubModel:
    """Return ``model`` with its revision replaced by the commit that it currently refers to.

    Asks the hub (``HF_ENDPOINT``, ``HF_TOKEN``) unless it is a commit already. Raises
    ``EnvironmentUnable`` if the hub cannot be reached or does not know it.
    """
    if model.is_pinned:
        return model
    endpoint = os.environ.get("HF_ENDPOINT", _ENDPOINT).rstrip("/")
    url = f"{endpoint}/api/{kind}s/{model.repo}/revision/{model.revision}"
    request = urllib.request.Request(url)  # noqa: S310 - https, or what the user set
    if "HF_TOKEN" in os.environ:
        request.add_header("Authorization", f"Bearer {os.environ['HF_TOKEN']}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as reply:  # noqa: S310
            commit = str(json.load(reply)["sha"])
    except urllib.error.HTTPError as error:
        raise EnvironmentUnable(
            f"the hub has no {model.repo} at revision '{model.revision}' (HTTP {error.code})",
            f"check the name; a private or gated {kind} needs HF_TOKEN",
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise EnvironmentUnable(
            f"cannot ask the hub which commit '{model.revision}' of {model.repo} is: {error}",
            f"name a commit (40 hexadecimal digits) after the @, or {_LOCAL[kind]}",
        ) from None
    return HubModel(model.repo, commit)
