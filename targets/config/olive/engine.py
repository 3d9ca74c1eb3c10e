"""Translates the keys of ``engine``, which are in a table of that name or at the root."""

from __future__ import annotations

from targets.config.olive.node import Fields

KEYS = (
    "search_strategy",
    "host",
    "target",
    "execution_providers",
    "evaluator",
    "evaluate_input_model",
    "output_dir",
    "output_name",
    "cache_dir",
    "cache_config",
    "clean_cache",
    "clean_evaluation_cache",
    "enable_shared_cache",
    "log_severity_level",
    "ort_log_severity_level",
    "ort_py_log_severity_level",
    "log_to_file",
    "plot_pareto_frontier",
    "no_artifacts",
    "packaging_config",
    "azureml_client_config",
)

_CACHE = "results are found by the content of their inputs; --cache chooses the folder"
_FIXED = {
    "output_dir": "outputs lie in dist/BUILD/TARGET; --dist chooses another folder",
    "cache_dir": _CACHE,
    "cache_config": _CACHE,
    "clean_cache": "a changed input has another key: there is nothing stale to clean",
    "clean_evaluation_cache": "a changed input has another key: there is nothing stale to clean",
    "enable_shared_cache": _CACHE,
    "log_severity_level": "progress is shown, and the log of every run is kept in the cache folder",
    "ort_log_severity_level": "what ONNX Runtime says is in the log of the run",
    "ort_py_log_severity_level": "what ONNX Runtime says is in the log of the run",
    "log_to_file": "the log of every run is kept in the cache folder",
    "plot_pareto_frontier": "the report has the table of what a search tried",
    "no_artifacts": "the artifact and its report are always written",
    "packaging_config": "dist/BUILD/TARGET/model is what is shipped; nothing is packed",
    "azureml_client_config": "Azure ML is not asked from here",
}


def read_engine(root: Fields) -> Fields:
    """Return all engine keys of the file, wherever they stand."""
    table = root.take("engine")
    fields = table.fields("engine") if table is not None else Fields({}, root.owner)
    for name in KEYS:
        node = root.take(name)
        if node is not None:
            fields.merge(Fields({name: node}, root.owner))
    return fields


def settle_engine(fields: Fields, holds_out: bool) -> None:
    """Account for the keys that choose neither system, evaluator nor search. ``holds_out`` says
    whether there are rows on which a model is measured."""
    base = fields.take("evaluate_input_model")
    if base is not None and not holds_out:
        base.no_effect("there are no held-out rows on which it could be measured")
    elif base is not None and base.raw:
        base.translated("the base model is measured on the held-out rows")
    elif base is not None:
        base.no_effect("it is measured in any case: the report holds the artifact against it")
    fields.ignore(_FIXED)
    fields.refuse_rest("engine")
