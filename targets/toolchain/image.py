"""The image of a toolchain: base + wheels, built without network, named by its inputs' digest."""

from __future__ import annotations

import json
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, cast

from docker import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.images import Image as EngineImage
from requests.exceptions import RequestException

from pipeline.contract.sha256 import sha256_of_bytes, sha256_of_file
from targets.disk import CACHE_REMEDY, Need
from targets.errors import EnvironmentUnable, Interrupted
from targets.toolchain.base import BaseImage, BaseRecipe, ensure_base, read_recipe
from targets.toolchain.context import tar_stream
from targets.toolchain.debian.extra_files import extra_files
from targets.toolchain.debian.packages import lock_file
from targets.toolchain.engine import (
    data_root,
    full_disk,
    platform_of,
    reason,
    request_timeout,
    short_tags,
)
from targets.toolchain.engine_clock import engine_time, time_of
from targets.toolchain.engine_lock import engine_lock
from targets.toolchain.registry.expected import ExpectedImage, settings_in
from targets.toolchain.registry.image_registry import ImageRegistry, PulledImage
from targets.toolchain.requirements import read_lock
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.wheelhouse import Wheelhouse

PYTHON = "/opt/quern/bin/python"
"""The toolchain's Python inside every image."""

COMPILER = "compile_bytecode.py"
DOCKERFILE = "Dockerfile"
LOCK = "requirements.lock"
"""Name of the lock in the Dockerfile, for every platform."""

BASE_LABEL = "quern.base"
"""Label with the identity of the base from which an image was built."""

_STAGE_LABEL = "quern.stage"
"""Label of the first stage; the Dockerfile has it with the value ``install``."""
_BUILD_SECONDS = 1800
_STOP_SECONDS = 3
_QUIET_SECONDS = 0.5


@dataclass(frozen=True)
class Image:
    """A toolchain's image in the engine."""

    tag: str
    id: str
    base: str
    """Identity of the base image from which it was built."""
    digest: str = ""
    """Digest of its manifest in the registry that it came from; empty if it was built here."""

    @property
    def reference(self) -> str:
        """Return what names exactly this image, in the registry that it came from or here."""
        return f"{self.tag}@{self.digest or self.id}"


def base_dir(toolchain: Toolchain) -> Path:
    """Return the folder ``images/base``, which every image shares."""
    return toolchain.image_dir.parent / "base"


def base_recipe(toolchain: Toolchain) -> BaseRecipe:
    """Return the recipe of the base that the image of ``toolchain`` is built on."""
    return read_recipe(base_dir(toolchain) / "base.toml")


def installer(toolchain: Toolchain) -> Toolchain:
    """Return the pinned installer, itself a toolchain, that installs the wheels into the image."""
    return replace(
        toolchain,
        image_dir=base_dir(toolchain),
        environment={},
        requirements="requirements.in",
        parent=None,
    )


def recipe_digest(toolchain: Toolchain) -> str:
    """Return SHA-256 over every file that the image depends on, and over the parent's recipe."""
    shared = base_dir(toolchain)
    files = [
        shared / DOCKERFILE,
        toolchain.lock,
        shared / "base.toml",
        shared / COMPILER,
        installer(toolchain).lock,
    ]
    packages = (lock_file(shared, toolchain.platform), toolchain.files_lock)
    files += [path for path in packages if path.exists()]
    digests = [sha256_of_file(path) for path in files]
    if toolchain.parent is not None:
        digests.append(recipe_digest(toolchain.parent))
    return sha256_of_bytes(json.dumps([toolchain.platform, digests]).encode())


def find_image(
    client: DockerClient, toolchain: Toolchain, registry: ImageRegistry | None = None
) -> Image | None:
    """Return the image of ``toolchain`` if the engine has it for its current inputs: built here,
    brought as a file, or pulled from ``registry``."""
    recipe = recipe_digest(toolchain)
    images = client.images.list(filters={"label": f"quern.recipe={recipe}", "dangling": False})
    for image in images:
        # A tag with the whole recipe is a registry's, even if that is called quern.
        names = (tag for tag in short_tags(image.tags) if not tag.endswith(recipe))
        tags = [tag for tag in names if tag.startswith(f"quern/{toolchain.target}:")]
        if tags:
            return Image(tags[0], str(image.id), image.labels[BASE_LABEL])
    pulled = None if registry is None else registry.find(client, expected_image(toolchain))
    return None if pulled is None else _pulled(pulled)


