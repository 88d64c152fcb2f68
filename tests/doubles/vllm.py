"""A double of vLLM's OpenAI server for tests: its LoRA interface over real adapter directories, nothing computed.

Its answers are those of a real vLLM 0.32.0, held to it by ``test_vllm_answers.py``. With ``in_place=False`` it is one of
0.8, of which only the source was read: errors are flat there, and a refused load is a 400.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.doubles.ollama_http import Exchange, Listening, Loopback
from tests.doubles.vllm_engine import LoadError, NotFoundHereError, rank_words, read_adapter

_PATHS = (r"/(?:home|usr|opt|var|tmp|root|lib|mnt|srv)(?:/[\w.\-]+)+", r"(?:/[\w\-]+)+/[\w\-]+\.\w+")
"""What the server takes for a path in its errors, and does not repeat."""
_GUARDED = ("/v1", "/v2", "/inference", "/cohere")
_DIED = "EngineCore encountered an issue. See stack trace (above) for the root cause."

_PERMISSION = {
    "id": "modelperm-0123456789abcdef", "object": "model_permission", "created": 1_780_000_000,
    "allow_create_engine": False, "allow_sampling": True, "allow_logprobs": True, "allow_search_indices": False,
    "allow_view": True, "allow_fine_tuning": False, "organization": "*", "group": None, "is_blocking": False,
}  # fmt: skip


@dataclass
class Lora:
    """One entry of the server's list. ``rank`` is what the engine reads of it."""

    name: str
    path: str
    rank: int
    content: bytes
    number: int
    in_place: bool = False
    """Read again whenever it is used."""


@dataclass
class Faults:
    """What goes wrong."""

    answers: dict[tuple[str, str], list[tuple[int, bytes] | None]] = field(default_factory=dict)
    """(method, path) → answers given once each instead; status 0 breaks the connection off, None answers as ever."""
    not_in_engine: set[str] = field(default_factory=set)
    """Adapters that the engine's cache has dropped: unloading them fails until somebody asks them something (0.18)."""
    gone: set[str] = field(default_factory=set)
    """Paths that nothing can be loaded from any more, whatever is there."""


