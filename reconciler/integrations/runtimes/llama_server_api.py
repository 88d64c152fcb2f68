"""What a llama-server in router mode says over HTTP, read strictly: private types of the ``llama_server`` integration.

An answer that is not whole is ``Corrupt`` with the code ``bad-answer``, never an empty list. No question here ever
loads a model: every one that names a model says ``autoload=false``. Nothing is decided here.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args
from urllib.parse import quote, unquote

from reconciler.errors import Corrupt, Refused, Unreachable
from reconciler.formats.foreign_json import read_json
from reconciler.integrations.runtimes.answers import bad_answer, count, failed, items, mapping, server_words
from reconciler.integrations.runtimes.server import Server

if TYPE_CHECKING:
    from reconciler.integrations.http import Reply

Status = Literal["unloaded", "loading", "loaded", "sleeping", "downloading"]
Source = Literal["cache", "models_dir", "preset"]

DEFAULT_ENDPOINT = "http://127.0.0.1:8080"
_LINE_LIMIT = 1 << 20
_RELOAD_SECONDS = 60.0
"""A running model whose settings changed is stopped first: for a request in flight the router waits 10 s."""
_OF_THE_PRESET = ("preset", "config file", "conflicts with", "error reading the file")
"""Words of a router that cannot read its preset file; tried on the real server (b10434)."""
_LIMIT = "model limit reached"
_UNREADABLE_OUTPUT = "The model produced output that does not match"
"""Source: llama.cpp b10605, seen of a base of random weights: the same files answered at the next try."""
_ANSWER_SECONDS = 300.0
"""For one token, of a large model on a slow machine."""
_LARGEST_SCALE = 1e30
"""No server keeps a larger one, nor one that is no number."""
_SETTING = re.compile(r"^\s*([a-z0-9-]+)\s*=\s*(.*?)\s*$", re.MULTILINE)
_RESOLVE = re.compile(r"^https?://[^/]+/(?:.*/)?([^/]+/[^/]+)/resolve/([^/?#]+)/([^?#]+)")


@dataclass(frozen=True, slots=True)
class Listed:
    """One item of ``/models``."""

    name: str
    status: Status
    source: Source
    can_remove: bool
    settings: Mapping[str, str]
    """What it is started with, by the flag's name without dashes: command line, preset and defaults together."""
    failed: bool = False
    """The last attempt to load it ended in a crash."""
    exit_code: int | None = None
    weights_bytes: int | None = None
    """Of its tensors; told while it is loaded only."""
    aliases: tuple[str, ...] = ()
    """Other names that it answers to: ``alias`` in its section."""
    port: int | None = None
    """Of its own process, on the router's host, while it runs."""

    @property
    def is_there(self) -> bool:
        return self.status != "downloading"

    @property
    def is_running(self) -> bool:
        return self.status in ("loading", "loaded", "sleeping")


@dataclass(frozen=True, slots=True)
class LoadedAdapter:
    """One item of ``/lora-adapters``: what a model that is loaded applies."""

    id: int
    path: str
    scale: float


@dataclass(frozen=True, slots=True)
class FileProgress:
    """One file of a running download."""

    repo: str
    commit: str
    path: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Event:
    """One line of ``/models/sse``."""

    model: str
    kind: str
    """``listening``, ``download_progress``, ``download_finished``, ``download_failed``, ``model_status``, …"""
    files: tuple[FileProgress, ...] = ()


