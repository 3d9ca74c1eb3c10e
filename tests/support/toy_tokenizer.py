"""A tokenizer whose tokens are the numbers of a text: ``"10 11"`` is ``[10, 11]``."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

BOS, EOS, TURN = 1, 2, 3


class ToyTokenizer:
    """What :class:`pipeline.data.tokenize.Tokenizer` asks for."""

    def __init__(self, chat_template: str | None = None) -> None:
        self.chat_template = chat_template
        self.bos_token_id: int | None = BOS
        self.eos_token_id: int | None = EOS
        self.unk_token_id: int | None = None
        self.all_special_ids = [BOS, EOS]
        self.added_tokens_decoder: Mapping[int, object] = {TURN: "turn"}

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the numbers; with special tokens, after the beginning of a sequence."""
        return [*([BOS] if add_special_tokens else []), *map(int, text.split())]

    def __call__(
        self, text: list[str], *, add_special_tokens: bool
    ) -> Mapping[str, list[list[int]]]:
        """Return the numbers of several texts."""
        encoded = [self.encode(one, add_special_tokens=add_special_tokens) for one in text]
        return {"input_ids": encoded}

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str:
        """Return the numbers as text."""
        left_out = {BOS, EOS, TURN} if skip_special_tokens else set()
        return " ".join(str(token) for token in token_ids if token not in left_out)

    def apply_chat_template(
        self,
        conversation: list[dict[str, JsonValue]],
        *,
        tools: list[JsonValue] | None,
        chat_template: str | None,
        add_generation_prompt: bool,
        tokenize: bool,
    ) -> str:
        """Return each turn after the template's number and before the end of a turn."""
        assert not tokenize
        assert tools is None
        mark = chat_template or self.chat_template
        text = "".join(f"{mark} {turn['content']} {TURN} " for turn in conversation)
        return text + (f"{mark} " if add_generation_prompt else "")
