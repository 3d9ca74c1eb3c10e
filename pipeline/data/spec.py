"""How a data set is read: columns, prompt, split. Free of any ML library."""

from __future__ import annotations

from pydantic import Field, model_validator
from typing_extensions import Self

from pipeline.model import Frozen


class Split(Frozen):
    """Which share of the distinct texts is held out, and how rows are assigned.

    Rows whose prompt text is equal (after Unicode NFKC, case folding and white-space folding)
    always land in the same part, so that no held-out text was seen in training.
    """

    eval: float = Field(default=0.3, gt=0, lt=1)
    """Share of distinct texts held out; never trained on, never used to choose a checkpoint."""
    validation: float = Field(default=0.1, ge=0, lt=1)
    """Share of the remaining distinct texts used for validation loss and early stopping."""
    seed: int = 0
    """Seed of the assignment; independent of the training seed."""


class DataSpec(Frozen):
    """One data set. Exactly one of ``prompt`` + ``completion``, ``template`` or ``messages``."""

    path: str
    """JSON Lines, JSON, CSV or TSV file, relative to the config file."""
    prompt: str | None = None
    """What the user says, with ``{column}`` fields: ``"{phrase}"``."""
    completion: str | None = None
    """What the model must answer, with ``{column}`` fields: ``"{tone}"``."""
    system: str | None = None
    """System message, with ``{column}`` fields."""
    template: str | None = None
    """Raw text with ``{column}`` fields in place of a chat: ``"Text: {phrase}\\nTone: {tone}"``.
    With ``completion`` too, which must be its end, only the completion is learnt."""
    messages: str | None = None
    """Column that holds a list of chat messages (``role``, ``content``)."""
    chat: bool = True
    """Wrap prompt and completion in the tokenizer's chat template."""
    label: str | None = None
    """Column that holds the class; enables accuracy."""
    labels: tuple[str, ...] | None = None
    """The allowed classes; a row with another one is an error."""
    max_samples: int | None = Field(default=None, gt=0)
    """Use only this many rows, drawn by the split seed."""
    split: Split = Split()

    @model_validator(mode="after")
    def _one_way_to_make_text(self) -> Self:
        ways = [
            name for name in ("prompt", "template", "messages") if getattr(self, name) is not None
        ]
        if len(ways) != 1:
            found = " and ".join(ways) if ways else "none of them"
            raise ValueError(f"give exactly one of prompt, template, messages (found {found})")
        if self.prompt is not None and self.completion is None:
            raise ValueError("prompt needs a completion")
        if self.messages is not None and self.completion is not None:
            raise ValueError("messages carry their own answers; remove completion")
        raw = self.template is not None and self.completion is not None
        if raw and not str(self.template).endswith(str(self.completion)):
            raise ValueError("template must end with completion")
        if self.template is not None and self.system is not None:
            raise ValueError("template is raw text; put the system message into it")
        if self.messages is not None and self.system is not None:
            raise ValueError("messages carry their own system turn; remove system")
        if self.labels is not None and self.label is None:
            raise ValueError("labels needs label, the column that holds the class")
        if self.labels is not None and len(set(self.labels)) < max(len(self.labels), 2):
            raise ValueError("labels needs at least two different classes")
        return self
