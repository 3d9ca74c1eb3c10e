"""The base from locked Debian packages: what is read, what is refused, always the same bytes."""

from __future__ import annotations

import lzma
import tarfile
from pathlib import Path

import pytest

from targets.errors import EnvironmentUnable
from targets.toolchain.base import MAKER_LABEL, ROOTFS_LABEL, makers, read_recipe
from targets.toolchain.bootstrap import missing_tools
from targets.toolchain.debian import deb
from targets.toolchain.debian.assemble import assemble_rootfs, write_rootfs
from targets.toolchain.debian.deb import BadPackage, read_deb
from targets.toolchain.debian.fetch import PackagesGone, fetch
from targets.toolchain.debian.mirrors import mirrors, mirrors_in
from targets.toolchain.debian.package_lock import packages_in, require_none_older
from targets.toolchain.debian.packages import PackageLock, lock_file, read_lock
from targets.toolchain.platforms import this_machine
from targets.toolchain.rootfs import DEBIAN_PACKAGES, MAKERS, MMDEBSTRAP
from tests.support.debian_packages import BASE, Member, SmallPackage, ar, special, tar

IMAGES = Path(__file__).parents[4] / "images" / "base"
EPOCH = 1_000_000_000

needs_apt = pytest.mark.skipif(
    not Path("/usr/lib/apt/apt-helper").exists(), reason="Debian package tests: no apt"
)


def unpacked(tmp_path: Path, *made: SmallPackage) -> dict[str, tarfile.TarInfo]:
    rootfs = tmp_path / "rootfs.tar"
    write_rootfs([(one.locked(), one.deb()) for one in made], EPOCH, rootfs)
    with tarfile.open(rootfs) as archive:
        return {member.name: member for member in archive}


def content(rootfs: Path, name: str) -> str:
    with tarfile.open(rootfs) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read().decode()


def refusal(tmp_path: Path, *members: Member) -> str:
    with pytest.raises(EnvironmentUnable) as caught:
        unpacked(tmp_path, SmallPackage(members=(*BASE, *members)))
    assert "thing 1:2.0-3 cannot be unpacked" in str(caught.value)
    return str(caught.value)


def test_files_of_packages_and_what_their_scripts_would_have_made(tmp_path: Path) -> None:
    users = "./usr/share/base-passwd/"
    made = [
        SmallPackage("base", "1.0", (*BASE, (users, None),
                                     (f"{users}passwd.master", b"root:*:0:0"))),
        SmallPackage("tool", "2.0", (("./bin/", None), ("./bin/sh", b"shell"),
                             special("./bin/ash", tarfile.SYMTYPE, "sh"),
                             special("./bin/twin", tarfile.LNKTYPE, "./bin/sh"))),
        SmallPackage("words", "3.0", (("./usr/share/doc/", None),
                                      ("./usr/share/doc/README", b"long"))),
    ]  # fmt: skip

    found = unpacked(tmp_path, *made)

    assert (found["./bin"].linkname, found["./usr/bin/sh"].size) == ("usr/bin", 5)
    assert found["./usr/bin/ash"].linkname == "sh"
    assert found["./usr/bin/twin"].linkname == "./usr/bin/sh"
    assert found["./usr/local/bin"].isdir()
    assert "./usr/share/doc" in found
    assert "./usr/share/doc/README" not in found
    assert {member.uid for member in found.values()} == {0}
    assert found["./usr/share"].mtime == EPOCH
    assert found["./usr/bin/sh"].mtime == 5
    rootfs = tmp_path / "rootfs.tar"
    assert content(rootfs, "./etc/passwd") == "root:*:0:0"
    paragraphs = content(rootfs, "./var/lib/dpkg/status").strip().split("\n\n")
    assert [one.splitlines()[:2] for one in paragraphs] == [
        [f"Package: {name}", "Status: install ok installed"] for name in ("base", "tool", "words")
    ]


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (("../evil", b""), "leads out of the root"),
        (("./usr/../../evil", b""), "leads out of the root"),
        (("/etc/evil", b""), "leads out of the root"),
        (special("./etc/evil", tarfile.SYMTYPE, "../../evil"), "leads out of the root"),
        (special("./etc/evil", tarfile.SYMTYPE, "/usr/../../evil"), "leads out of the root"),
        (special("./etc/evil", tarfile.LNKTYPE, "../evil"), "leads out of the root"),
        (special("./etc/evil", tarfile.LNKTYPE, "/etc/shadow"), "leads out of the root"),
        (special("./etc/evil", tarfile.LNKTYPE, "./etc/shadow"), "which is no file"),
        (special("./etc/evil", tarfile.CHRTYPE), "neither file, folder nor link"),
        (special("./etc/evil", tarfile.FIFOTYPE), "neither file, folder nor link"),
        (special("./etc/evil", tarfile.GNUTYPE_SPARSE), "neither file, folder nor link"),
        (("./nowhere/evil", b""), "lies in no folder"),
        (("./etc", b"a file"), "is there already"),
    ],
)
def test_members_that_would_leave_the_root_are_refused(
    member: Member, why: str, tmp_path: Path
) -> None:
    assert why in refusal(tmp_path, member)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    link = special("./etc/way", tarfile.SYMTYPE, "/usr/share")
    assert "lies in no folder" in refusal(tmp_path, link, ("./etc/way/evil", b""))
    assert "is there already" in refusal(tmp_path, link, ("./etc/way", b""))


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"debian-binary": b"3.0\n"}, "no Debian package of format 2"),
        ({"data.tar.xz": b"what is not compressed"}, "cannot be unpacked"),
        ({"data.tar.xz": lzma.compress(tar(BASE))[:-20]}, "cut short"),
        ({"control.tar.xz": lzma.compress(tar(BASE))}, "control file cannot be read"),
    ],
)
def test_what_is_no_package_is_refused(parts: dict[str, bytes], why: str) -> None:
    with pytest.raises(BadPackage, match=why):
        read_deb(SmallPackage().deb(parts))


