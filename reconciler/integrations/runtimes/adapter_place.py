"""What the place of an adapter's files tells, where they lie in our own store: ``<store>/<digest>/…``."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

_DIGEST = re.compile(r"[0-9a-f]{64}")


def digest_of_place(path: str, store: Path | None) -> str | None:
    """The digest of the content at a path, which its folder in our store is named by; None where it lies elsewhere.

    Args:
        path: as a runtime tells where it read an adapter.
        store: our adapter store, absolute; None: there is none.

    >>> digest_of_place("/data/adapters/" + "a" * 64 + "/sql", Path("/data/adapters")) == "a" * 64
    True
    >>> digest_of_place("/data/adapters/sql", Path("/data/adapters")) is None
    True
    """
    if store is None:
        return None
    place = PurePosixPath(path)
    if ".." in place.parts or not place.is_relative_to(store):
        return None
    parts = place.relative_to(store).parts
    return parts[0] if parts and _DIGEST.fullmatch(parts[0]) else None
