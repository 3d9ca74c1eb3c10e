"""The pages of figures, ``docs/measured.md``, ``docs/scale.md``, ``docs/growth.md`` and
``docs/peers.md``: made by commands alone.

A section is what one command measured. It begins with one line that names the command, the day,
the machine and the commit, and the next run of that command replaces it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from targets.cli.options import PROJECT
from tests.benchmarks.machine import machine

DOCS = PROJECT / "docs"
MEASURED = DOCS / "measured.md"
SCALE = DOCS / "scale.md"
GROWTH = DOCS / "growth.md"
PEERS = DOCS / "peers.md"
PICTURE = DOCS / "summary.svg"
_GROWTH_PICTURES = "growth-*.svg"
NO_AIM = "–"

_INTRODUCTIONS = {
    MEASURED.name: """\
# Measured

Every section is what one command measured: its first line names the command, the day, the machine
and the commit. Run the command to get the figures of your own machine; with `--out FILE` they go to
another page. Models of full size have [a page of their own](scale.md).
""",
    SCALE.name: """\
# A model of full size

Every section is what one command measured: its first line names the command, the day, the machine
and the commit. The model is a checkpoint of Phi-3-mini's size with random weights (3.8 billion
parameters, bf16, of `tests/benchmarks/scale/checkpoint.py`): weights do not matter for time and
memory. The small model is the base of `configs/tone.toml`.

Times are wall times of whole processes, start and imports included, unless a row says otherwise.
Peak memory is the largest resident set of a process, in GB of 10^9 bytes. It counts pages of mapped
files as far as they are in memory; the kernel takes those back when it needs room, so that a
container's limit can be lower. "Plain" is the library call that a pass of Quern's stands in for,
alone in a process of its own, in the same run, with the same wheels and instruction sets.
""",
    GROWTH.name: """\
# How time and memory grow

Every section makes one thing larger, and is what one command measured: its first line names the
command, the day, the machine and the commit. Where time grows in proportion to the size, the last
column stays at 1; what is there at any size, as the start of a process, brings it below. Pictures
are logarithmic both ways. Memory is in MB of 10^6 bytes.
""",
    PEERS.name: """\
# Beside every peer

Every section is what one command measured: its first line names the command, the day, the machine
and the commit. `./nox -s bench-peers` makes the files of every peer from the same model: Quern's
int4 artifact as `[passes.model_builder]` makes it without further keys, as `[passes.tune]` chooses
it for this machine by speed alone among blocks of 32, 64 and 128 weights, and, of the real model,
as `[passes.gptq]` rounds it, with the output layer in int8; that of the plain model builder of ONNX
Runtime GenAI without options, which Olive calls as well; llama.cpp's files of the types `Q4_0` and
`Q4_K_M`, quantized and asked by the library that node-llama-cpp ships; and OpenVINO's, of
`optimum-cli export openvino --weight-format int4 --group-size-fallback adjust`. All are asked the
same token ids, greedily, for exactly as many tokens. Each is left at its defaults but for the
number of threads: Quern's is all cores, the plain builder's half of them.

The weights of the large model are random: its speed, size and memory mean something, and what it
says does not, so that there is no perplexity.

Where others are ahead, this is why, and what ONNX Runtime would have to change:

- Prompts, and memory while one is read: the graph computes the output layer for every token of a
  prompt, llama.cpp for the last alone. `prune_lm_head = true` of `[passes.model_builder]` does the
  same, and takes away what checks read texts by; a graph that is told at run time which tokens'
  logits are wanted would do both.
- Prompts on a CPU with AMX: OpenVINO multiplies with its tiles; ONNX Runtime has kernels for them,
  but not for `MatMulNBits`.
- Tokens of a small model: by ONNX Runtime's own profile, four fifths of the time of one are in
  `MatMulNBits`. Its kernel for one row reads a scale in fp32 and a zero point for each 32 weights;
  `Q4_0` has no zero points, scales in half precision, and eight rows side by side. Blocks of 128
  without zero points, as `tune` may choose, are a fifth faster, and lose quality.
- Size: scales of int4 blocks are in fp32 beside activations in fp32, in llama.cpp in half
  precision; `MatMulNBits` would have to take such scales beside fp32 on a CPU.
- Perplexity of models that tie their embedding: the model builder shares one int4 matrix between
  embedding and output layer, while llama.cpp keeps that one in eight bits, and OpenVINO too.
  `algorithm = "k_quant_last"` keeps it in int8 as well, and with `[passes.gptq]` before it is the
  closest of all but the given file. `Q4_K_M` has more bits for other matrices:
  most of SmolLM2's are in five, since their rows do not fill blocks of 256.
