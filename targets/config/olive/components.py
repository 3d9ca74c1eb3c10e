"""Converts all forms that Olive's data sets have had over the years into one.

A data set has four components: ``load_dataset``, ``pre_process_data``, ``post_process_data`` and
``dataloader``. Their parameters have stood in ``NAME_config`` (flat, or under ``params``), in
``components.NAME`` and, for all at once, in ``params_config``, whose ``component_kwargs`` go first.
"""

from __future__ import annotations

from targets.config.olive.context import nested
from targets.config.olive.node import Fields, Node

LOAD, PRE, POST, BATCH = COMPONENTS = (
    "load_dataset",
    "pre_process_data",
    "post_process_data",
    "dataloader",
)

_OWNER = {
    **dict.fromkeys(
        ("data_name", "dataset_name", "subset", "split", "data_files", "data_dir", "col_filters"),
        LOAD,
    ),
    **dict.fromkeys(("batch_size", "shuffle", "drop_last", "num_workers"), BATCH),
}
"""The component of each parameter of ``params_config``; others belong to ``pre_process_data``."""


def read_components(data: Fields) -> dict[str, Fields]:
    """Return the parameters of each component of a data set; ``type`` among them."""
    components = {name: Fields({}, data.owner) for name in COMPONENTS}
    shared = data.take("params_config")
    params = shared.fields("params_config") if shared is not None else Fields({}, data.owner)
    _by_component(params.take("component_kwargs"), components)
    for name in COMPONENTS:
        part = data.take(f"{name}_config", f"{name.removesuffix('_data')}_data_config")
        if part is not None:
            fields = nested(part.fields(part.name), "params")
            # Early templates of the AI Toolkit wrote it here.
            _by_component(fields.take("component_kwargs"), components)
            components[name].merge(fields)
    _by_component(data.take("components"), components)
    for node in params.rest():
        owner = _OWNER.get(node.name, PRE)
        components[owner].merge(Fields({node.name: node}, params.owner))
    return components


def _by_component(node: Node | None, components: dict[str, Fields]) -> None:
    if node is None:
        return
    table = node.fields(node.name)
    for name in COMPONENTS:
        part = table.take(name)
        if part is not None:
            fields = nested(part.fields(name), "params")
            label = fields.take("name")
            if label is not None:
                label.no_effect("a component is found by its type")
            components[name].merge(fields)
    table.refuse_rest("a data set's components")
