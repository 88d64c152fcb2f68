"""A double of Ollama for tests: its HTTP interface over its real directory layout, pulling from real registries.

Faithful to the source of Ollama 0.33.0-rc2. Fields beyond the documented ones are not sent,
unknown routes are 404. Never seen beside a running server yet: the contract suite is there to check that.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.doubles.ollama_create import create
from tests.doubles.ollama_download import Download, Downloads, Faults, Pace, PullError
from tests.doubles.ollama_generate import Speed, chat, generate
from tests.doubles.ollama_http import Exchange, Listening, Loopback
from tests.doubles.ollama_model import CONFIG_TYPE
from tests.doubles.ollama_pull import pull
from tests.doubles.ollama_store import IMAGE, Name, Store, Stored, gguf_pairs


def weights_of(stored: Stored) -> str:
    layer = stored.layer("model")
    return str(layer["digest"]) if layer else ""


@dataclass
class Runner:
    """A loaded model (1.8)."""

    name: str
    size: int
    digest: str
    details: dict[str, Any]
    context: int
    keep_alive: float
    expires_at: datetime
    busy: int = 0
    first_use: bool = True
    weights: str = ""
    """Digest of what it has open: it goes on with them when its name moves to others."""

    def shown_expiry(self) -> datetime:
        """Moves while the first use runs; else stays where it was written when the runner went idle."""
        if self.busy and self.first_use:
            return datetime.now(UTC) + timedelta(seconds=self.keep_alive)
        return self.expires_at


class OllamaDouble(Listening):
    """One server over one directory.

    Args:
        root: the models' directory.
        registries: host of a name → base URL of the registry that plays it.
        tick_seconds: pause between two status lines of a pull; the real one takes 0.06.
        default_context: what the server gives a model that names none.
        speed: how fast it answers a prompt, by its own word; nothing is really computed.
    """

    def __init__(
        self,
        root: Path,
        *,
        registries: Mapping[str, str] | None = None,
        tick_seconds: float = 0.005,
        part_bytes: int = 65_536,
        chunk_bytes: int = 8_192,
        bytes_per_second: float | None = None,
        version: str = "0.33.0",
        default_context: int = 4096,
        no_prune: bool = False,
        port: int = 0,
        speed: Speed | None = None,
    ) -> None:
        self.store = Store(root)
        self.registries = dict(registries or {})
        self.faults = Faults()
        self.version, self.default_context, self.no_prune = version, default_context, no_prune
        self.pace = Pace(tick_seconds, part_bytes, chunk_bytes, bytes_per_second)
        self.downloads = Downloads(self.store, self.pace)
        self.runners: dict[str, Runner] = {}
        self.speed = speed or Speed()
        self.generated: list[dict[str, Any]] = []
        """Bodies of ``/api/generate``, in order."""
        self.pulled: list[str] = []
        """Names asked for by pull, in order."""
        self._lock = threading.Lock()
        self._server = Loopback(self._route, port)

    # life

    def __enter__(self) -> Self:
        if not self.no_prune:
            self.store.prune_at_start()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.downloads.kill()
        super().__exit__(kind, error, trace)

    # what tests do behind the server's back

    def load(self, name: str, *, keep_alive: float = 300.0, context: int | None = None) -> Runner:
        stored = self.store.find(Name.parse(name))
        assert stored is not None, f"{name} is not installed"
        expires = datetime.now(UTC) + timedelta(seconds=keep_alive)
        own = parameters(self.store, stored).get("num_ctx")
        runner = Runner(
            stored.name.short, stored.size, stored.digest, details(self.store, stored),
            context or own or self.default_context, keep_alive, expires, weights=weights_of(stored),
        )  # fmt: skip
        self.runners[stored.name.key] = runner
        return runner

    @contextmanager
    def in_flight(self, name: str) -> Iterator[Runner]:
        """A request runs: the first use moves ``expires_at``, later ones leave it frozen (1.8)."""
        key = Name.parse(name).key
        runner = self.runners.get(key) or self.load(name)
        runner.busy += 1
        try:
            yield runner
        finally:
            runner.busy -= 1
            runner.first_use = False
            runner.expires_at = datetime.now(UTC) + timedelta(seconds=runner.keep_alive)

    def add_cloud(self, name: str, host: str = "https://ollama.com") -> None:
        """A cloud stub: a manifest and a config, no weights (1.2)."""
        config = self.store.add_blob(
            json.dumps({"remote_host": host, "remote_model": name.partition(":")[0]}).encode(), CONFIG_TYPE
        )
        document = {"schemaVersion": 2, "config": config, "layers": []}
        self.store.write(Name.parse(name), json.dumps(document).encode())

    def add_orphan(self, content: bytes) -> str:
        """A blob that no manifest refers to (1.6, 1.9)."""
        return str(self.store.add_blob(content, IMAGE + "model")["digest"])

    # routes

    def _route(self, exchange: Exchange) -> None:
        path = exchange.path.partition("?")[0]
        if path in self.faults.status:
            return self._broken(exchange, *self.faults.status[path])
        if path.startswith("/api/blobs/"):
            return self._blob(exchange, path.removeprefix("/api/blobs/"))
        route = _ROUTES.get((exchange.command, path))
        if route is None:
            return exchange.answer(404, b"404 page not found")
        return route(self, exchange)

    def _broken(self, exchange: Exchange, status: int, body: bytes) -> None:
        if status == 0:
            exchange.break_off()
        else:
            exchange.answer(status, body, "application/json; charset=utf-8")

    def _alive(self, exchange: Exchange) -> None:
        exchange.answer(200, b"Ollama is running")

    def _version(self, exchange: Exchange) -> None:
        exchange.answer_json(200, {"version": self.version})

    def _tags(self, exchange: Exchange) -> None:
        """1.2: newest first."""
        stored = sorted(self.store.listed(), key=lambda item: -item.modified)
        exchange.answer_json(200, {"models": [self._tag(item) for item in stored]})

    def _tag(self, stored: Stored) -> dict[str, Any]:
        name = stored.name.short
        config = config_of(self.store, stored)
        remote = {key: config[key] for key in ("remote_model", "remote_host") if key in config}
        return {
            "name": name, "model": name, **remote, "modified_at": _go_time(stored.modified), "size": stored.size,
            "digest": stored.digest, "details": details(self.store, stored),
        }  # fmt: skip

    def _ps(self, exchange: Exchange) -> None:
        """1.8: longest remaining life first."""
        self._expire()
        runners = sorted(self.runners.values(), key=lambda runner: runner.shown_expiry(), reverse=True)
        models = [
            {
                "name": runner.name, "model": runner.name, "size": runner.size, "digest": runner.digest,
                "details": runner.details, "expires_at": runner.shown_expiry().isoformat(),
                "size_vram": round(runner.size * self.speed.on_accelerator),
                "context_length": runner.context,
            }
            for runner in runners
        ]  # fmt: skip
        exchange.answer_json(200, {"models": models})

    def _expire(self) -> None:
        now = datetime.now(UTC)
        for key, runner in list(self.runners.items()):
            if not runner.busy and runner.expires_at <= now:
                del self.runners[key]

    def _show(self, exchange: Exchange) -> None:
        """1.3. A model whose weights are gone fails here although it is listed (1.2)."""
        stored = self._named(exchange)
        if stored is None:
            return None
        weights = stored.layer("model")
        if weights and not self.store.blob(weights["digest"]).exists():
            message = f"open {self.store.blob(weights['digest'])}: no such file or directory"
            return exchange.answer_json(500, {"error": message})
        exchange.answer_json(200, shown(self.store, stored))
        return None

    def _pull(self, exchange: Exchange) -> None:
        """1.4, 1.5: everything after a readable name is 200 and a stream."""
        body = _body(exchange)
        text = (body or {}).get("model") or (body or {}).get("name")
        try:
            name = Name.parse(str(text or ""))
        except ValueError as error:
            return exchange.answer_json(400, {"error": str(error)})
        assert body is not None
        self.pulled.append(name.short)
        faults = self._faults_of_this_pull()
        lines = pull(self, self.store.folded(name), insecure=bool(body.get("insecure")), faults=faults)
        if body.get("stream", True) is False:
            return self._unstreamed(exchange, lines)
        return self._streamed(exchange, lines, faults)

    def _faults_of_this_pull(self) -> Faults:
        if self.faults.times is None:
            return self.faults
        self.faults.times -= 1
        return replace(self.faults) if self.faults.times >= 0 else Faults(status=self.faults.status)

    def _streamed(self, exchange: Exchange, lines: Iterator[dict[str, Any] | bytes | None], faults: Faults) -> None:
        exchange.begin_stream()
        try:
            for line in lines:
                if exchange.client_gone:
                    return None
                if line is None:
                    continue
                if isinstance(line, dict) and _reached(line, faults.disconnect_after):
                    return exchange.break_off()
                if isinstance(line, dict) and _reached(line, faults.end_after):
                    break
                content = line if isinstance(line, bytes) else json.dumps(line, separators=(",", ":")).encode()
                exchange.send_chunk(content + b"\n")
        finally:
            lines.close()  # type: ignore[attr-defined]
        exchange.end_stream()
        return None

    def _unstreamed(self, exchange: Exchange, lines: Iterator[Any]) -> None:
        last: dict[str, Any] = {}
        for line in lines:
            last = line if isinstance(line, dict) else last
            if "error" in last:
                return exchange.answer_json(500, last)
        exchange.answer_json(200, last)
        return None

    def _delete(self, exchange: Exchange) -> None:
        """1.1, 1.7: 200 with an empty body; what is loaded stays loaded."""
        stored = self._named(exchange)
        if stored is not None:
            self.store.delete(stored)
            exchange.answer(200)

    def _copy(self, exchange: Exchange) -> None:
        """1.1, 1.2: only the manifest is copied."""
        body = _body(exchange) or {}
        try:
            source, destination = Name.parse(str(body.get("source", ""))), Name.parse(str(body.get("destination", "")))
        except ValueError as error:
            return exchange.answer_json(400, {"error": str(error)})
        stored = self.store.find(source)
        if stored is None:
            return exchange.answer_json(404, {"error": f'model "{body["source"]}" not found'})
        self.store.write(destination, stored.raw)
        exchange.answer(200)
        return None

    def _blob(self, exchange: Exchange, digest: str) -> None:
        """1.1."""
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            return exchange.answer_json(400, {"error": "invalid digest format"})
        path = self.store.blob(digest)
        if exchange.command == "HEAD":
            return exchange.answer(200 if path.exists() else 404)
        if exchange.command != "POST":
            return exchange.answer(404, b"404 page not found")
        if path.exists():
            return exchange.answer(200)
        content = exchange.body
        got = "sha256:" + hashlib.sha256(content).hexdigest()
        if got != digest:
            return exchange.answer_json(400, {"error": f'digest mismatch, expected "{digest}", got "{got}"'})
        path.write_bytes(content)
        exchange.answer(201)
        return None

    def _create(self, exchange: Exchange) -> None:
        """1.9."""
        body = _body(exchange)
        if body is None or not (body.get("model") or body.get("name")):
            return exchange.answer_json(
                400, {"error": "missing request body" if body is None else "invalid model name"}
            )
        lines = create(self, body)
        first = next(lines)
        if "error" in first and "status" not in first:
            return exchange.answer_json(400, first)
        if body.get("stream", True) is False:
            return self._unstreamed(exchange, iter((first, *lines)))
        return self._streamed(exchange, (line for line in chain((first,), lines)), Faults())

    def _generate(self, exchange: Exchange) -> None:
        """1.8: load, unload, and an answer to a prompt with its timings."""
        body = _body(exchange) or {}
        self.generated.append(body)
        stored = self._named(exchange, body)
        if stored is not None:
            generate(self, exchange, body, stored)

    def _chat(self, exchange: Exchange) -> None:
        body = _body(exchange) or {}
        stored = self._named(exchange, body)
        if stored is not None:
            chat(self, exchange, body, stored)

    def _named(self, exchange: Exchange, body: dict[str, Any] | None = None) -> Stored | None:
        """The model a body names, or None once the refusal is sent."""
        body = _body(exchange) if body is None else body
        text = str((body or {}).get("model") or (body or {}).get("name") or "")
        try:
            stored = self.store.find(Name.parse(text))
        except ValueError as error:
            exchange.answer_json(400, {"error": str(error)})
            return None
        if stored is None:
            exchange.answer_json(404, {"error": f"model '{text}' not found"})
        return stored

    def registry_of(self, name: Name, *, insecure: bool) -> str:
        """Base URL of a name's registry: ``insecure`` is plain HTTP (1.11)."""
        return self.registries.get(name.host) or f"{'http' if insecure else 'https'}://{name.host}"

    def fetch(self, digest: str, size: int, url: str, faults: Faults) -> Download:
        return self.downloads.join(digest, size, lambda: url, faults)


