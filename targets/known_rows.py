"""Remembers what was found in the rows of data sets, so that unchanged files are not read again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from pydantic import JsonValue, ValidationError

from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.frozen import Frozen
from pipeline.contract.sha256 import sha256_of_bytes
from pipeline.data.findings import Look
from pipeline.data.problems import DataProblem
from pipeline.data.trained_view import Sample
from targets.atomic import replace_file
from targets.digests import Digests
from targets.disk import may_write

if TYPE_CHECKING:
    from pipeline.data.split import Parts
    from pipeline.data.survey import Survey

READING = "pipeline.data.look"
"""The module whose code, with all that it imports, decides what is found."""
Code = Callable[[str], str]
"""Returns the digest of a module's code."""
ShowSamples: TypeAlias = "Callable[[Parts], tuple[Sample, ...]]"
Noted = TypeVar("Noted", bound=Frozen)


class Checked(Frozen):
    """What the check of a data set found, if its rows can be used."""

    shows_tools: bool
    """Whether a conversation comes with tools."""


class Seen(Frozen):
    """What one sees in a data set and its parts."""

    look: Look
    samples: tuple[Sample, ...]
    """Some examples without a chat template."""


@dataclass
class KnownRows:
    """The notes of one cache: by the digests of files, how they are read, and the code that does.

    In one process a data set is read once, whatever is asked about it.
    """

    folder: Path | None = None
    """Where notes are kept; ``None``: nowhere."""
    digests: Digests | None = None
    code: Code | None = None
    _surveys: dict[str, Survey] = field(default_factory=dict)

    def check(
        self, files: Sequence[Path], spec: DataSpec, part: bool
    ) -> tuple[Checked | None, list[DataProblem]]:
        """Return what the rows of ``files`` are, or what is wrong with them.

        ``part`` says that they serve as a part of another data set.
        """
        key = self._key("checked", [_facts(files, spec), part], files)
        known = self._known(key, Checked)
        if known is not None:
            return known, []
        found = self._survey(files, spec, part)
        if found.problems:
            return None, found.problems
        checked = Checked(shows_tools=found.checked.shows_tools)
        self._note(key, checked)
        return checked, []

    def see(self, data: DataFiles, show: ShowSamples) -> Seen:
        """Return what one sees in ``data``; ``show`` chooses the samples.

        Raises :class:`StepError` with all problems of the rows.
        """
        every = [one for one in (data, data.held_out, data.validation) if one is not None]
        facts: list[JsonValue] = [
            [_facts(one.files, one.spec), one.name, one.made] for one in every
        ]
        roles: list[JsonValue] = [data.held_out is not None, data.validation is not None]
        key = self._key("seen", [facts, roles], [file for one in every for file in one.files])
        known = self._known(key, Seen)
        if known is None:
            # Whoever finds a note does without what reads rows.
            from pipeline.data.look import look
            from pipeline.data.parts import load_parts

            parts = load_parts(data, self._survey)
            known = Seen(look=look(parts), samples=show(parts))
            self._note(key, known)
        return known

    def _survey(self, files: Sequence[Path], spec: DataSpec, part: bool) -> Survey:
        from pipeline.data.survey import survey

        asked = json.dumps([_facts(files, spec), list(map(str, files)), part])
        if asked not in self._surveys:
            self._surveys[asked] = survey(files, spec, part)
        return self._surveys[asked]

    def _key(self, kind: str, facts: JsonValue, files: Sequence[Path]) -> str | None:
        """Return the name of a note; ``None`` where none can be kept."""
        if self.folder is None or self.digests is None or self.code is None:
            return None
        try:
            digests = self.digests.files(files)
        except OSError:  # whoever reads the file says so
            return None
        asked = [kind, facts, digests, self.code(READING)]
        return sha256_of_bytes(json.dumps(asked, sort_keys=True).encode())

    def _known(self, key: str | None, kind: type[Noted]) -> Noted | None:
        if key is None or self.folder is None:
            return None
        try:
            return kind.model_validate_json((self.folder / f"{key}.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def _note(self, key: str | None, noted: Frozen) -> None:
        if key is not None and self.folder is not None and may_write(self.folder.parent):
            with suppress(OSError):  # without it, the next command reads the rows again
                self.folder.mkdir(parents=True, exist_ok=True)
                replace_file(self.folder / f"{key}.json", noted.model_dump_json())


def _facts(files: Sequence[Path], spec: DataSpec) -> JsonValue:
    """Return how ``files`` are read, but for where they lie."""
    settings = spec.model_dump(mode="json", exclude={"path", "source"})
    names: list[JsonValue] = [file.name for file in files]
    return [names, settings]
