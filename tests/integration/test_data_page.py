"""What `docs/data.md` shows is what a build says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli

from tests.support.pages.page import Fence, read_pages
from tests.support.warm_process import warm_output

NOTHING_HELD_OUT = {"eval": 0, "validation": 0}
_KINDS = ("csv", "tsv", "jsonl", "json")


def fences() -> tuple[Fence, ...]:
    (page,) = (page for page in read_pages() if page.path.name == "data.md")
    return page.fences


def examples() -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield each example of the page, and the lines that it shows."""
    usual: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    example: dict[str, Any] = {}
    for fence in fences():
        if fence.language == "toml":
            settings = tomli.loads(fence.text)
            usual = usual or settings
            context = re.search(r"# context (\d+)", fence.text)
            example["context"] = int(context[1]) if context else None
        elif fence.language in _KINDS:
            chosen = settings or usual
            example |= {"kind": fence.language, "rows": fence.text}
            example |= {"settings": chosen["data"]["tone"]}
            if "messages" in fence.text and not settings:
                example |= {"settings": {"messages": "messages", "split": NOTHING_HELD_OUT}}
            example |= {"params": chosen.get("passes", {}).get("lora", {})}
            example.setdefault("context", None)
        elif fence.language == "text":
            yield example, fence.text.splitlines()
            settings, example = {}, {}


def test_what_the_page_shows_is_what_is_said(
    toolchain_python: Path, tiny: Path, tmp_path: Path
) -> None:
    shown = list(examples())
    assert len(shown) > 12
    done = warm_output(
        *(toolchain_python, "tests.support.data_page", tiny / "checkpoint"),
        *(json.dumps([example for example, _ in shown]), tmp_path),
    )
    missing = [
        f"{line}\n  not in: {said}"
        for (_, lines), said in zip(shown, json.loads(done), strict=True)
        for line in lines
        if not any(line.rstrip() in one for one in said)
    ]
    assert not missing, "\n".join(missing)
