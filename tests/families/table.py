"""The families of models that people bring, each as a small checkpoint laid out as on the hub.

Configs, tokens and templates are those of the instruct models on the hub, with other sizes. The
same table says what becomes of each family (``docs/models.md``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TokenizerKind = Literal["llama", "metaspace", "gemma", "bytes", "nfc"]
"""``llama``: SentencePiece-style BPE that puts ``▁`` before a text by its normalizer;
``metaspace``: by its pre-tokenizer; ``gemma``: without it. ``bytes``: byte-level BPE; ``nfc``:
after Unicode's normalization form C."""

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 640,
}
"""Sizes of a small model; a family names those in which it differs."""


@dataclass(frozen=True)
class Result:
    """What becomes of a family on a target."""

    word: Literal["proven", "built", "refused"]
    """``proven``: no check fails, and the logits of artifact and model agree. ``built``: no check
    fails, and something is left for the device to prove. ``refused``: the plan says why not."""
    why: str = ""
    """For what is not proven."""


def refused(why: str) -> Result:
    """Return that the plan refuses it: the model builder ``why``."""
    return Result("refused", f"the model builder {why}")


PROVEN = Result("proven")
_ON_DEVICE = Result(
    "built", "only the device has norms of queries and keys within GroupQueryAttention"
)
_BY_DEVICE = {"cuda": _ON_DEVICE, "webgpu": _ON_DEVICE}
TARGETS = ("cpu", "cuda", "directml", "webgpu")


@dataclass(frozen=True)
class Tokens:
    """Special tokens, in the order of their ids, and what they are for."""

    special: tuple[str, ...]
    eos: str
    bos: str | None = None
    pad: str | None = None
    unk: str | None = None
    adds_bos: bool = False
    """Whether a text outside a chat begins with ``bos``."""
    swallowing: tuple[str, ...] = ()
    """Those that take the white space behind them with them (``rstrip``)."""
    ends: tuple[str, ...] = ()
    """The end tokens of ``generation_config.json``, where it names several."""


