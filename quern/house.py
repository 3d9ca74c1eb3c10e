"""Where Quern's packages lie: beside this folder in a clone, in it where Quern is installed.

`targets` and `pipeline` are names that others may have too. So they lie in nobody's
`site-packages`, and only a process that uses Quern finds them.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PACKAGES = ("targets", "pipeline")


def house() -> Path:
    """Return the folder that holds `targets`, `pipeline`, `images` and `configs`."""
    here = Path(__file__).resolve().parent
    return here if (here / PACKAGES[0]).is_dir() else here.parent


def open_house() -> None:
    """Let this process import Quern's packages.

    Raises ``ImportError`` if it would import others of the same names: a program has only one
    module of each name.
    """
    folder = house()
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).parent if spec is not None and spec.origin else None
        if found is None or found.resolve() != folder / name:
            raise ImportError(
                f"Quern needs its own package '{name}', but this program finds "
                f"{found or 'another'}: use the command `quern`, or rename the other"
            )
