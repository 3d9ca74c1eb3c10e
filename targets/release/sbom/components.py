"""Turns each thing of a release into a CycloneDX component.

References (``bom-ref``) are derived from identity, so that the same wheel in two toolchains is one
component, and two files with the same name and version are two.

The library has no class for a data component's ``data``; its content is in properties that begin
with ``quern:``. Everything names its supplier, as NTIA's minimum elements ask.
"""

from __future__ import annotations

from collections.abc import Iterable

from cyclonedx.model import AttachedText, HashAlgorithm, HashType, Property
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalContact, OrganizationalEntity
from cyclonedx.model.license import (
    DisjunctiveLicense,
    License,
    LicenseAcknowledgement,
    LicenseExpression,
)
from cyclonedx.spdx import is_supported_id
from packageurl import PackageURL

from pipeline.contract.sha256 import sha256_of_bytes
from targets.release.sbom.contents import (
    DataSet,
    DebianPackage,
    DebianSystem,
    Model,
    PythonPackage,
    Release,
    ToolchainContents,
)
from targets.release.sbom.licences import Licence, licence_of

NOT_STATED = "not stated"
_PYTHON = "Python Software Foundation"
_DECLARED = LicenseAcknowledgement.DECLARED


def release_component(release: Release) -> Component:
    """Return the release as a whole, the subject of the SBOM."""
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"release/{release.name}@{release.version}",
        name=release.name,
        version=release.version,
        supplier=supplier(release.supplier),
    )


def quern_component(version: str) -> Component:
    """Return Quern as the tool that made the SBOM."""
    return Component(
        type=ComponentType.APPLICATION,
        bom_ref=f"tool/quern@{version}",
        name="quern",
        version=version,
        supplier=supplier("Quern"),
    )


def model_component(model: Model) -> Component:
    """Return a model: an archive of the release, a base model, an adapter."""
    owner, _, name = model.name.rpartition("/")
    licence = licence_of(model.licence)
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"model/{model.name}@{model.version}/{model.sha256 or model.digest}",
        name=model.name,
        version=model.version or model.sha256 or model.digest or None,
        supplier=supplier(model.supplier or owner),
        hashes=_sha256(model.sha256),
        licenses=_licences(licence),
        # As https://github.com/package-url/purl-spec says for huggingface: lower-case revision.
        purl=PackageURL("huggingface", owner, name, model.version.lower()) if model.hub else None,
        properties=_properties(("digest", model.digest), _licence_fact(licence), *model.facts),
    )


def data_component(data: DataSet) -> Component:
    """Return a data set."""
    licence = licence_of(data.licence)
    return Component(
        type=ComponentType.DATA,
        bom_ref=f"data/{data.name}/{data.sha256 or data.digest}",
        name=data.name,
        # Data has no version of its own: its digest says which it is.
        version=data.sha256 or data.digest,
        supplier=supplier(data.supplier),
        hashes=_sha256(data.sha256),
        licenses=_licences(licence),
        properties=_properties(("digest", data.digest), _licence_fact(licence), *data.facts),
    )


def toolchain_component(toolchain: ToolchainContents) -> Component:
    """Return a toolchain."""
    facts = (("platform", toolchain.platform), ("python", toolchain.python))
    identity = sha256_of_bytes(repr((toolchain.digest, facts)).encode())
    return Component(
        type=ComponentType.PLATFORM,
        bom_ref=f"toolchain/{toolchain.target}/{identity}",
        name=f"quern-toolchain-{toolchain.target}",
        version=toolchain.digest,
        supplier=supplier("Quern"),
        properties=_properties(*facts),
    )


def wheel_component(wheel: PythonPackage) -> Component:
    """Return a wheel."""
    qualifiers = {"repository_url": wheel.index} if wheel.index else None
    return Component(
        type=ComponentType.LIBRARY,
        bom_ref=f"wheel/{wheel.name}@{wheel.version}/{wheel.sha256}",
        name=wheel.name,
        version=wheel.version,
        description=wheel.summary or None,
        supplier=supplier(", ".join(wheel.authors)),
        authors=[OrganizationalContact(name=author) for author in wheel.authors],
        hashes=_sha256(wheel.sha256),
        licenses=_licences(wheel.licence),
        purl=PackageURL("pypi", None, wheel.name, wheel.version, qualifiers),
        properties=_properties(("file", wheel.file), _licence_fact(wheel.licence)),
    )


def system_component(system: DebianSystem) -> Component:
    """Return the operating system of an image."""
    return Component(
        type=ComponentType.OPERATING_SYSTEM,
        bom_ref=f"system/{system.distro}",
        name=system.name,
        version=system.version,
        supplier=supplier(system.name.capitalize()),
    )


def python_component(version: str) -> Component:
    """Return a CPython that is not from a package of the system."""
    return Component(
        type=ComponentType.APPLICATION,
        bom_ref=f"python/{version}",
        name="python",
        version=version,
        supplier=supplier(_PYTHON),
        purl=PackageURL("generic", None, "python", version),
    )


def debian_component(package: DebianPackage, system: DebianSystem) -> Component:
    """Return a Debian package; its package URL is written as Syft and Grype do.

    Debian tracks vulnerabilities by source package, which ``upstream`` names where it differs.
    """
    qualifiers = {"arch": package.architecture, "distro": system.distro}
    if package.source_version != package.version:
        qualifiers["upstream"] = f"{package.source}@{package.source_version}"
    elif package.source != package.name:
        qualifiers["upstream"] = package.source
    return Component(
        type=ComponentType.LIBRARY,
        bom_ref=f"deb/{system.distro}/{package.name}@{package.version}/{package.architecture}",
        name=package.name,
        version=package.version,
        description=package.summary or None,
        supplier=supplier(package.maintainer),
        purl=PackageURL("deb", system.name, package.name, package.version, qualifiers),
        properties=_properties(_licence_fact(None)),
    )


def supplier(name: str) -> OrganizationalEntity:
    """Return who provides something; it says so if nobody is known."""
    return OrganizationalEntity(name=name or NOT_STATED)


def _sha256(digest: str) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else []


def _licences(licence: Licence | None) -> list[License]:
    if licence is None:
        return []
    if not licence.expression:
        text = AttachedText(content=licence.text) if licence.text else None
        return [DisjunctiveLicense(name=licence.name, text=text, acknowledgement=_DECLARED)]
    if is_supported_id(licence.expression):
        return [DisjunctiveLicense(id=licence.expression, acknowledgement=_DECLARED)]
    return [LicenseExpression(licence.expression, acknowledgement=_DECLARED)]


def _licence_fact(licence: Licence | None) -> tuple[str, str]:
    return ("licence", "" if licence else NOT_STATED)


def _properties(*facts: tuple[str, str]) -> Iterable[Property]:
    return [Property(name=f"quern:{name}", value=value) for name, value in facts if value]
