"""Ollama's directory as the double keeps it: real manifests and blobs, names folded, layers counted.

Source: Ollama 0.33.0-rc2.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from tests.doubles.ollama_model import Packed

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
IMAGE = "application/vnd.ollama.image."


@dataclass(frozen=True)
class Name:
    """``[host/][namespace/]model[:tag]`` (1.10). Written apart from the product's, so that one checks the other."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Name:
        text = text.removeprefix("http://").removeprefix("https://")
        *outer, last = text.split("/")
        model, colon, tag = last.partition(":")
        namespace = outer.pop() if outer else "library"
        host = "/".join(outer) or "registry.ollama.ai"
        name = cls(host, namespace, model, tag if colon else "latest")
        shapes = ((_HOST, host), (_NAMESPACE, namespace), (_PART, model), (_PART, name.tag))
        if not all(shape.fullmatch(part) for shape, part in shapes):
            raise ValueError("invalid model name")
        return name

    @property
    def short(self) -> str:
        """The shortest form, always with its tag."""
        parts = [self.host, self.namespace, self.model]
        if self.host.lower() == "registry.ollama.ai":
            parts = parts[1:] if self.namespace.lower() != "library" else parts[2:]
        return f"{'/'.join(parts)}:{self.tag}"

    @property
    def key(self) -> str:
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}".lower()


@dataclass(frozen=True)
class Stored:
    """One manifest on disk."""

    name: Name
    raw: bytes
    modified: float

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.raw)

    @property
    def layers(self) -> list[dict[str, Any]]:
        """Layers in order, config last: the order of a pull."""
        return [*self.document["layers"], self.document["config"]]

    @property
    def size(self) -> int:
        return sum(layer["size"] for layer in self.layers)

    def layer(self, kind: str) -> dict[str, Any] | None:
        return next((layer for layer in self.layers if layer["mediaType"] == IMAGE + kind), None)


class Store:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifests = root / "manifests"
        self.blobs = root / "blobs"
        self.manifests.mkdir(parents=True, exist_ok=True)
        self.blobs.mkdir(parents=True, exist_ok=True)

    def blob(self, digest: str) -> Path:
        return self.blobs / digest.replace(":", "-")

    def path(self, name: Name) -> Path:
        return self.manifests / name.host / name.namespace / name.model / name.tag

    def all(self) -> list[Stored]:
        found = []
        for path in sorted(self.manifests.glob("*/*/*/*")):
            parts = path.relative_to(self.manifests).parts
            found.append(Stored(Name(*parts), path.read_bytes(), path.stat().st_mtime))
        return found

    def listed(self) -> list[Stored]:
        """What the API lists (1.2): not what misses its config or template; what misses its weights, yes."""
        return [stored for stored in self.all() if self._is_listed(stored)]

    def _is_listed(self, stored: Stored) -> bool:
        small = [stored.document["config"], *filter(None, [stored.layer("template")])]
        return all(self.blob(layer["digest"]).exists() for layer in small)

    def find(self, name: Name) -> Stored | None:
        return next((stored for stored in self.all() if stored.name.key == name.key), None)

    def folded(self, name: Name) -> Name:
        """The spelling that is on disk already (1.10)."""
        stored = self.find(name)
        return stored.name if stored else name

    def put(self, name: str, model: Packed) -> None:
        """A whole model under a name, as if it had been pulled."""
        for blob in model.blobs:
            self.blob(blob.digest).write_bytes(blob.read())
        self.write(Name.parse(name), model.manifest)

    def write(self, name: Name, raw: bytes) -> None:
        path = self.path(self.folded(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)

    def add_blob(self, content: bytes, kind: str) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.blob(digest).write_bytes(content)
        return {"mediaType": kind, "digest": digest, "size": len(content)}

    def delete(self, stored: Stored) -> None:
        """In the order of 1.7: the manifest, empty folders, then layers that no other manifest refers to."""
        path = self.path(stored.name)
        path.unlink()
        for folder in list(path.parents)[:3]:
            if any(folder.iterdir()):
                break
            folder.rmdir()
        self.remove_unused(layer["digest"] for layer in stored.layers)

    def remove_unused(self, digests: Any) -> None:
        used = {layer["digest"] for other in self.all() for layer in other.layers}
        for digest in set(digests) - used:
            self.blob(digest).unlink(missing_ok=True)

    def prune_at_start(self) -> None:
        """Partials and unreferenced blobs older than one hour go (1.6); none while a manifest is damaged."""
        try:
            used = {self.blob(layer["digest"]).name for stored in self.all() for layer in stored.layers}
        except (ValueError, KeyError):
            return
        for path in self.blobs.iterdir():
            if path.name not in used and path.stat().st_mtime < time.time() - 3600:
                path.unlink()


def gguf_pairs(source: BinaryIO) -> dict[str, Any]:
    """Key-value pairs of a GGUF header; arrays as in ``/api/show`` without ``verbose``: emptied beyond 5 (1.3)."""
    if source.read(4) != b"GGUF":
        return {}
    _, _, count = struct.unpack("<IQQ", source.read(20))
    return {_text(source): _value(source, *struct.unpack("<I", source.read(4))) for _ in range(count)}


def gguf_pairs_of(content: bytes) -> dict[str, Any]:
    return gguf_pairs(BytesIO(content))


_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def _text(source: BinaryIO) -> str:
    return source.read(struct.unpack("<Q", source.read(8))[0]).decode("utf-8", "replace")


def _value(source: BinaryIO, kind: int) -> Any:
    if kind == 8:
        return _text(source)
    if kind == 9:
        inner, length = struct.unpack("<IQ", source.read(12))
        items = [_value(source, inner) for _ in range(length)]
        return items if length <= 5 else []
    form = "<" + _FORMATS[kind]
    return struct.unpack(form, source.read(struct.calcsize(form)))[0]
