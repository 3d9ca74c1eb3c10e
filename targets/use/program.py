"""What a program must know to ask an artifact as it was taught, whatever language it is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, ValidationError

from pipeline.contract.adapter_name import SUFFIX
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.guidance import GuidedStart
from pipeline.data.constraint import constraint_of
from pipeline.data.prompt_form import PromptForm, prompt_form
from pipeline.reading.files import UnreadableError
from pipeline.reading.json_text import read_json

_MESSAGE = "message"
_CONTEXT = 2048


@dataclass(frozen=True)
class Program:
    """The question, and how an answer to it begins."""

    form: PromptForm
    chat: bool
    """Whether the model's chat template makes its input."""
    start: GuidedStart | None = None
    """How an answer begins that is held to the config's ``constrain``."""
    model: str = "model"
    """The model's folder, relative to that of the program."""
    adapter: str = ""
    """Name of the adapter beside the model; empty if there is none."""
    context: int = _CONTEXT
    """Tokens of question and answer together, at most."""
    weights: tuple[str, ...] = ()
    """Names of the files with the graph's weights."""
    preloads: bool = False
    """Whether the libraries of the model's provider come as wheels, which no loader finds."""
    plugin: str = ""
    """The Python package with the model's provider, which the runtime is told of; empty for most.
    """

    @property
    def adapter_file(self) -> str:
        """Return the name of the adapter's file in the model's folder."""
        return f"{self.adapter}{SUFFIX}"

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the columns of which a question is made."""
        return (_MESSAGE,) if self.form.template is None else self.form.template.fields

    @property
    def usage(self) -> str:
        """Return the arguments of the program: a word for each field."""
        return " ".join(map(_placeholder, self.fields))

    @property
    def system(self) -> str | None:
        """Return the system message."""
        return self.form.system if self.chat else None

    @property
    def pieces(self) -> list[tuple[str, int | None]]:
        """Return the text of the question: words, and the number of the argument after them."""
        parts = (("", _MESSAGE),) if self.form.template is None else self.form.template.parts
        return [(text, None if name is None else self.fields.index(name)) for text, name in parts]


def program_for(
    spec: DataSpec | None,
    model: Path,
    quality: Mapping[str, JsonValue],
    place: str,
    preloads: bool,
    plugin: str = "",
) -> Program:
    """Return what a program must know that asks the artifact in the folder ``model``, which it
    finds at ``place``. ``spec`` is of the rows, and ``quality`` what was measured of it."""
    form = prompt_form(spec)
    return Program(
        form=form,
        chat=form.chat and _has_chat_template(model),
        start=_guided_start(spec, quality),
        model=place,
        adapter=_adapter(model),
        context=_context(model),
        weights=tuple(sorted(path.name for path in model.glob("*.data"))),
        preloads=preloads,
        plugin=plugin,
    )


def _adapter(model: Path) -> str:
    """Return the name of the adapter in ``model``; empty where there is none, or no single one."""
    found = [path.stem for path in model.glob(f"*{SUFFIX}")]
    return found[0] if len(found) == 1 else ""


def _has_chat_template(model: Path) -> bool:
    jinja = (model / "chat_template.jinja").is_file()
    return jinja or bool(_table(model / "tokenizer_config.json").get("chat_template"))


def _context(model: Path) -> int:
    """Return the tokens that ``model`` says it takes; a usual number where it says none."""
    settings = _table(model / "genai_config.json").get("model")
    stated = settings.get("context_length") if isinstance(settings, dict) else None
    return stated if isinstance(stated, int) and stated > 0 else _CONTEXT


def _table(file: Path) -> dict[str, JsonValue]:
    """Return what a file of the artifact says; nothing where it is broken, as a check says."""
    try:
        read = read_json(file)
    except (OSError, UnreadableError):
        return {}
    return read if isinstance(read, dict) else {}


def _guided_start(spec: DataSpec | None, quality: Mapping[str, JsonValue]) -> GuidedStart | None:
    """Return how a guided answer begins, as measured; without that, as if no block were before."""
    constraint = constraint_of(spec)
    if constraint is None:
        return None
    measured = quality.get("constrained")
    if isinstance(measured, dict):
        try:
            return GuidedStart.model_validate(measured.get("guidance"))
        except ValidationError:
            pass
    return constraint.start("", (), chat=prompt_form(spec).chat)


def _placeholder(name: str) -> str:
    """Return a word for what is to be typed: ``PHRASE`` for the column ``phrase``."""
    return "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in name).upper()
