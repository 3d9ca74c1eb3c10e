"""OpenAI's chat completions: what a request may say, and the form of answers and errors.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from pipeline.data.constraint import Constraint

_MOST_TURNS = 1000
_MOST_TOKENS = 1 << 20
_UNSUPPORTED: Mapping[str, tuple[JsonValue, ...]] = {
    "n": (1,),
    "tools": ([],),
    "functions": ([],),
    "logprobs": (False,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "modalities": (["text"],),
}
"""What would change the answer and is not supported, with the values that change nothing."""


class RequestError(Exception):
    """A request that gets no answer, and the error that it gets."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param

    def body(self) -> dict[str, JsonValue]:
        """Return the error in OpenAI's form."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        if self.status == 429:
            kind = "rate_limit_error"
        return {
            "error": {
                "message": str(self),
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }


class _Sent(BaseModel):
    """A part of a request. What it holds beyond this changes no answer."""

    model_config = ConfigDict(frozen=True, extra="allow")


class TextPart(_Sent):
    """A piece of a turn."""

    type: Literal["text"]
    text: str


class SentTurn(_Sent):
    """A turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(max_length=_MOST_TURNS)]

    @property
    def text(self) -> str:
        """Return its whole text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)

    @property
    def turn(self) -> dict[str, JsonValue]:
        """Return it as chat templates know it."""
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": self.text}


class JsonSchema(_Sent):
    """A JSON schema by name."""

    schema_: dict[str, JsonValue] = Field(alias="schema")


class ResponseFormat(_Sent):
    """The form that the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(_Sent):
    """What else is streamed."""

    include_usage: bool | None = None


class ChatRequest(_Sent):
    """The body of a request."""

    model: str
    messages: list[SentTurn] = Field(min_length=1, max_length=_MOST_TURNS)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=_MOST_TOKENS)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=_MOST_TOKENS)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    response_format: ResponseFormat | None = None

    @classmethod
    def parse(cls, body: bytes) -> ChatRequest:
        """Return the request of ``body``. Raises :class:`RequestError`."""
        try:
            request = cls.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            message = f"{place}: {first['msg']}" if place else first["msg"]
            raise RequestError(400, message, param=place or None) from None
        extra = request.model_extra or {}
        for name, idle in _UNSUPPORTED.items():
            if extra.get(name) is not None and extra[name] not in idle:
                raise RequestError(400, f"{name} is not supported", param=name)
        form = request.response_format
        if form is not None and form.type == "json_schema" and form.json_schema is None:
            name = "response_format.json_schema"
            raise RequestError(400, f"{name}: is missing", param=name)
        return request

    @property
    def limit(self) -> int | None:
        """Return how many tokens the answer may have."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """Return the texts before which the answer ends."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop for stop in stops if stop)

    @property
    def search(self) -> dict[str, bool | int | float]:
        """Return the runtime's options: those of the artifact, unless the request has others."""
        options: dict[str, bool | int | float] = {}
        if self.temperature is not None:
            options["do_sample"] = self.temperature > 0
            if self.temperature > 0:
                options["temperature"] = self.temperature
        if self.top_p is not None:
            options["top_p"] = self.top_p
        if self.seed is not None:
            options["random_seed"] = self.seed
        return options

    def constraint(self, usual: Constraint | None) -> Constraint | None:
        """Return the form to which the answer is held: ``usual`` where the request says nothing."""
        form = self.response_format
        if form is None:
            return usual
        if form.type == "text":
            return None
        schema: dict[str, JsonValue] = {"type": "object"}
        if form.json_schema is not None:
            schema = form.json_schema.schema_
        return Constraint(json_schema=schema)


@dataclass(frozen=True)
class Completion:
    """The frame of one answer."""

    number: str
    model: str
    created: int

    @classmethod
    def begin(cls, number: str, model: str) -> Completion:
        """Return the frame of an answer that begins now."""
        return cls(number, model, int(time.time()))

    def whole(self, text: str, reason: str, usage: Mapping[str, int]) -> dict[str, Any]:
        """Return an answer as a whole."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": dict(usage)}

    def chunk(self, delta: Mapping[str, str], reason: str | None = None) -> dict[str, Any]:
        """Return a piece of a streamed answer."""
        choice = {"index": 0, "delta": dict(delta), "logprobs": None, "finish_reason": reason}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def last(self, usage: Mapping[str, int]) -> dict[str, Any]:
        """Return the piece of a streamed answer that says how many tokens it took."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": dict(usage)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.number}",
            "object": kind,
            "created": self.created,
            "model": self.model,
        }


def usage_of(prompt: int, new: int) -> dict[str, int]:
    """Return how many tokens an answer took."""
    return {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}
