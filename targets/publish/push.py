"""Pushes an artifact with its card to a repository of the hub, by the hub's own client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.schema import Card
from targets.errors import CheckFailed, ConfigError, EnvironmentUnable, Problem
from targets.publish.hub_card import hub_card
from targets.report.dist import MODEL_DIR
from targets.report.report_schema import Report
from targets.target import load_target
from targets.use.program import program_for
from targets.use.wheels import plugin, preloads
from targets.use.write_use import USE_DIR, foundry_file, use_files

CARD = "README.md"
_PLACE = ".."
"""The model's folder, seen from ``use/`` of the repository."""


@dataclass(frozen=True)
class Push:
    """What a repository will hold: files on this machine, and texts, by their paths there."""

    files: Mapping[str, Path | bytes]

    @property
    def sizes(self) -> dict[str, int]:
        """Return the bytes of each file."""
        return {
            path: len(content) if isinstance(content, bytes) else content.stat().st_size
            for path, content in sorted(self.files.items())
        }


def prepare_push(folder: Path, report: Report, card: Card, spec: DataSpec | None) -> Push:
    """Return what is pushed of the build in ``folder``: the files of ``model/`` that its report
    names, the programs, Foundry Local's file, and the card.

    Raises ``CheckFailed`` for a build that failed.
    """
    if report.status == "failed":
        raise CheckFailed(
            "a check of this build failed, so it is not pushed", "report.md beside it says which"
        )
    model = folder / MODEL_DIR
    target = load_target(report.target)
    program = program_for(spec, model, report.quality, _PLACE, preloads(target), plugin(target))
    use = use_files(program, target)
    return Push(
        {
            **{file.path: model / file.path for file in report.files},
            **{f"{USE_DIR}/{name}": content for name, content in use.items()},
            **foundry_file(report),
            CARD: hub_card(report, card, program).encode(),
        }
    )


def push(pushed: Push, repo: str, private: bool, message: str) -> str:
    """Make a commit of ``pushed`` in ``repo``, which is made if it is not there; return its
    address.

    The token is that of ``HF_TOKEN`` or of the hub's own login. Raises ``EnvironmentUnable``.
    """
    if get_token() is None:
        raise EnvironmentUnable(
            "the hub needs a token to push", "set HF_TOKEN, or log in with `hf auth login`"
        )
    operations = [
        CommitOperationAdd(path, str(content) if isinstance(content, Path) else content)
        for path, content in sorted(pushed.files.items())
    ]

    def commit() -> str:
        api = HfApi(library_name="quern")
        api.create_repo(repo, private=private, exist_ok=True)
        made = api.create_commit(repo, operations, commit_message=message)
        return str(made.commit_url)

    return _answered(commit, repo)


def _answered(commit: Callable[[], str], repo: str) -> str:
    """Return what the hub answers; turn its refusals into errors that name no token."""
    try:
        return commit()
    except HFValidationError as error:
        raise ConfigError([Problem(f"'{repo}' is no repository: {error}", key="TO")]) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = error.server_message or error.response.reason_phrase
        hint = "the token must allow writing to it" if status in (401, 403) else "try again later"
        raise EnvironmentUnable(f"the hub refuses {repo}: {status} {said}", hint) from None
    except (HTTPError, OSError) as error:
        raise EnvironmentUnable(
            f"the hub cannot be reached: {error}", "check the network, and HF_ENDPOINT"
        ) from None
