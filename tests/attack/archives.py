"""Archives: bundles of toolchains, and releases."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from targets.release import layout
from tests.attack.configs import HERMETIC
from tests.attack.hostile import as_json, damaged, hostile
from tests.attack.inside import Ended, quern
from tests.attack.releases import (
    BUILD,
    ROOT,
    TARGET,
    VERSION,
    provenance,
    release_files,
    statement,
)
from tests.attack.surface import DAMAGED, WRONG_INPUT, Files, Surface, write_files
from tests.support.bundles import make_checkout

_MEMBERS = ("../x", "/x", "a/../../x", "", ".", "x" * 300, "manifest.json", "a\nb", "é\udcff")
_TYPES = (
    tarfile.REGTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.FIFOTYPE,
    tarfile.DIRTYPE,
    tarfile.GNUTYPE_SPARSE,
    tarfile.XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    b"Z",
)


@cache
def _bundle() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return make_checkout(Path(folder)).write().read_bytes()


@st.composite
def _tars(draw: st.DrawFn, files: Mapping[str, bytes]) -> bytes:
    """Return a tar of ``files`` with a few hostile members, or hostile contents."""
    content = {**files}
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(content)))
        content[name] = draw(damaged(content[name]))
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for _ in range(draw(st.integers(0, 2))):
            entry = tarfile.TarInfo(draw(st.sampled_from(_MEMBERS)))
            entry.type = draw(st.sampled_from(_TYPES))
            entry.linkname = draw(st.sampled_from(_MEMBERS))
            entry.size = draw(st.sampled_from([0, 10, 10**9, 2**40]))
            target.write(entry.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape"))
    return target.getvalue()


def _members(tar: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return {
            entry.name: file.read()
            for entry in archive
            if (file := archive.extractfile(entry)) is not None
        }


@st.composite
def _bundles(draw: st.DrawFn) -> bytes:
    tar = _bundle()
    if draw(st.booleans()):
        return draw(damaged(tar))
    members = _members(tar)
    if draw(st.booleans()):
        members["manifest.json"] = draw(hostile(json.loads(members["manifest.json"]), as_json))
    return draw(_tars(members))


def _meet_bundle(content: bytes, folder: Path) -> Ended:
    (folder / "bundle.tar").write_bytes(content)
    cache_folder = str(folder / "cache")
    return quern(
        *("import-toolchain", str(folder / "bundle.tar"), "--cache", cache_folder),
        environment=HERMETIC,
    )


_SBOM = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"hashes": []}]}
_REPORT = {"schema_version": 1, "build": BUILD, "version": VERSION, "target": TARGET}


def _archive_members() -> dict[str, bytes]:
    report = as_json(_REPORT)
    sums = f"{hashlib.sha256(report).hexdigest()}  report.json\n".encode()
    return {f"{ROOT}/SHA256SUMS": sums, f"{ROOT}/report.json": report}


@st.composite
def _releases(draw: st.DrawFn) -> Files:
    """Return a release with something hostile in it: of the archive, the SBOM or the provenance."""
    tar, sbom = draw(_tars(_archive_members())), draw(hostile(_SBOM))
    files = dict(release_files(draw(damaged(tar)) if draw(st.booleans()) else tar, sbom))
    if draw(st.booleans()):
        other = draw(hostile(statement({}, {})))
        files[layout.PROVENANCE] = draw(
            st.one_of(st.just(provenance(other)), hostile({"payload": "", "sha256": ""}))
        )
    return files


def _meet_release(files: Files, folder: Path) -> Ended:
    write_files(folder, files)
    return quern("verify", str(folder), "--quick", environment=HERMETIC)


BUNDLES = Surface(
    "bundles of toolchains",
    _bundles(),
    _meet_bundle,
    codes=frozenset({WRONG_INPUT, DAMAGED}),
)
RELEASES = Surface(
    "releases",
    _releases(),
    _meet_release,
    codes=frozenset({WRONG_INPUT, DAMAGED}),
)
