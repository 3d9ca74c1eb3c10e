"""The HTTP application: lists the one model, and completes chats with it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from pydantic import JsonValue
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pipeline.contract.events import Reply
from pipeline.data.constraint import Constraint
from pipeline.data.question import Question
from targets.errors import ConfigError
from targets.serve.exchange import Busy, Exchange, Gone
from targets.serve.protocol import ChatRequest, Completion, RequestError, usage_of

LARGEST = 1_000_000
"""Bytes of a request's body at most."""
_HOSTS = ["127.0.0.1", "localhost"]
"""Whom requests may be meant for: a page of the web that made its own name point here is refused.
"""
_TOKENS = 1024
"""Tokens of an answer where the request says nothing."""

AsQuestion = Callable[[list[dict[str, JsonValue]]], Mapping[str, JsonValue]]
"""Makes parameters of a question of the turns of a conversation. Raises ``ConfigError``."""


class Served:
    """The model that is served."""

    def __init__(
        self, name: str, exchange: Exchange, ask: AsQuestion, constraint: Constraint | None
    ) -> None:
        self.name = name
        self.created = int(time.time())
        self._exchange = exchange
        self._ask = ask
        self._constraint = constraint

    def application(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/v1/models", self._models, methods=["GET"]),
                Route("/v1/models/{name:path}", self._model, methods=["GET"]),
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS)],
            exception_handlers={RequestError: _as_error, HTTPException: _as_error},
        )

    async def _models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._card]})

    async def _model(self, request: Request) -> Response:
        self._require_name(request.path_params["name"])
        return JSONResponse(self._card)

    @property
    def _card(self) -> dict[str, JsonValue]:
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "quern"}

    async def _complete(self, request: Request) -> Response:
        sent = ChatRequest.parse(await _body(request))
        self._require_name(sent.model)
        replies = self._exchange.ask(self._question(sent), sent.search, sent.stops)
        completion = Completion.begin(uuid.uuid4().hex, self.name)
        first = await _first(replies)
        if sent.stream:
            usage = sent.stream_options is not None and bool(sent.stream_options.include_usage)
            pieces = _streamed(completion, first, replies, usage)
            return StreamingResponse(pieces, media_type="text/event-stream")
        text = first.text
        last = first
        async with aclosing(replies):
            async for last in _checked(replies):
                text += last.text
        tokens = usage_of(last.prompt_tokens, last.new_tokens)
        return JSONResponse(completion.whole(text, last.ended, tokens))

    def _question(self, sent: ChatRequest) -> Question:
        try:
            asked = self._ask([turn.turn for turn in sent.messages])
        except ConfigError as error:
            raise RequestError(400, str(error), param="messages") from None
        return Question.model_validate(
            {
                **asked,
                "constraint": sent.constraint(self._constraint),
                "max_new_tokens": sent.limit or _TOKENS,
            }
        )

    def _require_name(self, name: str) -> None:
        if name != self.name:
            message = f"there is no model {name[:200]!r}; the one here is {self.name!r}"
            raise RequestError(404, message, code="model_not_found", param="model")


async def _body(request: Request) -> bytes:
    """Return the body of ``request``, which must be JSON: a page of the web can send nothing else
    to another place without being asked first."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise RequestError(415, "the body must be application/json")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST:
            raise RequestError(413, f"the body has more than {LARGEST:,} bytes")
    return bytes(body)


async def _first(replies: AsyncGenerator[Reply, None]) -> Reply:
    """Return the first reply, until which nothing is sent: it may be an error."""
    return await anext(aiter(_checked(replies)))


async def _checked(replies: AsyncGenerator[Reply, None]) -> AsyncIterator[Reply]:
    """Yield ``replies``. Raises :class:`RequestError` for what is no answer."""
    try:
        async for reply in replies:
            if reply.ended in ("refused", "failed"):
                raise RequestError(400 if reply.ended == "refused" else 500, reply.message)
            yield reply
    except Busy:
        raise RequestError(429, "too many requests wait already") from None
    except Gone:
        raise RequestError(503, "the model is not served any longer") from None


async def _streamed(
    completion: Completion, first: Reply, replies: AsyncGenerator[Reply, None], usage: bool
) -> AsyncIterator[str]:
    """Yield the events of a streamed answer."""
    yield _event(completion.chunk({"role": "assistant", "content": ""}))
    last = first
    try:
        if first.text:
            yield _event(completion.chunk({"content": first.text}))
        async for last in _checked(replies):
            if last.text:
                yield _event(completion.chunk({"content": last.text}))
        yield _event(completion.chunk({}, last.ended))
        if usage:
            yield _event(completion.last(usage_of(last.prompt_tokens, last.new_tokens)))
        yield "data: [DONE]\n\n"
    except RequestError as error:
        yield _event(error.body())
    finally:
        await replies.aclose()


def _event(data: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


async def _as_error(_request: Request, error: Exception) -> Response:
    """Return ``error`` in OpenAI's form."""
    if isinstance(error, HTTPException):
        error = RequestError(error.status_code, error.detail)
    assert isinstance(error, RequestError)  # noqa: S101 - the application has no other handler
    return JSONResponse(error.body(), error.status)
