"""A registry in memory that Ollama can pull from: for tests that must not depend on an installed one.

Docker v2 routes as Ollama 0.33.0-rc2 asks them: manifests, and blobs behind a 307 with ``Location``. With
``redirects=False`` blobs come as a plain 200, which Ollama refuses.
"""

from __future__ import annotations

import re

from tests.doubles.ollama_http import Exchange, Listening, Loopback
from tests.doubles.ollama_model import MANIFEST_TYPE, Packed

_ROUTE = re.compile(r"/v2/(?P<repo>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)")


class MemoryRegistry(Listening):
    def __init__(self, *, redirects: bool = True) -> None:
        self.redirects = redirects
        self.failures: dict[str, tuple[int, bytes]] = {}
        """``repo:tag`` → (status, body) to answer for its manifest instead."""
        self._manifests: dict[tuple[str, str], bytes] = {}
        self._blobs: dict[str, bytes] = {}
        self._server = Loopback(self._route)

    def add(self, name: str, model: Packed) -> None:
        """Offer a model as ``namespace/model:tag``."""
        repo, _, tag = name.partition(":")
        self._manifests[repo.lower(), tag.lower()] = model.manifest
        self._blobs |= {blob.digest: blob.read() for blob in model.blobs}

    def corrupt(self, digest: str) -> None:
        """Serve other bytes of the same length under a digest from now on."""
        self._blobs[digest] = bytes(reversed(self._blobs[digest]))

    def _route(self, exchange: Exchange) -> None:
        if exchange.path.startswith("/data/"):
            return self._send(exchange, exchange.path.removeprefix("/data/"))
        match = _ROUTE.fullmatch(exchange.path)
        if match is None:
            return exchange.answer(404)
        if match["kind"] == "manifests":
            return self._manifest(exchange, match["repo"], match["reference"])
        if match["reference"] not in self._blobs:
            return exchange.answer_json(404, {"errors": [{"code": "BLOB_UNKNOWN"}]})
        if not self.redirects:
            return self._send(exchange, match["reference"])
        return exchange.answer(307, Location=f"{self.url}/data/{match['reference']}")

    def _manifest(self, exchange: Exchange, repo: str, tag: str) -> None:
        key = repo.lower(), tag.lower()
        if (failure := self.failures.get(":".join(key))) is not None:
            return exchange.answer(*failure)
        if key not in self._manifests:
            return exchange.answer_json(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]})
        return exchange.answer(200, self._manifests[key], MANIFEST_TYPE)

    def _send(self, exchange: Exchange, digest: str) -> None:
        content = self._blobs[digest]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)?", exchange.headers.get("Range", ""))
        if wanted is None:
            return exchange.answer(200, content, "application/octet-stream", Accept_Ranges="bytes")
        first, last = int(wanted[1]), min(int(wanted[2] or len(content) - 1), len(content) - 1)
        place = f"bytes {first}-{last}/{len(content)}"
        return exchange.answer(206, content[first : last + 1], "application/octet-stream", Content_Range=place)
