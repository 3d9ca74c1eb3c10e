"""The step that makes the rows of a data set."""

from __future__ import annotations

from pipeline.data.make import RowsParams
from pipeline.data.spec import DataCode, DataSpec
from pipeline.registry import load_pass
from targets.config.chain import PassCall
from targets.config.data import rows_step
from targets.config.hub import parse_hub_model

TYPE = "rows"


def rows_call(name: str, spec: DataSpec) -> PassCall:
    """Return the call of the ``rows`` pass for the data set ``name``."""
    hub = None if spec.source is None else parse_hub_model(spec.source, "dataset")
    own = spec.code.model_dump(exclude={"network"}) if spec.code is not None else {}
    params = RowsParams(
        repo=None if hub is None else hub.repo,
        revision=None if hub is None else hub.revision,
        subset=spec.subset,
        part=spec.part,
        files=len(spec.files),
        **own,
    )
    return PassCall(
        name=rows_step(name),
        type_name=TYPE,
        implementation=load_pass(TYPE),
        params=params.model_dump(mode="json"),
        network=hub is not None or (spec.code or DataCode(script="")).network,
    )
