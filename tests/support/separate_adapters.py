"""What the tests of separate adapters need of a toolchain's Python, by nothing of Quern's own.

``faults STEP NAME…`` copies a step's folder under the names of faults, and plants these.
``llama CHECKPOINT OUT`` writes another small model, and an adapter of it.
``distance CHECKPOINT ADAPTER MODEL NAME`` prints how far the logits of a model folder with the
adapter of that name are from those of PEFT's model: the relative error in the L2 norm.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

Arrays = dict[str, Any]
IDS = [11, 45, 7, 203, 99, 31, 5, 160]


def read(path: Path) -> Arrays:
    """Return copies of the arrays of an adapter's file."""
    content = onnxruntime.AdapterFormat.read_adapter(str(path))
    return {name: value.numpy().copy() for name, value in content.get_parameters().items()}


def write(path: Path, arrays: Arrays) -> None:
    content = onnxruntime.AdapterFormat()
    make = onnxruntime.OrtValue.ortvalue_from_numpy
    content.set_parameters({name: make(array) for name, array in arrays.items()})
    path.unlink()
    content.export_adapter(str(path))


def _of_layer(arrays: Arrays, layer: int) -> list[str]:
    return [name for name in arrays if f"layers.{layer}." in name]


def one_scale(arrays: Arrays) -> None:
    (name,) = (name for name in _of_layer(arrays, 1) if "down_proj.lora_B" in name)
    arrays[name] *= 1.1


def all_scales(arrays: Arrays) -> None:
    for name in arrays:
        arrays[name] *= 2 if "lora_B" in name else 1


def other_layer(arrays: Arrays) -> None:
    for name in _of_layer(arrays, 0):
        other = name.replace("layers.0.", "layers.1.")
        arrays[name], arrays[other] = arrays[other], arrays[name]


def layer_gone(arrays: Arrays) -> None:
    for name in _of_layer(arrays, 1):
        del arrays[name]


def strange_input(arrays: Arrays) -> None:
    arrays["nothing.has.this"] = np.zeros((2, 2), np.float32)


IN_FILE: Mapping[str, Callable[[Arrays], None]] = {
    fault.__name__: fault
    for fault in (one_scale, all_scales, other_layer, layer_gone, strange_input)
}


def plant(step: Path, fault: str, other: Path | None = None) -> None:
    """Copy the folder ``step`` under the name of a fault, and plant that."""
    place = step.parent / fault
    shutil.copytree(step, place, copy_function=shutil.copyfile)
    folder = place / "output"
    (file,) = folder.glob("*.onnx_adapter")
    if fault in IN_FILE:
        arrays = read(file)
        IN_FILE[fault](arrays)
        write(file, arrays)
    elif fault == "swapped":
        assert other is not None
        file.write_bytes(next((other / "output").glob("*.onnx_adapter")).read_bytes())
    elif fault == "truncated":
        file.write_bytes(file.read_bytes()[:-1000])
    elif fault == "gone":
        file.unlink()
    elif fault == "crossed":
        graph = onnx.load(folder / "model.onnx", load_external_data=False)
        for node in graph.graph.node:
            for at, name in enumerate(node.input):
                if "down_proj.lora_A.weight" in name:
                    swapped = {"0": "1", "1": "0"}
                    number = name.split(".")[2]
                    node.input[at] = name.replace(f".{number}.", f".{swapped[number]}.")
        onnx.save(graph, folder / "model.onnx")
    else:
        raise SystemExit(f"no fault {fault}")


def llama(source: Path, out: Path) -> None:
    """Write ``out/llama``, a model whose queries, keys and values are apart and that the builder
    joins, with the tokenizer of ``source``; and ``out/apart``, an adapter of two of the three."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = Path(shutil.copytree(source, out / "llama"))
    ids = json.loads((source / "config.json").read_text("utf-8"))
    kept = {name: ids[name] for name in ("vocab_size", "bos_token_id", "eos_token_id")}
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    torch.manual_seed(5)
    model = LlamaForCausalLM(
        LlamaConfig(**kept, **sizes, num_attention_heads=4, num_key_value_heads=2)
    )
    model.save_pretrained(folder)
    config = LoraConfig(r=3, lora_alpha=9, target_modules=["q_proj", "v_proj"])
    adapted = get_peft_model(model, config)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data += 0.1 * torch.randn_like(weight)
    adapted.save_pretrained(out / "apart")


def distance(checkpoint: Path, adapter: Path, folder: Path, name: str) -> float:
    """Return ``|ours - theirs| / |theirs|`` of the logits after a few tokens."""
    import onnxruntime_genai
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter).eval()
    with torch.no_grad():
        theirs = model(torch.tensor([IDS])).logits[0, -1].double().numpy()
    loaded = onnxruntime_genai.Model(str(folder))
    params = onnxruntime_genai.GeneratorParams(loaded)
    params.set_search_options(max_length=len(IDS) + 1)
    adapters = onnxruntime_genai.Adapters(loaded)
    adapters.load(str(folder / f"{name}.onnx_adapter"), name)
    generator = onnxruntime_genai.Generator(loaded, params)
    generator.set_active_adapter(adapters, name)
    generator.append_tokens(np.asarray(IDS, np.int32))
    ours = np.asarray(generator.get_output("logits"), np.float64)[0, -1, : len(theirs)]
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def main(command: str, first: Path, *others: str) -> None:
    """Run a command of the module's docstring."""
    if command == "faults":
        *names, other = others
        for name in names:
            plant(first, name, first.parent / other)
    elif command == "llama":
        llama(first, Path(*others))
    else:
        adapter, folder, name = others
        sys.stdout.write(f"{distance(first, Path(adapter), Path(folder), name)}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