_ROUTES = {
    ("GET", "/"): OllamaDouble._alive,
    ("HEAD", "/"): OllamaDouble._alive,
    ("GET", "/api/version"): OllamaDouble._version,
    ("GET", "/api/tags"): OllamaDouble._tags,
    ("GET", "/api/ps"): OllamaDouble._ps,
    ("POST", "/api/show"): OllamaDouble._show,
    ("POST", "/api/pull"): OllamaDouble._pull,
    ("DELETE", "/api/delete"): OllamaDouble._delete,
    ("POST", "/api/copy"): OllamaDouble._copy,
    ("POST", "/api/create"): OllamaDouble._create,
    ("POST", "/api/generate"): OllamaDouble._generate,
    ("POST", "/api/chat"): OllamaDouble._chat,
}


def config_of(store: Store, stored: Stored) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        return json.loads(store.blob(stored.document["config"]["digest"]).read_bytes())
    return {}


def details(store: Store, stored: Stored) -> dict[str, Any]:
    config = config_of(store, stored)
    return {
        "parent_model": "",
        "format": config.get("model_format", ""),
        "family": config.get("model_family", ""),
        "families": config.get("model_families"),
        "parameter_size": config.get("model_type", ""),
        "quantization_level": config.get("file_type", ""),
    }


