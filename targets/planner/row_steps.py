"""The steps that make the rows of a data set: one that fetches them, and one that changes them."""

from __future__ import annotations

from pipeline.contract.data_spec import DataSpec
from pipeline.data.hub import FetchRowsParams
from pipeline.passes.rows import RowsParams
from pipeline.run.registry import load_pass
from targets.config.chain import PassCall
from targets.config.data import fetch_step, rows_step
from targets.config.hub import parse_hub_model

FETCH_TYPE = "fetch_rows"
TYPE = "rows"

_GRANTS = {"network", "hub"}


def fetch_call(name: str, spec: DataSpec) -> PassCall | None:
    """Return the call of the ``fetch_rows`` pass; ``None`` for a data set that is not on the hub.

    It is a separate step, so that the user's functions do not run with the hub's token.
    """
    if spec.source is None:
        return None
    hub = parse_hub_model(spec.source, "dataset")
    params = FetchRowsParams(
        repo=hub.repo, revision=hub.revision, subset=spec.subset, part=spec.part
    )
    return PassCall(
        name=fetch_step(name),
        type_name=FETCH_TYPE,
        implementation=load_pass(FETCH_TYPE),
        params=params,
    )


def rows_call(name: str, spec: DataSpec) -> PassCall:
    """Return the call of the ``rows`` pass for the data set ``name``."""
    code = spec.code.model_dump(exclude=_GRANTS) if spec.code is not None else {}
    return PassCall(
        name=rows_step(name),
        type_name=TYPE,
        implementation=load_pass(TYPE),
        params=RowsParams(files=len(spec.files), **code),
        network=spec.code is not None and spec.code.network,
        hub=spec.code is not None and spec.code.hub,
    )
