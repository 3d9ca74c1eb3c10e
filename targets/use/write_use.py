"""What stands in `use/` beside an artifact: a program in each of five languages that asks it, and a
page where browsers run it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.adapter_name import SUFFIX
from pipeline.contract.data_spec import DataSpec
from targets.report.report_schema import Report
from targets.report.templates import source_environment
from targets.target import Target, load_target
from targets.use.program import Program, program_for
from targets.use.wheels import plugin, preloads, run_requirements

USE_DIR = "use"
PLACE = "../model"
"""The model's folder, seen from there."""
ASK = "ask.py"
"""The program in Python."""
REQUIREMENTS = "requirements.txt"
"""The list of wheels that it needs."""
FOUNDRY_FILE = "inference_model.json"


def python_literal(text: str) -> str:
    """Return ``text`` as a literal of Python."""
    return repr(text)


def json_literal(text: JsonValue) -> str:
    """Return ``text`` as a literal of C#, Java and JavaScript, in ASCII; of the last any value."""
    return json.dumps(text)


def c_literal(text: str) -> str:
    """Return ``text`` as a literal of C++: bytes in UTF-8, of which no two could be read as one."""
    signs = {ord("\\"): "\\\\", ord('"'): '\\"', ord("?"): "\\?", ord("\n"): "\\n"}
    plain = (
        signs.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}")
        for byte in text.encode(errors="replace")
    )
    return f'"{"".join(plain)}"'


_PROGRAMS: Mapping[str, Callable[[str], str]] = {
    ASK: python_literal,
    "ask.cpp": c_literal,
    "Ask.cs": json_literal,
    "Ask.java": json_literal,
    "ask.mjs": json_literal,
}
"""The programs, and how each writes a text."""
_PAGE = "web/ask.js"
"""The program of the page."""
_PAGE_FILES = ("web/index.html", "web/package.json", "web/package-lock.json")
"""What lies beside it: the page, and the libraries that it needs."""


def render(name: str, program: Program) -> bytes:
    """Return the source of the program ``name``."""
    literal = _PROGRAMS.get(name, json_literal)
    environment = source_environment(Path(__file__).parent, literal)
    return environment.get_template(f"{name}.j2").render(p=program).encode()


def use_files(program: Program, target: Target) -> dict[str, bytes]:
    """Return the files of ``use/`` that ask an artifact of ``target`` as ``program`` says."""
    # The other languages have no package that says where a plugin is.
    names = (ASK,) if program.plugin else tuple(_PROGRAMS)
    files = {
        **{name: render(name, program) for name in names},
        REQUIREMENTS: run_requirements(target),
    }
    return files | page_files(program) if target.browsers else files


def page_files(program: Program) -> dict[str, bytes]:
    """Return the files of the page that asks an artifact in a browser as ``program`` says."""
    beside = {name: (Path(__file__).parent / name).read_bytes() for name in _PAGE_FILES}
    return {_PAGE: render(_PAGE, program), **beside}


def files_beside(folder: Path, report: Report, spec: DataSpec | None) -> dict[str, str]:
    """Return the files of ``use/`` in the folder of the build of ``report``, whose rows are of
    ``spec``, by path there."""
    target = load_target(report.target)
    program = program_for(
        spec, folder / "model", report.quality, PLACE, preloads(target), plugin(target)
    )
    files = use_files(program, target) | foundry_file(report)
    return {f"{USE_DIR}/{name}": content.decode() for name, content in files.items()}


def foundry_file(report: Report) -> dict[str, bytes]:
    """Return ``inference_model.json``, by which Foundry Local knows a model; none where its chat
    template is no text with a place for the question, or where it has an adapter beside it, which
    Foundry Local would leave out."""
    if any(file.path.endswith(SUFFIX) for file in report.files):
        return {}
    templates = (step.metrics.get("foundry_template") for step in report.passes)
    template = next((found for found in templates if found and isinstance(found, dict)), None)
    if template is None:
        return {}
    content = {"Name": f"{report.build}-{report.target}", "PromptTemplate": template}
    return {FOUNDRY_FILE: (json.dumps(content, indent=2) + "\n").encode()}
