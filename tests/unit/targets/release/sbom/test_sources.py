"""What an SBOM is read from: the METADATA of wheels, and dpkg's list of packages."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from targets.errors import EnvironmentUnable
from targets.release.sbom.contents import PythonPackage
from targets.release.sbom.debian import parse_system
from targets.release.sbom.licences import Licence
from targets.release.sbom.wheels import read_wheels
from targets.toolchain.requirements import Pin
from targets.toolchain.wheelhouse import Wheel


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wheel(folder: Path, *lines: str, vendored: bool = False) -> Wheel:
    """Write a wheel with these lines of METADATA."""
    path = folder / "tiny_thing-1.0-py3-none-any.whl"
    head = ("Metadata-Version: 2.4", "Name: Tiny_Thing", "Version: 1.0")
    with zipfile.ZipFile(path, "w") as archive:
        if vendored:
            archive.writestr("tiny/_vendor/rich-1.0.dist-info/METADATA", "Name: rich\nLicense: GPL")
        archive.writestr("tiny_thing-1.0.dist-info/METADATA", "\n".join((*head, *lines)) + "\n")
    pin = Pin(canonicalize_name("tiny-thing"), Version("1.0"), frozenset({sha256(path)}))
    return Wheel(pin, path)


def read(folder: Path, *lines: str, vendored: bool = False) -> PythonPackage:
    (found,) = read_wheels([wheel(folder, *lines, vendored=vendored)], sha256)
    return found


APACHE = "Classifier: License :: OSI Approved :: Apache Software License"
BSD = "Classifier: License :: OSI Approved :: BSD License"
MIT = "Classifier: License :: OSI Approved :: MIT License"
ISC = "Classifier: License :: OSI Approved :: ISC License (ISCL)"
TEXT = "License: Copyright (c) 2001 Someone\n        All rights reserved."


@pytest.mark.parametrize(
    ("lines", "licence"),
    [
        (["License-Expression: mit OR apache-2.0"], Licence("MIT OR Apache-2.0")),
        (["License-Expression: MIT", "License: GPL-3.0-only"], Licence("MIT")),
        (["License-Expression: LicenseRef-Own AND MIT"], Licence("LicenseRef-Own AND MIT")),
        (["License: BSD-3-Clause", MIT], Licence("BSD-3-Clause")),
        (["License: MIT License"], Licence("MIT")),
        (["License: 3-Clause BSD License"], Licence("BSD-3-Clause")),
        (["License: Apache 2.0", APACHE], Licence("Apache-2.0")),
        ([MIT], Licence("MIT")),
        (["License: see the file", ISC], Licence("ISC")),
        (["License: Apache", APACHE], Licence(name="Apache")),
        (["License: UNKNOWN", BSD], Licence(name="BSD License")),
        ([MIT, BSD], Licence(name="BSD License, MIT License")),
        (["License: NVIDIA Proprietary Software"], Licence(name="NVIDIA Proprietary Software")),
        (["Classifier: License :: OSI Approved"], None),
        (["License: UNKNOWN"], None),
        ([], None),
    ],
)
def test_each_way_to_state_a_licence(
    tmp_path: Path, lines: list[str], licence: Licence | None
) -> None:
    assert read(tmp_path, *lines).licence == licence


def test_a_licence_that_is_a_whole_text_is_kept(tmp_path: Path) -> None:
    bare, classified = read(tmp_path, TEXT).licence, read(tmp_path, TEXT, BSD).licence
    assert bare is not None
    assert bare.name == "Copyright (c) 2001 Someone"
    assert "All rights reserved." in bare.text
    assert classified == Licence(name="BSD License", text=bare.text)


def test_name_version_hash_and_file_are_those_of_the_pin_and_the_file(tmp_path: Path) -> None:
    found = read(tmp_path, "Summary: A  thing", vendored=True)
    assert (found.name, found.version, found.summary) == ("tiny-thing", "1.0", "A thing")
    assert found.sha256 == sha256(tmp_path / found.file)
    assert found.licence is None


@pytest.mark.parametrize(
    ("lines", "authors"),
    [
        (["Author: Ann", "Author-email: b@example.org"], ("Ann",)),
        (["Author-email: Zoë <z@example.org>, Bob <b@example.org>"], ("Zoë", "Bob")),
        (['Author-email: "Guido, Ivan" <g@example.org>'], ("Guido, Ivan",)),
        (["Maintainer-email: dev@example.org"], ("dev@example.org",)),
        (["Author: UNKNOWN"], ()),
        ([], ()),
    ],
)
def test_authors_are_named_where_they_are_stated(
    tmp_path: Path, lines: list[str], authors: tuple[str, ...]
) -> None:
    assert read(tmp_path, *lines).authors == authors


def test_a_wheel_other_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    pinned = wheel(tmp_path)
    wheel(tmp_path, "License: MIT")
    with pytest.raises(EnvironmentUnable, match="not the wheel that the lock pins"):
        read_wheels([pinned], sha256)


def test_a_file_without_metadata_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken-1.0-py3-none-any.whl"
    path.write_bytes(b"no zip")
    pin = Pin(canonicalize_name("broken"), Version("1.0"), frozenset({sha256(path)}))
    with pytest.raises(EnvironmentUnable, match="broken"):
        read_wheels([Wheel(pin, path)], sha256)


STATUS = """\
Package: libc6
Status: install ok installed
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Multi-Arch: same
Source: glibc
Version: 2.36-9+deb12u14
Depends: libgcc-s1
Description: GNU C Library: Shared libraries
 Contains the standard libraries.
 .
 Version: 0 is not this one.
Homepage: https://www.gnu.org/software/libc/libc.html

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0

Package: bsdutils
Essential: yes
Status: install ok installed
Architecture: amd64
Source: util-linux (2.38.1-5+deb12u3)
Version: 1:2.38.1-5+deb12u3
Description: basic utilities

Package: tzdata
Status: hold ok installed
Architecture: all
Version: 2025b-0+deb12u2
"""

OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'


def test_dpkg_says_what_is_installed_and_of_which_source() -> None:
    system = parse_system(STATUS, OS_RELEASE, [])
    assert (system.name, system.version, system.python) == ("debian", "12", "")
    libc, utilities, zones = system.packages
    assert (libc.name, libc.version, libc.architecture) == ("libc6", "2.36-9+deb12u14", "amd64")
    assert (libc.source, libc.source_version) == ("glibc", libc.version)
    assert libc.summary == "GNU C Library: Shared libraries"
    assert libc.maintainer == "GNU Libc Maintainers"
    assert (utilities.source, utilities.source_version) == ("util-linux", "2.38.1-5+deb12u3")
    assert (zones.name, zones.architecture, zones.source) == ("tzdata", "all", "tzdata")


def test_a_python_that_no_package_brought_is_seen() -> None:
    variables = ["PATH=/usr/local/bin:/usr/bin", "PYTHON_VERSION=3.11.14"]
    assert parse_system(STATUS, OS_RELEASE, variables).python == "3.11.14"
