"""Data and models that lie in Azure Machine Learning, read on this machine: fetched once for each
version of their bytes, and from then on files like any other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path, PurePosixPath

from pipeline.contract.schema import AzureMLSystem
from pipeline.contract.sha256 import sha256_of_bytes
from targets.atomic import sibling_folder
from targets.disk import CACHE_REMEDY, Need, require_room
from targets.errors import EnvironmentUnable
from targets.figures import size
from targets.remote.store import PART, Store, Stored
from targets.systems.azureml.registry import registry_model
from targets.systems.azureml.workspace import Workspace, stored

Say = Callable[[str], None]

_ADDRESS = re.compile(
    r"azureml://(?:subscriptions/(?P<subscription>[^/]+)/resource[gG]roups/(?P<group>[^/]+)/"
    r"(?:providers/[^/]+/)?workspaces/(?P<workspace>[^/]+)/)?(?:"
    r"datastores/(?P<datastore>[^/]+)/paths/(?P<path>.+)"
    r"|models/(?P<model>[^/]+)/versions/(?P<version>[^/]+)"
    r"|registries/(?P<registry>[^/]+)/models/(?P<shared>[^/]+)/versions/(?P<fixed>[^/]+))"
)
_DIGITS = 32
_FOLDERS = ("MLmodel", "config.json")
"""Files of which a model's folder has one."""


@dataclass(frozen=True)
class _Files:
    """What lies below one path of a datastore."""

    store: Store
    files: tuple[tuple[str, Stored], ...]
    """Name and object of each."""

    @property
    def version(self) -> str:
        """Return what changes when a file does: names, sizes and ETags."""
        files = sorted(self.files, key=itemgetter(0))
        listed = [f"{name} {one.size} {_tag(one)}" for name, one in files]
        return sha256_of_bytes("\n".join([self.store.address, *listed]).encode())[:_DIGITS]

    @property
    def bytes(self) -> int:
        return sum(one.size for _, one in self.files)


class AzureResources:
    """Brings what addresses name into a folder of this machine."""

    def __init__(self, folder: Path, systems: Iterable[AzureMLSystem], say: Say) -> None:
        """``systems`` are those of the config: addresses may leave out their only workspace."""
        self._folder = folder
        self._systems = tuple(systems)
        self._say = say

    def bring(self, address: str) -> Path | None:
        """Return the file or folder at ``address`` as it is now; ``None`` if nothing says in which
        workspace that is. Raises ``EnvironmentUnable``."""
        match = _ADDRESS.fullmatch(address)
        if match is None:
            return None
        if match["registry"]:
            return self._of_registry(match["registry"], match["shared"], match["fixed"])
        table = self._workspace_of(match)
        if table is None:
            return None
        workspace = Workspace(table)
        if match["model"]:
            with workspace.asking(f"the model {match['model']} {match['version']}"):
                model = workspace.client.models.get(match["model"], version=match["version"])
            folder = self.bring(str(model.path))
            return folder and _model_folder(folder)
        store = workspace.store(match["datastore"], "")
        where = f"the datastore {match['datastore']} of {workspace.words}"
        return self._fetched(_files(store, match["path"], where), address)

    def _fetch(self, found: _Files, place: Path, what: str) -> None:
        self._say(f"fetching {what}: {size(found.bytes)}")
        self._folder.mkdir(parents=True, exist_ok=True)
        require_room([Need(self._folder, found.bytes, f"a copy of {what}", CACHE_REMEDY)])
        with sibling_folder(place) as fresh, stored():
            for name, one in found.files:
                _write(found.store, one, fresh / name)
            fresh.rename(place)

    def _workspace_of(self, match: re.Match[str]) -> AzureMLSystem | None:
        """Return a table with the workspace that an address names, or else the only one known."""
        if match["workspace"]:
            return _table(match["subscription"], match["group"], match["workspace"])
        places = {(one.subscription, one.resource_group, one.workspace) for one in self._systems}
        return self._systems[0] if len(places) == 1 else None

    def _of_registry(self, registry: str, name: str, version: str) -> Path:
        """Return the folder of a registry's model, which never changes under one version."""
        whole = f"registries/{registry}/{name}/{version}"
        place = self._folder / sha256_of_bytes(whole.encode())[:_DIGITS]
        if not place.is_dir():
            store, folder = registry_model(registry, name, version)
            found = _files(store, folder, f"the registry {registry}")
            self._fetch(found, place, f"{name} {version} of the registry {registry}")
        return _model_folder(place)

    def _fetched(self, found: _Files, address: str) -> Path:
        place = self._folder / found.version
        if not place.is_dir():
            self._fetch(found, place, address)
        only = found.files[0][0]
        return place / only if len(found.files) == 1 else place


def _files(store: Store, path: str, where: str) -> _Files:
    """Return what lies at ``path``: one file, or those below a folder."""
    with stored():
        one = store.look(path)
        if one is not None:
            return _Files(store, ((PurePosixPath(path).name, one),))
        below = f"{path.rstrip('/')}/"
        files = [(each.path.removeprefix(below), each) for each in store.list(below)]
    if not files:
        raise EnvironmentUnable(
            f"{where} has nothing at '{path}'",
            "mend the path, or give a local copy with --data NAME=PATH or --model PATH",
        )
    _require_plain([name for name, _ in files])
    return _Files(store, tuple(files))


def _require_plain(names: Sequence[str]) -> None:
    for name in names:
        parts = PurePosixPath(name).parts
        if not name.isprintable() or ".." in parts or "\\" in name or name.startswith("/"):
            raise EnvironmentUnable(f"a blob has a name that no file can have: {name[:200]!r}")


def _write(store: Store, one: Stored, place: Path) -> None:
    """Stream one object to ``place``."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as file:
        while file.tell() < one.size:
            part = store.part(one.path, file.tell(), min(PART, one.size - file.tell()))
            if not part:
                raise EnvironmentUnable(f"{one.path} was changed while it came", "run again")
            file.write(part)
    now = store.look(one.path)
    if now is None or _tag(now) != _tag(one):
        raise EnvironmentUnable(f"{one.path} was changed while it came", "run again")


def _tag(one: Stored) -> str:
    """Return the ETag of an object, which a listing has without its quotes."""
    return (one.e_tag or "").strip('"')


def _model_folder(folder: Path) -> Path:
    """Return the folder of the model in what was fetched: the highest that looks like one."""
    found = [path.parent for name in _FOLDERS for path in folder.rglob(name)]
    return min(found, key=lambda path: (len(path.parts), path), default=folder)


def _table(subscription: str, group: str, workspace: str) -> AzureMLSystem:
    return AzureMLSystem(
        type="azureml",
        subscription=subscription,
        resource_group=group,
        workspace=workspace,
        compute="",
        max_hours=1,
    )
