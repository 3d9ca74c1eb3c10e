"""The draft of ``[data.NAME]``, which is filled from the components of an Olive data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from targets.config.olive.context import Context
from targets.config.olive.draft import Draft
from targets.config.olive.node import Node

_SCRIPTS = {"user_script": "script", "script_dir": "script_dir"}


@dataclass(frozen=True)
class DataDraft:
    """One data set of the draft, and values that are written when all components are read."""

    name: str
    draft: Draft
    context: Context
    measured: bool
    """Whether it is used for evaluation only."""
    labelled: bool
    """Whether a metric needs classes; then the answer is the class if it is a single column."""
    code: dict[str, tuple[Any, Node]] = field(default_factory=dict)
    """Keys of ``code``, which are written only if a function of the script is used."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Olive's defaults for keys that the file does not have."""

    def set(
        self, key: str | tuple[str, ...], value: Any, source: Node | None, note: str = ""
    ) -> None:
        """Write ``value`` under ``key`` (see :meth:`Draft.set`)."""
        self.draft.set(self._path(key), value, source, note)

    def derive(self, key: str | tuple[str, ...], value: Any) -> None:
        """Write ``value`` under ``key`` (see :meth:`Draft.derive`)."""
        self.draft.derive(self._path(key), value)

    def get(self, key: str | tuple[str, ...]) -> Any:
        """Return the value under ``key``, or ``None``."""
        return self.draft.get(self._path(key))

    def script(self, node: Node | None) -> None:
        """Read ``user_script`` or ``script_dir``."""
        if node is None or node.refuse_placeholder():
            return
        text = str(node.raw)
        path = self.context.find(text, self.context.data_root) or self.context.find(text)
        self.code[_SCRIPTS[node.name]] = (path or text, node)

    def _path(self, key: str | tuple[str, ...]) -> tuple[str, ...]:
        return ("data", self.name, *((key,) if isinstance(key, str) else key))
