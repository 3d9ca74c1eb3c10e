"""What an image must be to be the one of a recipe, and what of an image is otherwise."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from targets.toolchain.rootfs import MAKERS

_UNSET = ("Entrypoint", "User", "Volumes", "OnBuild", "Healthcheck", "WorkingDir")
"""Settings that no recipe has, and that would change how a step runs."""
_INSTRUCTION = re.compile(r"^(ENV|CMD)\s+(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class ExpectedImage:
    """The image of a toolchain, as its recipe has it."""

    target: str
    platform: str
    recipe: str
    """Digest of everything that it is made from."""
    labels: Mapping[str, str]
    base_label: str
    """Name of the label with the identity of its base."""
    variables: Mapping[str, str]
    """What the Dockerfile sets."""
    command: tuple[str, ...]

    @property
    def tag(self) -> str:
        """Return its tag in a registry, which is the recipe."""
        return f"{self.target}-{self.recipe}"

    def differences(self, attributes: Mapping[str, Any]) -> Iterator[str]:
        """Yield, in words, what of an image with these ``attributes`` (``docker image inspect``) is
        not as the recipe has it. Its files cannot be seen there."""
        platform = f"{attributes['Os']}/{attributes['Architecture']}"
        if platform != self.platform:
            yield f"it is for {platform}"
        config = attributes["Config"]
        labels = config.get("Labels") or {}
        for name, value in self.labels.items():
            if labels.get(name) != value:
                yield f"its label {name} is {labels.get(name, 'missing')!r}"
        base = labels.get(self.base_label, "")
        if "@sha256:" not in base:
            yield f"its label {self.base_label} names no base"
        made_here = base.partition(":")[0] in MAKERS
        layers = attributes["RootFS"].get("Layers") or [""]
        if made_here and layers[0].rpartition(":")[2] != base.rpartition(":")[2]:
            yield f"its first layer is not the base {base}"
        variables = dict(one.partition("=")[::2] for one in config.get("Env") or ())
        # A registry's Python image sets some of its own.
        compared = (
            variables if made_here else {name: variables.get(name) for name in self.variables}
        )
        if compared != self.variables:
            names = sorted(
                name
                for name in {*compared, *self.variables}
                if compared.get(name) != self.variables.get(name)
            )
            yield f"it sets other variables: {', '.join(names)}"
        if tuple(config.get("Cmd") or ()) != self.command:
            yield f"its command is {config.get('Cmd')!r}"
        for name in _UNSET:
            if config.get(name):
                yield f"it sets {name}: {config[name]!r}"


def settings_in(dockerfile: str) -> tuple[dict[str, str], str]:
    """Return the variables and the command that the last stage of ``dockerfile`` sets."""
    stage = dockerfile.replace("\\\n", " ").rpartition("\nFROM ")[2]
    found = dict(_INSTRUCTION.findall(stage))
    return dict(one.partition("=")[::2] for one in shlex.split(found["ENV"])), found["CMD"]