def test_a_damaged_archive_is_refused() -> None:
    whole = SmallPackage().deb()
    with pytest.raises(BadPackage, match="no ar archive"):
        read_deb(b"MZ" + whole)
    with pytest.raises(BadPackage, match="cut short"):
        read_deb(whole[:-50])
    with pytest.raises(BadPackage, match="damaged at byte 72"):
        read_deb(whole[:130] + b"?" + whole[131:])
    with pytest.raises(BadPackage, match=r"no control\.tar\.xz but control\.tar\.zst"):
        read_deb(ar({"debian-binary": b"2.0\n", "control.tar.zst": b""}))


def test_a_package_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deb, "_MOST_UNPACKED", 1 << 20)
    bomb = lzma.compress(bytes(2 << 20))
    with pytest.raises(BadPackage, match="unpacks to over 1 MB"):
        read_deb(SmallPackage().deb({"data.tar.xz": bomb}))


@needs_apt
def test_packages_of_a_mirror_become_the_same_bytes_each_time(tmp_path: Path) -> None:
    lock, places = mirror_with(tmp_path, SmallPackage("one"), SmallPackage("two", members=BASE[:2]))
    folder = tmp_path / "made"
    folder.mkdir()

    first = assemble_rootfs(lock, places, EPOCH, folder, "first")
    second = assemble_rootfs(lock, places, EPOCH, folder, "second")

    assert first.sha256 == second.sha256
    assert first.tar.read_bytes() == second.tar.read_bytes()
    assert (folder / "first.packages").read_text() == "one 1:2.0-3\ntwo 1:2.0-3\n"
    assert {file.suffix for file in folder.iterdir()} == {".packages", ".tar"}


@needs_apt
def test_another_mirror_is_asked_for_what_one_lacks(tmp_path: Path) -> None:
    lock, places = mirror_with(tmp_path, SmallPackage())
    empty = tmp_path / "empty"
    empty.mkdir()
    both = {"bookworm": (f"copy:{empty}/", *places["bookworm"])}
    (found,) = fetch(lock.package, both, tmp_path)
    assert found == (lock.package[0], SmallPackage().deb())


