"""The environment of a toolchain in a workspace: an image of a registry by its digest, or a recipe
that the workspace makes an image of: the same base, the same lock, every wheel held to its hash."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.sha256 import sha256_of_bytes, sha256_of_file
from targets.errors import EnvironmentUnable
from targets.systems.azureml.sdk import quiet
from targets.systems.azureml.workspace import Workspace
from targets.systems.system import Say
from targets.toolchain.engine import connect
from targets.toolchain.image import (
    COMPILER,
    LOCK,
    base_dir,
    base_recipe,
    expected_image,
    image_labels,
    recipe_digest,
)
from targets.toolchain.registry.exchange import RegistryFailed
from targets.toolchain.registry.image_registry import ImageRegistry
from targets.toolchain.registry.settings import RegistrySettings
from targets.toolchain.requirements import read_lock
from targets.toolchain.toolchain import Toolchain
from targets.version import invocation

DOCKERFILE = "Dockerfile"
_VERSION_DIGITS = 32


@dataclass(frozen=True)
class AzureEnvironment:
    """An environment of a workspace."""

    reference: str
    """``azureml:NAME:VERSION``."""
    base: str
    """Reference of its base image."""
    image: str
    """What names exactly its image: a digest in a registry, or the environment itself."""


def environment_of(
    workspace: Workspace, toolchain: Toolchain, registry: RegistrySettings | None, say: Say
) -> AzureEnvironment:
    """Return the environment of ``toolchain``, which the workspace knows by then.

    Raises ``EnvironmentUnable``.
    """
    with quiet():
        from azure.ai.ml.entities import BuildContext, Environment

    base = base_recipe(toolchain).registry.reference
    if registry is not None:
        image = f"{registry.address}@{signed_digest(toolchain, registry)}"
        version = sha256_of_bytes(image.encode())[:_VERSION_DIGITS]
        found = _environment(toolchain, version, base, image)
        return _known(workspace, found, Environment(**_named(found), image=image), say)
    with _recipe(toolchain) as folder:
        digests = [sha256_of_file(file) for file in sorted(folder.iterdir())]
        version = sha256_of_bytes(" ".join(digests).encode())[:_VERSION_DIGITS]
        found = _environment(toolchain, version, base)
        build = BuildContext(path=str(folder), dockerfile_path=DOCKERFILE)
        return _known(workspace, found, Environment(**_named(found), build=build), say)


def _environment(
    toolchain: Toolchain, version: str, base: str, image: str = ""
) -> AzureEnvironment:
    reference = f"azureml:quern-{toolchain.target}:{version}"
    return AzureEnvironment(reference, base, image or reference)


def _named(environment: AzureEnvironment) -> dict[str, str]:
    _, name, version = environment.reference.split(":")
    return {"name": name, "version": version}


def _known(
    workspace: Workspace, found: AzureEnvironment, described: object, say: Say
) -> AzureEnvironment:
    """Have the workspace know ``found``, and return it."""
    from azure.core.exceptions import ResourceNotFoundError

    with workspace.asking(f"the environment {found.reference}"):
        try:
            workspace.client.environments.get(**_named(found))
        except ResourceNotFoundError:
            say(f"the environment {found.reference} is new: its first job waits for its image")
            workspace.client.environments.create_or_update(described)
    return found


def signed_digest(toolchain: Toolchain, settings: RegistrySettings) -> str:
    """Return the digest that a registry has for the recipe, signed by whom ``settings`` trust.

    The image itself does not come here: without a key to trust, nothing shows what is in it.
    Raises ``EnvironmentUnable``.
    """
    registry, expected = ImageRegistry(settings), expected_image(toolchain)
    remedy = f"bring it there: `{invocation('images', '--push')}`, or leave out image_registry"
    try:
        client = connect()
        digest = registry.ask(client, expected)
        if digest is not None:
            registry.require_signed(client, expected, digest)
    except RegistryFailed as failed:
        raise EnvironmentUnable(f"{registry.address}: {failed}", failed.advice) from None
    if digest is None:
        raise EnvironmentUnable(
            f"{registry.address} has no image of the {toolchain.target} toolchain for this recipe "
            f"({recipe_digest(toolchain)[:12]})",
            remedy,
        )
    return digest


@contextmanager
def _recipe(toolchain: Toolchain) -> Iterator[Path]:
    """Yield a folder from which the workspace builds the image. Unlike on this machine it fetches
    the wheels itself, each held to its hash, and takes the base from its registry."""
    expected = expected_image(toolchain)
    pins = read_lock(toolchain.lock)
    indexes = sorted({pin.pytorch_index for pin in pins if pin.pytorch_index is not None})
    pip = ["--no-cache-dir", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    pip += [word for index in indexes for word in ("--extra-index-url", index)]
    labels = {**image_labels(toolchain), "quern.built-by": "azureml"}
    lines = (
        f"FROM {base_recipe(toolchain).registry.reference}",
        f"COPY {LOCK} {COMPILER} /build/",
        "RUN python3 -m venv /opt/quern \\",
        f" && /opt/quern/bin/python -m pip install {shlex.join(pip)} -r /build/{LOCK} \\",
        f" && /opt/quern/bin/python /build/{COMPILER} && rm -r /build",
        "ENV " + " ".join(f"{name}={value}" for name, value in expected.variables.items()),
        "LABEL " + " ".join(f"{name}={value}" for name, value in labels.items()),
    )
    with tempfile.TemporaryDirectory(prefix="quern-recipe-") as name:
        folder = Path(name)
        (folder / DOCKERFILE).write_text("\n".join(lines) + "\n", "utf-8")
        shutil.copyfile(toolchain.lock, folder / LOCK)
        shutil.copyfile(base_dir(toolchain) / COMPILER, folder / COMPILER)
        yield folder
