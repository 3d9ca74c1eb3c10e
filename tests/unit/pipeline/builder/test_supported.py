"""What a model builder can build is read from its sources, and held against a model's config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.builder.supported import Supported, read_supported, rotary_kind, unsupported

SOURCE = """
def create_model(config, name):
    if config.architectures[0] == "GemmaForCausalLM" or config.architectures[0] == "GemmaModel":
        return Gemma(config)
    elif config.architectures[0] == "Phi3ForCausalLM" and config.max_position_embeddings == 1:
        return Phi3(config)
    elif name == "OtherForCausalLM":
        raise NotImplementedError

class Model:
    def __init__(self, config):
        self.scale = config.logits_scaling
        self.cap = config.attn_logit_softcapping if hasattr(config, "attn_logit_softcapping") else 0
        self.window = getattr(config, "sliding_window", -1)
        if "short_factor" in config.rope_scaling:
            self.factor = self.config.rope_scaling["factor"]
        self.other = other.clip_qkv
"""
KNOWN = Supported(
    architectures=("Gemma2ForCausalLM", "OlmoForCausalLM", "Phi3ForCausalLM"),
    config_keys=("attn_logit_softcapping", "short_factor"),
)


def test_architectures_and_settings_are_those_that_the_sources_look_for(tmp_path: Path) -> None:
    (tmp_path / "builders").mkdir()
    (tmp_path / "builders" / "base.py").write_text(SOURCE, "utf-8")
    found = read_supported(tmp_path)
    assert found.architectures == ("GemmaForCausalLM", "GemmaModel", "Phi3ForCausalLM")
    assert {"logits_scaling", "attn_logit_softcapping", "sliding_window", "short_factor"} < {
        *found.config_keys
    }
    assert {"rope_scaling", "factor"} < {*found.config_keys}
    assert "clip_qkv" not in found.config_keys


def said(**config: Any) -> list[str]:
    return [message for message, _ in unsupported(config, KNOWN)]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architectures": ["Olmo2ForCausalLM"]}, "cannot build Olmo2ForCausalLM"),
        ({"architectures": ["OlmoForCausalLM"], "clip_qkv": 8.0}, "ignores clip_qkv = 8.0"),
        ({"final_logit_softcapping": 30.0}, "ignores final_logit_softcapping"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "of the kind 'dynamic'"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "of the kind 'yarn'"),
    ],
)
def test_what_it_cannot_is_said(config: dict[str, Any], message: str) -> None:
    (found,) = said(**config)
    assert message in found


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["OlmoForCausalLM"], "clip_qkv": None},
        {"architectures": ["Gemma2ForCausalLM"], "attn_logit_softcapping": 50.0},
        {"rope_scaling": {"type": "su", "short_factor": [1.0]}},
        {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
        {},
    ],
)
def test_nothing_is_said_of_what_it_can(config: dict[str, Any]) -> None:
    assert not said(**config)


def test_the_nearest_architecture_is_named() -> None:
    ((_, hint),) = unsupported({"architectures": ["Olmo2ForCausalLM"]}, KNOWN)
    assert "OlmoForCausalLM" in hint


def test_rotary_positions_have_one_name_in_old_and_new_configs() -> None:
    assert rotary_kind({"rope_scaling": {"type": "su"}}) == "longrope"
    assert rotary_kind({"rope_parameters": {"rope_type": "llama3"}}) == "llama3"
    assert rotary_kind({"rope_scaling": None}) == "default"
