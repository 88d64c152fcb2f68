"""Ollama's own directory, looked at and never written: what its API does not tell.

The API hides layers, unfinished downloads and blobs that nothing refers to (Ollama 0.33.0-rc2).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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
    parent: str | None = None
    """The name it was created from, as its weight layer says."""
    form: str = ""
    """Everything of it but weights and ``num_ctx``."""
    is_adapted: bool = False


@dataclass(frozen=True, slots=True)
class StoreView:
    """A whole look at one directory."""

    manifests: tuple[Manifest, ...]
    partial_bytes: Bytes
    """Allocated, not apparent: a partial file is stretched to its full size at once."""
    orphan_bytes: Bytes
    """Of blobs that no manifest refers to. A pull that goes on now has some, until it writes its manifest."""
    disk: DiskSpace
    blobs: Mapping[str, int] = field(default_factory=dict)
    """Bytes of every finished blob by digest."""
    partials: int = 0
    """Unfinished downloads, however many files each has."""
    orphans: int = 0

    def holds(self, digests: Iterable[str]) -> bool:
        """Whether this can be the directory behind a server that lists these manifests."""
        listed = set(digests)
        known = {manifest.digest for manifest in self.manifests}
        return listed <= known if listed else not known

    def by_digest(self, digest: str) -> Manifest | None:
        return next((manifest for manifest in self.manifests if manifest.digest == digest), None)

    def lost(self, name: OllamaName, after: StoreView) -> Bytes | None:
        """Bytes of this name's files that are gone in a later look. None: no such name here."""
        manifest = next((manifest for manifest in self.manifests if manifest.name.same_as(name)), None)
        if manifest is None:
            return None
        gone = {digest for digest, _ in manifest.layers if digest in self.blobs and digest not in after.blobs}
        return Bytes(sum(self.blobs[digest] for digest in gone))

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
        partials, partial, blobs = _blobs(root / "blobs")
        usage = shutil.disk_usage(root)
        device = str(root.stat().st_dev)
    except (OSError, ValueError, RecursionError):
        return None
    referred = {digest for manifest in manifests for digest, _ in manifest.layers}
    orphans = [size for digest, size in blobs.items() if digest not in referred]
    return StoreView(
        manifests=manifests,
        partial_bytes=Bytes(partial),
        orphan_bytes=Bytes(sum(orphans)),
        blobs=blobs,
        partials=partials,
        orphans=len(orphans),
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
    entries = _entries(json.loads(raw))
    layers = [_layer(item) for item in entries]
    weights = tuple(digest for kind, digest, _ in layers if kind in _WEIGHTS)
    params = next((digest for kind, digest, _ in layers if kind == "params"), None)
    told = _parameters(root / "blobs" / params.replace(":", "-")) if params else {}
    parents = [item.get("from") for item, (kind, _, _) in zip(entries, layers, strict=True) if kind == "model"]
    return Manifest(
        name=name,
        digest=hashlib.sha256(raw).hexdigest(),
        layers=tuple({digest: size for _, digest, size in layers}.items()),
        blobs=tuple(dict.fromkeys(weights)),
        context=_context(told),
        parent=next((parent for parent in parents if isinstance(parent, str) and parent), None),
        form=_form(layers[1:], told),
        is_adapted=any(kind == "adapter" for kind, _, _ in layers),
    )


def _form(layers: list[tuple[str, str, int]], told: Mapping[str, Any]) -> str:
    """What makes a model of its own out of weights: template, system, messages, parameters other than ``num_ctx``."""
    texts = sorted((kind, digest) for kind, digest, _ in layers if kind not in (*_WEIGHTS, "params"))
    return json.dumps([texts, {name: value for name, value in told.items() if name != "num_ctx"}], sort_keys=True)


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


def _parameters(path: Path) -> dict[str, Any]:
    """What a params layer says; nothing where it cannot be read."""
    try:
        told = json.loads(_read(path, _PARAMS_LIMIT))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _context(told: Mapping[str, Any]) -> int | None:
    context = told.get("num_ctx")
    return context if isinstance(context, int) and context > 0 else None


def _blobs(folder: Path) -> tuple[int, int, dict[str, int]]:
    """(unfinished downloads, bytes allocated to them, size of every finished blob by digest).

    A download has one file of its bytes, ``…-partial``, and one a part, ``…-partial-N``, that says how far it is.
    """
    partials, partial, whole = set(), 0, {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("sha256-"):
                continue
            try:
                stat = entry.stat()
            except FileNotFoundError:  # finished, or cleared, in this very moment
                continue
            if "-partial" in entry.name:
                partials.add(entry.name.partition("-partial")[0])
                partial += stat.st_blocks * 512
            else:
                whole[entry.name.replace("-", ":", 1)] = stat.st_size
    return len(partials), partial, whole


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path} is larger than such a file can be")
    return content
