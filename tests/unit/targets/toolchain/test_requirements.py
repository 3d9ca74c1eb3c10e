"""Reading locks, handing on pip's configuration, keeping credentials out of messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from targets.errors import EnvironmentUnable
from targets.target import load_target
from targets.toolchain.credentials import scrub
from targets.toolchain.image import installer
from targets.toolchain.requirements import parse_lock, read_lock
from targets.toolchain.uv import uv_settings

A, B = "a" * 64, "b" * 64
PATH = Path("requirements.lock")


def test_pins_with_all_their_hashes() -> None:
    text = (
        f"# header\nOne_Two==1.0 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\n    # via x\n"
    )
    text += f"torch==2.13.0+cpu \\\n    --hash=sha256:{B}\n"

    one, torch = parse_lock(text, PATH)

    assert str(one) == "one-two==1.0"
    assert one.sha256 == {A, B}
    assert one.pytorch_index is None
    assert str(torch) == "torch==2.13.0+cpu"
    assert str(torch.pytorch_index).endswith("/whl/cpu")


@pytest.mark.parametrize(
    "line",
    [
        "one==1.0",
        "one>=1.0 \\\n    --hash=sha256:" + A,
        "one @ file:///x/one.whl \\\n    --hash=sha256:" + A,
        "--extra-index-url https://example.invalid/simple",
        "one==1.0 \\\n    --hash=md5:" + A,
    ],
)
def test_anything_but_a_pin_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(EnvironmentUnable, match=r"requirements\.lock:\d+: ") as caught:
        parse_lock(f"# header\n{line}\n", PATH)

    assert "nox -s lock" in caught.value.hint


def test_missing_lock_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnable, match="is missing") as caught:
        read_lock(tmp_path / "requirements.lock")

    assert "nox -s lock" in caught.value.hint


def test_shipped_locks_pin_what_is_asked_for_and_name_no_place() -> None:
    toolchain = load_target("cpu").toolchain("linux/amd64")
    for one in (toolchain, installer(toolchain)):
        text = one.lock.read_text(encoding="utf-8")
        names = {str(pin.name) for pin in parse_lock(text, one.lock)}
        wanted = (one.image_dir / "requirements.in").read_text(encoding="utf-8").splitlines()
        asked = {line.partition("==")[0] for line in wanted if line and line[0] != "#"}
        assert asked
        assert asked <= names
        assert "://" not in text
        assert "index-url" not in text
        assert "find-links" not in text


def test_credentials_are_scrubbed() -> None:
    text = "Looking in indexes: https://me:pass%40word@index.invalid/simple, http://token@x/y a@b.c"

    assert (
        scrub(text) == "Looking in indexes: https://***@index.invalid/simple, http://***@x/y a@b.c"
    )


def test_pip_configuration_is_handed_to_uv() -> None:
    listing = "\n".join(
        [
            "global.index-url='https://first.invalid/simple'",
            ":env:.index-url='https://second.invalid/simple'",
            "global.extra-index-url='file:///a\\nfile:///b'",
            "global.find-links='/x /y'",
            "global.timeout='9'",
            "freeze.find-links='/other'",
        ]
    )

    assert uv_settings(listing) == {
        "UV_DEFAULT_INDEX": "https://second.invalid/simple",
        "UV_INDEX": "file:///a file:///b",
        "UV_FIND_LINKS": "/x,/y",
    }
