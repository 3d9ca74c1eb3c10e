"""Faults of the tokenizer and of the chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .model_folder import (
    TEMPLATE_FILE,
    TOKENIZER_FILE,
    TOKENS_FILE,
    Fault,
    InapplicableError,
    changed_json,
    changed_text,
    cut,
    recoded,
    settings_of,
    stands_twice,
    written,
)


def _tokenizer(change: Callable[[Any], object]) -> Fault:
    return changed_json(TOKENIZER_FILE, change)


def _tokens(name: str, value: Any) -> Fault:
    return changed_json(TOKENS_FILE, lambda tokens: tokens.update({name: value}))


def _template(change: Callable[[str], str]) -> Fault:
    return changed_text(TEMPLATE_FILE, change)


def _ends(folder: Path) -> list[str]:
    """Return the added tokens that end an answer."""
    ends = settings_of(folder)["model"]["eos_token_id"]
    added = json.loads((folder / TOKENIZER_FILE).read_text("utf-8"))["added_tokens"]
    return [token["content"] for token in added if token["id"] in ends]


def _swap(content: Any) -> None:
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]


def _last_merge_gone(content: Any) -> None:
    content["model"]["merges"].pop()


def _first_merges_swapped(content: Any) -> None:
    merges = content["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]


def _end_not_special(folder: Path) -> None:
    """Let the token that ends a turn be an ordinary one: it shows in answers."""
    end = _ends(folder)[-1]

    def change(content: Any) -> None:
        for token in content["added_tokens"]:
            token["special"] = token["special"] and token["content"] != end

    _tokenizer(change)(folder)


def _token_gone(content: Any) -> None:
    """Drop an added token that is not the last one, as of a role."""
    del content["added_tokens"][-2]


def _tokens_shifted(content: Any) -> None:
    """Give each added token the id of the one after it."""
    ids = [token["id"] for token in content["added_tokens"]]
    for token, number in zip(content["added_tokens"], [*ids[1:], ids[0]], strict=True):
        token["id"] = number


def _space_before(content: Any) -> None:
    """Put a blank before every text, or leave out the one that belongs there."""
    for place in _parts(content):
        if "add_prefix_space" in place:
            place["add_prefix_space"] = not place["add_prefix_space"]
            return
        if place.get("type") == "Metaspace":
            place["prepend_scheme"] = "never"
            return
        if place.get("type") == "Prepend":
            place["prepend"] = ""
            return
    raise InapplicableError("nothing decides about a blank before a text")


def _parts(value: Any) -> Any:
    """Yield the tables of normalizer, pre-tokenizer and decoder."""
    waiting = [value.get(name) for name in ("pre_tokenizer", "normalizer", "decoder")]
    while waiting:
        here = waiting.pop(0)
        if isinstance(here, dict):
            yield here
            waiting += here.values()
        elif isinstance(here, list):
            waiting += here


def _other_bytes(content: Any) -> None:
    """Change what becomes of characters that are no token."""
    content["model"]["byte_fallback"] = not content["model"].get("byte_fallback", False)


def _at_random(content: Any) -> None:
    """Leave out merges by chance, as in training a tokenizer."""
    content["model"]["dropout"] = 0.5


def _unknown_joined(content: Any) -> None:
    content["model"]["fuse_unk"] = not content["model"].get("fuse_unk", False)


def _whole_words_first(content: Any) -> None:
    content["model"]["ignore_merges"] = not content["model"].get("ignore_merges", False)


def _digits_apart(content: Any) -> None:
    content["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            *([content["pre_tokenizer"]] if content["pre_tokenizer"] else []),
        ],
    }


def _swallowing(content: Any) -> None:
    last = content["added_tokens"][-1]
    last["rstrip"] = not last["rstrip"]


def _within_words(content: Any) -> None:
    last = content["added_tokens"][-1]
    last["single_word"] = not last["single_word"]


def _without_ends(folder: Path) -> None:
    names = [re.escape(end) for end in _ends(folder)]
    _template(lambda text: re.sub("|".join([*names, r"\+ *eos_token"]), "", text))(folder)


def _without_system(text: str) -> str:
    return re.sub(
        r"for (\w+) in messages\b", r"for \1 in messages if \1['role'] != 'system'", text, count=1
    )


def _last_turn_only(text: str) -> str:
    return re.sub(r"for (\w+) in messages\b", r"for \1 in messages[-1:]", text, count=1)


def _lines_gone(text: str) -> str:
    """Drop the line breaks that the template writes."""
    return re.sub(r"\\n|(?<=>)\n(?=['\"])|(?<=['\"])\n(?=['\"])", "", text, count=1)


def _roles_swapped(text: str) -> str:
    """Call the user the assistant, and the other way round."""
    return re.sub(
        r"user|assistant", lambda found: {"user": "assistant"}.get(found[0], "user"), text
    )


def _two_templates(folder: Path) -> None:
    """Say another template in the settings of the tokenizer, beside the file."""
    _tokens("chat_template", "{{ messages[0]['content'] }}")(folder)


TOKENIZER: Mapping[str, Fault] = {
    "another_decoder": _tokenizer(lambda content: content.update(decoder={"type": "Fuse"})),
    "another_post_processor": _tokenizer(
        lambda content: content.update(
            post_processor={
                "type": "ByteLevel",
                "add_prefix_space": True,
                "trim_offsets": True,
                "use_regex": True,
            }
        )
    ),
    "begin_added": _tokens("add_bos_token", True),
    "begin_named_otherwise": _tokens("bos_token", "<|user|>"),
    "blanks_cleaned_up": _tokens("clean_up_tokenization_spaces", True),
    "digits_apart": _tokenizer(_digits_apart),
    # Transformers looks there first.
    "earlier_template": written("chat_template.json", b'{"chat_template": "no"}'),
    "end_named_otherwise": _tokens("eos_token", "<|user|>"),
    "end_of_turn_not_special": _end_not_special,
    "lower_case": _tokenizer(lambda content: content.update(normalizer={"type": "Lowercase"})),
    "merge_gone": _tokenizer(_last_merge_gone),
    "merges_at_random": _tokenizer(_at_random),
    "merges_in_another_order": _tokenizer(_first_merges_swapped),
    "normalizer": _tokenizer(lambda content: content.update(normalizer={"type": "NFKC"})),
    "other_bytes": _tokenizer(_other_bytes),
    "padding_named_otherwise": _tokens("pad_token", "<unused>"),
    "space_before": _tokenizer(_space_before),
    "spaces_after_a_token_gone": _tokenizer(_swallowing),
    "swapped_letters": _tokenizer(_swap),
    "system_token_gone": _tokenizer(_token_gone),
    "template_empty": written(TEMPLATE_FILE, b""),
    "template_ends_with_a_line": _template(lambda text: text + "\n\n"),
    "template_is_no_template": written(TEMPLATE_FILE, b"{% for"),
    "template_of_other_lines": _template(lambda text: text.replace("\n", "\r\n")),
    "template_with_other_roles": _template(_roles_swapped),
    "template_without_a_line": _template(_lines_gone),
    "template_without_ends": _without_ends,
    "template_without_first_turns": _template(_last_turn_only),
    "template_without_prompt": _template(
        lambda text: text.replace("if add_generation_prompt", "if false")
    ),
    "template_without_system": _template(_without_system),
    "token_twice": stands_twice(TOKENIZER_FILE, "vocab", "{}"),
    "tokenizer_class": _tokens("tokenizer_class", "BertTokenizer"),
    "tokenizer_in_utf16": recoded(TOKENIZER_FILE, "utf-16"),
    "tokenizer_is_no_json": cut(TOKENIZER_FILE, lambda size: size // 2),
    "tokens_shifted": _tokenizer(_tokens_shifted),
    "tokens_within_words": _tokenizer(_within_words),
    "truncated": _tokenizer(
        lambda content: content.update(
            truncation={
                "direction": "Right",
                "max_length": 4,
                "strategy": "LongestFirst",
                "stride": 0,
            }
        )
    ),
    "two_templates": _two_templates,
    "unknown_joined": _tokenizer(_unknown_joined),
    "whole_words_first": _tokenizer(_whole_words_first),
}
