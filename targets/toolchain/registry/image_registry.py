"""A registry with images of toolchains: the tag is the recipe, and what arrives is verified.

In the repository::

    cpu-<recipe>            the image of a recipe
    sha256-<digest>.dsse    who says that the image with this digest was made by a recipe

On this machine a pulled image keeps the registry's name, and only who names the registry uses it:
what one config names decides for no other what its steps run in.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from docker import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.images import Image as EngineImage
from requests.exceptions import RequestException

from targets.toolchain.engine import reason, request_timeout
from targets.toolchain.registry.exchange import (
    ImageRefused,
    RegistryFailed,
    digest_in_registry,
    pull,
    push,
)
from targets.toolchain.registry.expected import ExpectedImage
from targets.toolchain.registry.settings import RegistrySettings
from targets.toolchain.registry.statement import LABEL, refusal, statement_tag, write_statement

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from targets.signatures.signing import Trusted

_ENGINE_SECONDS = 60


@dataclass(frozen=True)
class PulledImage:
    """An image of this engine that came from a registry."""

    tag: str
    """Its name here, that of the registry with the tag of the recipe."""
    id: str
    digest: str
    """Digest of its manifest in the registry."""
    labels: Mapping[str, str]


class ImageRegistry:
    """One repository of a registry, as an engine uses it."""

    def __init__(self, settings: RegistrySettings) -> None:
        self.address = settings.address
        self._settings = settings

    @cached_property
    def trusted(self) -> tuple[Trusted, ...]:
        """Return the keys of which one must have signed; none if nobody need have.

        Raises ``ConfigError`` for a file that is no key.
        """
        if not self._settings.trust:
            return ()
        from targets.signatures.signing import trusted_file

        return tuple(map(trusted_file, self._settings.trust))

    @property
    def _here(self) -> str:
        """Return what Docker calls it, for whom its own registry has no name."""
        return self.address.removeprefix("docker.io/")

    def name(self, expected: ExpectedImage) -> str:
        """Return the name of the image, with its tag."""
        return f"{self.address}:{expected.tag}"

    def find(self, client: DockerClient, expected: ExpectedImage) -> PulledImage | None:
        """Return the image if the engine has it from this registry and it may be used."""
        image = _get(client, self.name(expected))
        if image is None:
            return None
        for reference in image.attrs.get("RepoDigests") or ():
            repository, _, digest = reference.partition("@")
            if repository in (self.address, self._here) and not self._refusal(
                client, image, expected, digest
            ):
                return PulledImage(self.name(expected), str(image.id), digest, image.labels)
        return None

    def ask(self, client: DockerClient, expected: ExpectedImage) -> str | None:
        """Return the digest that the registry has for the recipe; ``None`` if it has no image.

        Takes :data:`ASKING_SECONDS` at most. Raises ``RegistryFailed``.
        """
        return digest_in_registry(client, self.name(expected), expected.platform)

    def fetch(
        self, client: DockerClient, expected: ExpectedImage, say: Callable[[str], None]
    ) -> PulledImage | None:
        """Pull the image of a recipe by its digest, and verify it; ``None`` if it is not there.

        Raises ``RegistryFailed``; no image is left then.
        """
        digest = self.ask(client, expected)
        if digest is None:
            return None
        name = self.name(expected)
        self.require_signed(client, expected, digest)
        with _engine_errors():
            say(f"pulling {name}")
            pull(client, self.address, digest, say)
            image = client.images.get(f"{self.address}@{digest}")
            why = self._refusal(client, image, expected, digest)
            if why:
                _remove(client, f"{self.address}@{digest}")
                raise ImageRefused(why)
            image.tag(self.address, expected.tag)
        say(f"pulled {name}, {digest[:19]}: {self._settings.signed}")
        return PulledImage(name, str(image.id), digest, image.labels)

    def push(
        self,
        client: DockerClient,
        image: str,
        expected: ExpectedImage,
        signer: Signer | None,
        say: Callable[[str], None],
    ) -> tuple[str, bool]:
        """Push the image with the id ``image``, unless there is one that may be used.

        Returns the digest that is there, and whether it was pushed now. Raises ``RegistryFailed``.
        """
        digest = self.ask(client, expected)
        if digest is not None and self._is_signed(client, expected, digest):
            return digest, False
        with _engine_errors():
            say(f"pushing {self.name(expected)}")
            digest = self._push(client, client.images.get(image), expected.tag, say)
            if signer is not None:
                statement = write_statement(expected, digest, signer)
                self._push(client, _holding(client, statement), statement_tag(digest), say)
        return digest, True

    def _push(
        self, client: DockerClient, image: EngineImage, tag: str, say: Callable[[str], None]
    ) -> str:
        """Push an image under a name that it has only meanwhile; return its digest there."""
        name = f"{self.address}:{tag}"
        before = _get(client, name)
        image.tag(self.address, tag)
        try:
            return push(client, self.address, tag, say)
        finally:
            if before is None:
                _remove(client, name)
            else:
                before.tag(self.address, tag)

    def _is_signed(self, client: DockerClient, expected: ExpectedImage, digest: str) -> bool:
        """Return whether others would use the image that is there, as far as can be seen."""
        try:
            self.require_signed(client, expected, digest)
        except ImageRefused:
            return False
        return True

    def require_signed(self, client: DockerClient, expected: ExpectedImage, digest: str) -> None:
        """Raise ``RegistryFailed`` unless a trusted key, where there is one, has signed that the
        image ``digest`` is that of the recipe. Nothing of the image is pulled for it."""
        if not self.trusted:
            return
        tag = statement_tag(digest)
        with _engine_errors():
            found = digest_in_registry(client, f"{self.address}:{tag}", expected.platform)
            if found is not None:
                pull(client, self.address, found, lambda _: None)
                client.images.get(f"{self.address}@{found}").tag(self.address, tag)
            why = self._unproven(client, expected, digest)
        if why:
            raise ImageRefused(why)

    def _refusal(
        self, client: DockerClient, image: EngineImage, expected: ExpectedImage, digest: str
    ) -> str:
        """Return why an image of this engine is not used; empty if it may be."""
        why = "; ".join(expected.differences(image.attrs))
        if why:
            return f"it is not what its tag says: {why}"
        return self._unproven(client, expected, digest)

    def _unproven(self, client: DockerClient, expected: ExpectedImage, digest: str) -> str:
        if not self.trusted:
            return ""
        statement = _get(client, f"{self.address}:{statement_tag(digest)}")
        if statement is None:
            return f"it is not signed by {', '.join(one.described for one in self.trusted)}"
        return refusal(statement.labels.get(LABEL, ""), expected, digest, self.trusted)


def _holding(client: DockerClient, statement: str) -> EngineImage:
    """Return an empty image with a label that holds ``statement``, made in the engine."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w"):
        pass
    answer = client.api.import_image_from_data(
        content.getvalue(), changes=[f"LABEL {LABEL}={json.dumps(statement)}"]
    )
    return client.images.get(json.loads(answer.splitlines()[0])["status"])


def _get(client: DockerClient, name: str) -> EngineImage | None:
    try:
        return client.images.get(name)
    except ImageNotFound:
        return None


def _remove(client: DockerClient, name: str) -> None:
    with suppress(APIError), request_timeout(client, _ENGINE_SECONDS):
        client.images.remove(name)


@contextmanager
def _engine_errors() -> Iterator[None]:
    """Turn errors of the engine itself into ``RegistryFailed``."""
    try:
        yield
    except (DockerException, RequestException) as error:
        raise RegistryFailed(f"the engine says: {reason(error)}") from error
