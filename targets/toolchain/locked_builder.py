"""Finds the model builder in a lock, and writes down what it knows."""

from __future__ import annotations

import json
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

from pipeline.builder.options import known_options
from pipeline.builder.supported import read_supported
from targets.atomic import replace_file
from targets.errors import EnvironmentUnable
from targets.toolchain.builder_options import FILE, BuilderOptions, read_builder_options
from targets.toolchain.download import download
from targets.toolchain.requirements import Pin, read_lock
from targets.toolchain.toolchain import Toolchain

_PREFIX = "onnxruntime-genai"
_MODELS = "onnxruntime_genai/models/"


def builder_pin(toolchain: Toolchain) -> Pin:
    """Return the pin of the package that holds the model builder.

    Raises ``EnvironmentUnable`` if the lock has none.
    """
    for pin in read_lock(toolchain.lock):
        if pin.name.startswith(_PREFIX):
            return pin
    raise EnvironmentUnable(f"{toolchain.lock} locks no {_PREFIX}", "add it to its requirements")


def lock_builder_options(toolchain: Toolchain) -> bool:
    """Write what the locked builder knows beside its lock; return whether it changed."""
    pin = builder_pin(toolchain)
    file = toolchain.image_dir / FILE
    with suppress(EnvironmentUnable):
        kept = read_builder_options(toolchain.image_dir)
        if (kept.package, kept.version) == (str(pin.name), str(pin.version)):
            return False
    with tempfile.TemporaryDirectory() as folder:
        (wheel,) = download([pin], toolchain, Path(folder))
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(_MODELS)]
            archive.extractall(folder, names)
        models = Path(folder) / _MODELS
        options = tuple(sorted(known_options(models)))
        supported = read_supported(models)
    found = BuilderOptions(
        package=str(pin.name), version=str(pin.version), options=options, supported=supported
    )
    replace_file(file, json.dumps(found.model_dump(mode="json"), indent=1) + "\n")
    return True
