"""What Ollama says over HTTP, read strictly: private types that go no further than the ``ollama`` integration.

An answer that is not whole is ``Corrupt`` with the code ``bad-answer``, never an empty list. Nothing is decided here.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from reconciler.errors import Corrupt, OutsideError, Refused
from reconciler.formats.foreign_json import read_json
from reconciler.integrations.runtimes.answers import (
    bad_answer,
    count,
    failed,
    items,
    mapping,
    server_words,
    status_error,
)
from reconciler.integrations.runtimes.server import Server

if TYPE_CHECKING:
    from reconciler.integrations.http import Reply, Stream

DEFAULT_ENDPOINT = "http://127.0.0.1:11434"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOB = re.compile(r"^(?:FROM|ADAPTER)\s.*sha256-([0-9a-f]{64})\s*\"?\s*$", re.MULTILINE)
_CONTEXT = re.compile(r"^num_ctx\s+(\d+)\s*$", re.MULTILINE)
_LINE_LIMIT = 1 << 20
"""Bytes of one NDJSON line: a status line has some hundred; more is not a status line."""
_CLOUD_STUB_LIMIT = 1 << 20
"""Bytes: a cloud stub holds a manifest and a config, never weights (Ollama 0.33.0-rc2)."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One item of ``/api/tags``."""

    name: str
    """As the server spells it, always with a tag."""
    size: int
    """Bytes; shared blobs are counted once per model."""
    digest: str
    """Hex SHA-256 of the manifest's bytes; no prefix."""
    modified_at: datetime | None
    quant: str | None
    remote: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """One item of ``/api/ps``."""

    name: str
    expires_at: datetime | None
    context: int | None
    """Tokens it is being served with; servers before 0.9 do not tell."""
    size: int | None = None
    """Bytes it takes in memory, cache included."""
    size_vram: int | None = None
    """Bytes of these on accelerators."""
    digest: str | None = None
    """Of the manifest it was loaded from: the name may stand for another one by now."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What ``/api/show`` tells of one installed model."""

    blobs: tuple[str, ...]
    """``sha256:<hex>`` of weights, projector and adapters, from the ``FROM`` and ``ADAPTER`` lines of the modelfile."""
    context: int | None
    """``num_ctx`` of its parameters."""
    parent: str | None = None
    """The name it was created from, whether or not that is installed."""
    form: str = ""
    """Everything of it but weights and ``num_ctx``; equal where two models differ in these only. Opaque, and to be
    compared with what the same source told: server or directory."""
    is_adapted: bool = False
    """Its weights are not its parent's alone."""


@dataclass(frozen=True, slots=True)
class PullLine:
    """One line of a pull or a create. ``malformed`` holds the start of a line that could not be read."""

    status: str = ""
    error: str = ""
    digest: str = ""
    total: int | None = None
    completed: int = 0
    malformed: str = ""


