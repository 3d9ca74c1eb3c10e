"""Run by a toolchain's Python: asks models as Quern does, and as transformers does without a cache,
one row at a time. Prints one JSON object.

Usage: ``python asked_models.py CHECKPOINT SCRATCH`` with the checkpoint of `tiny_model.py`.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GenerationConfig,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from pipeline.builder.build import build
from pipeline.builder.params import ModelBuilderParams
from pipeline.builder.portable_template import portable
from pipeline.data.chat import Message
from pipeline.data.examples import Example
from pipeline.data.tokenizer import load_artifact_tokenizer
from pipeline.evaluation.general import PASSAGES, read
from pipeline.evaluation.scores import Reply
from pipeline.onnx.answerer import GenAiAnswerer
from pipeline.onnx.artifact_codec import ArtifactCodec, beginning_of
from pipeline.onnx.session import Session
from pipeline.training.answerer import TorchAnswerer
from pipeline.training.loading import ModelLoading
from pipeline.training.prompt_cache import can_continue
from pipeline.training.streamed import load_fp32, shortage_of_memory
from tests.support import tool_templates
from tests.support.runtime_templates import CHAT, TEMPLATES
from tests.support.silent import Silent

_SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,
}
PENALTY = 1.4
END = frozenset({2, 5, 11})
MORE = 7
_ROOM = 64
"""Tokens of a passage that are read: so many that the smallest window is too small for it."""


def models() -> dict[str, Any]:
    """Return models that keep all keys and values, and some that do not, or not in this way."""
    torch.manual_seed(0)
    narrow = {"head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]}
    return {
        "llama": LlamaForCausalLM(LlamaConfig(**_SHAPE)),
        "within the window": MistralForCausalLM(MistralConfig(**_SHAPE, sliding_window=64)),
        "beyond the window": MistralForCausalLM(MistralConfig(**_SHAPE, sliding_window=8)),
        "two kinds of layers": Gemma2ForCausalLM(Gemma2Config(**_SHAPE, **narrow)),
        "convolutions": Lfm2ForCausalLM(
            Lfm2Config(**_SHAPE, layer_types=["conv", "full_attention"])
        ),
        "no positions": BloomForCausalLM(
            BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3)
        ),
    }


def rows(common: int) -> list[list[int]]:
    """Return prompts of several lengths with ``common`` tokens at the beginning of each."""
    chance = random.Random(common)  # noqa: S311 - rows, not secrets
    start = [chance.randrange(3, 97) for _ in range(common)]
    return [
        [*start, *(chance.randrange(3, 97) for _ in range(length))] for length in (1, 9, 4, 4, 15)
    ]


CONTINUATIONS: list[list[list[int]]] = [
    [[7], [8, 9, 2], []],
    [[7, 2]],
    [],
    [[3, 4, 5, 6, 2], [9]],
    [[12, 13]],
]


def plain_logprobs(model: Any, prompt: Sequence[int], after: Sequence[int]) -> list[float]:
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *after]]), use_cache=False).logits[0]
    chosen = logits.log_softmax(-1)
    return [float(chosen[len(prompt) - 1 + at, token]) for at, token in enumerate(after)]


def plain_greedy(model: Any, prompt: Sequence[int], penalty: float) -> list[int]:
    """Return the greedy tokens, the end token included."""
    ids = torch.tensor([list(prompt)])
    model.generation_config = GenerationConfig()
    made = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=MORE,
        do_sample=False,
        use_cache=False,
        repetition_penalty=penalty,
        eos_token_id=sorted(END),
        pad_token_id=0,
    )
    return list(made[0, len(prompt) :].tolist())


def compared(answerer: Any, model: Any, common: int, penalty: float) -> dict[str, Any]:
    prompts = rows(common)
    worst = 0.0
    given: dict[int, Reply] = {}
    for asked in answerer.ask(prompts, MORE):
        given |= zip(asked.indices, asked.greedy(MORE), strict=True)
        wanted = [CONTINUATIONS[number] for number in asked.indices]
        for number, several, found in zip(
            asked.indices, wanted, asked.logprobs(wanted), strict=True
        ):
            for after, values in zip(several, found, strict=True):
                plain = plain_logprobs(model, prompts[number], after)
                pairs = zip(plain, values, strict=True)
                worst = max([worst, *(abs(one - other) for one, other in pairs)])
    replies = [given[number] for number in range(len(prompts))]
    right = [plain_greedy(model, prompt, penalty) for prompt in prompts]
    return {
        "worst": worst,
        "replies": [reply.ids for reply in replies],
        "right": [ids[:-1] if ids[-1] in END else ids for ids in right],
        "ended": [reply.ended for reply in replies],
        "right_ended": [ids[-1] in END for ids in right],
    }


def encoded(text: str) -> list[int]:
    return [3 + ord(sign) % 94 for sign in text]


def reading(model: Any) -> dict[str, Any]:
    """Return how well a model reads, as Quern finds it and by one passage after the other."""
    found = read(TorchAnswerer(model, 0, END), encoded, _ROOM, int(_SHAPE["vocab_size"]))
    texts = [encoded(passage)[:_ROOM] for passage in PASSAGES]
    plain = [value for ids in texts for value in plain_logprobs(model, ids[:1], ids[1:])]
    right = {"loss": -sum(plain) / len(plain), "tokens": len(plain)}
    return {"found": found.model_dump(), "right": right}


def broken_reading() -> float:
    """Return the loss of a model whose logits are no numbers."""
    model = LlamaForCausalLM(LlamaConfig(**_SHAPE)).eval()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    return read(TorchAnswerer(model, 0, END), encoded, _ROOM, int(_SHAPE["vocab_size"])).loss


def in_torch() -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    for name, model in models().items():
        model.eval()
        model.generation_config.no_repeat_ngram_size = 1  # no model is asked with it
        longest = max(map(len, rows(6))) + MORE
        about: dict[str, Any] = {"continues": can_continue(model, longest)}
        about["reading"] = reading(model)
        found[name] = about
        for common in (0, 6):
            for penalty in (1.0, PENALTY):
                answerer = TorchAnswerer(model, 0, END, 3, penalty)
                about[f"{common}, {penalty}"] = compared(answerer, model, common, penalty)
    return found


def in_onnx(checkpoint: Path, scratch: Path) -> dict[str, Any]:
    """Ask an export in fp32 whose checkpoint has a repetition penalty."""
    source = scratch / "penalized"
    shutil.copytree(checkpoint, source)
    path = source / "generation_config.json"
    settings = {**json.loads(path.read_text()), "repetition_penalty": PENALTY}
    settings |= {"num_beams": 3, "no_repeat_ngram_size": 1}
    settings["eos_token_id"] = sorted(END)
    path.write_text(json.dumps(settings))
    artifact = scratch / "artifact"
    artifact.mkdir()
    params = ModelBuilderParams(execution_provider="cpu", precision="fp32")
    build(source, artifact, params, Silent())
    config = json.loads((artifact / "genai_config.json").read_text())
    shipped = config["search"]
    # What a user's `search` has beyond that is not measured.
    config["search"] = {**shipped, "num_beams": 3, "no_repeat_ngram_size": 1, "min_length": 40}
    config["model"]["eos_token_id"] = sorted(END)
    (artifact / "genai_config.json").write_text(json.dumps(config))
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    answerer = GenAiAnswerer(Session(artifact, 1))
    return {
        "shipped": shipped,
        "asked": compared(answerer, model, 6, PENALTY),
        "nothing in common": compared(answerer, model, 0, PENALTY),
        "run again": compared(Again(answerer.session), model, 6, PENALTY),
        "tools": ids_of_tools(artifact),
        "templates": rendered_templates(artifact),
        "ids": ids_of_prompts(artifact),
    }


def ids_of_tools(artifact: Path) -> dict[str, Any]:
    """Return the ids of a question with tools, an earlier call and its result, in each way in which
    families write these, and those of transformers."""
    call: JsonValue = {"name": "clock", "arguments": {"city": "Oslo"}}
    turns = (
        Message("user", "what time"),
        Message("assistant", "", {"tool_calls": [{"id": "abcdefghi", "function": call}]}),
        Message("tool", "noon", {"tool_call_id": "abcdefghi"}),
    )
    place: JsonValue = {"type": "object", "properties": {"city": {"type": "string"}}}
    taken: dict[str, JsonValue] = {"clock": place, "stop": {}, "list": {"required": []}}
    tools: tuple[JsonValue, ...] = tuple(
        {"type": "function", "function": {"name": name, "parameters": parameters}}
        for name, parameters in taken.items()
    )
    example = Example(7, turns, "joy", tools=tools)
    found = {}
    for name in ("QWEN3", "LLAMA3", "MISTRAL"):
        template = getattr(tool_templates, name)
        (artifact / "chat_template.jinja").write_text(portable(template))
        tokenizer = load_artifact_tokenizer(artifact)
        codec = ArtifactCodec(tokenizer, Session(artifact, 1))
        found[name] = {
            "asked": codec.prompt_ids(example),
            "transformers": tokenizer.apply_chat_template(
                [turn.for_template for turn in turns],
                tools=list(tools),
                chat_template=template,
                add_generation_prompt=True,
                return_dict=False,
            ),
            "problems": codec.prompt_problems([example]),
        }
    return found


def rendered_templates(artifact: Path) -> dict[str, list[str]]:
    """Return each template as the runtime renders what is written of it, and as transformers
    renders the original."""
    tokenizer, runtime = load_artifact_tokenizer(artifact), Session(artifact, 1).tokenizer
    return {
        name: [
            runtime.apply_chat_template(
                json.dumps(CHAT), template_str=portable(template), add_generation_prompt=True
            ),
            tokenizer.apply_chat_template(
                CHAT, chat_template=template, add_generation_prompt=True, tokenize=False
            ),
        ]
        for name, template in TEMPLATES.items()
    }


def ids_of_prompts(artifact: Path) -> dict[str, Any]:
    """Return the ids of the same words, composed and decomposed, for an artifact whose tokenizer
    normalizes to NFC and begins each text with a token, as Llama's does."""
    path = artifact / "tokenizer.json"
    said = json.loads(path.read_text())
    said["normalizer"] = {"type": "NFC"}
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    said["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    }
    path.write_text(json.dumps(said))
    tokenizer = load_artifact_tokenizer(artifact)
    session = Session(artifact, 1)
    codec = ArtifactCodec(tokenizer, session)
    found: dict[str, Any] = {"beginning": beginning_of(artifact)}
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, "what a bright morn\u00edng")
        for chat in (False, True):
            example = Example(7, (Message("user", text),), "joy", chat=chat)
            plain = text
            if chat:
                turns = [{"role": "user", "content": text}]
                plain = tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=True
                )
            found[f"{form}, {'chat' if chat else 'raw'}"] = {
                "asked": codec.prompt_ids(example),
                "runtime": [int(token) for token in session.tokenizer.encode(plain)],
                "transformers": tokenizer.encode(plain, add_special_tokens=not chat),
                "problems": codec.prompt_problems([example]),
            }
    return found


