"""Detects unfilled placeholders inside longer text and lists."""

from __future__ import annotations

import re
from typing import Any

from targets.config.olive.ledger import State, leaves
from targets.config.olive.node import Node

_PLACEHOLDER = re.compile(r"<[A-Za-z_][\w -]*>|\$\{\w+\}|\{\{\s*\w+\s*\}\}")
_TEXT = re.compile(r"template|joiner|token|text|prompt", re.IGNORECASE)
"""Keys whose values are text for the model, where ``<s>`` and ``{{x}}`` mean what they say."""


def refuse_placeholders(root: Node) -> None:
    """Refuse used values that contain an unfilled placeholder, as in ``models/<MODEL>``."""
    for path, value in leaves(root.raw, ()):
        if root.ledger.state(path) not in (State.HONOURED, State.TRANSLATED):
            continue
        if any(isinstance(part, str) and _TEXT.search(part) for part in path[-1:]):
            continue
        for text in value if isinstance(value, list) else [value]:
            placeholder = _placeholder_in(text)
            if placeholder is not None:
                Node(value, path, root.ledger).refuse(
                    f"the placeholder {placeholder} was left unfilled", "write what it stands for"
                )


def _placeholder_in(value: Any) -> str | None:
    match = _PLACEHOLDER.search(value) if isinstance(value, str) else None
    return match[0] if match else None
