"""The small front an ordinary registry needs before Ollama can pull from it.

Ollama asks for a blob and wants a redirect (0.33.0-rc2); an ordinary registry answers 200. This front
answers 307 with the registry's own URL for blobs and passes everything else on.
"""

from __future__ import annotations

import urllib.error
import urllib.request

from tests.doubles.ollama_http import Exchange, Listening, Loopback

_PASSED = ("Accept", "Range", "Authorization")


class RegistryFront(Listening):
    def __init__(self, upstream: str) -> None:
        self._upstream = upstream.rstrip("/")
        self._server = Loopback(self._route)

    def _route(self, exchange: Exchange) -> None:
        if exchange.command not in ("GET", "HEAD"):
            return exchange.answer(405)
        if "/blobs/" in exchange.path:
            return exchange.answer(307, Location=self._upstream + exchange.path)
        headers = {name: exchange.headers[name] for name in _PASSED if name in exchange.headers}
        request = urllib.request.Request(self._upstream + exchange.path, headers=headers, method=exchange.command)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                kind = answer.headers.get("Content-Type", "application/octet-stream")
                digest = answer.headers.get("Docker-Content-Digest", "")
                return exchange.answer(answer.status, answer.read(), kind, Docker_Content_Digest=digest)
        except urllib.error.HTTPError as error:
            with error:
                return exchange.answer(error.code, error.read(), error.headers.get("Content-Type", "text/plain"))
