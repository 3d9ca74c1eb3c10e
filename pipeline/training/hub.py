"""Downloads from the Hugging Face hub."""

from __future__ import annotations

import os
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.step import Reporter

if TYPE_CHECKING:
    from pipeline.training.base_params import FetchParams

_DESCRIPTIONS = ("*.json", "*.jinja", "*.model", "*.txt", "*.md", "LICENSE*", "NOTICE*")
_PICKLED = ("*.bin", "*.pt", "*.pth")
_TOKEN_HINT = "set HF_TOKEN to a token that may read it"  # noqa: S105 - says where one goes


def fetch(params: FetchParams, report: Reporter, out_dir: Path) -> dict[str, JsonValue]:
    """Download one commit of a repository into ``out_dir``.

    The token, if any, is read only from ``HF_TOKEN``. Raises :class:`StepError` with cause
    ``network`` if the hub does not answer, and ``bad_input`` if it refuses.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    token = os.environ.get("HF_TOKEN") or False
    source = f"{params.repo}@{params.revision}"
    try:
        info = HfApi(token=token).model_info(
            params.repo, revision=params.revision, files_metadata=True, timeout=30
        )
        sizes = {item.rfilename: item.size or 0 for item in info.siblings or []}
        names = chosen_files(list(sizes), params)
        total = sum(sizes[name] for name in names)
        done = 0
        report.progress(0, total, "bytes")
        for name in names:
            hf_hub_download(
                params.repo, name, revision=params.revision, local_dir=out_dir, token=token
            )
            done += sizes[name]
            report.progress(done, total, "bytes")
    except GatedRepoError as error:
        raise StepError(
            f"{params.repo} asks for its licence to be accepted",
            f"accept it on the model's page and {_TOKEN_HINT}",
            "bad_input",
        ) from error
    except RevisionNotFoundError as error:
        message = f"{params.repo} has no commit {params.revision}"
        raise StepError(message, cause="bad_input") from error
    except RepositoryNotFoundError as error:
        raise StepError(
            f"there is no model {params.repo}, or it is private",
            f"check the name; if it is private, {_TOKEN_HINT}",
            "bad_input",
        ) from error
    except (
        OfflineModeIsEnabled,
        LocalEntryNotFoundError,
        HTTPError,  # of the HTTP library that huggingface_hub uses
        OSError,
    ) as error:
        if isinstance(error, OSError) and error.errno == 28:
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StepError(
            f"{source} cannot be fetched: {reason}",
            "check the network and HTTPS_PROXY, or set model to a local folder",
            "network",
        ) from error
    shutil.rmtree(out_dir / ".cache", ignore_errors=True)  # the downloader's notes, with dates
    return {
        "repo": params.repo,
        "revision": params.revision,
        "files": len(names),
        "bytes": sum(path.stat().st_size for path in out_dir.rglob("*") if path.is_file()),
    }


def chosen_files(names: list[str], params: FetchParams) -> list[str]:
    """Return the files of a repository that are fetched: configs, tokenizer, one kind of weights
    at the top level, and Python files only if they are trusted. If ``params`` name a file, that one
    alone.

    Raises :class:`StepError` if there are no safetensors weights and no others are allowed.
    """
    if params.file is not None:
        if params.file not in names:
            alike = sorted(name for name in names if name.endswith(Path(params.file).suffix))
            raise StepError(
                f"{params.repo} has no file {params.file}",
                f"it has: {', '.join(alike)}" if alike else "",
                "bad_input",
            )
        return [params.file]
    top = sorted(name for name in names if "/" not in name)
    weights = [name for name in top if name.endswith(".safetensors")]
    if not weights:
        if params.weights == "safetensors":
            raise StepError(
                f"{params.repo} has no safetensors weights",
                'set weights = "any" to fetch pickled ones, which can hold code',
                "bad_input",
            )
        weights = [name for name in top if any(fnmatch(name, kind) for kind in _PICKLED)]
    if not weights:
        raise StepError(f"{params.repo} has no weights", cause="bad_input")
    others = [name for name in top if any(fnmatch(name, kind) for kind in _DESCRIPTIONS)]
    code = [name for name in names if name.endswith(".py")] if params.trust_remote_code else []
    return sorted({*others, *weights, *code})
