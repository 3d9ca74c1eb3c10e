"""Reads a config file of any format into documents, from which build configs are validated.

A TOML file is one document. An Olive file is translated into one for each flow of its passes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli

from pipeline.reading.files import UnreadableError, read_text
from targets.config.bounds import LARGEST, beyond
from targets.config.source_map import Positions, SourceMap, dotted
from targets.config.toml_positions import TomlPositions
from targets.errors import ConfigError, Problem

if TYPE_CHECKING:
    from targets.config.olive.ledger import Ledger

_OLIVE = (".json", ".jsonc", ".yaml", ".yml")
"""Suffixes of Olive files; Quern's own configs have others."""

_LEVELS = re.compile(r"[\[{.]")
_LONG_NUMBER = re.compile(r"[0-9_]{4300}")

OWN_CONFIG = Path("quern.toml")
"""The config that commands take if it is in the folder they are called from; `init` writes it."""


@dataclass(frozen=True)
class Sound:
    """Which parts of a config are known well enough to hold others against them."""

    whole: bool = True
    """Whether nothing is missing: no pass, no check, no data set."""
    target: bool = True
    """Whether there is a target for what is asked for."""
    data: bool = True
    """Whether model and data sets could be read."""


@dataclass(frozen=True)
class Document:
    """A build config as plain tables, as a TOML file would hold it."""

    table: dict[str, Any]
    source_map: SourceMap
    problems: tuple[Problem, ...] = ()
    """Problems of the parts of the file that could not be translated."""
    ledger: Ledger | None = None
    """The result of the translation of each key of an Olive file."""
    without_target: bool = False
    """Whether the file asks for hardware alone that no target runs on."""

    @property
    def sound(self) -> Sound:
        """Return which parts are known well enough to hold others against them."""
        refused = [problem.key or "" for problem in self.problems]
        return Sound(
            whole=not refused,
            target=not self.without_target,
            data=not any(key.startswith(("input_model", "data_configs")) for key in refused),
        )


def read_documents(file: Path, system: str | None = None) -> tuple[Document, ...]:
    """Return the documents of ``file``. ``system`` is the value of ``--system``.

    Raises :class:`ConfigError` if the file cannot be parsed at all.
    """
    text = _read(file)
    if is_olive(file):
        return _olive(file, text, system)
    table = _toml(file, text)
    positions = TomlPositions(text)
    _require_bounded(file, table, positions)
    if isinstance(table.get("model"), str):
        table["model"] = {"source": table["model"]}
    return (Document(table, SourceMap(positions)),)


def is_olive(file: Path) -> bool:
    """Return whether ``file`` is one of Olive's, by its name."""
    return file.suffix.lower() in _OLIVE


def _olive(file: Path, text: str, system: str | None) -> tuple[Document, ...]:
    # Imported here, so that builds from TOML do not wait for it.
    from targets.config.olive.context import Context
    from targets.config.olive.read_olive import read_olive
    from targets.config.olive.translate import translate

    raw, positions = read_olive(file, text)
    _require_bounded(file, raw, positions)
    translation = translate(raw, file, Context(file.parent), system)
    problems = tuple(
        Problem(
            refusal.reason,
            file,
            positions.line(refusal.path),
            dotted(refusal.path),
            refusal.suggestion,
        )
        for refusal in translation.ledger.refusals
    )
    if not translation.flows:
        raise ConfigError(problems)
    return tuple(
        Document(
            flow.document,
            SourceMap(positions, flow.origin),
            problems,
            translation.ledger,
            flow.without_target,
        )
        for flow in translation.flows
    )


def _read(file: Path) -> str:
    try:
        return read_text(file, LARGEST)
    except FileNotFoundError:
        raise ConfigError([Problem("there is no such config file", file)]) from None
    except UnreadableError as error:
        raise ConfigError([Problem(f"cannot be read: {error}", file, error.line)]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(f"cannot be read: {error}", file)]) from None


def _toml(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigError([Problem(f"not valid TOML: {error.msg}", file, error.lineno)]) from None
    # tomli has no line for what only Python refuses.
    except RecursionError as error:
        lines = text.split("\n")
        deepest = max(range(len(lines)), key=lambda at: len(_LEVELS.findall(lines[at])))
        raise ConfigError([Problem(f"not valid TOML: {error}", file, deepest + 1)]) from None
    except ValueError:
        found = _LONG_NUMBER.search(text)
        line = None if found is None else 1 + text.count("\n", 0, found.start())
        raise ConfigError([Problem("not valid TOML: a number is too large", file, line)]) from None


def _require_bounded(file: Path, document: Any, positions: Positions) -> None:
    """Raise :class:`ConfigError` for a document that is beyond a bound."""
    found = beyond(document)
    if found is not None:
        path, problem = found
        raise ConfigError([Problem(problem, file, positions.line(path), dotted(path))])