@needs_apt
@pytest.mark.parametrize("change", [b"\0", b""], ids=["other bytes", "fewer bytes"])
def test_a_file_that_is_not_the_locked_one_is_refused(change: bytes, tmp_path: Path) -> None:
    lock, places = mirror_with(tmp_path, SmallPackage())
    served = tmp_path / "mirror" / lock.package[0].path
    served.write_bytes(served.read_bytes()[:-1] + change)

    with pytest.raises(EnvironmentUnable, match="serves other files than the lock") as caught:
        assemble_rootfs(lock, places, EPOCH, tmp_path, "base")

    assert "thing 1:2.0-3" in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["mirror"]


@needs_apt
def test_a_version_that_the_mirrors_no_longer_have_is_named(tmp_path: Path) -> None:
    lock, places = mirror_with(tmp_path, SmallPackage("kept"), SmallPackage("gone"))
    (tmp_path / "mirror" / lock.package[1].path).unlink()

    with pytest.raises(PackagesGone, match=r"1 package.*: gone 1:2\.0-3: .* no longer") as caught:
        assemble_rootfs(lock, places, EPOCH, tmp_path, "base")

    assert "nox -s lock -- --base" in caught.value.hint
    assert [file.name for file in tmp_path.iterdir()] == ["mirror"]


@needs_apt
def test_a_mirror_out_of_reach_is_said(tmp_path: Path) -> None:
    lock = PackageLock(suite="bookworm", requested=("thing",), package=(SmallPackage().locked(),))
    places = {"bookworm": ("http://localhost:9/debian/",)}
    with pytest.raises(EnvironmentUnable, match="cannot be reached") as caught:
        list(fetch(lock.package, places, tmp_path))
    assert not isinstance(caught.value, PackagesGone)
    assert "apt-get update" in caught.value.hint


def mirror_with(
    tmp_path: Path, *made: SmallPackage
) -> tuple[PackageLock, dict[str, tuple[str, ...]]]:
    """Put packages on a mirror in a folder; return their lock, and the mirrors to ask."""
    packages = tuple(one.locked() for one in made)
    for one, package in zip(made, packages, strict=True):
        file = tmp_path / "mirror" / package.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(one.deb())
    lock = PackageLock(suite="bookworm", requested=("thing",), package=packages)
    return lock, {"bookworm": (f"copy:{tmp_path}/mirror/",)}


@needs_apt
@pytest.mark.parametrize(
    ("version", "older"),
    [
        ("1:2.0-3", False),
        ("1:2.0-10", False),
        ("1:2.0-2", True),
        ("9.0-1", True),
        ("1:2.0~rc1-9", True),
    ],
)
def test_a_mirror_cannot_bring_back_older_versions(version: str, older: bool) -> None:
    """Lists that Debian signed long ago are still signed."""
    locked = PackageLock(suite="s", requested=("thing",), package=(SmallPackage().locked(),))
    now = {"thing": version, "new": "0"}
    if not older:
        require_none_older(now, locked)
        return
    with pytest.raises(EnvironmentUnable, match="older packages than were locked") as caught:
        require_none_older(now, locked)
    assert f"thing {version} (locked: 1:2.0-3)" in str(caught.value)
    assert "do not trust that mirror" in caught.value.hint


def test_shipped_locks_pin_what_is_asked_for_and_name_no_mirror() -> None:
    recipe = read_recipe(IMAGES / "base.toml")
    assert set(recipe.locks) == {"linux/amd64", "linux/arm64"}
    for platform, lock in recipe.locks.items():
        names = [package.name for package in lock.package]
        assert lock.fits(recipe.bootstrap.suite, recipe.bootstrap.packages)
        assert {*recipe.bootstrap.packages, "dash", "coreutils", "libc6"} <= set(names)
        assert sorted(set(names)) == names
        assert "://" not in lock_file(IMAGES, platform).read_text()


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        ("pool/main/", "../../main/", "package.0.path"),
        ("pool/main/", "pool/main/../", "package.0.path"),
        ('sha256 = "', 'sha256 = "x', "package.0.sha256"),
        ("size = ", "size = -", "package.0.size"),
        ("suite = ", "site = ", "suite"),
        ("suite = ", "suite ", "line"),
    ],
)
def test_a_damaged_lock_says_where(before: str, after: str, where: str, tmp_path: Path) -> None:
    text = lock_file(IMAGES, "linux/amd64").read_text()
    damaged = tmp_path / "debian.linux-amd64.lock"
    damaged.write_text(text.replace(before, after, 1))
    with pytest.raises(EnvironmentUnable, match=f"debian.linux-amd64.lock is damaged: .*{where}"):
        read_lock(damaged)


