"""Small real wheels, and a toolchain that is locked to them."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from targets.toolchain.toolchain import Toolchain


def make_wheel(folder: Path, name: str = "tiny", content: str = "x = 1\n") -> Path:
    """Write a minimal valid wheel of ``name`` 1.0."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def toolchain(folder: Path, *wheels: Path) -> Toolchain:
    """Return a toolchain whose lock pins ``wheels``."""
    folder.mkdir(exist_ok=True)
    lines = [
        f"{wheel.name.split('-')[0]}==1.0 --hash=sha256:"
        + hashlib.sha256(wheel.read_bytes()).hexdigest()
        for wheel in wheels
    ]
    (folder / "requirements.linux-amd64.lock").write_text("\n".join(lines) + "\n")
    return Toolchain("test", "linux/amd64", "3.11", folder, {})