- Keys and values: in fp32, in llama.cpp in half precision, in OpenVINO in eight bits.
""",
}


@dataclass(frozen=True)
class Row:
    """One figure and what it should be."""

    what: str
    figure: str
    aim: str = NO_AIM
    met: bool | None = None
    """``None`` where there is no aim, or where it could not be judged."""

    def __str__(self) -> str:
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        return f"| {self.what} | {self.figure} | {self.aim} | {met} |"


@dataclass(frozen=True)
class Section:
    """What one part found."""

    part: str
    title: str
    rows: Iterable[object]
    """Rows of Markdown, in the order in which they are measured: each is measured when it is asked
    for."""
    text: str = ""
    """How it was measured."""
    columns: Sequence[str] = ("what", "figure", "aim", "met")


def add_out(parser: ArgumentParser, page: Path) -> None:
    """Add the option that names another page than the project's own."""
    described = f"page to write to (default: docs/{page.name})"
    parser.add_argument("--out", type=Path, default=page, help=described)


def require_clean(out: Path) -> None:
    """End with 2 where figures would go to the project's own pages and its code is not committed:
    nobody could measure them again."""
    if out.absolute().parent == DOCS and "dirty" in commit():
        sys.stderr.write(
            "the work tree has changes, so that the figures would be of code that nobody else "
            "has: commit them, or write to another page with --out FILE\n"
        )
        sys.exit(2)


def commit() -> str:
    """Return the commit that is checked out, followed by ``-dirty`` where anything but the pages of
    figures was changed since, and ``unknown-dirty`` outside of a repository."""
    git = ["git", "-C", str(PROJECT)]
    head = _output([*git, "rev-parse", "--short=12", "HEAD"])
    made = (MEASURED, SCALE, GROWTH, PEERS, PICTURE, GROWTH.with_name(_GROWTH_PICTURES))
    pages = [f":(exclude){path.relative_to(PROJECT)}" for path in made]
    changed = _output([*git, "status", "--porcelain", "--", ".", *pages])
    return f"{head or 'unknown'}-dirty" if changed or not head else head


def origin(command: str, more: str = "") -> str:
    """Return the line that says with which command, when, on what and of what code a section was
    measured; ``more`` says what else decides it."""
    today = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    beside = f", with {more}" if more else ""
    return f"Measured by `{command}` on {today}, on {machine()}, at commit {commit()}{beside}."


def beside() -> str:
    """Return what else the machine does now, in words; empty if it has time for more."""
    load = os.getloadavg()[0]
    return f"other work beside it (load {load:.0f})" if load > (os.cpu_count() or 1) else ""


def measure(section: Section, out: Path, origin: str) -> list[object]:
    """Measure ``section``; each row is shown, and is on the page, as soon as it is found."""
    found: list[object] = []
    for row in section.rows:
        say(str(row))
        found.append(row)
        write(out, replace(section, rows=found), origin)
    return found


def write(path: Path, section: Section, origin: str) -> None:
    """Put ``section`` into the page at ``path`` in place of the one before."""
    page = path.read_text("utf-8") if path.exists() else _INTRODUCTIONS.get(path.name, "")
    text = _text(section, origin)
    old = _section(section.part)
    known = old.search(page) is not None
    page = old.sub(lambda _: text, page) if known else f"{page.rstrip()}\n\n{text}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{page.strip()}\n", "utf-8")


def rows_of(path: Path, part: str) -> list[str]:
    """Return the lines of the table of a section of the page at ``path``, without its head."""
    page = path.read_text("utf-8") if path.exists() else ""
    found = _section(part).search(page)
    lines = found[0].splitlines() if found else []
    return [line for line in lines if line.startswith("| ")][2:]


def gigabytes(size: float) -> str:
    """Return bytes as GB."""
    return f"{size / 1e9:.2f} GB"


def say(text: str) -> None:
    """Show a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _mark(part: str) -> str:
    return f"<!-- part {part} -->"


def _section(part: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(_mark(part))}.*?(?=\n<!-- part |\Z)", re.DOTALL)


def _text(section: Section, origin: str) -> str:
    table = "\n".join(map(str, section.rows))
    how = f"{section.text}\n\n" if section.text else ""
    head = " | ".join(section.columns)
    line = " | ".join("---" for _ in section.columns)
    return (
        f"{_mark(section.part)}\n## {section.title}\n\n{origin}\n\n{how}"
        f"| {head} |\n| {line} |\n{table}\n"
    )


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
