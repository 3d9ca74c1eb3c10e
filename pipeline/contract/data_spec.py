"""The ``[data]`` tables of a config: files, columns, prompt, split. Free of any ML library."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue, model_validator
from typing_extensions import Self

from pipeline.contract.frozen import Frozen

PARQUET = ".parquet"

_SLICE = re.compile(r"([0-9]{1,15}%?)?:([0-9]{1,15}%?)?")

MOST_LABELS = 1000
"""Classes that rows may have: the answer for each is rendered for every row."""


class Split(Frozen):
    """Which share of the distinct texts is held out, and how rows are assigned.

    Rows whose prompt text is equal (after Unicode NFKC, case folding and white-space folding, and
    without what nobody sees) always land in the same part, so that no held-out text was seen in
    training.
    """

    eval: float = Field(default=0.3, ge=0, le=1)
    """Share of distinct texts that is held out: never trained on, never used to choose a
    checkpoint. With 0 everything is trained on and nothing is left to measure quality with; with 1
    nothing is trained on."""
    eval_count: int | None = Field(default=None, ge=1)
    """How many distinct texts are held out, in place of the share."""
    validation: Annotated[float, Field(ge=0, lt=1)] | Literal["eval"] = 0.1
    """Share of the remaining distinct texts that is used for validation loss and early stopping.
    ``"eval"``: measure that loss on the held-out part itself, which is then no longer unseen if the
    checkpoint is chosen by it."""
    seed: int = 0
    """Seed of the assignment; independent of the training seed."""


class Sequences(Frozen):
    """How rows become training sequences. Without this table each row is a sequence by itself, of
    at most the pass's ``max_length``."""

    strategy: Literal[
        "line-by-line",
        "line-by-line-random",
        "join",
        "join-random",
        "join-sliding-window",
    ] = "line-by-line"
    """``line-by-line``: each row is a sequence, cut at ``length``; ``-random``: ``count`` rows
    drawn with replacement. ``join``: all rows are joined and cut into pieces of ``length``;
    ``-random``: ``count`` pieces that begin at random rows; ``-sliding-window``: pieces that begin
    ``stride`` tokens apart, of which only the new tokens carry loss."""
    length: int = Field(ge=8)
    """Tokens of a sequence."""
    stride: int | None = Field(default=None, ge=1)
    """Tokens from the beginning of one piece to the beginning of the next."""
    joiner: str = ""
    """Text between joined rows."""
    count: int | None = Field(default=None, ge=1)
    """How many sequences at most; all there are by default."""
    seed: int = 0
    """Seed of the random strategies."""
    retries: int = Field(default=10, ge=1)
    """How many times a random strategy draws again when a sequence is too short."""
    drop_short: bool = False
    """Leave out rows with fewer than ``length`` tokens. Pieces of joined rows are never shorter."""
    special_tokens: bool = True
    """Begin each row with the beginning-of-sequence token and end it with end-of-sequence. A chat
    template brings its own."""
    prompt_length: int | None = Field(default=None, ge=1)
    """Cut the prompt of each row to this many tokens before the completion is added."""
    completion_length: int | None = Field(default=None, ge=1)
    """Cut the completion of each row to this many tokens."""

    @model_validator(mode="after")
    def _fits_its_strategy(self) -> Self:
        if (self.stride is not None) != (self.strategy == "join-sliding-window"):
            raise ValueError("stride goes with join-sliding-window, and only with it")
        if self.stride is not None and self.stride > self.length:
            raise ValueError("stride is more than length: tokens would be left out")
        if self.strategy.endswith("random") and self.count is None:
            raise ValueError(f"{self.strategy} needs count: how many sequences are drawn")
        if self.joiner and not self.is_joined:
            raise ValueError("joiner goes with the join strategies")
        return self

    @property
    def is_joined(self) -> bool:
        """Return whether rows are concatenated before they are cut."""
        return self.strategy.startswith("join")


class DataCode(Frozen):
    """Your Python functions that make or change the rows. They run in a step of their own, without
    network access and without the hub's token unless you allow them."""

    script: str
    """Python file, relative to the config file."""
    script_dir: str | None = None
    """Folder whose modules the script imports, relative to the config file."""
    load: str | None = None
    """Function that returns the rows: a ``datasets.Dataset``, or any sequence of dictionaries."""
    load_params: dict[str, JsonValue] = Field(default_factory=dict)
    """Its arguments."""
    columns: dict[str, str] = Field(default_factory=dict)
    """New columns and the function that makes each from a row: ``{ text = "as_text" }``."""
    pre_process: str | None = None
    """Function from the rows to a sequence of ``{"input_ids": [...], "labels": [...]}``."""
    pre_process_params: dict[str, JsonValue] = Field(default_factory=dict)
    """Its arguments; ``model_name``, where it takes one, is the folder of the base model."""
    network: bool = False
    """Run the functions with network access."""
    hub: bool = False
    """Let the functions see ``HF_TOKEN`` and ``HF_ENDPOINT`` too, to load from the hub themselves.
    A data set that ``source`` names is fetched before they run and does not need it."""

    @model_validator(mode="after")
    def _hub_by_network(self) -> Self:
        if self.hub and not self.network:
            raise ValueError("hub needs network = true")
        return self