class VllmDouble(Listening):
    """One server of one base.

    Args:
        root: what it was started with: a Hub repository or a folder.
        names: ``--served-model-name``; without it the root.
        lora: ``--enable-lora``.
        updating: ``VLLM_ALLOW_RUNTIME_LORA_UPDATING``.
        max_rank: ``--max-lora-rank``.
        modules: ``--lora-modules``, loaded at every start.
        key: ``--api-key``.
        in_place: knows ``load_inplace``.
        dev: ``VLLM_SERVER_DEV_MODE``.
        slots: ``--max-loras``: how many adapters the engine holds; others are read again when they are used.
        rank_at_load: refuses too large a rank when it is loaded; else at the first request.
    """

    def __init__(
        self,
        root: str = "Acme/Tiny-1B",
        *,
        names: tuple[str, ...] = (),
        lora: bool = True,
        updating: bool = True,
        max_rank: int = 16,
        modules: Mapping[str, str] | None = None,
        key: str | None = None,
        in_place: bool = True,
        rank_at_load: bool = True,
        dev: bool = False,
        slots: int = 1,
        version: str = "0.32.0",
    ) -> None:
        self.root, self.names = root, names or (root,)
        self.lora, self.updating, self.max_rank = lora, updating, max_rank
        self.modules, self.key, self.in_place = dict(modules or {}), key, in_place
        self.rank_at_load, self.version, self.dev, self.slots = rank_at_load, version, dev, slots
        self.faults = Faults()
        self.running: list[str] = []
        """Models that answer somebody now."""
        self.held: dict[int, str] = {}
        """Adapters in the engine, by number, the last used at the end: where they were read."""
        self.healthy = True
        self.asked: list[str] = []
        """Models that answered a request, in order."""
        self.cache_resets = 0
        self.on_unload: Callable[[], object] = lambda: None
        """What happens right after something was unloaded."""
        self.loras: dict[str, Lora] = {}
        self._numbers = self._moments = 0
        self._states: dict[str, int] = {}
        """Adapters at work together → when that was seen last."""
        self._server = Loopback(self._route)

    def __enter__(self) -> Self:
        self._begin()
        return super().__enter__()

    def restart(self) -> None:
        """What was loaded at run time is lost."""
        port = self._server.server_address[1]
        self._server.stop()
        self._server = Loopback(self._route, port)
        self._begin()
        self._server.start()

    def _begin(self) -> None:
        self.loras, self.held, self._states, self.healthy = {}, {}, {}, True
        for name, path in self.modules.items():
            self._load(name, path)

    @contextmanager
    def in_flight(self, name: str = "") -> Iterator[None]:
        self.running.append(name or self.names[0])
        try:
            yield
        finally:
            self.running.remove(name or self.names[0])

    # routes

    def _route(self, exchange: Exchange) -> None:
        path = exchange.path.partition("?")[0]
        turns = self.faults.answers.get((exchange.command, path))
        if turns and (turn := turns.pop(0)) is not None:
            status, body = turn
            return exchange.break_off() if status == 0 else exchange.answer(status, body, "application/json")
        if self.key and path.startswith(_GUARDED) and exchange.headers.get("Authorization") != f"Bearer {self.key}":
            return exchange.answer_json(401, {"error": "Unauthorized"})
        routes = self._routes()
        if route := routes.get((exchange.command, path)):
            return route(exchange)
        if any(known == path for _, known in routes):
            allowed = ", ".join(method for method, known in routes if known == path)
            body = b'{"detail":"Method Not Allowed"}'
            return exchange.answer(405, body, "application/json", allow=allowed)
        return exchange.answer_json(404, {"detail": "Not Found"})

    def _routes(self) -> dict[tuple[str, str], Any]:
        routes = {
            ("GET", "/health"): lambda exchange: exchange.answer(200 if self.healthy else 503),
            ("GET", "/version"): lambda exchange: exchange.answer_json(200, {"version": self.version}),
            ("GET", "/metrics"): self._metrics,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/completions"): self._complete,
        }
        if self.dev:
            routes |= {("POST", "/reset_prefix_cache"): self._reset, ("GET", "/server_info"): self._server_info}
        if self.updating:
            routes |= {
                ("POST", "/v1/load_lora_adapter"): self._load_route,
                ("POST", "/v1/unload_lora_adapter"): self._unload_route,
            }
        return routes

    def _models(self, exchange: Exchange) -> None:
        base = [self._card(name, self.root, max_model_len=8192) for name in self.names]
        loras = [self._card(lora.name, lora.path, parent=self.names[0]) for lora in self.loras.values()]
        exchange.answer_json(200, {"object": "list", "data": base + loras})

    def _card(self, name: str, root: str, *, parent: str | None = None, **more: Any) -> dict[str, Any]:
        return {
            "id": name, "object": "model", "created": 1_780_000_000, "owned_by": "vllm", "root": root,
            "parent": parent, "max_model_len": more.get("max_model_len"), "permission": [_PERMISSION],
        }  # fmt: skip

    def _metrics(self, exchange: Exchange) -> None:
        labels = f'{{engine="0",model_name="{self.names[0]}"}}'
        lines = [
            "# HELP vllm:num_requests_running Number of requests in model execution batches.",
            "# TYPE vllm:num_requests_running gauge",
            f"vllm:num_requests_running{labels} {float(len(self.running))}",
            "# HELP vllm:num_requests_waiting Number of requests waiting to be processed.",
            "# TYPE vllm:num_requests_waiting gauge",
            f"vllm:num_requests_waiting{labels} 0.0",
        ]
        if self.lora:
            lines += [
                "# HELP vllm:lora_requests_info Running stats on lora requests.",
                "# TYPE vllm:lora_requests_info gauge",
                *self._samples(),
            ]
        exchange.answer(200, "\n".join(lines).encode() + b"\n", "text/plain; version=1.0.0; charset=utf-8")

    def _samples(self) -> list[str]:
        """None before the first request; then one for each state there was, with the time it was last seen."""
        if self.running:
            self._note(name for name in self.running if name not in self.names)
        return [
            f'vllm:lora_requests_info{{max_lora="{self.slots}",running_lora_adapters="{names}",'
            f'waiting_lora_adapters="{names}"}} {1.78e9 + moment:.5e}'
            for names, moment in self._states.items()
        ]

    def _note(self, names: Iterable[str]) -> None:
        self._moments += 100_000
        self._states[",".join(dict.fromkeys(names))] = self._moments

    def _reset(self, exchange: Exchange) -> None:
        self.cache_resets += 1
        exchange.answer_json(200, {"success": True})

    def _server_info(self, exchange: Exchange) -> None:
        if "config_format=json" not in exchange.path:
            return exchange.answer_json(200, {"vllm_config": f"model='{self.root}'", "vllm_env": {}, "system_env": {}})
        lora = {"max_lora_rank": self.max_rank, "max_loras": self.slots, "max_cpu_loras": self.slots}
        config = {"model_config": {"model": self.root}, "lora_config": lora if self.lora else None}
        return exchange.answer_json(200, {"vllm_config": config, "vllm_env": {}, "system_env": {}})

    def _complete(self, exchange: Exchange) -> None:
        body = self._body(exchange, {"prompt"})
        if body is None:
            return None
        name = body.get("model", self.names[0])
        lora = self.loras.get(str(name))
        if lora is None and name not in self.names:
            message = f"The model `{name}` does not exist. Valid aliases: {', '.join(self.names)}."
            return self._error(exchange, 404, message, "NotFoundError", param="model")
        if lora is not None and lora.rank > self.max_rank:
            return self._error(exchange, 500, rank_words(lora.rank, self.max_rank), "InternalServerError")
        if lora is not None:
            self.faults.not_in_engine.discard(lora.name)
            self._use(lora)
        if not self.healthy:
            return self._error(exchange, 500, _DIED, "InternalServerError")
        self.asked.append(str(name))
        self._note([lora.name] if lora is not None else [])
        self._note([])
        choice = {"index": 0, "text": lora.content.hex()[:8] if lora else " a", "finish_reason": "length"}
        called = lora.name if lora is not None else self.names[0]
        return exchange.answer_json(200, {"object": "text_completion", "model": called, "choices": [choice]})

    def _load_route(self, exchange: Exchange) -> None:
        body = self._body(exchange, {"lora_name", "lora_path"})
        if body is None:
            return None
        name, path = body["lora_name"], body["lora_path"]
        if refusal := self._why_not(name, path, in_place=self.in_place and body.get("load_inplace") is True):
            return self._error(exchange, 400, refusal, "InvalidUserInput")
        if not self.healthy:
            return self._error(exchange, 500, _DIED, "InternalServerError")
        try:
            self._load(name, path, in_place=body.get("load_inplace") is True)
        except NotFoundHereError as error:
            return self._error(exchange, 404, str(error), "NotFoundError")
        except LoadError as error:
            if not self.in_place:
                return self._error(exchange, 400, str(error), "BadRequestError")
            passed_on = (
                f"Call to add_lora method failed: Worker failed with error '{error}', please check the stack trace"
            )
            return self._error(exchange, 500, f"{passed_on} above for the root cause", "InternalServerError")
        return exchange.answer(200, f"Success: LoRA adapter '{name}' added successfully.".encode())

    def _why_not(self, name: str, path: str, *, in_place: bool) -> str:
        if not name or not path:
            return "Both 'lora_name' and 'lora_path' must be provided."
        if self.in_place and name in self.names:
            return f"The lora adapter '{name}' conflicts with a served base model."
        if name in self.loras and not in_place:
            loaded = f"The lora adapter '{name}' has already been loaded."
            more = " If you want to load the adapter in place, set 'load_inplace' to True."
            return loaded + (more if self.in_place else "")
        return ""

    def _unload_route(self, exchange: Exchange) -> None:
        body = self._body(exchange, {"lora_name"})
        if body is None:
            return None
        name = body["lora_name"]
        if not name:
            message = "'lora_name' needs to be provided to unload a LoRA adapter."
            return self._error(exchange, 400, message, "InvalidUserInput")
        if name not in self.loras:
            return self._error(exchange, 404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        if name in self.faults.not_in_engine:
            message = f"Failed to remove lora adapter '{name}' from the engine."
            return self._error(exchange, 500, message, "InternalServerError")
        del self.loras[name]
        self.on_unload()
        return exchange.answer(200, f"Success: LoRA adapter '{name}' removed successfully.".encode())

    def _body(self, exchange: Exchange, texts: set[str]) -> dict[str, Any] | None:
        """The request's JSON with these texts in it; otherwise it is answered as the server does."""
        if exchange.headers.get("Content-Type", "").partition(";")[0] != "application/json":
            return self._invalid(exchange, ["Unsupported Media Type: Only 'application/json' is allowed"], None)
        try:
            body = json.loads(exchange.body)
        except ValueError:
            wrong = _wrong("json_invalid", "body.0", "JSON decode error", "<dict of 0 items>")
            return self._invalid(exchange, [wrong | {"ctx": {"error": "Expecting value"}}], "body.0")
        if not isinstance(body, dict):
            asked = "Input should be a valid dictionary or object to extract fields from"
            wrong = _wrong("model_attributes_type", "body", asked, f"<list of {len(body)} items>")
            return self._invalid(exchange, [wrong], "body")
        given = f"<dict of {len(body)} items>"
        wrongs = [
            _wrong("missing", f"body.{key}", "Field required", given)
            if key not in body
            else _wrong("string_type", f"body.{key}", "Input should be a valid string", str(body[key]))
            for key in sorted(texts)
            if not isinstance(body.get(key), str)
        ]
        return self._invalid(exchange, wrongs, wrongs[0]["loc"]) if wrongs else body

    def _invalid(self, exchange: Exchange, wrongs: list[Any], where: str | None) -> None:
        count = "1 validation error" if len(wrongs) == 1 else f"{len(wrongs)} validation errors"
        message = "\n".join([f"{count}:", *(f"  {wrong}" for wrong in wrongs)])
        self._error(exchange, 400, message, "Bad Request", param=where)

    def _error(self, exchange: Exchange, status: int, message: str, kind: str, *, param: str | None = None) -> None:
        for path in _PATHS if self.in_place else ():
            message = re.sub(path, "<path>", message)
        error = {"message": message, "type": kind, "param": param, "code": status}
        exchange.answer_json(status, {"error": error} if self.in_place else {"object": "error", **error})

    # the engine

    def _load(self, name: str, path: str, *, in_place: bool = False) -> None:
        if not self.lora:
            raise LoadError("LoRA is not enabled. Use --enable-lora to enable LoRA.")
        rank, content = self._read(Path(path), name)
        before = self.loras.get(name)
        if before is None:
            self._numbers += 1
        number = before.number if before is not None else self._numbers
        self.loras[name] = Lora(name, path, rank, content, number, in_place)
        self._hold(number, path)

    def _hold(self, number: int, path: str) -> None:
        self.held.pop(number, None)
        self.held[number] = path
        while len(self.held) > self.slots:
            del self.held[next(iter(self.held))]

    def _use(self, lora: Lora) -> None:
        """A step of a request: what the engine does not hold is read again; where it has gone, the engine dies."""
        if lora.in_place or lora.number not in self.held:
            try:
                _, lora.content = self._read(Path(lora.path), lora.name)
            except LoadError:
                self.healthy = False
        self._hold(lora.number, lora.path)

    def answer_on(self, lora: Lora) -> None:
        """Another step for somebody whose answer began with this adapter, whatever stands under its name by now."""
        self._use(lora)

    def _read(self, folder: Path, name: str) -> tuple[int, bytes]:
        if str(folder) in self.faults.gone:
            raise NotFoundHereError(f"Loading lora {name} failed: No adapter found for {folder}")
        limit = self.max_rank if self.rank_at_load else None
        return read_adapter(folder, name, limit=limit, knows_more=self.in_place)


def _wrong(kind: str, where: str, words: str, given: str) -> dict[str, Any]:
    return {"type": kind, "loc": where, "msg": words, "input": given}
