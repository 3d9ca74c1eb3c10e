"""Asks an artifact beside transformers: run by the Python of the toolchain that built it.

Usage: ``python -m tests.families.ask MODEL ARTIFACT CHAT`` prints JSON: the ids that runtime and
transformers have for the conversation ``CHAT``, and by how much the logits after them differ
(relative, in the L2 norm). It does without Quern's own code: the plain calls of the libraries.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime_genai as og
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(model: Path, artifact: Path, chat: str) -> None:
    """Print what runtime and transformers say."""
    messages = json.loads(chat)
    tokens = AutoTokenizer.from_pretrained(model)
    config = og.Config(str(artifact))
    config.clear_providers()
    runtime = og.Model(config)
    tokenizer = og.Tokenizer(runtime)
    if tokens.chat_template:
        text = tokens.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        wanted = tokens.encode(text, add_special_tokens=False)
        asked = tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=True)
    else:
        asked = messages[0]["content"]
        wanted = tokens.encode(asked, add_special_tokens=False)
    ids = [int(token) for token in tokenizer.encode(asked)]
    params = og.GeneratorParams(runtime)
    params.set_search_options(max_length=len(wanted) + 1, do_sample=False)
    generator = og.Generator(runtime, params)
    generator.append_tokens(np.asarray(wanted, dtype=np.int32))
    ours = np.asarray(generator.get_output("logits"), dtype=np.float64)[0, -1]
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.inference_mode():
        theirs = plain(torch.tensor([wanted])).logits[0, -1].double().numpy()
    apart = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    print(json.dumps({"runtime": ids, "transformers": wanted, "error": apart}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
