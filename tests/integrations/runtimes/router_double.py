"""A llama-server in router mode, in memory, with its cache on disk; each behaviour was seen on the real one (b10434)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reconciler.domain.artifact import ArtifactFile, HubArtifact
from reconciler.domain.desired import Target
from reconciler.domain.plan import Action, Row
from reconciler.domain.units import Bytes
from reconciler.integrations.http import ByteStream, Http, MockTransport, Request, Response
from reconciler.integrations.runtimes.hub_layout import look
from reconciler.integrations.runtimes.llama_server import LlamaServer
from reconciler.integrations.runtimes.llama_server_lora import files_of
from reconciler.integrations.runtimes.llama_server_preset import Preset
from tests.doubles.ollama_rig import QuickClock, install_row

URL = "http://router:8080"
REPO = "acme/alpha-GGUF"
FILE = "alpha-Q8_0.gguf"
NAME = f"{REPO}:Q8_0"
CONTENT = b"GGUF" + b"a" * 2000
COMMIT = "c" * 40


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def artifact(content: bytes = CONTENT, path: str = FILE) -> HubArtifact:
    file = ArtifactFile(path=path, bytes=Bytes(len(content)), sha256=sha(content))
    return HubArtifact(endpoint="http://hub", repo=REPO, commit=COMMIT, files=(file,))


def row(action: Action = Action.INSTALL, content: bytes = CONTENT, **more: Any) -> Row:
    return install_row(NAME, artifact(content), action, **more)


def put(cache: Path, path: str = FILE, content: bytes = CONTENT, *, repo: str = REPO, named: str | None = None) -> Path:
    """A file as a download leaves it; ``named`` is the digest that the Hub stated."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    blob, link = folder / "blobs" / (named or sha(content)), folder / "snapshots" / COMMIT / path
    for parent in (blob.parent, link.parent, folder / "refs"):
        parent.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(COMMIT)
    blob.write_bytes(content)
    if not link.is_symlink():
        link.symlink_to(blob)
    return blob


