"""What is fetched: files of a Hub repository at one commit, or layers of one registry manifest.

An artifact carries its own address, sizes and digests, so a runtime never needs to know a catalogue.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Discriminator

from reconciler.domain.document import Frozen
from reconciler.domain.units import Bytes


class ArtifactFile(Frozen):
    """One file of a Hub repository."""

    path: str
    """Path inside the repository."""
    bytes: Bytes
    """Size in bytes, as the Hub states it."""
    sha256: str
    """Hex SHA-256 of the content."""


class HubArtifact(Frozen):
    """Files of one Hub repository at one commit: all shards, and the projector where there is one."""

    kind: Literal["hub"] = "hub"
    endpoint: str
    """Base URL of the Hub (or mirror) that answered, without a trailing slash."""
    repo: str
    """``organisation/name``."""
    commit: str
    """The commit the files are pinned to."""
    files: tuple[ArtifactFile, ...]
    """Shard 1 first; a projector last."""

    @property
    def bytes(self) -> Bytes:
        return Bytes(sum(file.bytes for file in self.files))

    @property
    def digest(self) -> str:
        """What the content is: the SHA-256 of every file, joined in order."""
        return "+".join(file.sha256 for file in self.files)

    def url(self, file: ArtifactFile) -> str:
        return f"{self.endpoint}/{self.repo}/resolve/{self.commit}/{quote(file.path)}"


class Layer(Frozen):
    """One blob of a registry manifest."""

    digest: str
    """``sha256:<hex>``."""
    bytes: Bytes
    media_type: str = ""


class RegistryArtifact(Frozen):
    """One manifest of a Docker-style registry and what it refers to."""

    kind: Literal["registry"] = "registry"
    registry: str
    """Host, with port where one is needed."""
    namespace: str
    name: str
    tag: str
    manifest_digest: str
    """Hex SHA-256 of the manifest's bytes: what Ollama lists as ``digest``."""
    layers: tuple[Layer, ...]
    """Config first, then layers in the manifest's order."""

    @property
    def bytes(self) -> Bytes:
        return Bytes(sum({layer.digest: layer.bytes for layer in self.layers}.values()))

    @property
    def digest(self) -> str:
        return self.manifest_digest


Artifact = Annotated[HubArtifact | RegistryArtifact, Discriminator("kind")]
