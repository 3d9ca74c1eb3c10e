"""Resolves names of models and data sets on the Hugging Face hub to commits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from pipeline.contract.schema import HUB_PREFIX
from pipeline.reading.files import decoded
from pipeline.reading.json_text import parse_json
from targets.errors import EnvironmentUnable
from targets.runtimes.hub_settings import hub_is_offline
from targets.toolchain.credentials import scrub

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"(?!.*(\.\.|//|@\{))[A-Za-z0-9_][\w./+@=-]{0,254}", re.ASCII)
"""A commit, or a branch or tag by the rules of ``git check-ref-format``, in ASCII."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class HubModel:
    """A repository and a revision of it: a commit, a tag or a branch."""

    repo: str
    revision: str

    @property
    def is_pinned(self) -> bool:
        """Return whether the revision is a commit, which cannot change."""
        return bool(_COMMIT.fullmatch(self.revision))


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
    if not _NAME.fullmatch(repo):
        raise ValueError(f"'{source}' is not a {kind} of the hub; write hf:org/name@revision")
    if revision.startswith("<"):
        raise ValueError(f"fill in the revision {revision}")
    if revision and not _REVISION.fullmatch(revision):
        raise ValueError(f"{revision!r} is no commit, tag or branch")
    return HubModel(repo, revision or "main")


def pinned(model: HubModel, kind: RepoKind = "model") -> HubModel:
    """Return ``model`` with its revision replaced by the commit that it currently refers to.

    Asks the hub (``HF_ENDPOINT``, ``HF_TOKEN``) unless it is a commit already. Raises
    ``EnvironmentUnable`` if the hub cannot be reached or does not know it.
    """
    if model.is_pinned:
        return model
    if hub_is_offline():
        raise EnvironmentUnable(
            f"HF_HUB_OFFLINE is set, so the hub is not asked which commit '{model.revision}' of "
            f"{model.repo} is",
            f"name a commit (40 hexadecimal digits) after the @, or {_LOCAL[kind]}",
        )
    from requests import HTTPError

    try:
        commit = _commit_of(model, kind)
    except HTTPError as error:
        status = error.response.status_code
        raise EnvironmentUnable(
            f"the hub has no {model.repo} at revision '{model.revision}' (HTTP {status})",
            f"check the name; a private or gated {kind} needs HF_TOKEN",
        ) from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise EnvironmentUnable(
            f"cannot ask the hub which commit '{model.revision}' of {model.repo} is: "
            f"{scrub(str(error))}",
            f"name a commit (40 hexadecimal digits) after the @, or {_LOCAL[kind]}",
        ) from None
    return HubModel(model.repo, commit)


def _commit_of(model: HubModel, kind: RepoKind) -> str:
    from targets.config.hub_requests import ask_hub

    commit = parse_json(decoded(ask_hub(revision_path(model, kind)).body))["sha"]
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise ValueError(f"its answer names no commit: {str(commit)[:80]!r}")
    return commit


def revision_path(model: HubModel, kind: RepoKind) -> str:
    """Return the path under which a hub says what ``model`` is at its revision."""
    return f"/api/{kind}s/{model.repo}/revision/{quote(model.revision, safe='')}"