class LlamaServerApi:
    """The calls of one router.

    Read against llama.cpp b10434, and run against it.

    Args:
        server: where it is asked.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    async def version(self) -> str:
        """The build of the router.

        Raises:
            Refused: it serves one model only, or wants a key. Corrupt: what answers is no llama-server.
        """
        reply = await self._server.ask("GET", _path("/props", autoload="false"), retries=1)
        if reply.status in (401, 403):
            raise self._server.wants_key()
        if not reply.ok:
            raise failed(reply, "cannot read /props")
        document = mapping(reply)
        build = document.get("build_info")
        if not isinstance(build, str) or not build:
            raise bad_answer(reply, "no build in it: this is not a llama-server")
        if document.get("role") != "router":
            raise Refused(
                f"the llama-server at {self._server.url} serves one model and cannot be given others",
                code="no-api",
                hint="start it without -m, -hf and LLAMA_ARG_MODEL: then it is a router",
            )
        return build

    async def most_loaded(self) -> int | None:
        """How many models it runs at once; 0: any number; None: it does not tell.

        Source: llama.cpp b10434, ``max_instances`` of a router's ``/props`` is ``--models-max``.
        """
        reply = await self._server.ask("GET", _path("/props", autoload="false"), retries=1)
        most = mapping(reply).get("max_instances") if reply.ok else None
        return most if isinstance(most, int) and not isinstance(most, bool) and most >= 0 else None

    async def is_router(self) -> bool:
        """False: it serves one model.

        Raises:
            Refused: it wants a key. Corrupt, Unreachable: no whole answer.
        """
        try:
            await self.version()
        except Refused as error:
            if error.code != "no-api":
                raise
            return False
        return True

    async def models(self, *, reload: bool = False) -> tuple[Listed, ...]:
        """Everything the router knows; with ``reload`` after it looked at its cache and its preset file again.

        Raises:
            Refused: code ``bad-request``: it cannot read its preset file. Corrupt, Unreachable: no whole answer.
        """
        path = _path("/models", reload="1") if reload else "/models"
        seconds = _RELOAD_SECONDS if reload else None
        reply = await self._server.ask("GET", path, retries=0 if reload else 1, timeout_seconds=seconds)
        if not reply.ok:
            words = server_words(reply.body)
            if any(part in words for part in _OF_THE_PRESET):
                raise Refused(
                    f"the router cannot read its preset file: {words}",
                    code="bad-request",
                    hint="mend the file that it was started with as --models-preset; `preset:` names the same one",
                )
            raise failed(reply, "cannot read /models")
        return tuple(_listed(reply, item) for item in items(reply, "data", called="models"))

    async def busy_slots(self, name: str) -> int | None:
        """Conversations that a loaded model answers now; None where it is not loaded.

        Raises:
            Refused: the server does not tell (``--no-slots``).
        """
        reply = await self._server.ask("GET", _path("/slots", model=name, autoload="false"), retries=0)
        if reply.status in (400, 404):
            return None
        if not reply.ok:
            raise Refused(f"the router does not tell what {name} is doing: {server_words(reply.body)}")
        document = reply.json()
        if not isinstance(document, list) or not all(
            isinstance(slot, dict) and isinstance(slot.get("is_processing"), bool) for slot in document
        ):
            raise bad_answer(reply, "no whole list of slots in it")
        return [slot["is_processing"] for slot in document].count(True)

    async def adapters(self, name: str | None) -> tuple[LoadedAdapter, ...] | None:
        """LoRA adapters of a model of a router, or of a server of one model; None where it is not loaded."""
        query = {"model": name, "autoload": "false"} if name is not None else {}
        reply = await self._server.ask("GET", _path("/lora-adapters", **query), retries=0)
        if name is not None and reply.status in (400, 404):
            return None
        if not reply.ok:
            raise failed(reply, "cannot read /lora-adapters")
        found = reply.json()
        if not isinstance(found, list):
            raise bad_answer(reply, "no list of adapters in it")
        return tuple(_loaded_adapter(reply, item) for item in found)

    async def scale(self, scales: Mapping[int, float]) -> None:
        """Set the scales of a server of one model: those left out go to 0. A router forwards no such request.

        An id that does not exist is accepted as any other: read back.
        """
        wanted = [{"id": number, "scale": scale} for number, scale in scales.items()]
        reply = await self._server.ask("POST", "/lora-adapters", json=wanted, retries=0)
        if not reply.ok:
            raise failed(reply, "cannot change the scale of its adapters")

    async def answers(self, name: str) -> None:
        """Have a loaded model write one token. A model that writes none, such as an embedding model, has answered; so
        has one whose token the server cannot read as what its template promises, for that is no flaw of the weights.

        Raises:
            Refused: it does not answer, or no longer runs. Unreachable: it takes too long.
        """
        asked = {"model": name, "prompt": "a", "n_predict": 1, "cache_prompt": False}
        url = _path("/completion", autoload="false")
        reply = await self._server.ask(
            "POST", url, json=asked, retries=1, timeout_seconds=_ANSWER_SECONDS, is_repeatable=True
        )
        if not reply.ok and reply.status != 501 and _UNREADABLE_OUTPUT not in server_words(reply.body):
            raise Refused(f"{name} does not answer: {reply.status} {server_words(reply.body)}".rstrip())

    async def download(self, name: str) -> bool:
        """Begin a download in the background; False where the router has that name already, or is at it.

        A 200 says nothing: also for a repository that does not exist.
        """
        reply = await self._server.ask("POST", "/models", json={"model": name}, retries=0)
        words = server_words(reply.body)
        if reply.status == 400 and "already exists" in words:
            return False
        if reply.status == 500 and "limit reached" in words:
            raise Unreachable(
                f"the router has no place for another download now: {words}",
                hint="raise --models-max, or unload a model",
            )
        if not reply.ok:
            raise failed(reply, f"cannot download {name}")
        return True

    async def load(self, name: str) -> None:
        """Begin to load a model; one that runs already is fine.

        Raises:
            Refused: ``in-use``: everything that it runs answers somebody, and it may run no more at once.
        """
        reply = await self._server.ask("POST", "/models/load", json={"model": name}, retries=0)
        if not reply.ok and _LIMIT in server_words(reply.body):
            raise Refused(
                f"{name} cannot be loaded now: the router runs as many models as it may, and each answers somebody",
                code="in-use",
                hint="wait until one has answered, or start the router with a higher --models-max",
            )
        if not reply.ok and "already running" not in server_words(reply.body):
            raise failed(reply, f"cannot load {name}")

    async def unload(self, name: str) -> None:
        """Stop a model or a download; one that does not run is fine. A request in flight has 10 s, then it is cut."""
        reply = await self._server.ask("POST", "/models/unload", json={"model": name}, retries=0)
        if not reply.ok and not (reply.status in (400, 404) and "not" in server_words(reply.body).lower()):
            raise failed(reply, f"cannot unload {name}")

    async def delete(self, name: str) -> bool:
        """Delete a model of the cache; False when the router knows none of that name.

        Raises:
            Refused: it does not come from the cache. Unreachable: the server failed in the middle; look again.
        """
        reply = await self._server.ask("DELETE", _path("/models", model=name), retries=0, timeout_seconds=60)
        words = server_words(reply.body)
        if reply.status in (404, 500) and "not found" in words.lower():
            return False
        if "not removable" in words:
            raise Refused(f"the router does not remove {name}: {words}", code="refused")
        if not reply.ok:
            raise failed(reply, f"cannot delete {name}")
        return True

    async def events(self, *, idle_timeout_seconds: float) -> AsyncGenerator[Event]:
        """What the router tells while it works; first ``listening``. The stream may end at any time.

        Raises:
            Unreachable: no answer, a broken connection, or no event for ``idle_timeout_seconds``.
        """
        async with self._server.stream("GET", "/models/sse", idle_timeout_seconds=idle_timeout_seconds) as stream:
            if not 200 <= stream.status < 300:
                raise Unreachable(f"{self._server.url}/models/sse answered {stream.status}")
            yield Event("", "listening")
            pending = b""
            async for chunk in stream.chunks():
                *lines, pending = (pending + chunk).split(b"\n")
                if len(pending) > _LINE_LIMIT:
                    raise Corrupt("the router sent an event without an end", code="bad-answer")
                for line in lines:
                    event = _event(line)
                    if event is not None:
                        yield event


def _path(path: str, **query: str) -> str:
    asked = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
    return f"{path}{'?' + asked if asked else ''}"


def _listed(reply: Reply, item: Mapping[str, Any]) -> Listed:
    name, status = item.get("id"), item.get("status")
    if not isinstance(name, str) or not name or not isinstance(status, dict):
        raise bad_answer(reply, f"an entry without id or status: {json.dumps(item)[:120]}")
    value, source = status.get("value"), item.get("source", "preset")
    if value not in get_args(Status):
        raise bad_answer(reply, f"the status of {name} is {json.dumps(value)[:60]}")
    preset, meta = status.get("preset"), item.get("meta")
    return Listed(
        name=name,
        status=cast("Status", value),
        source=cast("Source", source) if source in get_args(Source) else "preset",
        can_remove=item.get("can_remove") is True,
        settings=dict(_SETTING.findall(preset)) if isinstance(preset, str) else {},
        failed=status.get("failed") is True,
        exit_code=count(status.get("exit_code")),
        weights_bytes=count(meta.get("size")) if isinstance(meta, dict) else None,
        aliases=_names(item.get("aliases")),
        port=_port(status.get("args")),
    )


def _loaded_adapter(reply: Reply, item: object) -> LoadedAdapter:
    number, path, scale = (item.get(key) if isinstance(item, dict) else None for key in ("id", "path", "scale"))
    if count(number) is None or not isinstance(path, str) or isinstance(scale, bool):
        raise bad_answer(reply, f"an adapter without id or path: {json.dumps(item)[:120]}")
    if not isinstance(scale, int | float) or not abs(scale) < _LARGEST_SCALE:
        raise bad_answer(reply, f"the scale of {path} is {json.dumps(scale)[:60]}")
    return LoadedAdapter(cast("int", number), path, float(scale))


def _event(line: bytes) -> Event | None:
    """One ``data:`` line; None for anything else. What cannot be read is as good as missed: the list has the word."""
    if not line.startswith(b"data:"):
        return None
    try:
        document = read_json(line[5:])
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    model, kind, told = document.get("model"), document.get("event"), document.get("data")
    if not isinstance(model, str) or not isinstance(kind, str):
        return None
    progress = told.get("progress") if isinstance(told, dict) and kind == "download_progress" else None
    found = [_file_progress(url, state) for url, state in progress.items()] if isinstance(progress, dict) else []
    return Event(model, kind, tuple(file for file in found if file is not None))


def _file_progress(url: object, state: object) -> FileProgress | None:
    place = _RESOLVE.match(url) if isinstance(url, str) else None
    if place is None or not isinstance(state, dict):
        return None
    done, total = count(state.get("done")), count(state.get("total"))
    if done is None or total is None:
        return None
    return FileProgress(unquote(place[1]), place[2], unquote(place[3]), done, total)


def _names(value: object) -> tuple[str, ...]:
    return tuple(name for name in value if isinstance(name, str) and name) if isinstance(value, list) else ()


def _port(words: object) -> int | None:
    given = [str(word) for word in words] if isinstance(words, list) else []
    port = given[given.index("--port") + 1 :][:1] if "--port" in given else []
    return int(port[0]) if port and port[0].isdecimal() and 0 < int(port[0]) < 65_536 else None
