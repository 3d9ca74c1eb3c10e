"""Attacks every surface with ever other inputs: ``python -m tests.attack [--minutes M]``.

Ends with 1 and the smallest such input when one does not end as an input should.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
import time
import traceback

from tests.attack.attacking import attack
from tests.attack.surfaces import SURFACES


def main() -> int:
    """Attack until the time is over; return the exit code."""
    options = _arguments()
    until = time.monotonic() + 60 * options.minutes
    number, held = options.seed, True
    with tempfile.TemporaryDirectory() as cache:
        os.environ["QUERN_CACHE"] = cache
        while True:
            for surface in SURFACES:
                if options.surface not in surface.name:
                    continue
                try:
                    tally = attack(surface, number, options.count or surface.count)
                    print(f"{surface.name}, seed {number}: {tally}", flush=True)  # noqa: T201
                except Exception:
                    held = False
                    print(f"{surface.name}, seed {number}: did not hold", flush=True)  # noqa: T201
                    traceback.print_exc()
            number += 1
            if time.monotonic() > until:
                return 0 if held else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./nox -s attack --")
    parser.add_argument("--minutes", type=float, default=10, help="How long (default: 10).")
    seed = secrets.randbelow(1 << 32)
    parser.add_argument("--seed", type=int, default=seed, help="Of the first round.")
    parser.add_argument("--surface", default="", help="Part of the name of what is attacked.")
    parser.add_argument("--count", type=int, default=0, help="Inputs of each kind in a round.")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
