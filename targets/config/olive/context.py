"""The context of a translation: the folders of the file and of its data."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from targets.config.olive.node import Fields
from targets.config.paths import expanded, is_there

OWN = re.compile(r".+\.py:\w+$")
"""Type of the author's own pass or check: ``path/to/file.py:ClassName``."""


@dataclass(frozen=True)
class Context:
    """The folders of the file and of its data."""

    folder: Path
    """Folder of the Olive file; paths of the Quern config are relative to it."""
    data_root: str = ""
    """Folder that paths of data are relative to, if the file names one."""

    def find(self, text: str, below: str = "") -> str | None:
        """Return a path of the file relative to its folder, if there is such a file or folder.

        Olive reads paths relative to where it is run: usually the folder of the file, or the one
        above it. So the folder comes first, then the working directory.
        """
        place = Path(below) / expanded(text)
        if is_there(self.folder / place):
            return place.as_posix()
        if is_there(place):
            return Path(os.path.relpath(place.absolute(), self.folder.absolute())).as_posix()
        return None


def nested(fields: Fields, name: str) -> Fields:
    """Return ``fields`` with the keys of its table ``name`` (``config``, ``params``) taken in."""
    inner = fields.take(name)
    if inner is not None:
        fields.merge(inner.fields(f"'{name}'"))
    return fields
