"""The input of an SBOM: a release's models, with their data, toolchains and packages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from targets.release.sbom.licences import Licence


@dataclass(frozen=True)
class PythonPackage:
    """A wheel of a toolchain, as its METADATA describes it."""

    name: str
    """Normalized, as in the lock."""
    version: str
    file: str
    """Name of the wheel, which includes its platform."""
    sha256: str
    """SHA-256 of the file that was installed."""
    licence: Licence | None = None
    """The licence; ``None`` if the METADATA states none."""
    summary: str = ""
    authors: tuple[str, ...] = ()
    index: str = ""
    """URL of the index that has it, if that is not PyPI."""


@dataclass(frozen=True)
class DebianPackage:
    """A package that dpkg lists as installed."""

    name: str
    version: str
    architecture: str
    source: str
    """Name of the source package, by which Debian tracks vulnerabilities."""
    source_version: str
    summary: str = ""
    maintainer: str = ""


@dataclass(frozen=True)
class DebianSystem:
    """The operating system in an image."""

    name: str
    """As in os-release: ``debian``."""
    version: str
    """As in os-release: ``12``."""
    packages: tuple[DebianPackage, ...]
    python: str = ""
    """Version of a CPython that is none of the packages, as in the image ``python:3.11-slim``."""

    @property
    def distro(self) -> str:
        """Return its name in package URLs: ``debian-12``."""
        return f"{self.name}-{self.version}"


@dataclass(frozen=True)
class ToolchainContents:
    """A toolchain with all of its contents, which are the same wherever it runs.

    What is around it differs from machine to machine: a :class:`DebianSystem` in an image, or the
    machine's own.
    """

    target: str
    platform: str
    digest: str
    python: str
    wheels: tuple[PythonPackage, ...]


@dataclass(frozen=True)
class Metric:
    """A figure of a model's quality."""

    name: str
    """As ``accuracy``."""
    value: float
    of: str
    """What was measured: ``base``, ``tuned`` or ``artifact``."""


@dataclass(frozen=True)
class ModelFacts:
    """What the model card of an artifact says beside its data sets."""

    task: str
    metrics: tuple[Metric, ...] = ()
    quantization: tuple[tuple[str, str], ...] = ()
    """Parameters of the quantization."""
    intended_use: str = ""
    limitations: str = ""


@dataclass(frozen=True)
class Model:
    """A model as one component: an archive of the release, its base model, or an adapter."""

    name: str
    version: str = ""
    """Of the release, or the revision of a model from the hub."""
    sha256: str = ""
    """Of its file, where it is one file."""
    digest: str = ""
    """Else Quern's digest over its files."""
    licence: str = ""
    """As its maker states it: an SPDX expression or a name."""
    hub: bool = False
    """Whether ``name`` is a repository on the Hugging Face hub."""
    supplier: str = ""
    """Who provides it."""
    facts: tuple[tuple[str, str], ...] = ()
    """Further properties: ``("target", "cpu")`` becomes ``quern:target``."""


@dataclass(frozen=True)
class DataSet:
    """A data set that models were trained or checked with."""

    name: str
    sha256: str = ""
    """Of its file, where it is one file."""
    digest: str = ""
    """Else Quern's digest of its rows."""
    licence: str = ""
    supplier: str = ""
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Artifact:
    """A model of the release, with its inputs and toolchains."""

    model: Model
    facts: ModelFacts
    toolchains: tuple[ToolchainContents, ...]
    """The toolchain of the target, and that of the host target if it trained."""
    base: Model | None = None
    adapter: Model | None = None
    data: tuple[DataSet, ...] = ()
    runs_on: tuple[PythonPackage, ...] = ()
    """The wheels that are enough to run it."""


@dataclass(frozen=True)
class Release:
    """The release that the SBOM describes."""

    name: str
    version: str
    quern: str
    """Version of Quern."""
    artifacts: tuple[Artifact, ...]
    supplier: str = ""
    """Who releases it."""
    time: datetime | None = None
    """Time of the commit that it was made from; ``None`` if there is none."""
