"""``python -m tests.benchmarks.peers.programs.gguf_phi3 CHECKPOINT OUT``: a checkpoint of Phi-3's
architecture as a GGUF file in half precision, as llama.cpp's ``convert_hf_to_gguf.py`` names what
is in it. It has no vocabulary: it is asked by token ids."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, get_tensor_name_map
from safetensors import safe_open

_FTYPE_F16 = 1


def main(checkpoint: str, out: str) -> None:
    """Write the file ``out``."""
    folder = Path(checkpoint)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    writer = GGUFWriter(out, "phi3", use_temp_file=True)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_sliding_window(0)
    writer.add_file_type(_FTYPE_F16)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config["vocab_size"])
    names = get_tensor_name_map(MODEL_ARCH.PHI3, config["num_hidden_layers"])
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - it is no mapping
                tensor = tensors.get_tensor(key).float().numpy()
                is_matrix = tensor.ndim > 1
                kind = GGMLQuantizationType.F16 if is_matrix else GGMLQuantizationType.F32
                values = tensor.astype(np.float16 if is_matrix else np.float32)
                name = names.get_name(key, try_suffixes=(".weight",))
                writer.add_tensor(name, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
