"""Ollama's own directory, looked at and never written: what its API does not tell.

The API hides layers, unfinished downloads and blobs that nothing refers to (Ollama 0.33.0-rc2).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.domain.names import OllamaName
from reconciler.domain.observation import DiskSpace
from reconciler.domain.units import Bytes

_WEIGHTS = ("model", "projector", "adapter", "tensor", "draft")
_MANIFEST_LIMIT = 1 << 20
"""Bytes; a manifest has some kilobytes."""
_MANIFESTS_LIMIT = 5000
_PARAMS_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True)
class Manifest:
    """One installed name, as its manifest file says."""

    name: OllamaName
    digest: str
    """Hex SHA-256 of the file's bytes: what ``/api/tags`` lists."""
    layers: tuple[tuple[str, int], ...]
    """(digest, bytes), config included."""
    blobs: tuple[str, ...]
    """Digests of what holds weights."""
    context: int | None
    """``num_ctx`` of its parameters."""


@dataclass(frozen=True, slots=True)
class StoreView:
    """A whole look at one directory."""

    manifests: tuple[Manifest, ...]
    partial_bytes: Bytes
    """Allocated, not apparent: a partial file is stretched to its full size at once."""
    orphan_bytes: Bytes
    """Of blobs that no manifest refers to."""
    disk: DiskSpace

    def holds(self, digests: Iterable[str]) -> bool:
        """Whether this can be the directory behind a server that lists these manifests."""
        listed = set(digests)
        known = {manifest.digest for manifest in self.manifests}
        return listed <= known if listed else not known

    def by_digest(self, digest: str) -> Manifest | None:
        return next((manifest for manifest in self.manifests if manifest.digest == digest), None)

    def freed_by(self, name: OllamaName) -> Bytes | None:
        """Bytes that go when the name goes: layers no other name refers to. None: no such name here."""
        gone = [manifest for manifest in self.manifests if manifest.name.same_as(name)]
        if not gone:
            return None
        shared = {digest for manifest in self.manifests if manifest not in gone for digest, _ in manifest.layers}
        exclusive = {digest: size for digest, size in gone[0].layers if digest not in shared}
        return Bytes(sum(exclusive.values()))


def store_directories(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a server of this host may keep its models, most explicit first.

    Source: Ollama 0.33.0-rc2; the last one is where its Linux service keeps them.
    """
    explicit = (Path(environ["OLLAMA_MODELS"]),) if environ.get("OLLAMA_MODELS") else ()
    home = (Path(environ["HOME"]) / ".ollama" / "models",) if environ.get("HOME") else ()
    return (*explicit, *home, Path("/usr/share/ollama/.ollama/models"))


def look(root: Path) -> StoreView | None:
    """The directory as it is now; None where it is missing, not readable or not whole."""
    try:
        if not (root / "manifests").is_dir():
            return None
        manifests = tuple(_manifests(root))
        partial, blobs = _blobs(root / "blobs")
        usage = shutil.disk_usage(root)
        device = str(root.stat().st_dev)
    except (OSError, ValueError, RecursionError):
        return None
    referred = {digest for manifest in manifests for digest, _ in manifest.layers}
    return StoreView(
        manifests=manifests,
        partial_bytes=Bytes(partial),
        orphan_bytes=Bytes(sum(size for digest, size in blobs.items() if digest not in referred)),
        disk=DiskSpace(device=device, total_bytes=Bytes(usage.total), free_bytes=Bytes(usage.free)),
    )


def _manifests(root: Path) -> Iterator[Manifest]:
    for count, path in enumerate(sorted((root / "manifests").glob("*/*/*/*"))):
        if count >= _MANIFESTS_LIMIT:
            raise ValueError("more manifests than a look reads")
        if path.name.startswith(".") or not path.is_file():
            continue
        host, namespace, model, tag = path.relative_to(root / "manifests").parts
        yield _manifest(root, OllamaName(host, namespace, model, tag), _read(path, _MANIFEST_LIMIT))


def _manifest(root: Path, name: OllamaName, raw: bytes) -> Manifest:
    layers = [_layer(item) for item in _entries(json.loads(raw))]
    weights = tuple(digest for kind, digest, _ in layers if kind in _WEIGHTS)
    params = next((digest for kind, digest, _ in layers if kind == "params"), None)
    return Manifest(
        name=name,
        digest=hashlib.sha256(raw).hexdigest(),
        layers=tuple({digest: size for _, digest, size in layers}.items()),
        blobs=tuple(dict.fromkeys(weights)),
        context=_context(root / "blobs" / params.replace(":", "-")) if params else None,
    )


def _entries(document: Any) -> list[Any]:
    """Config and layers of a manifest, or ``ValueError``."""
    layers = document.get("layers") if isinstance(document, dict) else None
    if not isinstance(layers, list) or "config" not in document:
        raise ValueError("not a manifest")
    return [document["config"], *layers]


def _layer(item: Any) -> tuple[str, str, int]:
    """(kind, digest, bytes) of one entry of a manifest, or ``ValueError``."""
    if not isinstance(item, dict):
        raise ValueError("a layer is not an object")  # noqa: TRY004 - damaged content, told by one exception
    digest, size = item.get("digest"), item.get("size")
    if not isinstance(digest, str) or "/" in digest or not isinstance(size, int):
        raise ValueError("a layer without digest or size")
    return str(item.get("mediaType", "")).rpartition(".")[2], digest, size


def _context(params: Path) -> int | None:
    try:
        context = json.loads(_read(params, _PARAMS_LIMIT)).get("num_ctx")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return context if isinstance(context, int) and context > 0 else None


def _blobs(folder: Path) -> tuple[int, dict[str, int]]:
    """(allocated bytes of unfinished downloads, size of every finished blob by digest)."""
    partial, whole = 0, {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("sha256-"):
                continue
            stat = entry.stat()
            if "-partial" in entry.name:
                partial += stat.st_blocks * 512
            else:
                whole[entry.name.replace("-", ":", 1)] = stat.st_size
    return partial, whole


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path} is larger than such a file can be")
    return content
