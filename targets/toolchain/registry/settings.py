"""Which registry has images of toolchains, and whose: plain data, known before any engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


def is_pulled(reference: str) -> bool:
    """Return whether ``reference``, of a toolchain's image, names a registry: the others are named
    ``quern/…``, and a registry's host has a dot, a port or the name ``localhost``."""
    host, slash, _ = reference.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")


@dataclass(frozen=True)
class RegistrySettings:
    """One repository of a registry."""

    address: str
    """``HOST/REPOSITORY``, without a tag."""
    trust: tuple[Path, ...] = ()
    """Files of the keys of which one must have signed an image; without any, nobody need have."""

    @property
    def signed(self) -> str:
        """Return, in words, whether an image that is used is signed."""
        return "signed" if self.trust else "nobody signed it, since the config trusts no key"
