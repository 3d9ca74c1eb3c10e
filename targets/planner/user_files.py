"""The user's files as inputs of steps: each with the digest of its bytes, and mounted."""

from __future__ import annotations

from pathlib import Path

from pipeline.contract.plan import PathRef, SourceInput
from pipeline.run.code_digest import CodeDigests
from targets.cache import Cache
from targets.config.chain import CheckCall, PassCall
from targets.config.load import LoadedConfig
from targets.config.model_folder import folder_with_links
from targets.planner.own_code import copied_code
from targets.runtimes.runtime import Mount


class UserFiles:
    """The files that one config names. Every method notes in ``mounts`` what it returns."""

    def __init__(self, loaded: LoadedConfig, cache: Cache, code: CodeDigests) -> None:
        self._loaded = loaded
        self._cache = cache
        self._code = code
        self._mounts: dict[str, Mount] = {}

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """Return where each of the inputs lies."""
        return tuple(self._mounts.values())

    def model(self) -> SourceInput | None:
        """Return the local base model, if the config names one."""
        folder = self._loaded.model_folder
        if folder is None:
            return None
        return self._folder("model", folder)

    def data(self, name: str) -> tuple[SourceInput, ...]:
        """Return the files of the data set ``name``."""
        files = []
        for number, path in enumerate(self._loaded.data_files[name]):
            root = f"data.{name}.{number}"
            self._mounts[root] = Mount(root, path)
            ref = PathRef(root=root, path=path.name)
            files.append(SourceInput(ref=ref, digest=self._cache.digests.file(path)))
        return tuple(files)

    def sources(self, name: str, call: PassCall | CheckCall) -> dict[str, SourceInput]:
        """Return what parameters of ``call`` name, as inputs named like the parameters.

        ``name`` is that of the step.
        """
        sources = {}
        for param in call.implementation.sources:
            if call.values[param] is None:
                continue
            path = self._loaded.path(str(call.values[param]))
            root = f"{name}.{param}"
            if path.is_dir():
                sources[param] = self._folder(root, path)
                continue
            self._mounts[root] = Mount(root, path)
            sources[param] = SourceInput(
                ref=PathRef(root=root, path=path.name), digest=self._cache.digests.tree(path)
            )
        return sources

    def code(self, name: str, call: PassCall | CheckCall) -> SourceInput | None:
        """Return the code of a pass or check of the user's own; ``name`` is that of the step."""
        if call.script is None:
            return None
        digest, folder = copied_code(call.script, self._code, self._cache.root)
        root = f"code@{name}"  # no name of a pass or a data set holds an @
        self._mounts[root] = Mount(root, folder)
        return SourceInput(ref=PathRef(root=root), digest=digest)

    def _folder(self, root: str, folder: Path) -> SourceInput:
        """Return a folder, which is mounted with what its links lead to."""
        mounted = folder_with_links(folder)
        self._mounts[root] = Mount(root, mounted)
        path = "" if mounted == folder else folder.relative_to(mounted).as_posix()
        return SourceInput(
            ref=PathRef(root=root, path=path), digest=self._cache.digests.tree(folder)
        )