PairFormat = Literal["alpaca", "chip2", "self_instruct"]


CHAT_DATE = date(2024, 7, 26)
"""The date that Llama's chat template names where there is no clock."""


class DataSpec(Frozen):
    """One data set. Rows from ``path``, ``source`` or ``code.load``; text from exactly one of
    ``prompt`` + ``completion``, ``template``, ``messages``, ``pair_format`` or ``tokens``."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": [key]} for key in ("path", "source", "code")]}
    )

    path: str | tuple[str, ...] | None = None
    """JSON Lines, JSON, CSV, TSV or Parquet file, relative to the config file; several are read one
    after the other."""
    source: str | None = Field(default=None, pattern=r"^hf:[A-Za-z0-9][\w./-]*(@.+)?$")
    """Data set of the Hugging Face hub: ``"hf:org/name@revision"``."""
    subset: str | None = None
    """Name of a configuration of the hub's data set."""
    part: str = "train"
    """Split of the hub's data set, in its notation: ``"train"``, ``"train[:1000]"``."""
    rows: str | None = None
    """Only these rows, as a slice of row numbers or of percent: ``":1000"``, ``"10%:20%"``."""
    where: dict[str, JsonValue] = Field(default_factory=dict)
    """Only rows that have these values: ``{ language = "Python" }``."""
    code: DataCode | None = None
    """Your Python functions."""
    prompt: str | None = None
    """What the user says, with ``{column}`` fields: ``"{phrase}"``."""
    completion: str | None = None
    """What the model must answer, with ``{column}`` fields: ``"{tone}"``."""
    system: str | None = None
    """System message, with ``{column}`` fields."""
    template: str | None = None
    """Raw text with ``{column}`` fields in place of a chat: ``"Text: {phrase}\\nTone: {tone}"``.
    With ``completion`` too, which must be its end, that end is the answer."""
    messages: str | None = None
    """Column that holds a list of chat messages: ``role``, ``content``, and what else the chat
    template writes. A column ``tools`` beside it goes to the template too."""
    pair_format: PairFormat | None = None
    """A known layout of question and answer: ``alpaca`` (instruction, input, output), ``chip2``
    (``<human>:`` and ``<bot>:`` in the column text), ``self_instruct`` (prompt, completion)."""
    tokens: bool = False
    """Rows hold token ids: ``input_ids`` and, if only some of them are trained on, ``labels``."""
    chat: bool = True
    """Wrap prompt and completion in the tokenizer's chat template."""
    chat_template: str | None = None
    """A Jinja chat template in place of the tokenizer's own."""
    chat_date: date = CHAT_DATE
    """The date for chat templates that write today's, as those of Llama 3.2, SmolLM3 and Granite
    do: rows must be the same on every day."""
    loss_on: Literal["completion", "all"] = "completion"
    """Which tokens carry loss: the answer's, or those of the whole text, which the answer ends."""
    label: str | None = None
    """Column that holds the class; enables accuracy."""
    labels: tuple[str, ...] | None = Field(default=None, max_length=MOST_LABELS)
    """The allowed classes; a row with any other is an error."""
    constrain: bool | str | dict[str, JsonValue] = False
    """Guarantee the form of answers, in checks, ``try``, ``serve`` and the programs in ``use/``.
    ``true``: one of the answers for ``labels``. A text: a regular expression that whole answers
    match. A table: a JSON schema, written as Python's ``json.dumps`` writes JSON. The report shows
    the quality with and without. Nothing is trained otherwise."""
    max_samples: int | None = Field(default=None, gt=0)
    """Use only this many rows, drawn by the seed of the split."""
    sequences: Sequences | None = None
    """How rows become training sequences."""
    held_out: str | None = None
    """Another data set of this config that is the held-out part, in place of a split."""
    validation_data: str | None = None
    """Another data set of this config that gives the validation loss, in place of a split."""
    split: Split = Split()

    @model_validator(mode="after")
    def _one_place_of_rows(self) -> Self:
        loads = self.code is not None and self.code.load is not None
        places = {"path": self.path, "source": self.source, "code.load": loads or None}
        set_keys = [name for name, value in places.items() if value is not None]
        if len(set_keys) != 1:
            listed = " and ".join(set_keys) if set_keys else "none of them"
            raise ValueError(f"give exactly one of path, source, code.load (found {listed})")
        if self.path == ():
            raise ValueError("path names no file")
        if self.source is None and (self.subset is not None or self.part != "train"):
            raise ValueError("subset and part go with source")
        if self.rows is not None and not _is_slice(self.rows):
            raise ValueError(f"rows = {self.rows[:40]!r} is not a slice; write for example ':1000'")
        return self

    @model_validator(mode="after")
    def _one_way_to_make_text(self) -> Self:
        names = ("prompt", "template", "messages", "pair_format")
        ways = [name for name in names if getattr(self, name) is not None]
        ways += ["tokens"] if self.tokens else []
        if len(ways) != 1:
            listed = " and ".join(ways) if ways else "none of them"
            raise ValueError(
                "give exactly one of prompt, template, messages, pair_format, tokens "
                f"(found {listed})"
            )
        if self.prompt is not None and self.completion is None:
            raise ValueError("prompt needs a completion")
        if self.messages is not None and self.completion is not None:
            raise ValueError("messages carry their own answers; remove completion")
        raw = self.template is not None and self.completion is not None
        if raw and not str(self.template).endswith(str(self.completion)):
            raise ValueError("template must end with completion")
        if self.completion is not None and (self.pair_format or self.tokens):
            raise ValueError("the answer is in the rows already; remove completion")
        if self.template is not None and self.system is not None:
            raise ValueError("template is raw text; put the system message into it")
        if self.tokens and self.system is not None:
            raise ValueError("tokens are whole texts; remove system")
        if self.messages is not None and self.system is not None:
            raise ValueError("messages carry their own system turn; remove system")
        if self.labels is not None and self.label is None:
            raise ValueError("labels needs label, the column that holds the class")
        if self.labels is not None and len(set(self.labels)) < max(len(self.labels), 2):
            raise ValueError("labels needs at least two different classes")
        if self.code is not None and self.code.pre_process and not self.tokens:
            raise ValueError("code.pre_process makes tokens: set tokens = true")
        if self.chat_template is not None and not self.is_chat:
            raise ValueError("chat_template is of no use: this data set holds no chat")
        return self

    @model_validator(mode="after")
    def _joined_rows_have_no_prompt(self) -> Self:
        joined = self.sequences is not None and self.sequences.is_joined
        learns_all = self.loss_on == "all" or (
            self.template is not None and self.completion is None
        )
        if joined and not learns_all and not self.tokens:
            raise ValueError('joined rows are learnt whole: set loss_on = "all"')
        if self.tokens and self.sequences is not None:
            raise ValueError("tokens are sequences already; remove sequences")
        return self

    @model_validator(mode="after")
    def _a_held_out_part_to_validate_on(self) -> Self:
        on_eval = self.split.validation == "eval" and self.validation_data is None
        if on_eval and not self.holds_out:
            raise ValueError('split.validation is "eval", but nothing is held out')
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files that ``path`` names, in order."""
        return (self.path,) if isinstance(self.path, str) else self.path or ()

    @property
    def is_made(self) -> bool:
        """Return whether a step has to make the rows, because the host cannot: from the user's
        functions, the hub, or Parquet files."""
        parquet = any(file.lower().endswith(PARQUET) for file in self.files)
        return self.source is not None or self.code is not None or parquet

    @property
    def is_chat(self) -> bool:
        """Return whether the rows go through a chat template."""
        return self.messages is not None or (
            self.chat and self.template is None and not self.tokens
        )

    @property
    def own_split(self) -> Split:
        """Return the split of the rows themselves, without parts that are other data sets."""
        taken: dict[str, JsonValue] = {}
        if self.held_out is not None:
            taken |= {"eval": 0.0, "eval_count": None}
        if self.validation_data is not None or (
            self.held_out is not None and self.split.validation == "eval"
        ):
            taken["validation"] = 0.0
        return self.split.model_copy(update=taken)

    @property
    def holds_out(self) -> bool:
        """Return whether there is a held-out part."""
        split = self.split
        return self.held_out is not None or split.eval_count is not None or split.eval > 0

    @property
    def trains(self) -> bool:
        """Return whether there is a training part."""
        split = self.split
        return self.held_out is not None or split.eval_count is not None or split.eval < 1

    @property
    def validates(self) -> bool:
        """Return whether there is a part for the validation loss."""
        validation = self.split.validation
        return self.validation_data is not None or validation == "eval" or validation > 0


def _is_slice(text: str) -> bool:
    return text != ":" and _SLICE.fullmatch(text) is not None