class RouterDouble:
    """What the router answers; every part can be replaced by a test.

    Args:
        cache: where it keeps its downloads.
        brings: what a download leaves, given the name; the default is the planned content, where its blob is not there.
    """

    def __init__(self, cache: Path, brings: Callable[[str], None] | None = None) -> None:
        self.cache = cache
        self.models: dict[str, dict[str, Any]] = {}
        self.brings = brings or self.fetch
        self.busy: set[str] = set()
        self.broken: set[str] = set()
        self.answers: dict[tuple[str, str], Response] = {}
        """(method, path) → an answer given instead, every time."""
        self.asked: list[str] = []
        self.looks_while_downloading = 2
        """How often a list is asked until a download has ended."""
        self.events: bytes | None = None
        self.role = "router"
        self.preset: Path | None = None
        self.command_line: dict[str, str] = {}
        """Flags that win over the preset."""
        self.key: str | None = None
        """As of ``--api-key``: lists are open, all else is not."""
        self.refused_files: set[str] = set()
        """Adapters that no model loads with."""
        self.silent: set[str] = set()
        """Names that load and then answer nothing."""
        self.most: int | None = None
        """As of ``--models-max``: the first idle model in the alphabet goes for another."""
        self.ports: dict[str, int] = {}
        """Where a name's own process listens."""
        self.scales: dict[str, float] = {}
        """What such a process was told, by file; its end forgets it."""
        self._arrived: set[str] = set()
        """Names whose files are looked for at each reload."""
        self._pending: dict[str, int] = {}

    def arrive(self, name: str = NAME, path: str = FILE, content: bytes = CONTENT, named: str | None = None) -> None:
        put(self.cache, path, content, named=named)
        self.add(name)
        self._arrived.add(name)

    def fetch(self, name: str = NAME) -> None:
        """A download: a blob that is called as the Hub says is taken as it is, whatever is in it."""
        blob = self.cache / f"models--{REPO.replace('/', '--')}" / "blobs" / sha(CONTENT)
        self.arrive(name, content=blob.read_bytes() if blob.exists() else CONTENT, named=sha(CONTENT))

    def add(self, name: str, status: str = "unloaded", source: str = "cache", **more: Any) -> None:
        self.models[name] = {"status": status, "source": source, **more}

    def __call__(self, request: Request) -> Response:
        if request.url.host == "127.0.0.1" and request.url.port in self.ports.values():
            assert "Authorization" not in request.headers, "the key is the router's"
            return self._of_a_process(request)
        open_paths = ("/models", "/health")
        wrong = self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}"
        if wrong and request.url.path not in open_paths:
            return _error(401, "Invalid API Key")
        path, model = request.url.path, request.url.params.get("model", "")
        if request.content:
            model = json.loads(request.content)["model"]
        self.asked.append(f"{request.method} {path} {model}".strip())
        if path == "/models" and "reload" in request.url.params and (refused := self._read_preset()):
            return refused
        given = self.answers.get((request.method, path))
        if given is not None:
            return Response(given.status_code, content=given.content)
        if request.method == "GET" and (model or path == "/props"):
            assert request.url.params.get("autoload") == "false", "it would load a model"
        return getattr(self, f"_{request.method.lower()}{path.replace('/', '_').replace('-', '_')}")(model)

    def _get_props(self, _: str) -> Response:
        return Response(200, json={"role": self.role, "build_info": "b1-test", "max_instances": self.most or 0})

    def _get_models(self, _: str) -> Response:
        for name in list(self._pending):
            self._pending[name] -= 1
            if self._pending[name] <= 0:
                del self._pending[name], self.models[name]
                self.brings(name)
        return Response(200, json={"data": [self._item(name) for name in sorted(self.models)], "object": "list"})

    def _read_preset(self) -> Response | None:
        """Sections are settings of what is there, ghosts of what is not, and names of what they lead to.

        What runs and has other settings now is stopped. An ``alias`` is learnt and never forgotten.
        """
        there = look(self.cache).models
        for name in self._arrived:
            if name not in there and self.models.get(name, {}).get("status") == "unloaded":
                del self.models[name]
            elif name in there and name not in self.models:
                self.add(name)
        if self.preset and not self.preset.is_file():
            broken = "basic_filebuf::underflow error reading the file: Is a directory"
            return _error(500, broken if self.preset.exists() else f"preset file does not exist: {self.preset}")
        sections = Preset(self.preset.read_text()).sections if self.preset else {}
        for name, model in self.models.items():
            for alias in model.get("aliases", ()):
                if alias in sections:
                    return _error(500, f"model name '{alias}' conflicts with alias of model '{name}'")
        before = {name: dict(model.get("settings", {"hf-repo": name})) for name, model in self.models.items()}
        for name, model in list(self.models.items()):
            if model["source"] == "preset" and name not in sections and "model" not in model.get("settings", {}):
                if name in look(self.cache).models:
                    model.update(settings={"hf-repo": name, **self.command_line})  # what it was first, it stays
                else:
                    del self.models[name]
            elif model["source"] == "cache":
                model["settings"] = {"hf-repo": name, **self.command_line}
        for name, section in sections.items():
            if name == "*":
                continue
            if name not in self.models:
                self.add(name, source="preset")
            said = dict(section.settings)
            if alias := said.pop("alias", None):
                self.models[name]["aliases"] = [*self.models[name].get("aliases", ()), alias]
            self.models[name]["settings"] = {"hf-repo": name, **said, **self.command_line}
        for name, model in self.models.items():
            if name in before and model.get("settings") != before[name] and model["status"] == "loaded":
                model["status"] = "unloaded"
        return None

    def _item(self, name: str) -> dict[str, Any]:
        model = self.models[name]
        preset = "\n".join(f"{key} = {value}" for key, value in model.get("settings", {}).items())
        words = ["--port", str(self.ports[name])] if name in self.ports else []
        status = {"value": model["status"], "args": words, "preset": f"[{name}]\n{preset}\n"}
        if model.get("failed"):
            status |= {"failed": True, "exit_code": 1}
        removable = model["source"] == "cache"
        aliases = model.get("aliases", [])
        return {
            "id": name, "aliases": aliases, "status": status, "source": model["source"], "can_remove": removable
        }  # fmt: skip

    def _get_models_sse(self, _: str) -> Response:
        if self.events is None:
            return Response(404)
        return Response(200, stream=ByteStream(self.events))

    def _get_slots(self, name: str) -> Response:
        if self.models[name]["status"] != "loaded":
            return _error(400, "model is not loaded")
        return Response(200, json=[{"id": 0, "is_processing": False}, {"id": 1, "is_processing": name in self.busy}])

    def _post_models(self, name: str) -> Response:
        if name in self.models:
            return _error(400, f"model '{name}' already exists")
        self.add(name, "downloading")
        self._pending[name] = self.looks_while_downloading
        return Response(200, json={"success": True})

    def _post_models_unload(self, name: str) -> Response:
        if name in self._pending:
            del self._pending[name], self.models[name]
        elif name in self.models:
            self.models[name]["status"] = "unloaded"
        else:
            return _error(400, "model is not running")
        return Response(200, json={"success": True})

    def _post_models_load(self, name: str) -> Response:
        model = self.models[name]
        settings = model.get("settings", {})
        model["failed"] = False
        if {name, settings.get("hf-repo")} & self.broken or {
            path for path, _ in files_of(settings)
        } & self.refused_files:
            model.update(failed=True)
            return Response(200, json={"success": True})
        running = sorted(one for one, other in self.models.items() if other["status"] == "loaded")
        if self.most is not None and len(running) >= self.most:
            idle = [one for one in running if one not in self.busy]
            if not idle:
                return _error(500, "model limit reached, try again later")
            self.models[idle[0]]["status"] = "unloaded"
        model["status"] = "loaded"
        return Response(200, json={"success": True})

    def _get_lora_adapters(self, name: str) -> Response:
        if self.models.get(name, {}).get("status") != "loaded":
            return _error(400, "model is not loaded")
        return Response(200, json=self._adapters(name))

    def _adapters(self, name: str) -> list[dict[str, Any]]:
        files = files_of(self.models[name].get("settings", {}))
        return [
            {"id": at, "path": path, "scale": float(np.float32(self.scales.get(path, scale))), "task_name": ""}
            for at, (path, scale) in enumerate(files)
        ]

    def _post_completion(self, name: str) -> Response:
        if self.models.get(name, {}).get("status") != "loaded":
            return _error(400, "model is not loaded")
        return _error(500, "no answer") if name in self.silent else Response(200, json={"content": "a"})

    def _of_a_process(self, request: Request) -> Response:
        """Ids that are left out go to 0; one that does not exist is accepted."""
        name = next(one for one, port in self.ports.items() if port == request.url.port)
        if name in self.silent:
            return _error(401, "Invalid API Key")
        if request.method == "POST":
            asked = {each["id"]: each["scale"] for each in json.loads(request.content)}
            self.scales |= {each["path"]: asked.get(each["id"], 0.0) for each in self._adapters(name)}
            return Response(200, json={"success": True})
        return Response(200, json=self._adapters(name))

    def _delete_models(self, name: str) -> Response:
        model = self.models.get(name)
        if model is None:
            return _error(500, f"model name={name} is not found")
        if model["source"] != "cache":
            return _error(500, f"model name={name} is not removable (not from cache)")
        del self.models[name]
        folder = self.cache / f"models--{name.partition(':')[0].replace('/', '--')}"
        for link in folder.glob("snapshots/*/*.gguf"):
            blob = link.resolve()
            link.unlink()
            blob.unlink(missing_ok=True)
        return Response(200, json={"success": True})


def _error(status: int, message: str) -> Response:
    return Response(status, json={"error": {"code": status, "message": message, "type": "server_error"}})


def runtime_on(double: Callable[[Request], Response], *, local: bool = True, **more: Any) -> LlamaServer:
    clock = QuickClock()
    cache = str(double.cache) if local and isinstance(double, RouterDouble) else None
    named = {"cache": cache, "is_local": local, "endpoint": URL, **more.pop("target", {})}
    target = Target(name="router", runtime="llama-server", **named)
    return LlamaServer(
        target, http=lambda: Http(clock=clock, transport=MockTransport(double)), clock=clock, poll_seconds=0.001,
        environ={"HOME": "/nowhere"}, **more,
    )  # fmt: skip


def told(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def progress(done: int, total: int, path: str = FILE, repo: str = REPO) -> dict[str, Any]:
    url = f"http://hub/{repo}/resolve/{COMMIT}/{path}"
    return {"model": NAME, "event": "download_progress", "data": {"progress": {url: {"done": done, "total": total}}}}
