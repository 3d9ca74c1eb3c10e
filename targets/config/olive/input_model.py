"""``input_model``: PyTorchModel, HfModel, OnnxModel or a plain name becomes ``[model]``."""

from __future__ import annotations

import re

from targets.config.olive.context import Context, nested
from targets.config.olive.draft import Draft
from targets.config.olive.ledger import State, leaves
from targets.config.olive.node import Fields, Node
from targets.config.olive.resource import read_resource
from targets.config.olive.secrets import is_secret

_HUB = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
_FILES = (".bin", ".ckpt", ".gguf", ".h5", ".onnx", ".pb", ".pt", ".pth", ".safetensors", ".zip")
"""Ends of the names of files with weights, which names on the hub do not have."""
_TASKS = {"text-generation", "text-generation-with-past", "causal-lm"}
_EXPORT = "it describes inputs for an ONNX export; the model builder knows them by itself"
_LOADING = "how weights are loaded does not change them"
_OTHER_MODELS = ("task", "model_class", "model_loader", "feature", "components")
"""Keys that are refused where they mean another model than one that generates text."""
_KIND = {
    "pytorchmodel": "torch",
    "hfmodel": "torch",
    "huggingfacemodel": "torch",
    "onnxmodel": "onnx",
}


def translate_model(root: Fields, draft: Draft, context: Context) -> bool:
    """Write ``[model]`` from the file's ``input_model``; return whether it is a checkpoint of a
    text generation model, as far as the file says."""
    node = root.take("input_model")
    if node is None:
        root.owner.fail("there is no input_model", "name the model to start from")
        return True
    if isinstance(node.raw, str):
        _source(node, None, draft, context)
        return True
    fields = nested(node.fields("input_model"), "config")
    kind = fields.take("type")
    family = _KIND.get(str(kind.raw).strip().lower()) if kind is not None else "torch"
    if family is None:
        assert kind is not None  # noqa: S101
        kind.refuse(
            f"a model of type {kind.raw} is not a text generation model of Hugging Face",
            "known: HfModel, PyTorchModel with hf_config, OnnxModel",
        )
        for other in fields.rest():
            other.no_effect("nothing is read of a model of another type")
        return False
    if kind is not None:
        kind.translated("[model]")
    if family == "onnx":
        _onnx(fields, draft, context)
        return False
    _torch(fields, node, draft, context)
    return not any(
        node.ledger.state(path) is State.REFUSED and path[-1] in _OTHER_MODELS
        for path, _ in leaves(node.raw, node.path)
    )


def _torch(fields: Fields, owner: Node, draft: Draft, context: Context) -> None:
    path = fields.take("model_path")
    named: Node | None = None
    revisions: list[Node | None] = []
    hf = fields.take("hf_config")
    if hf is not None:
        inner = hf.fields("hf_config")
        named = inner.take("model_name", "model_path")
        loading = [
            inner.take(name)
            for name in (
                "from_pretrained_args",
                "model_loading_args",
                "load_kwargs",
                "hf_from_pretrained_args",
            )
        ]
        _hf_config(inner)
        revisions = [_loading(arguments, draft) for arguments in loading]
    _task(fields.take("task"))
    revisions.append(_loading(fields.take("load_kwargs"), draft))
    revision = next((node for node in revisions if node is not None), None)
    fields.ignore(
        dict.fromkeys(("io_config", "dummy_inputs_func", "model_script", "io_config_func"), _EXPORT)
    )
    fields.ignore(
        dict.fromkeys(
            ("generative", "model_attributes", "script_dir", "shared_kv_buffer"),
            "the checkpoint's own config.json says what the model is",
        )
    )
    _adapter(fields.take("adapter_path"), draft, context)
    _refused(fields)
    form = fields.take("model_file_format")
    if form is not None:
        _format(form)
    if path is None and named is None:
        owner.fail("it names no model", "give model_path, or hf_config with model_name")
    elif path is None:
        assert named is not None  # noqa: S101
        _source(named, None, draft, context, revision)
    else:
        _source(path, named, draft, context, revision)
    fields.refuse_rest("a model")


def _hf_config(fields: Fields) -> None:
    _task(fields.take("task"))
    dataset = fields.take("dataset")
    if dataset is not None:
        dataset.refuse("a data set inside the model", "put it into data_configs")
    model_class = fields.take("model_class")
    if model_class is not None and str(model_class.raw) in (
        "AutoModelForCausalLM",
        "LlamaForCausalLM",
    ):
        model_class.honoured()
    elif model_class is not None:
        model_class.refuse("Quern loads whole causal language models only", "AutoModelForCausalLM")
    for name in ("feature", "components", "custom_task_class_name"):
        part = fields.take(name)
        if part is not None:
            part.refuse("Quern loads whole causal language models only")
    fields.refuse_rest("hf_config")


def _adapter(path: Node | None, draft: Draft, context: Context) -> None:
    """Write ``model.adapter`` from ``path``."""
    resource = None if path is None or path.raw is None else read_resource(path)
    if resource is None:
        return
    text = resource.place
    local_path = context.find(text, context.data_root) or context.find(text)
    named_on_hub = local_path is None and _HUB.match(text)
    draft.set(
        ("model", "adapter"), local_path or (f"hf:{text}" if named_on_hub else text), resource.node
    )


