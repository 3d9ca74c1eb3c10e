"""The digest of a pass's code: its module and everything of ``pipeline`` that it imports.

It is part of the pass's key, so a change to the quality check does not retrain a model, and a
change to how data is split does. Only what runs counts: no comment, no docstring, no import for
type checkers (:func:`running_code`). Nothing is imported to compute it. The modules of this package
are read by regular expressions, in a fraction of the time that ``ast`` takes (unit tests compare
the two for the whole package); the user's scripts are parsed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from pipeline.contract.sha256 import sha256_of_bytes

PACKAGE = "pipeline"

_LARGEST = 2**20
"""Most bytes of a user's Python file."""

# Compiled when a source is read: whoever knows them all reads none.
_IMPORT = r"""(?mx)
    ^[ \t]*(?:
        from[ \t]+(?P<module>[.\w]+)[ \t]+import[ \t]*(?P<names>\([^)]*\)|(?:[^\n\\]|\\\n)+)
        | import[ \t]+(?P<modules>(?:[^\n\\]|\\\n)+)
    )"""
_COMMENT = r"\#[^\n]*"
_NOT_RUN = r"""(?msx)
      (?:^[ \t]*(?:\#[^\n]*)?\n)+                                # lines without code
    | ^[ \t]*[rR]?\"{3}(?:(?!\"{3})[^\\]|\\.)*\"{3}[ \t]*(?:\#[^\n]*)?\n  # a docstring
    | (?P<string>
        \"{3}(?:[^\\]|\\.)*?\"{3} | '{3}(?:[^\\]|\\.)*?'{3}
        | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*'
      )
    | [ \t]*\#[^\n]*
    """
"""Code that :func:`running_code` removes. Strings are matched too, so that their text is kept."""
_FOR_TYPE_CHECKERS = r"(?m)^([ \t]*)if TYPE_CHECKING:\n(?:\1[ \t]+.*\n)+"


@dataclass(frozen=True)
class Source:
    """What the file of a module says, as far as digests depend on it."""

    sha256: str
    """Digest of its running code."""
    imports: tuple[str, ...]
    """Every dotted name of the package that it may import; not for each there is a module."""


def read_source(file: Path, package: tuple[str, ...]) -> Source:
    """Return what ``file`` says, a module of ``package``."""
    code = running_code(file.read_text("utf-8"))
    imported = {name for name in imported_names(code, package) if name.startswith(PACKAGE)}
    return Source(sha256_of_bytes(code.encode()), tuple(sorted(imported)))


class CodeDigests:
    """Digests of the modules of one package folder. Every source is read once."""

    def __init__(
        self,
        root: Path | None = None,
        read: Callable[[Path, tuple[str, ...]], Source] = read_source,
    ) -> None:
        """``root`` is the folder that holds the package; default: where this file's package is.
        ``read`` may know files from before."""
        self._root = root or Path(__file__).resolve().parents[2]
        self._read = read
        self._sources: dict[str, tuple[str, list[str]]] = {}

    def digest(self, module: str) -> str:
        """Return SHA-256 over relative path and running code of ``module`` and all it imports.

        Imports inside functions and relative ones count; so do the ``__init__`` of every package
        on the way. Raises ``ModuleNotFoundError`` if ``module`` is not in the package.
        """
        total = hashlib.sha256()
        for name in self._needed(module):
            sha256, _ = self._source(name)
            total.update(f"{self._files[name]}\0{sha256}\n".encode())
        return total.hexdigest()

    def script_digest(self, code: ScriptCode) -> str:
        """Return SHA-256 over the files of ``code`` and all modules of the package they import.

        Paths are relative to the script's folder, so its location does not matter.
        """
        total = hashlib.sha256()
        for file, content in sorted(code.files.items()):
            total.update(f"{file}\0{sha256_of_bytes(content)}\n".encode())
        imported = (self.digest(name) for name in sorted(code.imports & self._files.keys()))
        for digest in imported:
            total.update(f"{digest}\n".encode())
        return total.hexdigest()

    def files(self, module: str) -> tuple[Path, ...]:
        """Return the files of ``module`` and of all modules it imports, sorted by module."""
        return tuple(self._root / self._files[name] for name in self._needed(module))

    def _needed(self, module: str) -> list[str]:
        if module not in self._files:
            raise ModuleNotFoundError(f"no module '{module}' below {self._root}", name=module)
        needed: set[str] = set()
        waiting = [module]
        while waiting:
            name = waiting.pop()
            if name in needed:
                continue
            needed.add(name)
            _, imports = self._source(name)
            waiting.extend(imports)
            package = name.rpartition(".")[0]
            if package:
                waiting.append(package)
        return sorted(needed)

    def _source(self, name: str) -> tuple[str, list[str]]:
        """Return the digest of the running code of a module, and the modules that it imports."""
        if name not in self._sources:
            file = self._files[name]
            parts = name.split(".")
            package = tuple(parts if file.endswith("/__init__.py") else parts[:-1])
            source = self._read(self._root / file, package)
            imports = [item for item in source.imports if item in self._files]
            self._sources[name] = (source.sha256, imports)
        return self._sources[name]

    @cached_property
    def _files(self) -> dict[str, str]:
        """Return the file of every module, as a POSIX path relative to the root."""
        files = {}
        for folder, _, names in os.walk(self._root / PACKAGE):
            place = Path(folder).relative_to(self._root).as_posix()
            for file in (f"{place}/{name}" for name in names if name.endswith(".py")):
                module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                files[module] = file
        return files


