"""The GGUF files of an adapter store, for a runtime that tells what it took by the hash of a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

from reconciler.domain.adapter import digest_of_place
from reconciler.integrations.runtimes.digest_cache import DigestCache


class HeldGguf:
    """The GGUF files of an adapter store, by their hash.

    Args:
        store: our adapter store; None: there is none.
        cache_directory: where digests are remembered, so that a file is read whole once; None: nowhere.
    """

    def __init__(self, store: Path | None, cache_directory: Path | None) -> None:
        self._store = store
        self._cache = DigestCache(cache_directory)

    async def digests(self) -> dict[str, str]:
        """Hex SHA-256 of a file → digest of the adapter that it is, or was made of. What cannot be read is left out."""
        return await asyncio.to_thread(self._digests) if self._store is not None else {}

    def _digests(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in sorted((self._store or Path()).rglob("*.gguf")):
            digest = digest_of_place(str(path))
            sha256 = self._sha256(path) if digest is not None else None
            if digest is not None and sha256 is not None:
                found.setdefault(sha256, digest)
        return found

    def _sha256(self, path: Path) -> str | None:
        try:
            return self._cache.sha256(path)
        except OSError:
            return None