LISTING = """\
'http://mirror.invalid/debian/dists/trixie/InRelease' x 0
'http://mirror.invalid/debian/dists/trixie/main/binary-amd64/Packages.xz' x 0
'http://mirror.invalid/debian/dists/trixie/main/binary-all/Packages.xz' x 0
'http://mirror.invalid/debian/dists/trixie-updates/main/binary-amd64/Packages.xz' x 0
'http://safe.invalid/dists/trixie-security/main/binary-amd64/Packages.xz' x 0
'https://vendor.invalid/dists/trixie/stable/binary-amd64/Packages.xz' x 0
'http://mirror.invalid/debian/dists/trixie-backports/main/binary-amd64/Packages.xz' x 0
"""


def test_mirrors_of_another_release_are_those_of_the_host() -> None:
    found = mirrors_in(LISTING, "trixie", "bookworm")
    assert found == {
        "bookworm": ("http://mirror.invalid/debian/",),
        "bookworm-updates": ("http://mirror.invalid/debian/",),
        "bookworm-security": ("http://safe.invalid/",),
    }
    assert mirrors_in(LISTING, "bookworm", "bookworm") == {}


def test_what_apt_would_fetch_is_locked_without_its_mirror() -> None:
    places = mirrors_in(LISTING, "trixie", "bookworm")
    lines = (
        f"'http://mirror.invalid/debian/pool/main/a/aa/aa%2b_1_all.deb' aa_2%3a1+b_all.deb 12 "
        f"SHA256:{'0' * 64}\n"
        f"'http://safe.invalid/pool/updates/main/b/bb_1_all.deb' bb_1_all.deb 7 SHA256:{'1' * 64}\n"
    )
    one, two = packages_in(lines, places)
    assert (one.name, one.version, one.release) == ("aa", "2:1+b", "bookworm")
    assert (one.path, one.size) == ("pool/main/a/aa/aa+_1_all.deb", 12)
    assert (two.release, two.path) == ("bookworm-security", "pool/updates/main/b/bb_1_all.deb")
    with pytest.raises(EnvironmentUnable, match="not understood"):
        list(packages_in(lines.replace("SHA256", "MD5Sum"), places))


def test_a_base_is_known_by_what_made_it() -> None:
    recipe = read_recipe(IMAGES / "base.toml")
    labels = {ROOTFS_LABEL: "f" * 64}
    assert recipe.identity_of(labels) == f"mmdebstrap:bookworm@sha256:{'f' * 64}"
    for name in MAKERS:
        found = recipe.identity_of({**labels, MAKER_LABEL: name})
        assert found == f"{name}:bookworm@sha256:{'f' * 64}"
    assert recipe.identity_of({MAKER_LABEL: "anything"}) == recipe.registry.reference


def test_what_can_make_a_base_is_known_before_anything_is_fetched() -> None:
    recipe = read_recipe(IMAGES / "base.toml")
    packages = (DEBIAN_PACKAGES,) if mirrors("bookworm") else ()
    here = this_machine()
    other = next(platform for platform in recipe.locks if platform != here)

    newest = () if missing_tools() else (MMDEBSTRAP,)
    assert makers(recipe, here) == (*packages, *newest), "what is pinned comes first"
    assert makers(recipe, other) == packages, "mmdebstrap makes a base for this machine alone"
    assert makers(recipe.model_copy(update={"locks": {}}), other) == ()
    changed = recipe.bootstrap.model_copy(update={"packages": ("python3",)})
    assert makers(recipe.model_copy(update={"bootstrap": changed}), other) == ()
