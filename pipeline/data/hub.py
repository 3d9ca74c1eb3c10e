"""Fetches a data set of the Hugging Face hub, before any code of the user's sees it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen

FETCHED_FILE = "rows.parquet"
"""The rows as the hub has them, with their types and features."""


class FetchRowsParams(Frozen):
    """Which rows."""

    repo: str
    """Name of the data set."""
    revision: str
    """Commit of it."""
    subset: str | None = None
    part: str = "train"
    """Part of it, in the hub's notation: ``train[:1000]``."""


def fetch_rows(params: FetchRowsParams, out_dir: Path) -> dict[str, JsonValue]:
    """Write the rows to :data:`FETCHED_FILE` in ``out_dir``; return how many there are.

    The token, if any, is read from ``HF_TOKEN`` alone. Raises :class:`StepError` with cause
    ``network`` where the hub does not answer, and ``bad_input`` where it refuses.
    """
    import datasets
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    where = f"{params.repo}@{params.revision}"
    try:
        found = datasets.load_dataset(
            params.repo,
            params.subset,
            split=params.part,
            revision=params.revision,
            token=os.environ.get("HF_TOKEN") or False,
            cache_dir=tempfile.mkdtemp(),
        )
    except DatasetNotFoundError as error:
        raise StepError(
            f"there is no data set {where}, or it is private: {first_line(error)}",
            "check the name; a private or gated one needs HF_TOKEN",
            "bad_input",
        ) from error
    except (DatasetsError, ValueError, RuntimeError, TypeError) as error:
        raise StepError(
            f"the data set {where} cannot be loaded: {first_line(error.__cause__ or error)}",
            "check subset and part",
            "bad_input",
        ) from error
    except OSError as error:  # the hub's client raises many kinds of it, most without a number
        if error.errno is not None and not isinstance(error, (ConnectionError, TimeoutError)):
            raise
        raise StepError(
            f"the data set {where} cannot be fetched: {first_line(error)}",
            "check the network and HTTPS_PROXY, or give a file with --data NAME=PATH",
            "network",
        ) from error
    found.to_parquet(out_dir / FETCHED_FILE)
    return {"repo": params.repo, "revision": params.revision, "rows": len(found)}


def first_line(error: BaseException) -> str:
    """Return the first line of what ``error`` says, or its kind where it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
