"""Examines whether the package index (if wheels are missing) and the model hub can be reached."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import requests

from targets.doctor.finding import Finding, Machine
from targets.runtimes.hub_settings import hub_endpoint, hub_is_offline
from targets.toolchain.credentials import scrub

_ANSWER_SECONDS = 3


def hub(_machine: Machine) -> Iterator[Finding]:
    """Examine the hub at ``HF_ENDPOINT``, which only models of the hub need."""
    endpoint = hub_endpoint()
    shown = scrub(endpoint)
    details = {"endpoint": shown, "token": bool(os.environ.get("HF_TOKEN", "").strip())}
    if hub_is_offline():
        yield Finding("ok", "hub", "is not asked: HF_HUB_OFFLINE is set", details=details)
        return
    try:
        answer = requests.get(f"{endpoint}/api/models?limit=1", timeout=_ANSWER_SECONDS)
        answer.raise_for_status()
    except requests.RequestException as error:
        yield Finding(
            "warning",
            "hub",
            f"{shown} cannot be reached ({type(error).__name__})",
            "only `hf:` models need it: use a local model folder, or set HF_ENDPOINT to a mirror",
            details,
        )
        return
    yield Finding("ok", "hub", f"{shown} answers", details=details)


def index_answers() -> bool:
    """Return whether pip, as it is configured here, can reach its package index."""
    ask = ["index", "versions", "pip", "--timeout", str(_ANSWER_SECONDS), "--retries", "0"]
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", *ask],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWER_SECONDS + 1,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0
