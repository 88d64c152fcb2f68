"""What an adapter's content is: its files by name, size and hash, and the one digest that stands for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.document import Frozen
from reconciler.domain.units import Bytes

LONE_GGUF = "adapter.gguf"
"""What a GGUF without other files is held as, whatever its owner calls it."""


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

    A GGUF that is all there is may be called as it likes: its name means nothing to anybody.

    >>> one = ContentFile(name="a", bytes=1, sha256="00"), ContentFile(name="b", bytes=1, sha256="11")
    >>> content_digest(one) == content_digest(reversed(one))
    True
    >>> content_digest(one[:1]) == content_digest([one[0].model_copy(update={"name": "c"})])
    False
    >>> lone = ContentFile(name="old.gguf", bytes=1, sha256="00")
    >>> content_digest([lone]) == content_digest([lone.model_copy(update={"name": "new.GGUF"})])
    True
    """
    pairs = [(file.name, file.sha256.lower()) for file in files]
    if len(pairs) == 1 and pairs[0][0].lower().endswith(".gguf"):
        pairs = [(LONE_GGUF, pairs[0][1])]
    lines = sorted(f"{name}\0{digest}\n" for name, digest in pairs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