def find_pulled(client: DockerClient, reference: str) -> str | None:
    """Return the id of the image that was pulled as ``reference`` (:attr:`Image.reference`), if the
    engine has it still."""
    name, _, digest = reference.rpartition("@")
    try:
        return str(client.images.get(f"{name.rpartition(':')[0]}@{digest}").id)
    except ImageNotFound:
        return None


def fetch_image(
    client: DockerClient,
    toolchain: Toolchain,
    registry: ImageRegistry,
    say: Callable[[str], None],
) -> Image | None:
    """Pull the image of ``toolchain`` from ``registry``; ``None`` if it is not there.

    Raises ``RegistryFailed``, also for an image that is not what its tag says.
    """
    pulled = registry.fetch(client, expected_image(toolchain), say)
    return None if pulled is None else _pulled(pulled)


def _pulled(pulled: PulledImage) -> Image:
    return Image(pulled.tag, pulled.id, pulled.labels[BASE_LABEL], pulled.digest)


def expected_image(toolchain: Toolchain) -> ExpectedImage:
    """Return what the image of ``toolchain`` must be for its current inputs."""
    dockerfile = (base_dir(toolchain) / DOCKERFILE).read_text(encoding="utf-8")
    variables, command = settings_in(dockerfile)
    return ExpectedImage(
        target=toolchain.target,
        platform=toolchain.platform,
        recipe=recipe_digest(toolchain),
        labels=image_labels(toolchain),
        base_label=BASE_LABEL,
        variables=variables,
        command=tuple(json.loads(command)),
    )


def image_labels(toolchain: Toolchain) -> dict[str, str]:
    """Return the labels that identify the image of ``toolchain`` for its current inputs."""
    return {
        "quern.target": toolchain.target,
        "quern.recipe": recipe_digest(toolchain),
        "quern.toolchain": toolchain.digest,
    }


def adopt_image(image: EngineImage, toolchain: Toolchain) -> Image:
    """Tag a loaded image of ``toolchain`` as if it had been built here."""
    base = image.labels[BASE_LABEL]
    tag = _tag(toolchain, base)
    image.tag(*tag.split(":"))
    return Image(tag, str(image.id), base)


def mark_used(client: DockerClient, image: Image) -> None:
    """Have the engine note that the image is used now, for :func:`superseded_images`: it notes when
    a name was given last, also if it was there already."""
    with suppress(APIError):
        repository, _, tag = image.tag.rpartition(":")
        client.api.tag(image.id, repository, tag)


@dataclass(frozen=True)
class Superseded:
    """An image of a target that is not that of this checkout's recipe."""

    tags: tuple[str, ...]
    bytes: int
    used: datetime
    """When a build of any checkout, with any cache, used it last."""


def superseded_images(client: DockerClient, toolchain: Toolchain) -> tuple[Superseded, ...]:
    """Return the images of this target that were built from other inputs; not their parents."""
    images = client.images.list(
        filters={"label": f"quern.target={toolchain.target}", "dangling": False}
    )
    now = recipe_digest(toolchain)
    return tuple(
        Superseded(tuple(sorted(image.tags)), int(image.attrs["Size"]), _last_used(image))
        for image in sorted(images, key=lambda image: image.tags)
        if image.labels.get("quern.recipe") != now and image.tags
    )


def _last_used(image: EngineImage) -> datetime:
    tagged = time_of(image.attrs.get("Metadata", {}).get("LastTagTime") or image.attrs["Created"])
    return max(tagged, time_of(image.attrs["Created"]))


def image_needs(
    client: DockerClient, toolchain: Toolchain, cache: Path, registry: ImageRegistry | None = None
) -> tuple[Need, ...]:
    """Return the disk space for an image that has to be built: for the wheels and, if the engine is
    on this machine, in the engine."""
    if find_image(client, toolchain, registry) is not None:
        return ()
    wheels = Wheelhouse(cache / "wheels").lacks(toolchain)
    return (
        Need(cache, wheels, f"the {toolchain.target} toolchain", CACHE_REMEDY),
        *_engine_needs(client, toolchain, room_to_build(client, toolchain)),
    )


