"""Lets a Python process run Quern's code as another system would.

For that code alone, `sys.platform` and `platform` say so, the standard library lacks what it lacks
there, and files of Linux's kernel are not there. Other code goes on as on Linux. Python imports
this module when it starts with its folder in PYTHONPATH; AS_SYSTEM names a file with the facts.
"""

from __future__ import annotations

import builtins
import contextlib
import enum
import fcntl
import json
import os
import signal
import stat
import sys
import sysconfig
from pathlib import Path
from types import FrameType, ModuleType, SimpleNamespace
from typing import Any

OURS = {"targets", "pipeline", "quern"}
KERNEL = ("/proc/", "/sys/fs/cgroup")
STDLIB = sysconfig.get_path("stdlib")


class Masked(ModuleType):
    """A module without some of its names, and with others in their place."""

    def __init__(self, module: ModuleType, lacking: set[str], instead: dict[str, object]) -> None:
        super().__init__(module.__name__)
        for name, value in {"_module": module, "_lacking": lacking, "_instead": instead}.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name in self._instead:
            return self._instead[name]
        if name in self._lacking:
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        return getattr(self._module, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._module, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._module, name)


def is_ours(name: str, package: str, file: str) -> bool:
    top = (package if name == "__main__" else name).partition(".")[0]
    return top in OURS or file.endswith("/nox")


def is_ours_in(frame: FrameType | None) -> bool:
    """Return whether the first frame that is not of the standard library is of our code."""
    while frame is not None:
        file = frame.f_code.co_filename
        of_python = file.startswith((STDLIB, "<frozen")) and "/site-packages/" not in file
        if not (of_python or file == __file__):
            about = frame.f_globals
            return is_ours(str(about.get("__name__")), str(about.get("__package__") or ""), file)
        frame = frame.f_back
    return False


def hide_kernel() -> None:
    """Have our code find no files of Linux's kernel."""

    def hidden(path: object) -> bool:
        try:
            text = os.fspath(path)  # type: ignore[call-overload]
        except TypeError:
            return False
        return isinstance(text, str) and text.startswith(KERNEL) and is_ours_in(sys._getframe(2))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.listdir", "os.scandir") and hidden(arguments[0]):
            raise FileNotFoundError(2, "No such file or directory", arguments[0])

    found = os.stat

    def find(path: Any, **options: Any) -> os.stat_result:
        if hidden(path):
            raise FileNotFoundError(2, "No such file or directory", path)
        return found(path, **options)

    sys.addaudithook(hook)
    os.stat = find


def windows_os() -> dict[str, object]:
    """Return what `os` has otherwise on Windows, as far as our code uses it."""

    def refuse_descriptors(name: str) -> Any:
        real = getattr(os, name)

        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if options.pop("dir_fd", None) is not None or isinstance(path, int):
                raise NotImplementedError(f"os.{name} takes no descriptor of a folder on Windows")
            if name == "open" and Path(path).is_dir():
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *arguments, **options)

        return call

    def lstat(path: Any) -> Any:
        status = os.lstat(path)
        names = [name for name in dir(status) if name.startswith("st_")]
        is_link = stat.S_ISLNK(status.st_mode)
        attributes = stat.FILE_ATTRIBUTE_REPARSE_POINT if is_link else 0
        values = {name: getattr(status, name) for name in names}
        return SimpleNamespace(**values, st_file_attributes=attributes)

    def fsync(file: Any) -> None:
        descriptor = file if isinstance(file, int) else file.fileno()
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        os.fsync(descriptor)

    taking_paths = ("open", "stat", "scandir", "listdir", "unlink", "chmod")
    return {
        **{name: refuse_descriptors(name) for name in taking_paths},
        "lstat": lstat,
        "fsync": fsync,
        "O_BINARY": 0,
    }


def registry(processor: str) -> ModuleType:
    """Return `winreg` with the one key that our code reads."""
    module = ModuleType("winreg")
    at = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
    values = {at: {"ProcessorNameString": (f"{processor} ", 1)}}
    module.__dict__.update(
        HKEY_LOCAL_MACHINE=0,
        OpenKey=lambda _root, name: contextlib.nullcontext(values[name]),
        QueryValueEx=lambda key, name: key[name],
    )
    return module


def on_the_cpu(genai: ModuleType, folder: str) -> Any:
    """Return a config that runs on the CPU: there is no DirectML here."""
    config = genai.Config(folder)
    config.clear_providers()
    return config


def instead_of(facts: dict[str, Any]) -> dict[str, dict[str, object]]:
    """Return by module what it has in place of Linux's."""
    lacked = {name.partition(".")[2] for name in facts["lacking"].get("signal", ())}
    kept = {one.name: one.value for one in signal.Signals if one.name not in lacked}
    windows = facts["platform"] == "win32"
    return {
        "sys": {"platform": facts["platform"]},
        "platform": {
            "system": lambda: facts["system"],
            "machine": lambda: facts["machine"],
            "processor": lambda: facts["processor"],
            "release": lambda: facts["release"],
            "version": lambda: facts["release"],
            "uname": lambda: (facts["system"], "host", facts["release"], "", facts["machine"]),
        },
        "signal": {"Signals": enum.IntEnum("Signals", kept)} if windows else {},
        "os": windows_os() if windows else {},
    }


def become(facts: dict[str, Any]) -> None:
    """Be the system of ``facts`` to our code from now on."""
    real, instead = builtins.__import__, instead_of(facts)
    masked: dict[str, Masked] = {}

    def import_(name: str, *arguments: Any, **named: Any) -> ModuleType:
        about = (arguments[0] if arguments else named.get("globals")) or {}
        level = arguments[3] if len(arguments) > 3 else named.get("level", 0)
        who, package = str(about.get("__name__")), str(about.get("__package__") or "")
        if level or not is_ours(who, package, str(about.get("__file__"))):
            return real(name, *arguments, **named)
        if name in facts["absent"]:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        if name == "winreg" and facts["platform"] == "win32":
            return registry(facts["processor"])
        module = real(name, *arguments, **named)
        if name == "onnxruntime_genai" and facts["platform"] == "win32":
            return Masked(module, set(), {"Config": lambda folder: on_the_cpu(module, folder)})
        if name not in facts["lacking"] and name not in instead:
            return module
        if name not in masked:
            masked[name] = Masked(module, {*facts["lacking"].get(name, ())}, instead.get(name, {}))
        return masked[name]

    builtins.__import__ = import_
    hide_kernel()


if "AS_SYSTEM" in os.environ:
    become(json.loads(Path(os.environ["AS_SYSTEM"]).read_text("utf-8")))
