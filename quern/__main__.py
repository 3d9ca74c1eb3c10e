"""``quern COMMAND``, or ``python -m quern COMMAND``: the command line of an installed Quern."""

from __future__ import annotations

import sys

from quern.house import house


def main() -> None:
    """Run the command line, and exit with its code."""
    # Before the folder that it is called from, which may hold packages of the same names.
    sys.path.insert(0, str(house()))
    from targets.__main__ import main as run

    run("quern")


if __name__ == "__main__":
    main()
