"""Answers requests that come on standard input, one after the other; the pass behind ``serve``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO, TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, JsonValue, ValidationError

from pipeline.contract.errors import StepError
from pipeline.contract.events import Reply
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs, Replier
from pipeline.data.question import Request
from pipeline.passes.base import BasePass

if TYPE_CHECKING:
    from pipeline.onnx.asking import LoadedArtifact

LOADED = "loaded"
"""The note that says that requests are answered from now on."""


class ServeParams(Frozen):
    """How the artifact is loaded."""

    threads: int | None = Field(default=None, ge=1)
    """Threads of the session. Default: those in the artifact's settings."""


class Pass(BasePass[ServeParams]):
    """Answer requests until standard input ends."""

    Params = ServeParams
    consumes: ClassVar[dict[str, Kind]] = {"artifact": "onnx"}
    produces: ClassVar[Kind] = "predictions"
    runs_on: ClassVar[Literal["host", "target"]] = "target"

    def run(
        self,
        inputs: Inputs,
        params: ServeParams,
        out_dir: Path,  # noqa: ARG002
    ) -> dict[str, JsonValue]:
        """Load the artifact once, and reply to each request with events."""
        from pipeline.onnx.asking import LoadedArtifact
        from pipeline.onnx.session import Session

        folder = inputs["artifact"]
        session = Session(folder, params.threads, cpu=bool(inputs.absent_device))
        artifact = LoadedArtifact(folder, session)
        incoming = Incoming(sys.stdin.buffer)
        inputs.report.note(LOADED)
        replier = inputs.report
        assert isinstance(replier, Replier)  # noqa: S101 - that of every chain is one
        count = 0
        for request in incoming:
            for reply in answered(artifact, request, incoming.is_cancelled):
                replier.reply(reply)
            count += 1
        return {"requests": count}


class Incoming:
    """The requests of a stream, in the order in which they come."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        self._cancelled: set[int] = set()
        Thread(target=self._read, args=(stream,), daemon=True).start()

    def __iter__(self) -> Iterator[Request]:
        """Wait for requests and yield those that still have somebody who waits, until the end."""
        while (request := self._requests.get()) is not None:
            if request.number not in self._cancelled:
                yield request
            self._cancelled.discard(request.number)

    def is_cancelled(self, number: int) -> bool:
        """Return whether nobody waits for the answer any longer."""
        return number in self._cancelled

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            try:
                request = Request.model_validate_json(line)
            except ValidationError:
                continue  # the host writes none such
            if request.question is None:
                self._cancelled.add(request.number)
            else:
                self._requests.put(request)
        self._requests.put(None)


def answered(
    artifact: LoadedArtifact, request: Request, is_cancelled: Callable[[int], bool]
) -> Iterator[Reply]:
    """Yield the replies to ``request``. What cannot be answered is said in the last one."""
    assert request.question is not None  # noqa: S101 - it is no cancellation
    count = prompt = 0

    def reply(text: str = "", ended: Ended = "", message: str = "") -> Reply:
        return Reply(
            step="",
            number=request.number,
            text=text,
            ended=ended,
            message=message,
            prompt_tokens=prompt,
            new_tokens=count,
        )

    try:
        asked = artifact.ask(request.question)
        prompt = len(asked.prompt)
        held = Held(request.stop)
        for piece in asked.answer(request.search):
            count += not piece.ends
            if is_cancelled(request.number):
                return
            if piece.ends:
                yield reply(held.rest(), "stop")
                return
            text = held.add(piece.text)
            if held.stopped:
                yield reply(text, "stop")
                return
            if text:
                yield reply(text)
        yield reply(held.rest(), "length")
    except StepError as error:
        yield reply("", "refused" if error.cause == "bad_input" else "failed", str(error))


Ended = Literal["", "stop", "length", "refused", "failed"]


class Held:
    """Text of which the end is held back while it may be the beginning of a text to stop at."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop = stop
        self._text = ""
        self.stopped = False
        """Whether one of these texts has come; it is not part of the answer."""

    def add(self, text: str) -> str:
        """Return what can be shown with ``text``."""
        self._text += text
        found = [at for stop in self._stop if (at := self._text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._text[: min(found)]
        keep = max((self._begun(stop) for stop in self._stop), default=0)
        shown, self._text = (
            self._text[: len(self._text) - keep],
            self._text[len(self._text) - keep :],
        )
        return shown

    def rest(self) -> str:
        """Return what is left when the answer ends."""
        return self._text

    def _begun(self, stop: str) -> int:
        """Return how many characters at the end may be the beginning of ``stop``."""
        sizes = range(min(len(stop) - 1, len(self._text)), 0, -1)
        return next((size for size in sizes if self._text.endswith(stop[:size])), 0)
