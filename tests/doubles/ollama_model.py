"""A model as a registry holds it for Ollama: config, weights, template, parameters, and the manifest naming them.

Layout and media types of Ollama 0.33.0-rc2. Also a tiny GGUF of any size, for tests that load nothing.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
from dataclasses import dataclass
from pathlib import Path

from reconciler.domain.artifact import ArtifactFile, HubArtifact, Layer, RegistryArtifact
from reconciler.domain.units import Bytes

_IMAGE = "application/vnd.ollama.image."
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"


@dataclass(frozen=True)
class Blob:
    media_type: str
    digest: str
    size: int
    content: bytes | Path

    @classmethod
    def of(cls, media_type: str, content: bytes | Path) -> Blob:
        if isinstance(content, bytes):
            return cls(media_type, "sha256:" + hashlib.sha256(content).hexdigest(), len(content), content)
        with content.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(media_type, "sha256:" + digest, content.stat().st_size, content)

    @property
    def entry(self) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}

    def read(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True)
class Packed:
    """One model, packed. ``blobs`` is the config first, then the layers in the manifest's order."""

    manifest: bytes
    blobs: tuple[Blob, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.manifest).hexdigest()

    @property
    def size(self) -> int:
        return sum(blob.size for blob in self.blobs)

    @property
    def weights(self) -> Blob:
        return next(blob for blob in self.blobs if blob.media_type == f"{_IMAGE}model")

    def registry_artifact(self, registry: str, namespace: str, name: str, tag: str) -> RegistryArtifact:
        layers = tuple(Layer(digest=b.digest, bytes=Bytes(b.size), media_type=b.media_type) for b in self.blobs)
        return RegistryArtifact(
            registry=registry, namespace=namespace, name=name, tag=tag, manifest_digest=self.digest, layers=layers
        )

    def hub_artifact(self, repo: str, path: str = "model.gguf") -> HubArtifact:
        file = ArtifactFile(path=path, bytes=Bytes(self.weights.size), sha256=self.weights.digest.partition(":")[2])
        return HubArtifact(endpoint="https://huggingface.co", repo=repo, commit="0" * 40, files=(file,))


def packed(
    weights: bytes | Path,
    *,
    family: str = "llama",
    model_type: str = "135M",
    file_type: str = "Q4_1",
    template: str = "{{ .Prompt }}",
    parameters: dict[str, object] | None = None,
) -> Packed:
    """Pack weights as ``ollama create`` would."""
    layers = [Blob.of(f"{_IMAGE}model", weights), Blob.of(f"{_IMAGE}template", template.encode())]
    if parameters:
        layers.append(Blob.of(f"{_IMAGE}params", json.dumps(parameters).encode()))
    described = {
        "model_format": "gguf", "model_family": family, "model_families": [family], "model_type": model_type,
        "file_type": file_type, "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    }  # fmt: skip
    return assembled(Blob.of(CONFIG_TYPE, json.dumps(described).encode()), layers)


def assembled(config: Blob, layers: list[Blob]) -> Packed:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.entry,
        "layers": [layer.entry for layer in layers],
    }
    return Packed(json.dumps(document, separators=(",", ":")).encode(), (config, *layers))


def tiny_gguf(size: int = 4096, *, seed: int = 0, architecture: str = "llama", context: int = 2048) -> bytes:
    """A file with a true GGUF v3 header and random bytes behind it, ``size`` bytes long at least."""
    pairs = [
        _text("general.architecture", architecture),
        _text("general.name", f"tiny {seed}"),
        *(_number(f"{architecture}.{key}", value) for key, value in _DIMENSIONS.items()),
        _number(f"{architecture}.context_length", context),
    ]
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)
    return header + random.Random(seed).randbytes(max(0, size - len(header)))


_DIMENSIONS = {"block_count": 2, "embedding_length": 64, "attention.head_count_kv": 2, "attention.key_length": 16}


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _text(key: str, value: str) -> bytes:
    return _string(key) + struct.pack("<I", 8) + _string(value)


def _number(key: str, value: int) -> bytes:
    return _string(key) + struct.pack("<II", 4, value)
