"""Faults of ``genai_config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .model_folder import (
    SETTINGS_FILE,
    Fault,
    InapplicableError,
    changed_json,
    changed_text,
    cut,
    recoded,
    stands_twice,
)


def _search(**settings: Any) -> Fault:
    return changed_json(SETTINGS_FILE, lambda config: config["search"].update(settings))


def _model(**settings: Any) -> Fault:
    return changed_json(SETTINGS_FILE, lambda config: config["model"].update(settings))


def _decoder(**settings: Any) -> Fault:
    return changed_json(SETTINGS_FILE, lambda config: config["model"]["decoder"].update(settings))


def _session(**settings: Any) -> Fault:
    return changed_json(
        SETTINGS_FILE,
        lambda config: config["model"]["decoder"]["session_options"].update(settings),
    )


def _another_end(config: Any) -> None:
    config["model"]["eos_token_id"].append(config["model"]["vocab_size"] - 1)


def _last_end_gone(config: Any) -> None:
    if len(config["model"]["eos_token_id"]) < 2:
        raise InapplicableError("it has one end")
    config["model"]["eos_token_id"].pop()


def _ends_in_another_order(config: Any) -> None:
    config["model"]["eos_token_id"].reverse()


def _a_switch_for_an_end(config: Any) -> None:
    ends = config["model"]["eos_token_id"]
    config["model"]["eos_token_id"] = [bool(one) if one < 2 else one for one in ends]


def _another_begin(config: Any) -> None:
    config["model"]["bos_token_id"] += 2


def _another_padding(config: Any) -> None:
    config["model"]["pad_token_id"] += 2


def _halved(config: Any) -> None:
    config["model"]["context_length"] //= 2


def _doubled(config: Any) -> None:
    config["model"]["context_length"] *= 2


def _other_head_size(config: Any) -> None:
    config["model"]["decoder"]["head_size"] *= 4


def _other_hidden_size(config: Any) -> None:
    config["model"]["decoder"]["hidden_size"] *= 2


def _more_key_value_heads(config: Any) -> None:
    config["model"]["decoder"]["num_key_value_heads"] *= 2


def _more_layers(config: Any) -> None:
    config["model"]["decoder"]["num_hidden_layers"] += 1


def _smaller_vocabulary(config: Any) -> None:
    config["model"]["vocab_size"] -= 8


def _another_type(config: Any) -> None:
    config["model"]["type"] = "llama" if config["model"]["type"] != "llama" else "phi3"


def _other_buffer(config: Any) -> None:
    search = config["search"]
    search["past_present_share_buffer"] = not search["past_present_share_buffer"]


def _other_providers(config: Any) -> None:
    options = config["model"]["decoder"]["session_options"]
    options["provider_options"] = [] if options.get("provider_options") else [{"cuda": {}}]


def _keys_as_values(config: Any) -> None:
    """Let keys be stored where values are, and the other way round."""
    inputs = config["model"]["decoder"]["inputs"]
    inputs["past_key_names"], inputs["past_value_names"] = (
        inputs["past_value_names"],
        inputs["past_key_names"],
    )


def _one_number_as_text(config: Any) -> None:
    config["model"]["context_length"] = str(config["model"]["context_length"])


def _in_pieces(config: Any) -> None:
    config["model"]["decoder"]["chunk_size"] = 7


SETTINGS: Mapping[str, Fault] = {
    "a_number_as_text": changed_json(SETTINGS_FILE, _one_number_as_text),
    "a_number_for_a_switch": _search(do_sample=0),
    "a_switch_for_an_end": changed_json(SETTINGS_FILE, _a_switch_for_an_end),
    "another_begin": changed_json(SETTINGS_FILE, _another_begin),
    "another_end": changed_json(SETTINGS_FILE, _another_end),
    "another_padding": changed_json(SETTINGS_FILE, _another_padding),
    "beams": _search(num_beams=4),
    "context_halved": changed_json(SETTINGS_FILE, _halved),
    "context_larger": changed_json(SETTINGS_FILE, _doubled),
    "early_stop": _search(early_stopping=False),
    "end_is_the_beginning": _model(eos_token_id=[0]),
    "end_of_text_gone": changed_json(SETTINGS_FILE, _last_end_gone),
    "end_of_turn_gone": _model(eos_token_id=1),
    "ends_in_another_order": changed_json(SETTINGS_FILE, _ends_in_another_order),
    "head_size": changed_json(SETTINGS_FILE, _other_head_size),
    "hidden_size": changed_json(SETTINGS_FILE, _other_hidden_size),
    "in_pieces": changed_json(SETTINGS_FILE, _in_pieces),
    "input_renamed": changed_json(
        SETTINGS_FILE,
        lambda config: config["model"]["decoder"]["inputs"].update(input_ids="tokens"),
    ),
    "key_value_heads": changed_json(SETTINGS_FILE, _more_key_value_heads),
    "keys_as_values": changed_json(SETTINGS_FILE, _keys_as_values),
    "layers": changed_json(SETTINGS_FILE, _more_layers),
    "length_penalty": _search(length_penalty=2.0),
    "longest_answer": _search(max_length=8),
    "model_type": changed_json(SETTINGS_FILE, _another_type),
    "no_ends": _model(eos_token_id=[]),
    "optimization_off": _session(graph_optimization_level="ORT_DISABLE_ALL"),
    "penalty": _search(repetition_penalty=1.5),
    "provider": changed_json(SETTINGS_FILE, _other_providers),
    "returned_sequences": _search(num_return_sequences=2),
    "sampling": _search(do_sample=True, temperature=1.5, top_k=50),
    "seed": _search(random_seed=7),
    "settings_are_no_json": cut(SETTINGS_FILE, lambda size: size // 2),
    "settings_begin_with_a_mark": recoded(SETTINGS_FILE, "utf-8-sig"),
    # What the runtime does not read: "Unsupported uXXXX code".
    "settings_in_codes": changed_text(
        SETTINGS_FILE, lambda text: text.replace('"search"', '"\\u0073earch"')
    ),
    "settings_in_utf16": recoded(SETTINGS_FILE, "utf-16"),
    "settings_twice": stands_twice(SETTINGS_FILE, "do_sample", "true"),
    "shared_buffer": changed_json(SETTINGS_FILE, _other_buffer),
    "shortest_answer": _search(min_length=64),
    "temperature": _search(temperature=0.1),
    "threads": _session(intra_op_num_threads=1, inter_op_num_threads=7),
    "vocabulary_size": changed_json(SETTINGS_FILE, _smaller_vocabulary),
    "without_repeats": _search(no_repeat_ngram_size=1),
}
