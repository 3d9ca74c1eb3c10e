"""What the user should know of tools, which runtimes have given to chat templates in two forms."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.version import Version

from pipeline.builder.portable_template import GIVES_TOOLS
from targets.toolchain.locked_builder import builder_pin
from targets.toolchain.toolchain import Toolchain


def note_on_form(toolchain: Toolchain) -> Iterator[str]:
    """Yield a note where ``toolchain`` shows a model other tools than transformers."""
    pin = builder_pin(toolchain)
    if pin.version < Version(GIVES_TOOLS):
        yield (
            f"rows have tools, which {pin.name} {pin.version} gives to the chat template in "
            "another form than transformers does: the check quality will fail for their "
            "prompts, unless the data set has a chat_template"
        )
