"""A time limit for chat templates: programs that come with a model, and may never end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.data.refusals import TemplateEndless
from pipeline.process.deadline import time_limit

_SECONDS = 10
"""A chat template takes milliseconds for a conversation."""


@contextmanager
def template_time(place: str = "") -> Iterator[None]:
    """Stop a template that the block renders, for the row at ``place``, when it takes too long.

    Raises :class:`TemplateEndless`.
    """
    try:
        with time_limit(_SECONDS):
            yield
    except TimeoutError as error:
        raise TemplateEndless(f"the chat template does not end: {error}", place=place) from error
