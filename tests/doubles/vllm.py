"""A double of vLLM's OpenAI server for tests: its LoRA interface over real adapter directories, nothing computed.

Faithful to the source of vLLM 0.18 (``entrypoints/openai/models/serving.py``, ``entrypoints/serve/lora/api_router.py``,
``lora/peft_helper.py``, ``lora/worker_manager.py``) and, with ``in_place=False``, of 0.8: errors are flat there, and a
refused load is a 400. Never seen beside a running server: the contract suite is there to check that.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.doubles.ollama_http import Exchange, Loopback


class LoadError(Exception):
    """The engine refuses an adapter."""


class NotFoundHereError(LoadError):
    """There is no adapter at the path."""


@dataclass
class Lora:
    """One entry of the server's list. ``rank`` is what the engine reads of it."""

    name: str
    path: str
    rank: int
    content: bytes
    number: int


@dataclass
class Faults:
    """What goes wrong."""

    answers: dict[tuple[str, str], list[tuple[int, bytes] | None]] = field(default_factory=dict)
    """(method, path) → answers given once each instead; status 0 breaks the connection off, None answers as ever."""
    not_in_engine: set[str] = field(default_factory=set)
    """Adapters that the engine's cache has dropped: unloading them fails until somebody asks them something."""
    gone: set[str] = field(default_factory=set)
    """Paths that nothing can be loaded from any more, whatever is there."""