def parameters(store: Store, stored: Stored) -> dict[str, Any]:
    layer = stored.layer("params")
    return json.loads(store.blob(layer["digest"]).read_bytes()) if layer else {}


def system(store: Store, stored: Stored) -> str:
    layer = stored.layer("system")
    return store.blob(layer["digest"]).read_text() if layer else ""


def shown(store: Store, stored: Stored) -> dict[str, Any]:
    """The answer of ``/api/show`` (1.3)."""
    template = stored.layer("template")
    text = store.blob(template["digest"]).read_text() if template else ""
    lines = [f"{key:<30} {value}" for key, value in parameters(store, stored).items()]
    weights = stored.layer("model")
    pairs: dict[str, Any] = {}
    if weights:
        with store.blob(weights["digest"]).open("rb") as file:
            pairs = gguf_pairs(file)
    hidden = ("general.name", "tokenizer.chat_template")
    return {
        "modelfile": modelfile(store, stored, text),
        "parameters": "\n".join(lines),
        "template": text,
        **({"system": said} if (said := system(store, stored)) else {}),
        "details": {**details(store, stored), "parent_model": (weights or {}).get("from", "")},
        "model_info": {key: value for key, value in pairs.items() if key not in hidden},
        "tensors": [],
        "capabilities": ["completion"],
        "modified_at": _go_time(stored.modified),
    }


def modelfile(store: Store, stored: Stored, template: str) -> str:
    kinds = {IMAGE + "model": "FROM", IMAGE + "projector": "FROM", IMAGE + "adapter": "ADAPTER"}
    lines = ['# Modelfile generated by "ollama show"', "# To build a new Modelfile based on this, replace FROM with:"]
    lines += [f"# FROM {stored.name.short}", ""]
    lines += [
        f"{kinds[layer['mediaType']]} {store.blob(layer['digest'])}"
        for layer in stored.layers
        if layer["mediaType"] in kinds
    ]
    lines += [f'TEMPLATE """{template}"""'] if template else []
    lines += [f'SYSTEM """{said}"""'] if (said := system(store, stored)) else []
    return "\n".join([*lines, *(f"PARAMETER {key} {value}" for key, value in parameters(store, stored).items()), ""])


def _reached(line: dict[str, Any], limit: int | None) -> bool:
    return limit is not None and line.get("completed", 0) >= limit


def _body(exchange: Exchange) -> dict[str, Any] | None:
    with suppress(ValueError):
        document = json.loads(exchange.body)
        return document if isinstance(document, dict) else None
    return None


def _go_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


__all__ = ["Faults", "OllamaDouble", "PullError"]