def shortages(scratch: Path) -> dict[str, Any]:
    """Return what is said of models that are to run in fp32: one in bf16, and one that no memory
    has room for."""
    small, huge = scratch / "small", scratch / "huge"
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**_SHAPE))
    model.to_empty(device="cpu").to(torch.bfloat16).save_pretrained(small)
    huge.mkdir()
    numbers = 1 << 41
    entry = {"dtype": "BF16", "shape": [numbers], "data_offsets": [0, 2 * numbers]}
    header = json.dumps({"weight": entry}).encode()
    with (huge / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2 * numbers)  # a hole: it takes no room
    said = {"small": shortage_of_memory(small), "huge": shortage_of_memory(huge)}
    shutil.rmtree(huge)  # whoever copied it would fill the disk
    return {**said, "dtype": str(load_fp32(small, ModelLoading(), Silent()).dtype)}


class Again(GenAiAnswerer):
    """Asks an artifact as if its states could not be taken back."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        session.rewinds = False


if __name__ == "__main__":
    torch.set_num_threads(1)
    checkpoint, scratch = map(Path, sys.argv[1:])
    found = {
        "torch": in_torch(),
        "onnx": in_onnx(checkpoint, scratch),
        "shortages": shortages(scratch),
        "broken": broken_reading(),
    }
    print(json.dumps(found))  # noqa: T201 - the answer
