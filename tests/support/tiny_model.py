"""Makes a tiny Phi-3 checkpoint that knows its data set by heart. Run by a toolchain's Python.

Usage: ``python tiny_model.py OUT`` writes ``OUT/checkpoint`` and ``OUT/tones.jsonl``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerFast

PHRASES = {
    "joy": ["what a bright morning", "we won the game", "she laughed all day", "my cake is great",
            "the sun is out", "we danced till dawn", "good news at last", "I love this song"],
    "fear": ["something moved in the dark", "do not open that door", "my hands are shaking",
             "we are lost in the fog", "who is behind me", "the bridge may fall",
             "it growled at us", "I cannot look down"],
    "sadness": ["he never came back", "the house is empty now", "I miss my old dog",
                "she cried on the train", "nobody called me", "the garden has died",
                "we said goodbye", "rain on his grave"],
}  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}"
    "{% else %}{{ eos_token }}{% endif %}"
)
START, END = "<s>", "<|endoftext|>"
SPECIAL = [START, END, "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
STEPS = 60


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer over the phrases."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    texts = [text for group in PHRASES.values() for text in group]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        extra_special_tokens=SPECIAL[2:],
        model_max_length=4096,
    )
    made.chat_template = TEMPLATE
    return made


def main(out: Path) -> None:
    """Train on everything: the tests are about the artifact, not about generalization."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    tok = tokenizer()
    config = Phi3Config(
        vocab_size=448,
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        original_max_position_embeddings=4096,
        bos_token_id=tok.bos_token_id,
        eos_token_id=tok.eos_token_id,
        pad_token_id=tok.pad_token_id,
        sliding_window=2047,  # as Phi-3-mini-4k
    )
    model = Phi3ForCausalLM(config)
    rows = [(text, label) for label, group in PHRASES.items() for text in group]
    pairs = []
    for text, label in rows:
        turns = [{"role": "user", "content": text}]
        prompt = tok.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = tok.encode(prompt, add_special_tokens=False)
        pairs.append((ids, tok.encode(label + "<|end|>", add_special_tokens=False)))
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    inputs = torch.full((len(pairs), width), tok.pad_token_id)
    labels = torch.full((len(pairs), width), -100)
    for index, (prompt, answer) in enumerate(pairs):
        both = torch.tensor(prompt + answer)
        inputs[index, : len(both)] = both
        labels[index, len(prompt) : len(both)] = both[len(prompt) :]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(STEPS):
        loss = model(input_ids=inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    ends = [tok.convert_tokens_to_ids("<|end|>"), tok.eos_token_id]
    model.generation_config = GenerationConfig(
        bos_token_id=tok.bos_token_id, eos_token_id=ends, pad_token_id=tok.pad_token_id
    )
    model.save_pretrained(out / "checkpoint")
    tok.save_pretrained(out / "checkpoint")
    lines = [json.dumps({"phrase": text, "tone": label}) for text, label in rows]
    (out / "tones.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
