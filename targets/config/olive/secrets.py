"""Recognizes values of a file that may be secrets, which are neither shown nor stored."""

from __future__ import annotations

import re
from typing import Any

_NAME = re.compile(
    r"(^|_)(secret|password|passwd|credentials?|sas|api_?key|account_key|access_key|storage_key"
    r"|sas_key|client_key|connection_string|use_auth_token|auth_token|access_token|hub_token"
    r"|hf_token)($|_)|^(token|key)$",
    re.IGNORECASE,
)
_BELOW = {"environment_variables", "environment", "run_params", "build_args"}
"""Tables whose values are variables of a process: any of them may be a secret."""

_IN_ADDRESS = re.compile(r"(?<=://)[^/\s:@\"]+:[^/\s@\"]+(?=@)")
_HIDDEN = "***"


def is_secret(name: str | int) -> bool:
    """Return whether a key of this name holds a secret."""
    return isinstance(name, str) and _NAME.search(name) is not None


def masked(path: tuple[str | int, ...], value: Any) -> Any:
    """Return ``value``, which stands at ``path``, without what may be secret in it."""
    hidden = any(is_secret(part) or part in _BELOW for part in path)
    if isinstance(value, dict):
        return {key: masked((*path, key), item) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(path, item) for item in value]
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        return value
    if hidden:
        return _HIDDEN
    return _IN_ADDRESS.sub(_HIDDEN, value) if isinstance(value, str) else value


def holds_secret(name: str | int, value: Any) -> bool:
    """Return whether ``value``, under the key ``name``, holds a secret anywhere."""
    return bool(masked((name,), value) != value)