def room_to_build(client: DockerClient, toolchain: Toolchain) -> int:
    """Return the bytes that the engine needs to build the image: for the wheels that it gets, and
    for both stages, which exist together for a while; without what its parent has, if that is
    there."""
    room = toolchain.room
    parent = None if toolchain.parent is None else find_image(client, toolchain.parent)
    there = 0.0 if parent is None else client.images.get(parent.id).attrs["Size"] / 1e9
    return round(1e9 * (room.wheels + 2 * max(0.0, room.installed - there)))


def pulled_needs(client: DockerClient, toolchain: Toolchain) -> tuple[Need, ...]:
    """Return the disk space for an image that a registry serves: what comes is as large as the
    wheels, and there until it is unpacked."""
    room = toolchain.room
    return _engine_needs(client, toolchain, round(1e9 * (room.wheels + room.installed)))


def _engine_needs(client: DockerClient, toolchain: Toolchain, size: int) -> tuple[Need, ...]:
    root = data_root(client)
    if root is None:
        return ()
    what = f"the {toolchain.target} toolchain as an image"
    return (Need(root, size, what, "`docker system prune` frees space"),)


def ensure_image(
    client: DockerClient,
    toolchain: Toolchain,
    cache: Path,
    say: Callable[[str], None],
    registry: ImageRegistry | None = None,
) -> Image:
    """Return the image of ``toolchain``, building it if it does not exist for the current inputs.

    Nothing is pulled from ``registry``: see :func:`fetch_image`. Raises ``EnvironmentUnable`` with
    the build log if it cannot be built.
    """
    image = find_image(client, toolchain, registry)
    if image is not None:
        return image
    require_same_platform(client, toolchain)

    def waiting() -> None:
        say("another build makes an image on this engine; waiting for it to finish")

    # One build at a time: disk and CPUs are one, and the other may make this very image.
    with engine_lock(client, "image", waiting):
        image = find_image(client, toolchain, registry)
        return image if image is not None else _build(client, toolchain, cache, say)


def _parent(
    client: DockerClient, toolchain: Toolchain, cache: Path, say: Callable[[str], None]
) -> BaseImage:
    """Return what the image of ``toolchain`` is built on: the image of its parent, or the base."""
    parent = toolchain.parent
    if parent is None:
        return ensure_base(client, base_recipe(toolchain), cache, say)
    image = find_image(client, parent) or _build(client, parent, cache, say)
    return BaseImage(image.tag, image.base)


def require_same_platform(client: DockerClient, toolchain: Toolchain) -> None:
    """Raise ``EnvironmentUnable`` if the engine's platform is not that of ``toolchain``."""
    platform = platform_of(client)
    if platform != toolchain.platform:
        raise EnvironmentUnable(
            f"the Docker Engine runs {platform}, the {toolchain.target} toolchain is locked for "
            f"{toolchain.platform}",
            "use an engine of that platform",
        )


def _build(
    client: DockerClient, toolchain: Toolchain, cache: Path, say: Callable[[str], None]
) -> Image:
    shared = base_dir(toolchain)
    wheelhouse = Wheelhouse(cache / "wheels")
    wheels = wheelhouse.ensure(toolchain, say)
    base = _parent(client, toolchain, cache, say)
    inherited = set() if toolchain.parent is None else set(read_lock(toolchain.parent.lock))
    added = [wheel for wheel in wheels if wheel.pin not in inherited]
    tools = wheelhouse.ensure(installer(toolchain), say)
    extra = extra_files(toolchain, cache, say)
    tag = _tag(toolchain, base.identity)
    stage = uuid.uuid4().hex
    context: dict[str, Path | bytes] = {
        DOCKERFILE: _dockerfile(toolchain, base, stage),
        LOCK: "".join(f"{wheel.pin.requirement()}\n" for wheel in added).encode(),
        COMPILER: shared / COMPILER,
        **{f"wheels/{wheel.path.name}": wheel.path for wheel in added},
        **{f"installer/{wheel.path.name}": wheel.path for wheel in tools},
        **{f"lib/{name}": content for name, content in extra.items()},
    }
    say(f"building image {tag}")
    log = cache / "logs" / f"image-{tag.replace('/', '-').replace(':', '-')}.log"
    try:
        _run_build(client, context, base, tag, log)
    except KeyboardInterrupt:
        if not _removed_soon(client, stage):
            raise Interrupted(
                "stopped; but what the engine has built so far may still be there, as an image "
                "without a name",
                "`docker image prune` removes it, or the next build of an image after half an hour",
            ) from None
        raise
    except BaseException:
        _remove_first_stages(client, stage)
        raise
    _remove_first_stages(client, stage)
    built = client.images.get(tag)
    return Image(tag, str(built.id), base.identity)