class OllamaApi:
    """The calls of one Ollama server.

    Read against Ollama 0.33.0-rc2, its source of 2026-08-21.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    async def version(self) -> str:
        """The server's version, or ``Corrupt`` where what answers is not Ollama."""
        reply = await self._get("/api/version")
        version = mapping(reply).get("version")
        if not isinstance(version, str) or not version:
            raise bad_answer(reply, "no version in it: this is not an Ollama server")
        return version

    async def tags(self) -> tuple[Listed, ...]:
        """Everything installed, cloud stubs included; whole or not at all."""
        reply = await self._get("/api/tags")
        return tuple(_listed(reply, item) for item in items(reply, "models"))

    async def loaded(self) -> tuple[Loaded, ...]:
        reply = await self._get("/api/ps")
        return tuple(_loaded(reply, item) for item in items(reply, "models"))

    async def show(self, name: str) -> Shown:
        """Blobs and parameters of one installed model.

        Raises:
            Refused: not installed, or its files are damaged.
        """
        reply = await self._server.ask("POST", "/api/show", json={"model": name}, retries=1)
        if reply.status == 500:  # a listed model with a missing file fails here, and only here (1.2)
            raise Refused(f"{name} is damaged: {server_words(reply.body)}", code="refused")
        if not reply.ok:
            raise failed(reply, f"cannot show {name}")
        document = mapping(reply)
        modelfile, parameters = document.get("modelfile"), document.get("parameters", "")
        if not isinstance(modelfile, str) or not isinstance(parameters, str):
            raise bad_answer(reply, "no modelfile in it")
        context = _CONTEXT.search(parameters)
        blobs = dict.fromkeys(f"sha256:{match}" for match in _BLOB.findall(modelfile))
        details = document.get("details")
        return Shown(
            blobs=tuple(blobs),
            context=int(context[1]) if context else None,
            parent=(_text(details.get("parent_model")) if isinstance(details, dict) else "") or None,
            form=_form(document, parameters),
            is_adapted=re.search(r"^ADAPTER\s", modelfile, re.MULTILINE) is not None,
        )

    async def delete(self, name: str) -> bool:
        """Delete a name; False when there was none. Does not unload it.

        Raises:
            Unreachable: the server failed in the middle; look again.
        """
        reply = await self._server.ask("DELETE", "/api/delete", json={"model": name}, retries=0)
        if reply.status == 404:
            return False
        if not reply.ok:
            raise failed(reply, f"cannot delete {name}")
        return True

    async def copy(self, source: str, destination: str) -> None:
        """Give a model a second name: a copy of its manifest, which keeps its files.

        Raises:
            Refused: ``not-found``: there is no such model.
        """
        body = {"source": source, "destination": destination}
        reply = await self._server.ask("POST", "/api/copy", json=body, retries=0)
        if not reply.ok:
            raise failed(reply, f"cannot copy {source}")

    def create(
        self,
        name: str,
        source: str,
        parameters: Mapping[str, int],
        *,
        idle_timeout_seconds: float,
        adapters: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[PullLine]:
        """Lines of a create of ``name`` from an installed model, sharing its files; with ``adapters`` (file → blob).

        From a model that is not installed the server pulls it: look first, and close the generator on such a line.
        An ``error`` line means failure even where ``success`` follows.

        Raises:
            Refused: before anything was done. Unreachable: the connection broke; look again.
        """
        more = {"parameters": parameters, "adapters": adapters}
        body = {"model": name, "from": source, "stream": True, **{key: value for key, value in more.items() if value}}
        return self._told("/api/create", body, f"cannot create {name}", idle_timeout_seconds)

    async def has_blob(self, digest: str) -> bool:
        """Whether the server has this file, ``sha256:<hex>``."""
        reply = await self._server.ask("HEAD", f"/api/blobs/{digest}", retries=1)
        if not reply.ok and reply.status != 404:
            raise failed(reply, f"cannot ask for {digest}")
        return reply.ok

    async def upload(
        self, digest: str, content: AsyncIterable[bytes], size: int, *, idle_timeout_seconds: float
    ) -> None:
        """Give the server a file; it counts the digest itself.

        Raises:
            Refused: the content is not what the digest says. Unreachable: the connection broke.
        """
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        async with self._server.stream(
            "POST",
            f"/api/blobs/{digest}",
            headers=headers,
            content=content,
            idle_timeout_seconds=idle_timeout_seconds,
        ) as stream:
            if not 200 <= stream.status < 300:
                raise _no(stream, await stream.read(2048), f"cannot upload {digest}")

    async def unload(self, name: str, *, timeout_seconds: float) -> None:
        """Have it unloaded once nobody is being answered by it; returns at once. Nothing where it is not loaded.

        Raises:
            Refused: there is no such model.
        """
        await self.generate(name, timeout_seconds=timeout_seconds, keep_alive=0)

    async def generate(self, name: str, *, timeout_seconds: float, **fields: Any) -> Mapping[str, Any]:
        """One whole answer of ``/api/generate``; without a ``prompt`` it loads, or with ``keep_alive`` 0 unloads.

        Giving up (by time or cancelled) disconnects, and the server stops answering.

        Raises:
            Refused: the server says no to this model. Unreachable: no answer in time, or it failed on it.
        """
        body = {"model": name, "stream": False, **fields}
        reply = await self._server.ask("POST", "/api/generate", json=body, timeout_seconds=timeout_seconds, retries=0)
        if not reply.ok:
            raise failed(reply, f"{name} does not run")
        return mapping(reply)

    def pull(self, name: str, *, insecure: bool, idle_timeout_seconds: float) -> AsyncGenerator[PullLine]:
        """Lines of a pull as they come. Closing the generator cancels the download on the server, resumably.

        A status of 200 proves nothing: failures arrive as ``error`` lines. The stream may simply end.

        Raises:
            Unreachable: no answer, a broken connection, or no byte for ``idle_timeout_seconds``.
            Refused: the server does not take such a name.
        """
        body = {"model": name, "insecure": insecure, "stream": True}
        return self._told("/api/pull", body, f"cannot pull {name}", idle_timeout_seconds)

    async def _told(
        self, path: str, body: Mapping[str, Any], what: str, idle_timeout_seconds: float
    ) -> AsyncGenerator[PullLine]:
        """What the server tells of its work, line by line."""
        async with self._server.stream("POST", path, json=body, idle_timeout_seconds=idle_timeout_seconds) as stream:
            if not 200 <= stream.status < 300:
                raise _no(stream, await stream.read(2048), what)
            async with aclosing(_lines(stream.chunks())) as lines:
                async for line in lines:
                    yield _pull_line(line)

    async def _get(self, path: str) -> Reply:
        reply = await self._server.ask("GET", path, retries=1)
        if not reply.ok:
            raise failed(reply, f"cannot read {path}")
        return reply


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Non-blank lines of a byte stream, bounded; an unterminated tail counts as one."""
    pending = b""
    async for chunk in chunks:
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield line.strip()
        if len(pending) > _LINE_LIMIT:
            raise Corrupt("the server sent a line without an end; it is not Ollama's protocol", code="bad-answer")
    if pending.strip():
        yield pending.strip()


def _no(stream: Stream, beginning: bytes, what: str) -> OutsideError:
    return status_error(stream.status, stream.url, server_words(beginning), what)


def _pull_line(line: bytes) -> PullLine:
    try:
        document = read_json(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return PullLine(malformed=line[:200].decode("utf-8", "replace"))
    total, completed = count(document.get("total")), count(document.get("completed"))
    return PullLine(
        status=_text(document.get("status")),
        error=_error_text(document),
        digest=_text(document.get("digest")),
        total=total,
        completed=completed or 0,
    )


def _error_text(document: Mapping[str, Any]) -> str:
    """The error of a line; one of an unexpected shape is still an error."""
    error = document.get("error")
    if error is None or error == "":
        return ""
    return error if isinstance(error, str) else json.dumps(error)[:500]


def _listed(reply: Reply, item: Mapping[str, Any]) -> Listed:
    name, size, digest = item.get("name"), count(item.get("size")), item.get("digest")
    if not isinstance(name, str) or not name or size is None or not isinstance(digest, str):
        raise bad_answer(reply, f"an entry without name, size or digest: {json.dumps(item)[:120]}")
    remote = _is_remote(item, name, size)
    if not remote and not _DIGEST.fullmatch(digest):
        raise bad_answer(reply, f"the digest of {name} is not a SHA-256")
    details = item.get("details")
    quant = _text(details.get("quantization_level")) if isinstance(details, dict) else ""
    return Listed(
        name=name,
        size=size,
        digest=digest,
        modified_at=_moment(item.get("modified_at")),
        quant=quant if quant and quant.lower() != "unknown" else None,
        remote=remote,
    )


def _is_remote(item: Mapping[str, Any], name: str, size: int) -> bool:
    """Whether an entry is a cloud stub: says so itself, or is tiny and carries the cloud suffix."""
    if item.get("remote_model") or item.get("remote_host"):
        return True
    tag = name.rpartition(":")[2].lower()
    return size < _CLOUD_STUB_LIMIT and (tag == "cloud" or tag.endswith("-cloud"))


def _loaded(reply: Reply, item: Mapping[str, Any]) -> Loaded:
    name = item.get("name") or item.get("model")
    if not isinstance(name, str) or not name:
        raise bad_answer(reply, "a loaded model without a name")
    context = count(item.get("context_length"))
    return Loaded(
        name=name,
        expires_at=_moment(item.get("expires_at")),
        context=context or None,
        size=count(item.get("size")),
        size_vram=count(item.get("size_vram")),
        digest=_text(item.get("digest")) or None,
    )


def _form(document: Mapping[str, Any], parameters: str) -> str:
    """What makes a model of its own out of weights, besides ``num_ctx``. The order of parameters is not stable."""
    told = sorted(" ".join(line.split()) for line in parameters.splitlines() if not _CONTEXT.match(line))
    words = [document.get(name) for name in ("template", "system", "messages", "license")]
    return json.dumps([*(word or None for word in words), told], sort_keys=True)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _moment(value: object) -> datetime | None:
    """A time as Go prints it; None where it is missing, unset (year 1) or unreadable."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None and moment.year > 1 else None