@dataclass(frozen=True)
class ScriptCode:
    """The user's Python file, and the modules that it imports from its own folder."""

    files: Mapping[str, bytes]
    """Contents by POSIX path relative to the script's folder; the script's path is its name."""
    imports: frozenset[str]
    """Every name that these files may import from elsewhere."""


def script_code(script: Path) -> ScriptCode:
    """Return the code of ``script``. Nothing is imported, and no folder is searched.

    A module beside the script counts if an import statement names it, wherever that stands; one
    that is imported by a computed name is not found. Raises ``OSError``.
    """
    files: dict[str, bytes] = {}
    imports: set[str] = set()
    waiting = [script.name]
    while waiting:
        file = waiting.pop()
        if file in files:
            continue
        files[file] = _content(script.parent / file)
        package = tuple(PurePosixPath(file).parts[:-1])
        for name in _script_imports(files[file], package):
            local_files = list(_beside(script.parent, name))
            waiting += local_files
            if not local_files:
                imports.add(name)
    return ScriptCode(files, frozenset(imports))


def _content(file: Path) -> bytes:
    size = file.stat().st_size
    if size > _LARGEST:
        raise OSError(errno.EFBIG, f"it has more than {_LARGEST:,} bytes", str(file))
    return file.read_bytes()


def _script_imports(source: bytes, package: tuple[str, ...]) -> set[str]:
    """Return the same as :func:`imported_names`, for code of any style, by parsing it.

    Code that cannot be parsed cannot run either; :func:`imported_names` is used for it.
    """
    import ast

    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set(imported_names(source.decode("utf-8", "replace"), package))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, (node.module,))))
            names.update((base, *(f"{base}.{alias.name}" for alias in node.names)))
    return names


def _beside(folder: Path, name: str) -> Iterator[str]:
    """Yield the files in ``folder`` that ``import name`` runs: of the module and its packages."""
    parts = name.split(".")
    if parts[0] == PACKAGE or not all(parts):
        return
    for length in range(1, len(parts) + 1):
        path = "/".join(parts[:length])
        for file in (f"{path}/__init__.py", f"{path}.py"):
            if (folder / file).is_file():
                yield file
                break


def code_digest(module: str) -> str:
    """Return the digest of one module of this package (see :meth:`CodeDigests.digest`)."""
    return CodeDigests().digest(module)


def running_code(source: str) -> str:
    """Return ``source`` without anything that has no effect when it runs: comments, blank lines,
    docstrings (also those of attributes), and the body of ``if TYPE_CHECKING``.

    The result need not be a valid program: a class may have lost its body.
    """
    code = re.sub(_NOT_RUN, lambda match: match["string"] or "", source.rstrip() + "\n")
    return re.sub(_FOR_TYPE_CHECKERS, "", code)


def imported_names(source: str, package: tuple[str, ...]) -> Iterator[str]:
    """Yield every dotted name that ``source`` may import: ``a.b`` and ``a.b.name``.

    ``package`` is the package of the module, from which relative imports count.
    """
    for match in re.finditer(_IMPORT, source):
        if match["modules"] is not None:
            yield from _names(match["modules"])
            continue
        module = match["module"].lstrip(".")
        level = len(match["module"]) - len(module)
        above = package[: len(package) - level + 1] if level else ()
        base = ".".join((*above, *filter(None, (module,))))
        yield base
        yield from (f"{base}.{name}" for name in _names(match["names"]))


def _names(text: str) -> Iterator[str]:
    """Yield the names of ``a, b as c``, without brackets, comments and line continuations."""
    for item in re.sub(_COMMENT, "", text).strip("() \t\n").replace("\\", " ").split(","):
        words = item.split()
        if words:
            yield words[0]