def _tag(toolchain: Toolchain, base: str) -> str:
    """Return the tag of the image that is built on the base with the identity ``base``."""
    inputs = f"{base}\n{recipe_digest(toolchain)}"
    return f"quern/{toolchain.target}:{sha256_of_bytes(inputs.encode())[:12]}"


def _dockerfile(toolchain: Toolchain, base: BaseImage, stage: str) -> bytes:
    """Return the Dockerfile with the first stage labelled ``stage``, and with all labels of the
    image in one last step; docker-py would add one for each."""
    labels = {**image_labels(toolchain), BASE_LABEL: base.identity}
    text = (base_dir(toolchain) / DOCKERFILE).read_text(encoding="utf-8")
    words = " ".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
    text = text.replace(f"{_STAGE_LABEL}=install", f"{_STAGE_LABEL}={stage}")
    return f"{text}LABEL {words}\n".encode()


def _run_build(
    client: DockerClient,
    context: Mapping[str, Path | bytes],
    base: BaseImage,
    tag: str,
    log: Path,
) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            log.open("w", buffering=1, encoding="utf-8") as file,
            request_timeout(client, _BUILD_SECONDS),
        ):
            messages = client.api.build(
                fileobj=cast("IO[bytes]", tar_stream(context)),  # requests streams any iterable
                custom_context=True,
                tag=tag,
                buildargs={"BASE": base.image},
                network_mode="none",
                rm=True,
                forcerm=True,
                decode=True,
            )
            for message in messages:
                file.write(message.get("stream", ""))
                if "error" in message:
                    file.write(message["error"])
                    raise _failed(message["error"], tag, log)
    except (APIError, RequestException) as error:
        raise _failed(reason(error), tag, log) from error
    except KeyboardInterrupt as interrupt:
        # These frames hold the connection to the engine, which goes on while that is open.
        traceback.clear_frames(interrupt.__traceback__)
        raise


def _failed(why: str, tag: str, log: Path) -> EnvironmentUnable:
    full = full_disk(why, f"building {tag}", log)
    return full or EnvironmentUnable(
        f"image {tag} cannot be built: {why}", "the log says more", log
    )


def _removed_soon(client: DockerClient, stage: str) -> bool:
    """Remove the image of the first stage ``stage`` of a build that was just stopped; return
    whether it is certain that there is none."""
    deadline = time.monotonic() + _STOP_SECONDS
    filters: dict[str, str | list[str] | bool] = {"label": f"{_STAGE_LABEL}={stage}"}
    quiet_since = time.monotonic()
    with request_timeout(client, _STOP_SECONDS):
        while time.monotonic() < deadline:
            try:
                images = client.images.list(filters=filters)
                for image in images:
                    client.images.remove(str(image.id))
                if images or client.containers.list(all=True, filters=filters):
                    quiet_since = time.monotonic()
            except APIError:  # the engine has not noticed yet that nobody waits for the build
                quiet_since = time.monotonic()
            except (DockerException, RequestException):
                return False
            if time.monotonic() - quiet_since > _QUIET_SECONDS:  # it was not between two steps
                return True
            time.sleep(0.1)
    return False


def _remove_first_stages(client: DockerClient, stage: str) -> None:
    """Remove the untagged image of the first stage ``stage``, which has several GB, and those that
    killed builds left. A build with another cache may run beside this one: its is younger."""
    left = engine_time(client) - timedelta(seconds=_BUILD_SECONDS)
    with request_timeout(client, _BUILD_SECONDS):  # a busy disk takes minutes for it
        for image in client.images.list(filters={"label": _STAGE_LABEL, "dangling": True}):
            made = time_of(image.attrs["Created"])
            if image.labels[_STAGE_LABEL] == stage or made < left:
                with suppress(APIError):  # another build uses it, and removes it when done
                    client.images.remove(str(image.id))
