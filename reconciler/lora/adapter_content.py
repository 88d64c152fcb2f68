"""What an adapter's content is: its files by name, size and hash, and the one digest that stands for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.document import Frozen
from reconciler.domain.units import Bytes


class ContentFile(Frozen):
    """One file."""

    name: str
    """Without any folder."""
    bytes: Bytes
    sha256: str
    """Hexadecimal."""


class AdapterContent(Frozen):
    """The files that are to be held, and where they come from."""

    digest: str
    files: tuple[ContentFile, ...]
    folder: str | None = None
    """Of this host; None: they are fetched."""
    artifact: HubArtifact | None = None
    """What is fetched, its files in the same order."""

    @property
    def bytes(self) -> Bytes:
        return Bytes(sum(file.bytes for file in self.files))


class HeldFiles(Frozen):
    """One adapter in our store."""

    digest: str
    bytes: Bytes
    """On disk, whatever was made from it included."""
    holders: tuple[str, ...] = ()
    """Who asked for it and has not let go; sorted."""


def content_digest(files: Iterable[ContentFile]) -> str:
    """Hex SHA-256 over the sorted (name, SHA-256) pairs: another file, name or byte is another content.

    >>> one = ContentFile(name="a", bytes=1, sha256="00"), ContentFile(name="b", bytes=1, sha256="11")
    >>> content_digest(one) == content_digest(reversed(one))
    True
    """
    lines = sorted(f"{file.name}\0{file.sha256.lower()}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