@dataclass(frozen=True)
class Family:
    """A family of models, and what becomes of it on each target."""

    title: str
    kind: TokenizerKind
    tokens: Tokens
    config: Mapping[str, Any]
    """``config.json``, without the sizes that are those of :data:`SIZES`."""
    template: str = ""
    """The chat template; empty for a base model."""
    ends_turns: bool = True
    """Whether the template ends an answer with a special token."""
    template_file: bool = False
    """Whether it lies in ``chat_template.jinja`` instead of ``tokenizer_config.json``."""
    tokenizer_class: str = "PreTrainedTokenizerFast"
    generation: Mapping[str, Any] = field(default_factory=dict)
    """More of ``generation_config.json``."""
    shards: bool = False
    rate: float = 2e-3
    """The learning rate of the fine-tune: a higher one ruins a model that makes squares."""
    results: Mapping[str, Result] = field(default_factory=dict)
    """What becomes of it on targets where that is not that it is proven."""

    def result(self, target: str) -> Result:
        """Return what becomes of it on ``target``."""
        return self.results.get(target, PROVEN)

    @property
    def name(self) -> str:
        """Return the title as a name of a folder."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def whole_config(self, ids: Mapping[str, int]) -> dict[str, Any]:
        """Return ``config.json``, with the ``ids`` of the special tokens."""
        tokens = self.tokens
        named = {"bos_token_id": tokens.bos, "eos_token_id": tokens.eos, "pad_token_id": tokens.pad}
        numbers = {key: ids[token] for key, token in named.items() if token is not None}
        return {"use_cache": True, "torch_dtype": "bfloat16", **SIZES, **numbers, **self.config}

    def whole_generation(self, ids: Mapping[str, int]) -> dict[str, Any]:
        """Return ``generation_config.json``."""
        ends = [ids[token] for token in self.tokens.ends or (self.tokens.eos,)]
        begin = {} if self.tokens.bos is None else {"bos_token_id": ids[self.tokens.bos]}
        return {**begin, "eos_token_id": ends if len(ends) > 1 else ends[0], **self.generation}

    def tokenizer_config(self) -> dict[str, Any]:
        """Return ``tokenizer_config.json``."""
        tokens = self.tokens
        named = {
            "bos_token": tokens.bos,
            "eos_token": tokens.eos,
            "pad_token": tokens.pad,
            "unk_token": tokens.unk,
        }
        inside = self.template and not self.template_file
        return {
            "add_bos_token": tokens.adds_bos,
            "clean_up_tokenization_spaces": False,
            "model_max_length": int(self.config.get("max_position_embeddings", 2048)),
            "tokenizer_class": self.tokenizer_class,
            **named,
            **({"chat_template": self.template} if inside else {}),
        }


_LLAMA_TOKENS = ("<unk>", "<s>", "</s>")

_PHI3 = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + "
    "message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + "
    "message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}"
    "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
_PHI4 = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + "
    "'<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}"
    "{% else %}{{ eos_token }}{% endif %}"
)
_INST = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'].strip() + ' ' + "
    "eos_token }}{% endif %}{% endfor %}"
)
_MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + '[/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
_NEMO = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST]' + message['content'] + '[/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)
_ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + "
    "message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n'"
    " + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
_LLAMA3 = (
    "{{- bos_token }}\n{%- if not date_string is defined %}\n"
    "    {%- if strftime_now is defined %}\n"
    "        {%- set date_string = strftime_now('%d %b %Y') %}\n    {%- else %}\n"
    "        {%- set date_string = '26 Jul 2024' %}\n    {%- endif %}\n{%- endif %}\n"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}\n"
    "{{- 'Cutting Knowledge Date: December 2023\\n' }}\n"
    "{{- 'Today Date: ' + date_string + '\\n\\n' }}\n{{- '<|eot_id|>' }}\n"
    "{%- for message in messages %}\n"
    "    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + "
    "message['content'] | trim + '<|eot_id|>' }}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n"
)
_CHATML = (
    "{%- if messages[0]['role'] == 'system' %}\n"
    "    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n"
    "{%- else %}\n    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}\n"
    "{%- endif %}\n{%- for message in messages %}\n"
    '    {%- if (message.role == "user") or (message.role == "assistant") %}\n'
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\n"
    "    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n"
)
_QWEN3 = (
    "{%- set ns = namespace(last_query_index=messages|length - 1) %}\n"
    "{%- for message in messages %}\n"
    "    {%- if message.role == 'user' or message.role == 'system' %}\n"
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\n"
    "    {%- elif message.role == 'assistant' %}\n        {%- if loop.last %}\n"
    "            {{- '<|im_start|>' + message.role + '\\n<think>\\n\\n</think>\\n\\n' + "
    "message.content.lstrip('\\n') }}\n        {%- else %}\n"
    "            {{- '<|im_start|>' + message.role + '\\n' + message.content }}\n"
    "        {%- endif %}\n        {{- '<|im_end|>\\n' }}\n    {%- endif %}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n"
    "    {%- if enable_thinking is defined and enable_thinking is false %}\n"
    "        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}"
)
_DEEPSEEK = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}"
    "{% endif %}{{ bos_token }}{%- for message in messages %}{%- if message['role'] == 'user' %}"
    "{{ '<｜User｜>' + message['content'] }}{%- endif %}{%- if message['role'] == 'assistant' %}"
    "{% set content = message['content'] %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{%- endif %}{%- endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
_SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% endif %}"
)
_SMOLLM3 = (
    '{{- "<|im_start|>system\\n" -}}\n'
    '{{- "## Metadata\\n\\nKnowledge Cutoff Date: June 2025\\n" -}}\n'
    '{%- set today = strftime_now("%d %B %Y") -%}\n'
    '{{- "Today Date: " ~ today ~ "<|im_end|>\\n" -}}\n'
    "{%- for message in messages -%}\n    {%- if message.role == 'user' -%}\n"
    '        {{ "<|im_start|>" + message.role + "\\n" + message.content + "<|im_end|>\\n" }}\n'
    "    {%- elif message.role == 'assistant' -%}\n"
    '        {{ "<|im_start|>" + message.role + "\\n" + message.content.lstrip("\\n") + '
    '"<|im_end|>\\n" }}\n    {%- endif -%}\n{%- endfor -%}\n'
    '{%- if add_generation_prompt -%}\n    {{ "<|im_start|>assistant\\n" }}\n{%- endif -%}'
)
_GRANITE = (
    "{%- for message in messages %}\n    {%- if loop.first and message['role'] != 'system' %}\n"
    "{{ '<|start_of_role|>system<|end_of_role|>Today\\'s Date: ' + strftime_now('%B %d, %Y') + "
    "'.<|end_of_text|>\n' }}\n    {%- endif %}\n"
    "    {{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + "
    "'<|end_of_text|>\n' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n"
    "    {{- '<|start_of_role|>assistant<|end_of_role|>' }}\n{%- endif %}"
)
_ERNIE = (
    "{{- '<|begin_of_sentence|>' -}}\n{%- for message in messages -%}\n"
    "    {%- if message['role'] == 'user' -%}\n"
    "        {{- 'User: ' + message['content'] + '\n' -}}\n"
    "    {%- elif message['role'] == 'assistant' -%}\n"
    "        {{- 'Assistant: ' + message['content'] + '<|end_of_sentence|>' -}}\n"
    "    {%- endif -%}\n{%- endfor -%}\n{%- if add_generation_prompt -%}\n"
    "    {{- 'Assistant: ' -}}\n{%- endif -%}"
)
_NEMOTRON = (
    "{{'<extra_id_0>System\n\n'}}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{'<extra_id_1>User\n' + message['content'].strip() + '\n'}}"
    "{% elif message['role'] == 'assistant' %}{{ '<extra_id_1>Assistant\n' + "
    "message['content'].strip() + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<extra_id_1>Assistant\n' }}{% endif %}"
)
_LFM2 = (
    "{{- bos_token -}}\n{%- for message in messages -%}\n"
    "    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}\n"
    "{%- endfor -%}\n{%- if add_generation_prompt -%}\n    {{- '<|im_start|>assistant\\n' -}}\n"
    "{%- endif -%}\n"
)

_PHI3_TOKENS = Tokens(
    (*_LLAMA_TOKENS, "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
    eos="<|endoftext|>",
    bos="<s>",
    pad="<|endoftext|>",
    unk="<unk>",
    swallowing=("<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
    ends=("<|endoftext|>", "<|assistant|>", "<|end|>"),
)
_QWEN_TOKENS = Tokens(
    ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"),
    eos="<|im_end|>",
    pad="<|endoftext|>",
    ends=("<|im_end|>", "<|endoftext|>"),
)
_GEMMA_TOKENS = Tokens(
    ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
    eos="<eos>",
    bos="<bos>",
    pad="<pad>",
    unk="<unk>",
    adds_bos=True,
    ends=("<eos>", "<end_of_turn>"),
)
_IM_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_PHI3_CONFIG = {
    "architectures": ["Phi3ForCausalLM"],
    "model_type": "phi3",
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "original_max_position_embeddings": 4096,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "sliding_window": 2047,
    "tie_word_embeddings": False,
}


def _longrope(pairs: int) -> dict[str, Any]:
    """Return factors of longrope for half as many frequencies as a head turns numbers."""
    short = [1.0 + 0.05 * at for at in range(pairs)]
    long = [1.1 + 1.7 * at for at in range(pairs)]
    return {
        "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096,
        "sliding_window": 262144,
        "rope_scaling": {"long_factor": long, "short_factor": short, "type": "longrope"},
    }


_LLAMA_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
_QWEN2_CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "max_window_layers": 21,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
}
_MISTRAL_CONFIG = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
}
_GEMMA_CONFIG = {
    "architectures": ["GemmaForCausalLM"],
    "model_type": "gemma",
    "attention_bias": False,
    "head_dim": 32,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
}

FAMILIES = (
    Family("Phi-3-mini-4k", "llama", _PHI3_TOKENS, _PHI3_CONFIG, _PHI3,
           tokenizer_class="LlamaTokenizer", shards=True),
    Family("Phi-3-mini-128k", "llama", _PHI3_TOKENS, {**_PHI3_CONFIG, **_longrope(8)}, _PHI3,
           tokenizer_class="LlamaTokenizer", shards=True),
    Family("Phi-3.5-mini", "llama", _PHI3_TOKENS,
           {**_PHI3_CONFIG, **_longrope(8), "num_key_value_heads": 4}, _PHI3,
           tokenizer_class="LlamaTokenizer"),
    Family("Phi-4-mini", "bytes",
           Tokens(("<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>", "<|system|>"),
                  eos="<|endoftext|>", bos="<|endoftext|>", pad="<|endoftext|>",
                  unk="<|endoftext|>", ends=("<|end|>", "<|endoftext|>")),
           {**_PHI3_CONFIG, **_longrope(24), "hidden_size": 128, "num_attention_heads": 2,
            "num_key_value_heads": 1, "partial_rotary_factor": 0.75, "tie_word_embeddings": True},
           _PHI4, tokenizer_class="GPT2Tokenizer"),
    Family("Phi-2", "bytes",
           Tokens(("<|endoftext|>",), eos="<|endoftext|>", bos="<|endoftext|>",
                  unk="<|endoftext|>"),
           {"architectures": ["PhiForCausalLM"], "model_type": "phi", "hidden_act": "gelu_new",
            "hidden_size": 160, "num_attention_heads": 2, "num_key_value_heads": 2,
            "layer_norm_eps": 1e-05, "max_position_embeddings": 2048,
            "partial_rotary_factor": 0.4, "qk_layernorm": False, "rope_scaling": None,
            "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "float16"},
           tokenizer_class="CodeGenTokenizer", shards=True),
    Family("Llama-2", "llama",
           Tokens(_LLAMA_TOKENS, eos="</s>", bos="<s>", unk="<unk>", adds_bos=True),
           {**_LLAMA_CONFIG, "max_position_embeddings": 4096, "num_key_value_heads": 4,
            "torch_dtype": "float16"},
           _INST, tokenizer_class="LlamaTokenizer", shards=True,
           generation={"do_sample": True, "temperature": 0.6, "top_p": 0.9}),
    Family("TinyLlama", "llama",
           Tokens(_LLAMA_TOKENS, eos="</s>", bos="<s>", pad="</s>", unk="<unk>", adds_bos=True),
           {**_LLAMA_CONFIG, "max_position_embeddings": 2048}, _ZEPHYR,
           tokenizer_class="LlamaTokenizer"),
    Family("Llama-3.2", "bytes",
           Tokens(("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
                   "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"),
                  eos="<|eot_id|>", bos="<|begin_of_text|>", adds_bos=True,
                  ends=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")),
           {**_LLAMA_CONFIG, "head_dim": 16, "max_position_embeddings": 131072,
            "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                             "original_max_position_embeddings": 8192, "rope_type": "llama3"},
            "rope_theta": 500000.0, "tie_word_embeddings": True},
           _LLAMA3, generation={"do_sample": True, "temperature": 0.6, "top_p": 0.9}),
    Family("Qwen2.5", "nfc", _QWEN_TOKENS, _QWEN2_CONFIG, _CHATML,
           tokenizer_class="Qwen2Tokenizer",
           generation={"do_sample": True, "repetition_penalty": 1.1, "temperature": 0.7,
                       "top_k": 20, "top_p": 0.8}),
    Family("Qwen2.5 with YaRN", "nfc", _QWEN_TOKENS,
           {**_QWEN2_CONFIG, "rope_scaling": {"factor": 4.0, "type": "yarn",
                                              "original_max_position_embeddings": 32768}},
           _CHATML, tokenizer_class="Qwen2Tokenizer",
           results={"directml": refused("cannot make rotary positions of the kind 'yarn'")}),
    Family("Qwen3", "nfc", _QWEN_TOKENS,
           {**_QWEN2_CONFIG, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
            "attention_bias": False, "head_dim": 32, "max_position_embeddings": 40960,
            "max_window_layers": 28, "rope_scaling": None, "sliding_window": None},
           _QWEN3, tokenizer_class="Qwen2Tokenizer", results=_BY_DEVICE,
           generation={"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}),
    Family("DeepSeek-R1-Distill-Qwen", "nfc",
           Tokens(("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>",
                   "<｜Assistant｜>", "<think>", "</think>"),
                  eos="<｜end▁of▁sentence｜>", bos="<｜begin▁of▁sentence｜>",
                  pad="<｜end▁of▁sentence｜>", adds_bos=True),
           {**_QWEN2_CONFIG, "max_position_embeddings": 131072, "rope_theta": 10000,
            "sliding_window": 4096, "tie_word_embeddings": False, "use_mrope": False},
           _DEEPSEEK, tokenizer_class="LlamaTokenizerFast",
           generation={"do_sample": True, "temperature": 0.6, "top_p": 0.95}),
    Family("Gemma", "gemma", _GEMMA_TOKENS, _GEMMA_CONFIG, _GEMMA,
           tokenizer_class="GemmaTokenizer"),
    Family("Gemma 2", "gemma", _GEMMA_TOKENS,
           {**_GEMMA_CONFIG, "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2",
            "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
            "query_pre_attn_scalar": 32, "sliding_window": 4096},
           _GEMMA, tokenizer_class="GemmaTokenizer"),
    Family("Gemma 3 (text)", "gemma", _GEMMA_TOKENS,
           {**_GEMMA_CONFIG, "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text",
            "attn_logit_softcapping": None, "final_logit_softcapping": None,
            "max_position_embeddings": 32768, "query_pre_attn_scalar": 32,
            "rope_local_base_freq": 10000, "rope_scaling": None, "rope_theta": 1000000,
            "sliding_window": 512, "sliding_window_pattern": 6, "num_hidden_layers": 6},
           _GEMMA, tokenizer_class="GemmaTokenizer", results=_BY_DEVICE),
    Family("Mistral v0.1", "llama",
           Tokens(_LLAMA_TOKENS, eos="</s>", bos="<s>", unk="<unk>", adds_bos=True),
           _MISTRAL_CONFIG, _MISTRAL, tokenizer_class="LlamaTokenizer", shards=True),
    Family("Mistral v0.3", "metaspace",
           Tokens((*_LLAMA_TOKENS, "[INST]", "[/INST]"), eos="</s>", bos="<s>", unk="<unk>",
                  adds_bos=True),
           {**_MISTRAL_CONFIG, "rope_theta": 1000000.0, "sliding_window": None}, _MISTRAL,
           tokenizer_class="LlamaTokenizer", shards=True),
    Family("Mistral Nemo", "bytes",
           Tokens((*_LLAMA_TOKENS, "[INST]", "[/INST]"), eos="</s>", bos="<s>", unk="<unk>",
                  adds_bos=True),
           {**_MISTRAL_CONFIG, "head_dim": 32, "max_position_embeddings": 131072,
            "rope_theta": 1000000.0, "sliding_window": None},
           _NEMO, tokenizer_class="GPT2Tokenizer", shards=True),
    Family("SmolLM2", "bytes",
           Tokens(_IM_TOKENS, eos="<|im_end|>", bos="<|im_start|>", pad="<|im_end|>",
                  unk="<|endoftext|>"),
           {**_LLAMA_CONFIG, "max_position_embeddings": 8192, "rope_interleaved": False,
            "rope_theta": 100000, "tie_word_embeddings": True},
           _SMOLLM2, tokenizer_class="GPT2Tokenizer"),
    Family("SmolLM3", "bytes",
           Tokens((*_IM_TOKENS, "<|end_of_text|>", "<|begin_of_text|>"), eos="<|im_end|>",
                  bos="<|begin_of_text|>", pad="<|im_end|>"),
           {**_LLAMA_CONFIG, "architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3",
            "layer_types": ["full_attention"] * 4, "max_position_embeddings": 65536,
            "max_window_layers": 28, "no_rope_layer_interval": 4,
            "no_rope_layers": [1, 1, 1, 0], "num_hidden_layers": 4, "rope_theta": 5000000.0,
            "sliding_window": None, "tie_word_embeddings": True, "use_sliding_window": False},
           _SMOLLM3, template_file=True),
    Family("Granite 3", "bytes",
           Tokens(("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
                  eos="<|end_of_text|>", bos="<|end_of_text|>", pad="<|end_of_text|>",
                  unk="<|end_of_text|>"),
           {**_LLAMA_CONFIG, "architectures": ["GraniteForCausalLM"], "model_type": "granite",
            "attention_multiplier": 0.0625, "embedding_multiplier": 12.0, "logits_scaling": 8.0,
            "max_position_embeddings": 131072, "residual_multiplier": 0.22,
            "rope_theta": 5000000.0, "tie_word_embeddings": True},
           _GRANITE, tokenizer_class="GPT2Tokenizer", shards=True),
    Family("OLMo", "nfc",
           Tokens(("<|endoftext|>", "<|padding|>"), eos="<|endoftext|>", pad="<|padding|>"),
           {"architectures": ["OlmoForCausalLM"], "model_type": "olmo", "attention_bias": False,
            "clip_qkv": None, "hidden_act": "silu", "max_position_embeddings": 2048,
            "num_key_value_heads": 4, "rope_scaling": None, "rope_theta": 10000.0,
            "tie_word_embeddings": True, "torch_dtype": "float32"},
           tokenizer_class="GPTNeoXTokenizer"),
    Family("OLMo 0424", "nfc",
           Tokens(("<|endoftext|>", "<|padding|>"), eos="<|endoftext|>", pad="<|padding|>"),
           {"architectures": ["OlmoForCausalLM"], "model_type": "olmo", "attention_bias": False,
            "clip_qkv": 8.0, "hidden_act": "silu", "max_position_embeddings": 4096,
            "num_key_value_heads": 4, "rope_scaling": None, "rope_theta": 10000.0,
            "tie_word_embeddings": False, "torch_dtype": "float32"},
           tokenizer_class="GPTNeoXTokenizer",
           results=dict.fromkeys(TARGETS, refused("ignores clip_qkv = 8.0"))),
    Family("OLMo 2", "bytes",
           Tokens(("<|endoftext|>", "<|pad|>"), eos="<|endoftext|>", bos="<|endoftext|>",
                  pad="<|pad|>", unk="<|endoftext|>"),
           {"architectures": ["Olmo2ForCausalLM"], "model_type": "olmo2", "attention_bias": False,
            "hidden_act": "silu", "max_position_embeddings": 4096, "num_key_value_heads": 4,
            "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 500000,
            "tie_word_embeddings": False},
           tokenizer_class="GPT2Tokenizer",
           results=dict.fromkeys(TARGETS, refused("cannot build Olmo2ForCausalLM"))),
    Family("Ernie 4.5", "llama",
           Tokens(("<unk>", "<s>", "</s>", "<|begin_of_sentence|>", "<|end_of_sentence|>"),
                  eos="</s>", bos="<s>", pad="<unk>", unk="<unk>", adds_bos=True,
                  ends=("</s>", "<|end_of_sentence|>")),
           {"architectures": ["Ernie4_5ForCausalLM"], "model_type": "ernie4_5", "head_dim": 32,
            "hidden_act": "silu", "max_position_embeddings": 131072, "rms_norm_eps": 1e-05,
            "rope_scaling": None, "rope_theta": 500000.0, "tie_word_embeddings": True,
            "use_bias": False},
           _ERNIE, template_file=True, tokenizer_class="LlamaTokenizer"),
    Family("Nemotron", "metaspace",
           Tokens(("<unk>", "<s>", "</s>", "<extra_id_0>", "<extra_id_1>"), eos="</s>", bos="<s>",
                  unk="<unk>", adds_bos=True),
           {"architectures": ["NemotronForCausalLM"], "model_type": "nemotron",
            "attention_bias": False, "head_dim": 32, "hidden_act": "relu2",
            "max_position_embeddings": 4096, "mlp_bias": False, "norm_eps": 1e-05,
            "partial_rotary_factor": 0.5, "rope_theta": 10000.0, "tie_word_embeddings": False},
           _NEMOTRON, ends_turns=False, rate=5e-4),
    Family("LFM2", "bytes",
           Tokens(("<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"),
                  eos="<|im_end|>", bos="<|startoftext|>", pad="<|pad|>", adds_bos=True),
           {"architectures": ["Lfm2ForCausalLM"], "model_type": "lfm2",
            "block_auto_adjust_ff_dim": False, "block_dim": 64, "block_ff_dim": 160,
            "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 32, "block_norm_eps": 1e-05,
            "block_use_swiglu": True, "conv_L_cache": 3, "conv_bias": False, "conv_dim": 64,
            "conv_use_xavier_init": True, "layer_types": ["conv", "full_attention"],
            "max_position_embeddings": 128000, "norm_eps": 1e-05, "num_heads": 4,
            "rope_theta": 1000000.0, "theta": 1000000.0},
           _LFM2, template_file=True,
           results={**_BY_DEVICE, "directml": refused("cannot build Lfm2ForCausalLM")}),
)  # fmt: skip
"""One of each family."""

NAMED = {family.name: family for family in FAMILIES}
