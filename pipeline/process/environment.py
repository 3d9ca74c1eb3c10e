"""Sets the process's environment before ML libraries are imported: threads, no hub, no secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.process.machines import Machines, interface_to

_SECRET = re.compile(
    r"(^|_)(TOKENS?|SECRETS?|PASSWORD|PASSWD|CREDENTIALS?|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY)(_|$)"
    r"|^(PIP|UV)_(\w+_)?INDEX_URL$",
    re.IGNORECASE,
)
"""Names of variables that only steps that fetch from the hub may read."""

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_GPUS = "CUDA_VISIBLE_DEVICES"
_GIVEN_GPUS = "QUERN_GIVEN_GPUS"
"""Those that the process was given, for the processes of a training on several."""
_NETWORKS = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_LOOPBACK = "lo"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Secrets:
    """Variables removed from the environment, and put back for steps that fetch from the hub."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        self._values = {name: value for name, value in environ.items() if _SECRET.search(name)}
        for name in self._values:
            del environ[name]

    @contextmanager
    def restored(self, hub: bool) -> Iterator[None]:
        """Put the variables back while the block runs, if ``hub``."""
        if hub:
            self._environ.update(self._values)
        try:
            yield
        finally:
            for name in self._values:
                self._environ.pop(name, None)

    def redact(self, text: str) -> str:
        """Return ``text`` with every secret value replaced."""
        for value in sorted(self._values.values(), key=len, reverse=True):
            if len(value) >= 4:
                text = text.replace(value, "***")
        return text


def prepare(environ: MutableMapping[str, str], threads: int, network: bool, scratch: Path) -> None:
    """Set the variables that libraries read when they are imported.

    ``scratch`` is a folder for their files, because the root file system may be read-only and
    ``/tmp`` in memory.
    """
    environ["TMPDIR"] = str(scratch)
    environ.setdefault("HF_HOME", str(scratch / "huggingface"))
    for name in _THREADS:
        environ[name] = str(threads)
    environ["RAYON_NUM_THREADS"] = str(threads)
    # A thread that waits for the others spins by default. Where two processes share the cores, it
    # takes the time of those it waits for. https://gcc.gnu.org/onlinedocs/libgomp/OMP_005fWAIT_005fPOLICY.html
    environ["OMP_WAIT_POLICY"] = "PASSIVE"
    _show_one_gpu(environ)
    environ["TOKENIZERS_PARALLELISM"] = "true"
    environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    environ["DO_NOT_TRACK"] = "1"
    # bitsandbytes asks for PyTorch's compiler when it is imported, which takes a second. Containers
    # have no C compiler for it, and what it made elsewhere would round otherwise.
    environ["TORCHDYNAMO_DISABLE"] = "1"
    environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    if not network:
        environ.update(dict.fromkeys(_OFFLINE, "1"))


def of_ranks(
    environ: Mapping[str, str], processes: int, machines: Machines | None = None
) -> dict[str, str]:
    """Return the variables of this machine's ``processes`` that train together: as many of the GPUs
    that this process was given, of which it sees one, and the network of this machine alone, or
    that through which it reaches the others."""
    gpus = _given_gpus(environ)[:processes]
    shown = {_GPUS: ",".join(gpus)} if any(gpus) else {}
    network = _LOOPBACK if machines is None else interface_to(machines.reached)
    return {**environ, **shown, **(dict.fromkeys(_NETWORKS, network) if network else {})}


def _given_gpus(environ: Mapping[str, str]) -> list[str]:
    return environ.get(_GIVEN_GPUS, "").split(",")


def is_first_rank(environ: Mapping[str, str]) -> bool:
    """Return whether a process trains alone, or is the first of several that do so together."""
    return environ.get("RANK", "0") == "0"


def own_gpu(environ: Mapping[str, str]) -> int:
    """Return which of the GPUs is that of this process of several, as torchrun says."""
    return int(environ.get("LOCAL_RANK", "0"))


def take_secrets() -> Secrets:
    """Remove the secrets from this process's environment, and return them."""
    return Secrets(os.environ)


def _show_one_gpu(environ: MutableMapping[str, str]) -> None:
    """Show the process one GPU, the first of those it would see: transformers' Trainer splits each
    batch over all that it sees, and then trains something else."""
    environ[_GIVEN_GPUS] = environ.get(_GPUS, "")
    environ[_GPUS] = environ.get(_GPUS, "0").partition(",")[0]
