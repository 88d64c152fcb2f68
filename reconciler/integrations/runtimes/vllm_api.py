"""What a vLLM server says over HTTP, read strictly: private types of the ``vllm`` integration.

An answer that is not whole is ``Corrupt`` with the code ``bad-answer``, never an empty list. Nothing is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.errors import OutsideError, Unreachable
from reconciler.formats.foreign_json import read_json
from reconciler.integrations.runtimes.answers import bad_answer, failed, items
from reconciler.integrations.runtimes.server import Server

if TYPE_CHECKING:
    from reconciler.integrations.http import Reply

_LOAD_SECONDS = 300.0
"""Longest wait for an adapter: the server may fetch it, and waits for a pause between two batches."""
_PROBE_SECONDS = 120.0
_INFO_SECONDS = 20.0
"""Longest wait for what a server was started with: the first time, it looks at its machine."""
_NEWEST_SECONDS = 10.0
"""Samples about adapters carry the time they were written; those of several engines are no further apart."""
_ADAPTERS = re.compile(r"^vllm[:_]lora_requests_info\{([^}]*)\}\s+(\S+)", re.MULTILINE)
_AT_WORK = re.compile(r'(?:running|waiting)_lora_adapters="([^"]*)"')
_LORA_KNOWN = re.compile(r"^# TYPE vllm[:_]lora_requests_info ", re.MULTILINE)
_WORKER_SAID = re.compile(
    r"Call to \w+ method failed: (?:Worker failed with error '(?P<worker>.*)', please check the .*|(?P<call>.*))",
    re.DOTALL,
)
"""How the words of whoever failed to load an adapter come. Source: vLLM 0.32, run."""
_GAUGE = re.compile(r"^vllm[:_]num_requests_(running|waiting)(?:\{[^}]*\})?\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Card:
    """One item of ``/v1/models``."""

    name: str
    root: str
    """What it was read from: a Hub repository or a path of the server."""
    parent: str | None
    """The base of an adapter, by one of its names; None for a base."""
    context: int | None


@dataclass(frozen=True, slots=True)
class Said:
    """How the server answered a step about an adapter."""

    ok: bool
    words: str = ""
    """Its own, at most 300 characters of them."""
    status: int = 200
    no_route: bool = False
    """The server does not have this step at all."""

    @property
    def is_unknown(self) -> bool:
        """There is no adapter of this name, or none at this path."""
        return not self.ok and not self.no_route and self.status == 404


@dataclass(frozen=True, slots=True)
class Started:
    """What a server was started with, as far as it tells (``VLLM_SERVER_DEV_MODE=1``)."""

    lora: bool | None = None
    """With ``--enable-lora``."""
    max_rank: int | None = None
    """``--max-lora-rank``."""


@dataclass(frozen=True, slots=True)
class Use:
    """Who is being answered, as far as ``/metrics`` tells; what it does not tell counts as in use."""

    busy: bool = True
    """Somebody is answered, or waits."""
    adapters: frozenset[str] | None = None
    """Adapters among them; None: it does not tell."""
    tells: bool = False
    """The above was told."""
    lora: bool | None = None
    """It was started with ``--enable-lora``; None: it does not tell."""

    def is_of(self, adapter: str) -> bool:
        return self.busy and (self.adapters is None or adapter in self.adapters)


class VllmApi:
    """The calls of one server.

    Run against vLLM 0.32.0 (``docs/testing.md``), read against 0.8 and 0.18.

    Args:
        server: where it is asked, without ``/v1``.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    async def healthy(self) -> None:
        """Nothing where the engine runs.

        Raises:
            Unreachable: it does not run, or not yet. Refused: something else answers there.
        """
        reply = await self._server.ask("GET", "/health", retries=1)
        if reply.status >= 500:
            raise Unreachable(f"the engine of {self._server.url} does not run: /health answered {reply.status}")
        if not reply.ok:
            raise self._failed(reply, "cannot read /health")

    async def version(self) -> str:
        """The server's version, or ``Corrupt`` where what answers is no vLLM."""
        reply = await self._server.ask("GET", "/version", retries=1)
        if not reply.ok:
            raise self._failed(reply, "cannot read /version")
        document = reply.json()
        version = document.get("version") if isinstance(document, dict) else None
        if not isinstance(version, str) or not version:
            raise bad_answer(reply, "no version in it: this is not a vLLM")
        return version

    async def models(self) -> tuple[Card, ...]:
        """Bases and adapters, whole or not at all; the first is a base."""
        reply = await self._server.ask("GET", "/v1/models", retries=1)
        if not reply.ok:
            raise self._failed(reply, "cannot read /v1/models")
        cards = tuple(_card(reply, item) for item in items(reply, "data", called="models"))
        if not cards or cards[0].parent is not None:
            raise bad_answer(reply, "no base in it")
        return cards

    async def use(self) -> Use:
        """Who is being answered now. Raises nothing outside."""
        try:
            reply = await self._server.ask("GET", "/metrics", retries=0)
        except OutsideError:
            return Use()
        return _use(reply.body.decode("utf-8", "replace")) if reply.ok else Use()

    async def takes_adapters(self) -> bool:
        """Whether adapters can be loaded at run time: the step has a route of its own, which takes no ``GET``.

        A path without a route is a 404 instead. Nothing is changed by asking.

        Raises:
            Unreachable: it does not say now. Refused: ``unauthorised``.
        """
        reply = await self._server.ask("GET", "/v1/load_lora_adapter", retries=1)
        if reply.status in (401, 403, 408, 429) or reply.status >= 500:
            raise self._failed(reply, "cannot ask for /v1/load_lora_adapter")
        return reply.status == 405

    async def started(self) -> Started:
        """What it was started with; only a server in development mode tells. Raises nothing outside."""
        path = "/server_info?config_format=json"
        try:
            reply = await self._server.ask("GET", path, timeout_seconds=_INFO_SECONDS, retries=0)
            return _started(reply.json()) if reply.ok else Started()
        except OutsideError:
            return Started()

    async def load(self, name: str, path: str) -> Said:
        """Load an adapter under a name that stands for none.

        ``load_inplace`` is not asked for: an adapter that was loaded so is read from its directory again at every step
        of every request, until the server stops. Source: vLLM 0.32.0, run; its issue 33791.
        """
        return await self._step("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}, _LOAD_SECONDS)

    async def unload(self, name: str) -> Said:
        return await self._step("/v1/unload_lora_adapter", {"lora_name": name}, _LOAD_SECONDS)

    async def answers(self, name: str) -> Said:
        """Have a model say one token; a server of embeddings embeds one word. Fine where it does neither."""
        body: Mapping[str, Any] = {"model": name, "prompt": "a", "max_tokens": 1, "temperature": 0}
        said = await self._step("/v1/completions", body, _PROBE_SECONDS)
        if said.no_route:
            said = await self._step("/v1/embeddings", {"model": name, "input": "a"}, _PROBE_SECONDS)
        return Said(ok=True) if said.no_route else said

    async def forget_prefixes(self) -> None:
        """Drop what is cached of prompts, where the server lets us (``VLLM_SERVER_DEV_MODE``); raises as a request.

        Source: vLLM 0.18, ``v1/core/kv_cache_utils.py``: the cache is keyed by an adapter's name, not by its weights;
        0.32 has its path in the key too.
        """
        await self._server.ask("POST", "/reset_prefix_cache", retries=0)

    async def _step(self, path: str, body: Mapping[str, Any], seconds: float) -> Said:
        """One step, whose refusal is an answer.

        Raises:
            Unreachable: nobody knows whether it was done. Refused: ``unauthorised``.
        """
        reply = await self._server.ask("POST", path, json=body, timeout_seconds=seconds, retries=0)
        if reply.ok:
            return Said(ok=True)
        if reply.status in (401, 403, 408, 429, 502, 503, 504):
            raise self._failed(reply, f"{path} was refused")
        words, no_route = self._words(reply)
        return Said(ok=False, words=words, status=reply.status, no_route=no_route and reply.status in (404, 405))

    def _words(self, reply: Reply) -> tuple[str, bool]:
        return _words(self._server.without_key(reply.body))

    def _failed(self, reply: Reply, what: str) -> OutsideError:
        if reply.status in (401, 403):
            return self._server.wants_key()
        return failed(reply, what, self._words(reply)[0])


def _use(text: str) -> Use:
    """From the text of ``/metrics``. Source: vLLM 0.18 and 0.32, ``v1/metrics/loggers.py``.

    A state that has been left keeps its sample, with the time it was last seen; that adapters are known at all is told
    from the start, by the kind of these samples.
    """
    try:
        gauges = [(name, float(number)) for name, number in _GAUGE.findall(text)]
        samples = [(float(moment), labels) for labels, moment in _ADAPTERS.findall(text)]
    except ValueError:
        return Use()
    engines = sum(name == "running" for name, _ in gauges)
    newest = max((moment for moment, _ in samples), default=0.0)
    oldest = newest - (_NEWEST_SECONDS if engines > 1 else 0.0)
    recent = [labels for moment, labels in samples if moment >= oldest]
    names = {name for labels in recent for listed in _AT_WORK.findall(labels) for name in listed.split(",") if name}
    return Use(
        busy=any(number > 0 for _, number in gauges) if gauges else True,
        adapters=frozenset(names) if samples else None,
        tells=bool(gauges),
        lora=bool(_LORA_KNOWN.search(text)) if gauges else None,
    )


def _started(document: object) -> Started:
    """From ``/server_info``. Source: vLLM 0.32, run."""
    config = document.get("vllm_config") if isinstance(document, dict) else None
    if not isinstance(config, dict) or "lora_config" not in config:
        return Started()
    lora = config["lora_config"]
    rank = lora.get("max_lora_rank") if isinstance(lora, dict) else None
    known = isinstance(rank, int) and not isinstance(rank, bool) and rank > 0
    return Started(lora=lora is not None, max_rank=rank if known else None)


def _card(reply: Reply, item: Mapping[str, Any]) -> Card:
    name, root, parent, context = (item.get(key) for key in ("id", "root", "parent", "max_model_len"))
    if not isinstance(name, str) or not name:
        raise bad_answer(reply, "a model without a name")
    if not isinstance(root, str | None) or not isinstance(parent, str | None):
        raise bad_answer(reply, f"{name} with a root or parent that is no text")
    length = context if isinstance(context, int) and not isinstance(context, bool) and context > 0 else None
    return Card(name=name, root=root or name, parent=parent or None, context=length)


def _words(body: bytes) -> tuple[str, bool]:
    """What an answer says of its failure, and whether it is the answer of no route: FastAPI's own, or a proxy's page.

    Errors of the server itself have a ``message``: flat before 0.10, below ``error`` since.
    """
    try:
        document = read_json(body)
    except (ValueError, RecursionError):
        return body[:300].decode("utf-8", "replace").strip(), True
    error = document.get("error", document) if isinstance(document, dict) else document
    if isinstance(error, str):
        return error[:300], False
    message = error.get("message") if isinstance(error, dict) else None
    if isinstance(message, str):
        return _of_worker(message)[:300], False
    detail = document.get("detail") if isinstance(document, dict) else None
    return (detail if isinstance(detail, str) else str(document))[:300], isinstance(detail, str)


def _of_worker(message: str) -> str:
    """What the worker that failed said, without the calls that it was passed on by.

    >>> _of_worker("Call to add_lora method failed: Worker failed with error 'no DoRA.', please check the stack trace")
    'no DoRA.'
    """
    said = _WORKER_SAID.fullmatch(message)
    return message if said is None else said["worker"] or said["call"] or "it does not say why"
