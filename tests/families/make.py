"""Makes small checkpoints of the families, each of which knows its data set by heart.

Run by a toolchain's Python in the project's root: ``python -m tests.families.make OUT NAME...``
writes a folder ``OUT/NAME`` for each, and ``OUT/tones.jsonl``. With ``--seeds N`` it writes
``OUT/0/checkpoints`` and so on like that, each with other weights.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pipeline.contract.data_spec import CHAT_DATE
from pipeline.data.rendering import with_fixed_date
from tests.families.table import NAMED, Family
from tests.support.tiny_model import PHRASES

ROWS = [(text, label) for label, group in PHRASES.items() for text in group]
_TOKENS = 600
_STEPS = 300
_KNOWN = 0.02
"""Loss of every token of an answer at which a model knows its data by heart."""
_SPACE = "▁"
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen and others split a text before byte-level BPE."""
_WORDS = (
    "Is it what who user system assistant model helpful You are a an AI named SmolLM trained by "
    "Hugging Face Today Date Cutting Knowledge December July 26 Jul 2024 2023 Metadata INST User "
    "Assistant System"
)
"""Texts of the templates, so that their words become tokens too."""


def tokenizer(family: Family) -> Tokenizer:
    """Return the tokenizer of a family, trained on the phrases."""
    texts = [*(text for row in ROWS for text in row), *_WORDS.split()]
    if family.kind in ("bytes", "nfc"):
        return _byte_level(family, texts)
    return _sentencepiece(family, texts)


def _byte_level(family: Family, texts: list[str]) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    if family.kind == "nfc":
        made.normalizer = normalizers.NFC()
    made.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=_TOKENS,
            special_tokens=list(family.tokens.special),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return _finished(family, made)


def _sentencepiece(family: Family, texts: list[str]) -> Tokenizer:
    """Return BPE in the form that transformers gives a SentencePiece model."""
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))  # noqa: S106
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=_TOKENS,
            special_tokens=[*family.tokens.special, *fallback],
            initial_alphabet=[_SPACE, *map(chr, range(33, 127))],
            show_progress=False,
        ),
    )
    content = json.loads(made.to_str())
    # Bytes are ordinary tokens there.
    content["added_tokens"] = [
        token for token in content["added_tokens"] if token["content"] in family.tokens.special
    ]
    made = Tokenizer.from_str(json.dumps(content))
    replace = normalizers.Replace(" ", _SPACE)
    trimmed: list[Any] = [decoders.Strip(" ", 1, 0)]
    if family.kind == "llama":
        made.pre_tokenizer = None
        made.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), replace])
    elif family.kind == "gemma":
        made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        made.normalizer = replace
        trimmed = []
    made.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *trimmed]
    )
    return _finished(family, made)


def _finished(family: Family, made: Tokenizer) -> Tokenizer:
    """Return ``made`` with what it does to special tokens."""
    bos = family.tokens.bos
    made.add_special_tokens(
        [AddedToken(token, rstrip=True, special=True) for token in family.tokens.swallowing]
    )
    if bos is not None and family.tokens.adds_bos:
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A {bos} $B",
            special_tokens=[(bos, made.token_to_id(bos))],
        )
    return made


def make(family: Family, folder: Path, seed: int = 0, steps: int = _STEPS) -> None:
    """Write the checkpoint of ``family`` whose weights begin with ``seed``, and are trained so many
    ``steps`` at most."""
    folder.mkdir(parents=True)
    made = tokenizer(family)
    made.save(str(folder / "tokenizer.json"))
    ids = {token: made.token_to_id(token) for token in family.tokens.special}
    config = family.whole_config(ids)
    _write(folder / "tokenizer_config.json", family.tokenizer_config())
    _write(folder / "config.json", config)
    if family.template_file:
        (folder / "chat_template.jinja").write_text(family.template, "utf-8")
    torch.manual_seed(seed)
    # Not the attention with kernels: its gradients differ from run to run.
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    _train(model.float(), AutoTokenizer.from_pretrained(folder), family, steps)
    model.to(getattr(torch, config["torch_dtype"])).save_pretrained(
        folder, max_shard_size="100KB" if family.shards else "5GB"
    )
    # As on the hub, not as this transformers writes them.
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", family.whole_generation(ids))


def _train(model: Any, tokens: Any, family: Family, steps: int) -> None:
    """Train on everything: the tests are about the artifact, not about generalization."""
    texts = [_ids(tokens, family, text, label) for text, label in ROWS]
    width = max(len(ids) for ids, _ in texts)
    inputs = torch.zeros((len(texts), width), dtype=torch.long)
    learnt = torch.zeros((len(texts), width - 1), dtype=torch.bool)
    answers = torch.zeros_like(learnt)
    for row, (ids, prompt) in enumerate(texts):
        inputs[row, : len(ids)] = torch.tensor(ids)
        learnt[row, : len(ids) - 1] = True
        answers[row, prompt - 1 : len(ids) - 1] = True
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        logits = model(input_ids=inputs).logits[:, :-1].transpose(1, 2)
        losses = torch.nn.functional.cross_entropy(logits, inputs[:, 1:], reduction="none")
        if losses[answers].max() < _KNOWN:
            return
        losses[learnt].mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def _ids(tokens: Any, family: Family, text: str, label: str) -> tuple[list[int], int]:
    """Return the ids of one row, and how many of them are the prompt's."""
    if not family.template:
        prompt = tokens.encode(text)
        end = [tokens.eos_token_id]
        return [*prompt, *tokens.encode(label, add_special_tokens=False), *end], len(prompt)
    question = [{"role": "user", "content": text}]
    answered = [*question, {"role": "assistant", "content": label}]
    dated = {"chat_template": with_fixed_date(family.template, CHAT_DATE), "return_dict": False}
    asked = tokens.apply_chat_template(question, add_generation_prompt=True, **dated)
    whole = tokens.apply_chat_template(answered, **dated)
    if family.ends_turns and whole[: len(asked)] == asked:
        return whole, len(asked)
    end = whole[-1] if family.ends_turns else tokens.eos_token_id
    return [*asked, *tokens.encode(label, add_special_tokens=False), end], len(asked)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    """Make the named families."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--steps", type=int, default=_STEPS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.seeds is None:
        write(arguments.out, arguments.names, steps=arguments.steps)
    else:
        for seed in range(arguments.seeds):
            write(arguments.out / str(seed) / "checkpoints", arguments.names, seed)


def write(out: Path, names: list[str], seed: int = 0, steps: int = _STEPS) -> None:
    """Write the checkpoints of the named families, and their data."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        make(NAMED[name], out / name, seed, steps)
    lines = [json.dumps({"phrase": text, "tone": label}) for text, label in ROWS]
    (out / "tones.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