def _refused(fields: Fields) -> None:
    for name, reason, remedy in (
        ("model_loader", "code of the author's loads the model", "save it as a checkpoint"),
        ("custom_task_class_name", "Quern loads causal language models only", ""),
        ("custom_task_class_module", "Quern loads causal language models only", ""),
        ("mlflow_transformer_model_cache_dir", "it is a cache of Olive's", "remove it"),
        ("test_model_config", "it replaces the model by a random one", "remove it"),
        ("test_model_path", "it replaces the model by a random one", "remove it"),
    ):
        part = fields.take(name)
        if part is not None:
            part.refuse(reason, remedy)


def _format(node: Node) -> None:
    text = str(node.raw).lower()
    if "mlflow" in text:
        node.translated("the Hugging Face checkpoint inside the MLflow folder is read")
    elif text in ("pytorch.entiremodel", "pytorch.statedict", "pytorch.torchscript"):
        node.no_effect("the folder's config.json says how its weights are stored")
    else:
        node.refuse(f"a model as {node.raw} is not read", "give a Hugging Face checkpoint")


def _task(node: Node | None) -> None:
    if node is None:
        return
    if str(node.raw).lower() in _TASKS:
        node.honoured()
    elif not node.refuse_placeholder():
        node.refuse(f"Quern builds text generation models, not models for {node.raw}")


def _loading(node: Node | None, draft: Draft) -> Node | None:
    """Read the arguments of ``from_pretrained``; return the revision they name."""
    if node is None:
        return None
    fields = nested(node.fields("the loading arguments"), "extra_args")
    trust = fields.take("trust_remote_code")
    if trust is not None:
        trusted = trust.flag()
        if draft.get(("model", "trust_remote_code")) not in (None, trusted):
            trust.refuse("another key says otherwise", "remove one of the two")
        elif trusted is not None:
            draft.set(("model", "trust_remote_code"), trusted, trust)
    pickled = fields.take("use_safetensors")
    if pickled is not None:
        only = pickled.flag()
        if only is not None:
            draft.set(("model", "weights"), "safetensors" if only else "any", pickled)
    for name in ("quantization_config", "quantization_method", "load_in_4bit", "load_in_8bit"):
        part = fields.take(name)
        if part is not None and part.raw in (False, None, {}, "false"):
            part.no_effect("the base is loaded in full precision anyway")
        elif part is not None:
            part.refuse("the base is loaded in full precision", "use QLoRA to train over 4 bits")
    revision = fields.take("revision")
    for part in fields.rest():
        if part.name in (
            "torch_dtype",
            "dtype",
            "device_map",
            "max_memory",
            "low_cpu_mem_usage",
            "attn_implementation",
            "_attn_implementation",
            "use_cache",
            "cache_dir",
            "local_files_only",
            "offload_folder",
        ):
            part.no_effect(
                "each pass chooses the number format it works in"
                if "dtype" in part.name
                else _LOADING
            )
        elif is_secret(part.name):
            part.no_effect("HF_TOKEN of the environment is used: no file holds secrets")
        else:
            part.refuse("Quern does not pass this on to the model's loading", "remove it")
    return revision


def _source(
    path: Node,
    named: Node | None,
    draft: Draft,
    context: Context,
    revision: Node | None = None,
) -> None:
    """Write ``model.source`` from ``path``; ``named`` is the model's name beside it."""
    resource = read_resource(path)
    if named is not None:
        named.no_effect("model_path says where the weights are")
    if resource is None:
        return
    text = resource.place
    local_path = context.find(text, context.data_root) or context.find(text)
    if local_path is None and text.lower().endswith(_FILES) and not text.startswith("azureml:"):
        resource.node.refuse(
            f"there is no file {text}", "give the folder of a Hugging Face checkpoint, or its name"
        )
        return
    if local_path is None and _HUB.match(text):
        # Olive, too, looks for a folder of that name before it asks the hub.
        commit = revision.word() if revision is not None else None
        draft.set(("model", "source"), f"hf:{text}@{commit or 'main'}", resource.node)
        if revision is not None and commit is not None:
            revision.translated(f"model.source = hf:{text}@{commit}")
        return
    draft.set(("model", "source"), local_path or text, resource.node)
    if revision is not None:
        revision.no_effect("a folder of this machine has no revisions")


def _onnx(fields: Fields, draft: Draft, context: Context) -> None:
    path = fields.take("model_path")
    file = fields.take("onnx_file_name")
    fields.ignore(
        dict.fromkeys(
            ("model_attributes", "inference_settings", "use_ort_extensions"),
            "the folder's genai_config.json says how the model is run",
        )
    )
    if file is not None:
        file.no_effect("the folder's genai_config.json names the model file")
    if path is None:
        fields.owner.refuse("it names no model", "give model_path")
    else:
        resource = read_resource(path)
        if resource is not None:
            local_path = context.find(resource.place, context.data_root) or resource.place
            folder = local_path.rpartition("/")[0] if local_path.endswith(".onnx") else local_path
            draft.set(("model", "onnx"), folder or ".", resource.node)
    fields.refuse_rest("an OnnxModel")