class VllmDouble:
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
        version: str = "0.18.0",
    ) -> None:
        self.root, self.names = root, names or (root,)
        self.lora, self.updating, self.max_rank = lora, updating, max_rank
        self.modules, self.key, self.in_place = dict(modules or {}), key, in_place
        self.rank_at_load, self.version = rank_at_load, version
        self.faults = Faults()
        self.running: list[str] = []
        """Models that answer somebody now."""
        self.healthy = True
        self.asked: list[str] = []
        """Models that answered a request, in order."""
        self.cache_resets = 0
        self.loras: dict[str, Lora] = {}
        self._numbers = 0
        self._server = Loopback(self._route)

    def __enter__(self) -> Self:
        self._begin()
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def requests(self) -> list[tuple[str, str]]:
        return self._server.requests

    def restart(self) -> None:
        """What was loaded at run time is lost."""
        port = self._server.server_address[1]
        self._server.stop()
        self._server = Loopback(self._route, port)
        self._begin()
        self._server.start()

    def _begin(self) -> None:
        self.loras = {}
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
        if self.key and path.startswith("/v1") and exchange.headers.get("Authorization") != f"Bearer {self.key}":
            return exchange.answer_json(401, {"error": "Unauthorized"})
        routes = self._routes()
        if route := routes.get((exchange.command, path)):
            return route(exchange)
        if any(known == path for _, known in routes):
            return exchange.answer_json(405, {"detail": "Method Not Allowed"})
        return exchange.answer_json(404, {"detail": "Not Found"})

    def _routes(self) -> dict[tuple[str, str], Any]:
        routes = {
            ("GET", "/health"): lambda exchange: exchange.answer(200 if self.healthy else 503),
            ("GET", "/version"): lambda exchange: exchange.answer_json(200, {"version": self.version}),
            ("GET", "/metrics"): self._metrics,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/completions"): self._complete,
        }
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
            "parent": parent, "max_model_len": more.get("max_model_len"), "permission": [{"id": "modelperm-1"}],
        }  # fmt: skip

    def _metrics(self, exchange: Exchange) -> None:
        lines = [
            "# HELP vllm:num_requests_running Number of requests in model execution batches.",
            "# TYPE vllm:num_requests_running gauge",
            f'vllm:num_requests_running{{engine="0",model_name="{self.names[0]}"}} {float(len(self.running))}',
            f'vllm:num_requests_waiting{{engine="0",model_name="{self.names[0]}"}} 0.0',
        ]
        if self.lora:
            at_work = ",".join(sorted({name for name in self.running if name in self.loras}))
            labels = f'max_lora="1",running_lora_adapters="{at_work}",waiting_lora_adapters=""'
            lines += [
                'vllm:lora_requests_info{max_lora="1",running_lora_adapters="old",waiting_lora_adapters=""} 1.7800e+09',
                f"vllm:lora_requests_info{{{labels}}} 1.7801e+09",
            ]
        exchange.answer(200, "\n".join(lines).encode() + b"\n", "text/plain; version=0.0.4; charset=utf-8")

    def _complete(self, exchange: Exchange) -> None:
        body = self._body(exchange)
        if body is None:
            return None
        name = body.get("model")
        lora = self.loras.get(str(name))
        if lora is None and name not in self.names:
            return self._error(exchange, 404, f"The model `{name}` does not exist.", "NotFoundError")
        if lora is not None and lora.rank > self.max_rank:
            return self._error(exchange, 500, _rank_words(lora.rank, self.max_rank), "InternalServerError")
        if lora is not None:
            self.faults.not_in_engine.discard(lora.name)
        self.asked.append(str(name))
        choice = {"index": 0, "text": lora.content.hex()[:8] if lora else " a", "finish_reason": "length"}
        return exchange.answer_json(200, {"object": "text_completion", "model": name, "choices": [choice]})

    def _load_route(self, exchange: Exchange) -> None:
        body = self._body(exchange)
        if body is None:
            return None
        name, path = body.get("lora_name"), body.get("lora_path")
        if not isinstance(name, str) or not isinstance(path, str):
            return exchange.answer_json(
                422, {"detail": [{"type": "missing", "loc": ["body"], "msg": "Field required"}]}
            )
        if not name or not path:
            message = "Both 'lora_name' and 'lora_path' must be provided."
            return self._error(exchange, 400, message, "InvalidUserInput")
        if name in self.loras and not (self.in_place and body.get("load_inplace")):
            message = f"The lora adapter '{name}' has already been loaded."
            return self._error(exchange, 400, message, "InvalidUserInput")
        try:
            self._load(name, path)
        except NotFoundHereError as error:
            return self._error(exchange, 404, str(error), "NotFoundError")
        except LoadError as error:
            new = (500, str(error), "InternalServerError")
            return self._error(exchange, *(new if self.in_place else (400, str(error), "BadRequestError")))
        return exchange.answer(200, f"Success: LoRA adapter '{name}' added successfully.".encode())

    def _unload_route(self, exchange: Exchange) -> None:
        body = self._body(exchange)
        if body is None:
            return None
        name = body.get("lora_name")
        if name not in self.loras:
            return self._error(exchange, 404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        if name in self.faults.not_in_engine:
            message = f"Failed to remove lora adapter '{name}' from the engine."
            return self._error(exchange, 500, message, "InternalServerError")
        del self.loras[name]
        return exchange.answer(200, f"Success: LoRA adapter '{name}' removed successfully.".encode())

    def _body(self, exchange: Exchange) -> dict[str, Any] | None:
        """The request's JSON; otherwise it is answered as FastAPI does."""
        try:
            body = json.loads(exchange.body)
        except ValueError:
            body = None
        if isinstance(body, dict):
            return body
        exchange.answer_json(422, {"detail": [{"type": "json_invalid", "loc": ["body"], "msg": "JSON decode error"}]})
        return None

    def _error(self, exchange: Exchange, status: int, message: str, kind: str) -> None:
        error = {"message": message, "type": kind, "param": None, "code": status}
        exchange.answer_json(status, {"error": error} if self.in_place else {"object": "error", **error})

    # the engine

    def _load(self, name: str, path: str) -> None:
        if not self.lora:
            raise LoadError("LoRA is not enabled. Use --enable-lora to enable LoRA.")
        rank, content = self._read(Path(path), name)
        if rank > self.max_rank and self.rank_at_load:
            raise LoadError(_rank_words(rank, self.max_rank))
        before = self.loras.get(name)
        if before is None:
            self._numbers += 1
        number = before.number if before is not None else self._numbers
        self.loras[name] = Lora(name, path, rank, content, number)

    def _read(self, folder: Path, name: str) -> tuple[int, bytes]:
        """Rank and weights of a PEFT directory, as the engine reads them."""
        config = folder / "adapter_config.json"
        if str(folder) in self.faults.gone or not config.is_file():
            raise NotFoundHereError(f"Loading lora {name} failed: No adapter found for {folder}")
        document = json.loads(config.read_bytes())
        if missing := {"r", "lora_alpha", "target_modules"} - document.keys():
            raise LoadError(f"Missing required configuration fields: {missing}")
        refused = [
            *(["vLLM only supports modules_to_save being None."] if document.get("modules_to_save") else []),
            *(["vLLM does not yet support DoRA."] if document.get("use_dora") else []),
        ]
        if refused:
            raise LoadError(", ".join(refused))
        weights = folder / "adapter_model.safetensors"
        if not weights.is_file():
            raise LoadError(f"{folder} doesn't contain tensors")
        content = weights.read_bytes()
        unexpected = [name for name in _tensors(content) if ".lora_A." not in name and ".lora_B." not in name]
        if unexpected:
            raise LoadError(f"{unexpected[0]} is unsupported LoRA weight")
        return int(document["r"]), content


def _tensors(content: bytes) -> list[str]:
    """Names of the tensors of a safetensors file, or an error where it is damaged."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        sizes = [
            (entry["data_offsets"], math.prod(entry["shape"]) * {"F32": 4, "F16": 2, "BF16": 2}[entry["dtype"]])
            for entry in tensors.values()
        ]
    except (ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise LoadError(f"Error while deserializing header: {error}") from error
    if any(end - begin != size or end > len(content) - 8 - length for (begin, end), size in sizes):
        raise LoadError("Error while deserializing header: MetadataIncompleteBuffer")
    return list(tensors)


def _rank_words(rank: int, limit: int) -> str:
    return f"LoRA rank {rank} is greater than max_lora_rank {limit}."
