"""The steps that make the rows of a data set: one that fetches them, one that changes them, and one
that makes tokens of them."""

from __future__ import annotations

from pipeline.contract.data_spec import DataSpec
from pipeline.data.hub import FetchRowsParams
from pipeline.passes.rows import RowsParams
from pipeline.passes.tokenize import TokenizeParams
from pipeline.run.registry import load_pass
from pipeline.training.loading import ModelLoading
from pipeline.training.params import TrainingLoopParams
from targets.config.chain import PassCall
from targets.config.data import fetch_step, rows_step, tokens_step
from targets.config.hub import parse_hub_model

FETCH_TYPE = "fetch_rows"
TYPE = "rows"
TOKENS_TYPE = "tokenize"

FEW_ROWS = 4_000_000
"""Bytes of rows that a training tokenizes itself: they take seconds, and a step has files to hash
and to keep."""

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


def tokens_call(training: PassCall) -> PassCall | None:
    """Return the call of the ``tokenize`` pass for ``training``; ``None`` for a pass that is none.

    It has no more of its parameters than what the tokens depend on, so that a training with others
    finds them.
    """
    params = training.params
    if not isinstance(params, TrainingLoopParams) or not isinstance(params, ModelLoading):
        return None
    return PassCall(
        name=tokens_step(training.name),
        type_name=TOKENS_TYPE,
        implementation=load_pass(TOKENS_TYPE),
        params=TokenizeParams(
            max_length=params.max_length,
            too_long=params.too_long,
            trust_remote_code=params.trust_remote_code,
        ),
    )
