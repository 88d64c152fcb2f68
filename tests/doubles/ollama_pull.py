"""The lines of a pull, in the order and words of Ollama 0.33.0-rc2."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.doubles.ollama_download import Faults, PullError
from tests.doubles.ollama_model import MANIFEST_TYPE
from tests.doubles.ollama_store import Name, Stored

if TYPE_CHECKING:
    from tests.doubles.ollama import OllamaDouble

Line = dict[str, Any] | bytes | None
"""A JSON line, raw bytes, or None: a moment in which nothing is sent and the client may be found gone."""


def pull(server: OllamaDouble, name: Name, *, insecure: bool, faults: Faults) -> Iterator[Line]:
    """Everything that is sent after the 200. A failure is a last line, not a status."""
    yield {"status": "pulling manifest"}
    try:
        yield from _pulled(server, name, insecure=insecure, faults=faults)
    except PullError as error:
        yield {"error": str(error)}


def _pulled(server: OllamaDouble, name: Name, *, insecure: bool, faults: Faults) -> Iterator[Line]:
    base = f"{server.registry_of(name, insecure=insecure)}/v2/{name.namespace}/{name.model}"
    raw = _manifest(f"{base}/manifests/{name.tag}", faults)
    new, old = Stored(name, raw, 0.0), server.store.find(name)
    fresh = []
    for layer in new.layers:
        if not server.store.blob(layer["digest"]).exists():
            fresh.append(layer)
        yield from _layer(server, layer, f"{base}/blobs/{layer['digest']}", faults)
    if faults.garbage_line is not None:
        yield faults.garbage_line
    yield {"status": "verifying sha256 digest"}
    for layer in fresh:
        _verify(server, layer["digest"], faults)
    yield {"status": "writing manifest"}
    server.store.write(name, raw)
    if old is not None and old.digest != new.digest and not server.no_prune:
        yield {"status": "removing unused layers"}
        server.store.remove_unused(layer["digest"] for layer in old.layers)
    if faults.error_then_success is not None:
        yield {"error": faults.error_then_success}
    yield {"status": "success"}


def _manifest(url: str, faults: Faults) -> bytes:
    if faults.manifest_error is not None:
        raise PullError(faults.manifest_error)
    request = urllib.request.Request(url, headers={"Accept": MANIFEST_TYPE})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            raw = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            body = error.read().decode()
        if error.code == 404:
            raise PullError("pull model manifest: file does not exist") from None
        raise PullError(f"pull model manifest: {error.code}: {body}") from None
    except urllib.error.URLError as error:
        raise PullError(f'pull model manifest: Get "{url}": dial tcp: {error.reason}') from None
    json.loads(raw)
    return raw


def _layer(server: OllamaDouble, layer: dict[str, Any], url: str, faults: Faults) -> Iterator[Line]:
    """One layer: one line where it is there already, else a line at every tick."""
    digest, size = layer["digest"], layer["size"]
    if server.store.blob(digest).exists():
        yield _progress(digest, size, size)
        return
    download = server.fetch(digest, size, url, faults)
    try:
        silent = faults.silent_stall and faults.stall_after is not None
        while not download.finished.wait(server.pace.tick_seconds):
            quiet = silent and download.completed >= (faults.stall_after or 0)
            yield None if quiet else _progress(digest, size, download.completed)
        if download.error is not None or download.killed:
            raise PullError(download.error or "the server is going down")
        yield _progress(digest, size, size)
    finally:
        server.downloads.leave(download)


def _progress(digest: str, total: int, completed: int) -> dict[str, Any]:
    """``completed`` is left out while it is 0."""
    line = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": total}
    return {**line, "completed": completed} if completed else line


def _verify(server: OllamaDouble, digest: str, faults: Faults) -> None:
    """Hash what this pull fetched; throw away what is something else (1.5)."""
    path = server.store.blob(digest)
    with path.open("rb") as file:
        got = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    if faults.digest_mismatch:
        got = "sha256:" + "0" * 64
    if got != digest:
        path.unlink()
        raise PullError(f"digest mismatch, file must be downloaded again: want {digest}, got {got}")
