"""Translates ``max_samples``: a limit on the number of rows of a data set."""

from __future__ import annotations

import re

from targets.config.olive.data_draft import DataDraft
from targets.config.olive.node import Node

_COUNTED = re.compile(r"([0-9]{0,18}):([0-9]{0,18})")


def first_rows(limit: Node, out: DataDraft) -> None:
    """Read at most ``limit`` rows (``max_samples``) of those that ``rows`` keeps."""
    count = limit.number()
    if count is None:
        return
    if count != int(count) or count < 1:
        limit.refuse(f"must be a number of rows, not {limit.raw}", "write a whole number above 0")
        return
    selection = out.get("rows")
    if selection is None:
        out.set("rows", f":{int(count)}", limit)
        return
    match = _COUNTED.fullmatch(str(selection))
    if match is None:
        # The size of a share is known only after reading, so this many are drawn from it.
        out.set("max_samples", int(count), limit)
        return
    start = int(match[1] or 0)
    end = start + int(count)
    rows = f"{start}:{min(end, int(match[2])) if match[2] else end}"
    out.derive("rows", rows)
    limit.translated(f"rows = '{rows}'")
