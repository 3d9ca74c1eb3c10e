"""Generates ``pipeline/onnx/kernels`` from the table that ONNX Runtime publishes per version."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator

from pipeline.onnx.kernels.table import FOLDER, Kernel, KernelTable, Operator, read_table
from pipeline.onnx.providers import is_provider
from targets.atomic import replace_file
from targets.errors import EnvironmentUnable
from targets.toolchain.requirements import read_lock
from targets.toolchain.toolchain import Toolchain

_SOURCE = (
    "https://raw.githubusercontent.com/microsoft/onnxruntime/v{version}/docs/OperatorKernels.md"
)
_RUNTIME = re.compile(r"onnxruntime(-(?!genai).+)?")
"""Packages of ONNX Runtime, of which there is one per provider; GenAI's are others."""
_PATIENCE = 30

_DOMAIN = re.compile(r"\*\*Operator Domain:\*\* \*(?P<name>[\w.]+)\*")
_PARAMETER = re.compile(r"\*(?P<way>in|out)\* (?P<name>[\w.]+):\*\*(?P<type>[^*]+)\*\*")
_TYPES = re.compile(r"\*\*(?P<variable>\w+)\*\* = (?P<types>[^*]*?)(?=<br/> \*\*|$)")
_VERSION = re.compile(r"^(?:\[(?P<first>\d+), (?P<last>\d+)\]|(?P<from>\d+)\+|(?P<only>\d+))$")


def lock_kernel_table(toolchain: Toolchain, provider: str) -> bool:
    """Write the table of ``provider`` for the ONNX Runtime of the lock; return whether it changed.

    Raises ``EnvironmentUnable`` if it cannot be fetched, or if ONNX Runtime publishes none for
    ``provider``; the previous table is kept.
    """
    version = onnxruntime_version(toolchain)
    before = read_table(provider)
    if before is not None and before.onnxruntime == version:
        return False
    text = _download(version)
    if not any(_section(text, provider)):
        raise EnvironmentUnable(
            f"onnxruntime {version} publishes no kernels of {provider}",
            "the check `provider` then says so, and traces where the device is",
        )
    write_table(parse_table(text, provider, version))
    return True


def write_table(table: KernelTable) -> None:
    """Write ``table`` to the file that the ``provider`` check reads, one operator per line."""
    lines = [
        f'  "{name}": {operator.model_dump_json()}'
        for name, operator in sorted(table.operators.items())
    ]
    body = ",\n".join(lines)
    text = (
        f'{{"onnxruntime": "{table.onnxruntime}", "provider": "{table.provider}", "operators": {{\n'
        f"{body}\n}}}}\n"
    )
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{table.provider}.json"
    replace_file(file, text)


def onnxruntime_version(toolchain: Toolchain) -> str:
    """Return the version of the one onnxruntime that ``toolchain`` locks."""
    for pin in read_lock(toolchain.lock):
        if _RUNTIME.fullmatch(pin.name):
            return str(pin.version)
    raise EnvironmentUnable(f"{toolchain.lock} locks no onnxruntime", "add it to its requirements")


def parse_table(text: str, provider: str, version: str) -> KernelTable:
    """Return the kernels of ``provider`` in the Markdown ``text``.

    Raises ``ValueError`` for a row of another form than the table has had since 2020.
    """
    operators: dict[str, Operator] = {}
    name = ""
    domain = ""
    for line in _section(text, provider):
        match = _DOMAIN.search(line)
        if match:
            domain = "" if match["name"] == "ai.onnx" else match["name"]
            continue
        cells = [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        if len(cells) != 4 or cells[0] == "Op Name" or set(cells[0]) == {"-"}:
            continue
        if cells[0]:
            name = f"{domain}:{cells[0]}"
            operators[name] = Operator(signatures=_signatures(cells[1]), kernels=())
        kernel = _kernel(cells[2], cells[3])
        known = operators[name]
        operators[name] = known.model_copy(update={"kernels": (*known.kernels, kernel)})
    if not operators:
        raise ValueError(f"no kernels of {provider} in the table")
    return KernelTable(onnxruntime=version, provider=provider, operators=operators)


def _section(text: str, provider: str) -> Iterator[str]:
    inside = False
    for line in text.splitlines():
        if line.startswith("## "):
            inside = is_provider(line.strip().rpartition(" ")[2], provider)
        elif inside and line.startswith("|"):
            yield line


def _signatures(cell: str) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    forms = []
    for form in cell.split("<br><br>or<br><br>"):
        ways: dict[str, list[str]] = {"in": [], "out": []}
        for match in _PARAMETER.finditer(form):
            more = "..." if match["name"].endswith("...") else ""
            ways[match["way"]].append(match["type"] + more)
        forms.append((tuple(ways["in"]), tuple(ways["out"])))
    return tuple(forms)


def _kernel(versions: str, types: str) -> Kernel:
    match = _VERSION.match(versions)
    if match is None:
        raise ValueError(f"not a range of versions: {versions!r}")
    if match["from"]:
        first, last = int(match["from"]), None
    elif match["only"]:
        first = last = int(match["only"])
    else:
        first, last = int(match["first"]), int(match["last"])
    taken = {
        entry["variable"]: tuple(kind.strip() for kind in entry["types"].split(","))
        for entry in _TYPES.finditer(types)
    }
    return Kernel(first=first, last=last, types=taken)


def _download(version: str) -> str:
    url = _SOURCE.format(version=version)
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:  # noqa: S310 - https, above
            return str(answer.read().decode("utf-8"))
    except (urllib.error.URLError, OSError) as error:
        raise EnvironmentUnable(
            f"the kernel table of onnxruntime {version} cannot be fetched: {error}",
            f"check that {url} can be reached, and lock again",
        ) from None
