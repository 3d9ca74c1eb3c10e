"""Downloads a data set from the Hugging Face hub, without running any code of the user."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen

FETCHED_FILE = "rows.parquet"
"""File with the rows as on the hub, with their types and features."""


class FetchRowsParams(Frozen):
    """A data set on the hub: its name, commit and part."""

    repo: str
    """Name of the repository."""
    revision: str
    """Commit of the repository."""
    subset: str | None = None
    part: str = "train"
    """Part of the data set, in the hub's notation: ``train[:1000]``."""


def fetch_rows(params: FetchRowsParams, out_dir: Path) -> dict[str, JsonValue]:
    """Write the rows to :data:`FETCHED_FILE` in ``out_dir``; return how many there are.

    The token, if any, is read only from ``HF_TOKEN``. Raises :class:`StepError` with cause
    ``network`` if the hub does not answer, and ``bad_input`` if it refuses.
    """
    import datasets
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    source = f"{params.repo}@{params.revision}"
    try:
        dataset = datasets.load_dataset(
            params.repo,
            params.subset,
            split=params.part,
            revision=params.revision,
            token=os.environ.get("HF_TOKEN") or False,
            cache_dir=tempfile.mkdtemp(),
        )
    except DatasetNotFoundError as error:
        raise StepError(
            f"there is no data set {source}, or it is private: {first_line(error)}",
            "check the name; a private or gated one needs HF_TOKEN",
            "bad_input",
        ) from error
    except (DatasetsError, ValueError, RuntimeError, TypeError) as error:
        raise StepError(
            f"the data set {source} cannot be loaded: {first_line(error.__cause__ or error)}",
            "check subset and part",
            "bad_input",
        ) from error
    except OSError as error:  # huggingface_hub raises many kinds of OSError, most without errno
        if error.errno is not None and not isinstance(error, (ConnectionError, TimeoutError)):
            raise
        raise StepError(
            f"the data set {source} cannot be fetched: {first_line(error)}",
            "check the network and HTTPS_PROXY, or give a file with --data NAME=PATH",
            "network",
        ) from error
    dataset.to_parquet(out_dir / FETCHED_FILE)
    return {"repo": params.repo, "revision": params.revision, "rows": len(dataset)}


def first_line(error: BaseException) -> str:
    """Return the first line of the message of ``error``, or its type if it has no message."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
