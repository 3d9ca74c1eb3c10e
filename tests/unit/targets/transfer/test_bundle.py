"""Bundles: written the same each time, and refused as a whole where anything is wrong with them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from targets.cli.options import PROJECT
from targets.errors import CheckFailed, ConfigError, EnvironmentUnable, QuernError
from targets.toolchain.base import MAKER_LABEL, ROOTFS_LABEL, packages_file, read_recipe
from targets.toolchain.image import installer
from targets.toolchain.package_set import package_sets
from targets.toolchain.rootfs import DEBIAN_PACKAGES
from targets.toolchain.wheelhouse import Wheelhouse
from targets.transfer.import_bundle import ImportResult, import_bundle
from targets.transfer.saved_image import NotOneImage, read_saved
from targets.transfer.write_bundle import Part, write_bundle
from tests.support.bundles import (
    ROOTFS,
    Checkout,
    Entries,
    make_checkout,
    rewrite,
    saved_image,
    tar_of,
)
from tests.support.small_wheels import make_wheel, toolchain

Table = dict[str, Any]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return make_checkout(tmp_path / "checkout")


def taken(checkout: Checkout, bundle: Path, platform: str = "linux/amd64") -> ImportResult:
    cache = checkout.folder / "cache"
    return import_bundle(bundle, platform, lambda _: checkout.toolchain, None, cache, print)


def refused(checkout: Checkout, bundle: Path) -> QuernError:
    """Return the error; nothing may be written before it is raised."""
    with pytest.raises(QuernError) as caught:
        taken(checkout, bundle)
    assert not (checkout.folder / "cache").exists()
    return caught.value


def test_wheels_come_into_the_wheelhouse_and_again_is_no_work(checkout: Checkout) -> None:
    bundle = checkout.write()
    house = Wheelhouse(checkout.folder / "cache" / "wheels")
    assert house.missing(checkout.toolchain)

    first, second = taken(checkout, bundle), taken(checkout, bundle)

    assert (first.wheels, first.new_wheels, second.new_wheels) == (3, 3, 0)
    assert not house.missing(checkout.toolchain)
    assert not house.missing(installer(checkout.toolchain))
    assert [(image.member, image.status) for image in first.images] == [
        ("images/base.tar", "left"),
        ("images/test.tar", "left"),
    ]
    recipe = read_recipe(PROJECT / "images" / "base" / "base.toml")
    assert packages_file(recipe, checkout.folder / "cache").read_text() == "libc6 1.0\n"
    assert not list(house.folder.glob(".add-*"))


def test_packages_of_single_steps_come_too_and_need_no_network_then(checkout: Checkout) -> None:
    cache = checkout.folder / "cache"
    taken(checkout, checkout.write())
    (packages,) = package_sets(checkout.toolchain)
    assert packages.name == "lm_eval"
    packages.ensure(cache, lambda line: pytest.fail(f"something is fetched: {line}"))
    assert [file.name for file in packages.folder(cache).iterdir()] == [
        "extra-1.0-py3-none-any.whl"
    ]


def test_other_packages_of_single_steps_are_another_checkouts(checkout: Checkout) -> None:
    bundle = checkout.write()
    toolchain(checkout.folder / "images" / "lm_eval", make_wheel(checkout.folder / "new", "newer"))
    assert "was made with another lock of lm_eval" in str(refused(checkout, bundle))
    assert "was made with another lock of lm_eval" in str(
        refused(checkout, checkout.write(change=lambda table: table.pop("sets")))
    )


def test_a_damaged_wheel_in_the_wheelhouse_is_replaced(checkout: Checkout) -> None:
    bundle = checkout.write()
    taken(checkout, bundle)
    house = Wheelhouse(checkout.folder / "cache" / "wheels")
    (house.folder / "tiny-1.0-py3-none-any.whl").write_bytes(b"broken")
    assert house.missing(checkout.toolchain)

    assert taken(checkout, bundle).new_wheels == 1

    assert not house.missing(checkout.toolchain)


def test_a_bundle_is_a_plain_tar_and_always_the_same(checkout: Checkout) -> None:
    first, second = checkout.write("first.tar"), checkout.write("second.tar")
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as archive:
        entries = archive.getmembers()
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        table = json.load(manifest)
    assert [entry.name for entry in entries] == ["manifest.json", *checkout.files]
    assert {(entry.mtime, entry.uid, entry.gid, entry.mode) for entry in entries} == {
        (0, 0, 0, 0o644)
    }
    assert [member["name"] for member in table["members"]] == list(checkout.files)


def test_nothing_is_left_of_a_bundle_that_cannot_be_written(checkout: Checkout) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError("the cable is out")

    whole = checkout.files["images/base.tar"]
    parts = [Part("images/base.tar", lambda: iter([whole])), Part("images/test.tar", broken)]
    with pytest.raises(OSError, match="the cable is out"):
        write_bundle(checkout.folder / "out" / "bundle.tar", parts, checkout.manifest)

    assert not list((checkout.folder / "out").iterdir())


def test_an_engine_that_sends_no_image_is_seen_at_once(checkout: Checkout) -> None:
    checkout.files["images/test.tar"] = checkout.files["images/test.tar"][:600]
    with pytest.raises(EnvironmentUnable, match="saved no image"):
        checkout.write()


def drop(name: str) -> Callable[[Entries], None]:
    def change(entries: Entries) -> None:
        entries[:] = [(entry, content) for entry, content in entries if entry.name != name]

    return change


def extra(name: str, kind: bytes = tarfile.REGTYPE) -> Callable[[Entries], None]:
    def change(entries: Entries) -> None:
        entry = tarfile.TarInfo(name)
        entry.type = kind
        entry.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
        entries.append((entry, b""))

    return change


def replaced(name: str, edit: Callable[[bytes], bytes]) -> Callable[[Entries], None]:
    def change(entries: Entries) -> None:
        for number, (entry, content) in enumerate(entries):
            if entry.name == name:
                entry.size = len(edit(content))
                entries[number] = (entry, edit(content))

    return change


WHEEL = "wheels/tiny-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop(WHEEL), f"{WHEEL} is missing"),
        (drop("images/base.tar"), "images/base.tar is missing"),
        (drop("manifest.json"), "does not begin with manifest.json"),
        (extra("wheels/more-1.0-py3-none-any.whl"), "wheels/more-1.0-py3-none-any.whl is in it"),
        (extra("../../etc/cron.d/job"), "../../etc/cron.d/job is in it, and not in its manifest"),
        (extra("/etc/cron.d/job"), "etc/cron.d/job is in it, and not in its manifest"),
        (extra(WHEEL), f"{WHEEL} is in it twice"),
        (extra("wheels/link.whl", tarfile.SYMTYPE), "wheels/link.whl is not a plain file"),
        (extra("wheels/hard.whl", tarfile.LNKTYPE), "wheels/hard.whl is not a plain file"),
        (extra("wheels/null", tarfile.CHRTYPE), "wheels/null is not a plain file"),
        (extra("wheels", tarfile.DIRTYPE), "wheels is not a plain file"),
        (replaced(WHEEL, lambda content: content[:-1] + b"!"), f"{WHEEL} has the SHA-256"),
        (replaced(WHEEL, lambda content: content[:-1]), f"{WHEEL} has"),
        (replaced("images/test.tar", lambda c: c[:-1] + b"!"), "images/test.tar has the SHA-256"),
        (replaced("manifest.json", lambda _: b"{"), "manifest.json is not JSON"),
        (replaced("manifest.json", lambda _: b"[]"), "manifest.json has no schema_version"),
    ],
)
def test_a_bundle_that_was_changed_is_refused(
    checkout: Checkout, change: Callable[[Entries], None], said: str
) -> None:
    bundle = checkout.write()
    rewrite(bundle, change)
    error = refused(checkout, bundle)
    assert isinstance(error, CheckFailed)
    assert said in str(error)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8])
def test_a_bundle_that_was_cut_off_is_refused(checkout: Checkout, share: float) -> None:
    bundle = checkout.write()
    content = bundle.read_bytes()
    bundle.write_bytes(content[: int(share * len(content))])
    error = refused(checkout, bundle)
    assert isinstance(error, CheckFailed)
    assert "bundle.tar" in str(error)


def test_another_file_is_no_bundle(checkout: Checkout) -> None:
    other = checkout.folder / "holiday.jpg"
    other.write_bytes(b"\xff\xd8" * 5000)
    assert "is not a bundle" in str(refused(checkout, other))


def member(table: Table, name: str) -> Table:
    return next(member for member in table["members"] if member["name"] == name)


@pytest.mark.parametrize("name", ["../evil.whl", "/evil.whl", "wheels/../../evil.whl", "wheels/"])
def test_a_manifest_that_names_a_place_outside_is_refused(checkout: Checkout, name: str) -> None:
    def renamed(entries: Entries) -> None:
        for entry, _ in entries:
            entry.name = name if entry.name == WHEEL else entry.name

    bundle = checkout.write(change=lambda table: member(table, WHEEL).update(name=name))
    rewrite(bundle, renamed)
    error = refused(checkout, bundle)
    assert isinstance(error, CheckFailed)
    assert name in str(error)


def test_a_newer_bundle_is_refused_by_its_version_alone(checkout: Checkout) -> None:
    def newer(table: Table) -> None:
        table.update(schema_version=3)

    error = refused(checkout, checkout.write(change=newer))
    assert isinstance(error, ConfigError)
    assert "made by a newer Quern" in str(error)


def test_a_bundle_for_another_platform_is_refused(checkout: Checkout) -> None:
    bundle = checkout.write()
    with pytest.raises(
        ConfigError, match=r"is for linux/amd64, and this machine builds on linux/a"
    ):
        taken(checkout, bundle, platform="linux/arm64")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("images/test/requirements.linux-amd64.lock", "images/test/requirements.linux-amd64.lock"),
        ("images/base/requirements.linux-amd64.lock", "images/base for test"),
        ("images/base/Dockerfile", "images/base for test"),
    ],
)
def test_a_bundle_for_another_checkout_is_refused(
    checkout: Checkout, changed: str, said: str
) -> None:
    bundle = checkout.write()
    file = checkout.folder / changed
    file.write_text(file.read_text() + "# changed\n")
    checkout.toolchain.__dict__.pop("digest")  # read anew
    error = refused(checkout, bundle)
    assert isinstance(error, ConfigError)
    assert f"was made with another {said} than this checkout's" in str(error)
    assert "check out the commit" in str(error)


def test_a_bundle_with_other_packages_of_quern_is_refused(checkout: Checkout) -> None:
    def other(table: Table) -> None:
        table["host"]["requirements.lock"] = "0" * 64

    error = refused(checkout, checkout.write(change=other))
    assert isinstance(error, ConfigError)
    assert "another requirements.lock" in str(error)


def test_wheels_are_held_to_the_locks(checkout: Checkout) -> None:
    original = dict(checkout.files)
    for name, content, said in [
        (WHEEL, b"other bytes", f"{WHEEL} is not a wheel that a lock here pins"),
        ("wheels/evil-1.0-py3-none-any.whl", original[WHEEL], "wheels/evil-1.0-py3-none-any.whl"),
        ("host/evil-1.0-py3-none-any.whl", b"evil", "host/evil-1.0-py3-none-any.whl is not"),
    ]:
        checkout.files = {**original, name: content}
        error = refused(checkout, checkout.write())
        assert isinstance(error, CheckFailed)
        assert said in str(error)

    checkout.files = {name: content for name, content in original.items() if name != WHEEL}
    assert "there is no wheel of tiny==1.0" in str(refused(checkout, checkout.write()))


@pytest.mark.parametrize("label", ["quern.recipe", "quern.toolchain", "quern.target"])
def test_an_image_is_held_to_the_checkout(checkout: Checkout, label: str) -> None:
    checkout.files["images/test.tar"] = saved_image({**checkout.labels, label: "other"})
    error = refused(checkout, checkout.write())
    assert isinstance(error, CheckFailed)
    assert f"images/test.tar: its label {label} is other" in str(error)


def test_an_image_is_the_one_that_the_manifest_names(checkout: Checkout) -> None:
    def other(table: Table) -> None:
        table["toolchains"][0]["image"]["config"] = "0" * 64

    assert "images/test.tar is the image" in str(refused(checkout, checkout.write(change=other)))


@pytest.mark.parametrize(
    "labels",
    [
        {ROOTFS_LABEL: "2" * 64},
        {ROOTFS_LABEL: ROOTFS, MAKER_LABEL: DEBIAN_PACKAGES},
    ],
    ids=["other bytes", "made by another"],
)
def test_a_base_is_the_one_that_the_manifest_names(
    labels: dict[str, str], checkout: Checkout
) -> None:
    checkout.files["images/base.tar"] = saved_image(labels)
    assert "images/base.tar is not the base" in str(refused(checkout, checkout.write()))


def test_an_image_that_no_toolchain_has_is_refused(checkout: Checkout) -> None:
    checkout.files["images/more.tar"] = saved_image(checkout.labels)
    assert "images/more.tar is of no toolchain" in str(refused(checkout, checkout.write()))


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (saved_image({}, ["debian:12"]), "names of its own: debian:12"),
        (tar_of({"manifest.json": b"[]"}), "holds 0 images"),
        (tar_of({"manifest.json": b"[{}]"}), "no archive of `docker save`"),
        (tar_of({"layer.tar": b""}), "no archive of `docker save`"),
        (b"\0" * 100, "no archive of `docker save`"),
        (
            tar_of(
                {
                    "manifest.json": b'[{"Config": "c", "RepoTags": null}]',
                    "index.json": b'{"manifests": [{"annotations": '
                    b'{"io.containerd.image.name": "docker.io/library/debian:12"}}]}',
                }
            ),
            "names of its own: docker.io/library/debian:12",
        ),
    ],
)
def test_what_is_not_one_nameless_image_is_refused(archive: bytes, said: str) -> None:
    with pytest.raises(NotOneImage, match=said):
        read_saved(io.BytesIO(archive))


def test_the_command_ends_with_the_code_of_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "junk.tar").write_bytes(b"junk")
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "targets", "import-toolchain", str(tmp_path / "junk.tar")),
            *("--cache", str(tmp_path / "cache"), "--json"),
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 3
    assert "is not a bundle" in json.loads(ran.stdout)["error"]
    assert not (tmp_path / "cache").exists()
