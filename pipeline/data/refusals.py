"""What a model's tokenizer and chat template refuse of rows, collected to be said at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pipeline.contract.errors import StepError
from pipeline.data.problems import named


class PromptError(StepError):
    """The tokenizer cannot make a prompt, or an answer, of an example.

    ``place`` names its row, and ``detail`` what of the row it is about.
    """

    def __init__(self, reason: str, hint: str = "", place: str = "", detail: str = "") -> None:
        self.reason = reason
        self.row = f"{place} {detail}".strip()
        super().__init__(f"{self.row}: {reason}" if self.row else reason, hint, "bad_input")


class TemplateEndless(PromptError):
    """The chat template takes too long for a row: the next one would take as long."""


class RowsRefused(PromptError):
    """Several things are wrong with rows: each is said once, with the rows that have it."""

    def __init__(self, errors: Iterable[StepError]) -> None:
        self.errors = tuple(errors)
        rows: dict[str, list[str]] = defaultdict(list)
        for error in self.errors:
            if isinstance(error, PromptError) and error.row:
                rows[error.reason].append(error.row)
            else:
                rows[str(error)]
        lines = (
            f"{named(list(dict.fromkeys(some)))}: {reason}" if some else reason
            for reason, some in rows.items()
        )
        hints = dict.fromkeys(error.hint for error in self.errors if error.hint)
        super().__init__("; ".join(lines), "; ".join(hints))  # what a process says is one line


class Refusals:
    """Collects what is refused, so that a person learns all of it before they mend any."""

    def __init__(self) -> None:
        self._errors: list[StepError] = []

    def add(self, errors: Iterable[StepError]) -> bool:
        """Keep ``errors``; return whether there is any.

        Raises :class:`RowsRefused` at once with a :class:`TemplateEndless` among them.
        """
        before = len(self._errors)
        for error in errors:
            self._errors += error.errors if isinstance(error, RowsRefused) else (error,)
            if isinstance(self._errors[-1], TemplateEndless):
                self.require_none()
        return len(self._errors) > before

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Keep the error with which the body refuses rows."""
        try:
            yield
        except StepError as error:
            if error.cause != "bad_input":
                raise
            self.add([error])

    def require_none(self) -> None:
        """Raise :class:`RowsRefused` with all that was refused."""
        if self._errors:
            raise RowsRefused(self._errors)
