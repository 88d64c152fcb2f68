"""Where models lie on a server: the double of Ollama beside a registry, or a real llama-server beside our mirror.

A site is the outside: it outlives the program under test, can be killed and started again, put back to how it was, and
says by its own files what stands there. Names of models: alpha, beta, gamma, delta; each has a second content.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.error import HTTPError

from reconciler.domain.desired import Slot, Target
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.llama_server import LlamaServer
from reconciler.integrations.runtimes.ollama import Ollama
from reconciler.ports import Clock, Runtime
from reconciler.servers.mirror import serve
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_model import Packed, packed, tiny_gguf
from tests.doubles.ollama_store import Name
from tests.doubles.registry_front_memory import MemoryRegistry
from tests.e2e.rig import Tap, fetch, free_port, sha256_of, tiny_name, wait_for
from tests.e2e.router import Line, Router, loadable_gguf

MODELS = ("alpha", "beta", "gamma", "delta")
THEIRS = "delta"
"""What a stranger has installed in every story."""


class Site(Protocol):
    """One server with its models, and where they come from."""

    kind: str
    size: int
    """Bytes of one model, about."""
    hub: str
    """Where our own program asks."""

    def target(self) -> Target: ...
    def name_of(self, model: str) -> str: ...
    def slot(self, model: str) -> dict[str, Any]: ...
    def runtime(self, http: Callable[[], Http], clock: Clock, cache: Path) -> Runtime: ...
    def variables(self) -> dict[str, str]: ...

    def promised(self, model: str) -> str:
        """What its source offers now."""
        ...

    def installed(self) -> dict[str, str]:
        """Name → what its content is, by the server's files."""
        ...

    def held_bytes(self) -> int: ...
    def leftovers(self) -> list[str]: ...

    @property
    def sent(self) -> int:
        """Bytes its source sent so far."""
        ...

    def put(self, model: str) -> None:
        """Somebody else installs it."""
        ...

    def spoil(self, model: str) -> None:
        """Somebody puts other content under its name."""
        ...

    def take_away(self, model: str) -> None: ...
    def load(self, model: str) -> None: ...
    def unload(self, model: str) -> None: ...

    def move(self, model: str) -> None:
        """Its source offers other content under the same name from now on."""
        ...

    def dawdle(self, seconds: float | None) -> None:
        """One model takes so long to arrive from now on; None: as long as it takes."""
        ...

    def start(self) -> None: ...
    def kill(self) -> None: ...

    def restart(self) -> None:
        self.kill()
        self.start()

    def keep(self) -> None: ...
    def bring_back(self) -> None: ...


S = TypeVar("S", bound=Site)


class Folder:
    """A directory that can be put back to how it was."""

    def __init__(self, path: Path) -> None:
        self.path, self._kept = path, path.with_name(f"{path.name}.kept")

    def keep(self) -> None:
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self.path, self._kept, symlinks=True)

    def bring_back(self) -> None:
        for path in self.path.iterdir():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        shutil.copytree(self._kept, self.path, symlinks=True, dirs_exist_ok=True)


def allocated(paths: Iterator[Path]) -> int:
    found = 0
    for path in paths:
        with suppress(OSError):
            found += path.stat().st_blocks * 512 if path.is_file() and not path.is_symlink() else 0
    return found


class _TappedRegistry(MemoryRegistry):
    """A registry that sends its readers by a way that counts."""

    way = ""

    @property
    def url(self) -> str:
        return self.way or super().url


class OllamaSite:
    """The double of Ollama over a real directory, pulling from a registry in memory."""

    kind, size = "ollama", 300_000

    def __init__(self, folder: Path, registry: _TappedRegistry, tap: Tap, hub: str) -> None:
        self.hub = hub
        self._folder, self._registry, self._tap = Folder(folder / "ollama"), registry, tap
        self._folder.path.mkdir(parents=True)
        self._port = free_port()
        self._offered: dict[str, Packed] = {}
        self._server: OllamaDouble | None = None
        for seed, model in enumerate(MODELS):
            self._offer(model, seed)
        self.start()

    @property
    def server(self) -> OllamaDouble:
        assert self._server is not None, "the server is down"
        return self._server

    @property
    def address(self) -> str:
        return self._tap.url.removeprefix("http://")

    def _offer(self, model: str, seed: int) -> None:
        self._offered[model] = packed(tiny_gguf(self.size, seed=seed), model_type=model)
        self._registry.add(f"acme/{model}:1b", self._offered[model])

    def target(self) -> Target:
        url = f"http://127.0.0.1:{self._port}"
        return Target(name="gpu", runtime="ollama", endpoint=url, registry=self.address, insecure=True)

    def name_of(self, model: str) -> str:
        return f"{self.address}/acme/{model}:1b"

    def slot(self, model: str) -> dict[str, Any]:
        return {"name": model, "model": self.name_of(model)}

    def runtime(self, http: Callable[[], Http], clock: Clock, cache: Path) -> Runtime:
        return Ollama(
            self.target(), http=http, clock=clock, environ={}, directories=[self._folder.path],
            idle_timeout_seconds=1.0, max_pull_retries=2,
        )  # fmt: skip

    def variables(self) -> dict[str, str]:
        return {"OLLAMA_MODELS": str(self._folder.path)}

    def promised(self, model: str) -> str:
        return self._offered[model].digest

    def installed(self) -> dict[str, str]:
        """Listed, and every layer there with the content its name says."""
        store, found = self.server.store, {}
        for stored in store.all():
            blobs = [store.blob(layer["digest"]) for layer in stored.layers]
            whole = all(path.exists() and path.name == f"sha256-{sha256_of(path)}" for path in blobs)
            found[stored.name.short] = stored.digest if whole else "damaged"
        return found

    def held_bytes(self) -> int:
        return allocated(self._folder.path.rglob("*"))

    def leftovers(self) -> list[str]:
        return sorted(path.name for path in self.server.store.blobs.glob("*-partial*"))

    @property
    def sent(self) -> int:
        return self._tap.bytes

    def put(self, model: str) -> None:
        self._write(model, self._offered[model])

    def spoil(self, model: str) -> None:
        self._write(model, packed(tiny_gguf(self.size, seed=99), model_type=f"other {model}"))

    def _write(self, model: str, content: Packed) -> None:
        self.server.store.put(self.name_of(model), content)

    def take_away(self, model: str) -> None:
        stored = self.server.store.find(Name.parse(self.name_of(model)))
        if stored is not None:
            self.server.store.delete(stored)

    def load(self, model: str) -> None:
        self.server.load(self.name_of(model), keep_alive=3600)

    def unload(self, model: str) -> None:
        self.server.runners.pop(Name.parse(self.name_of(model)).key, None)

    def move(self, model: str) -> None:
        self._offer(model, seed=MODELS.index(model) + 50)

    def dawdle(self, seconds: float | None) -> None:
        self.server.pace.bytes_per_second = seconds and self.size / seconds

    def start(self) -> None:
        self._server = OllamaDouble(self._folder.path, port=self._port, tick_seconds=0.005).__enter__()

    def kill(self) -> None:
        if self._server is not None:
            self._server.__exit__(None, None, None)
            self._server = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def keep(self) -> None:
        self._folder.keep()

    def bring_back(self) -> None:
        self.kill()
        for model, seed in zip(MODELS, range(len(MODELS)), strict=True):
            self._offer(model, seed)
        self._folder.bring_back()
        self.start()


class RouterSite:
    """A real llama-server in router mode, fetching from our mirror."""

    kind = "llama-server"

    def __init__(self, folder: Path, root: Path, line: Line) -> None:
        self._hub, self.line, self.hub = root, line, line.straight
        for number in range(len(MODELS)):
            self._offer(number, 512 + 64 * number)
        self.size = self._file(MODELS[0]).stat().st_size
        (folder / "router").mkdir(parents=True)
        self.preset = folder / "router" / "presets.ini"
        self.preset.write_text("version = 1\n", encoding="utf-8")
        self.router = Router(folder / "router", line.url, "--models-preset", str(self.preset))
        self.router.cache.mkdir()
        self._folder = Folder(self.router.cache)
        self._presets = self.preset.read_text()
        self.router.start()

    def _file(self, model: str) -> Path:
        return self._hub / tiny_name(model)

    def _offer(self, number: int, vocab: int) -> None:
        loadable_gguf(self._file(MODELS[number]), vocab=vocab)

    def target(self) -> Target:
        return Target(
            name="router", runtime="llama-server", endpoint=self.router.url, cache=str(self.router.cache),
            preset=str(self.preset),
        )  # fmt: skip

    def name_of(self, model: str) -> str:
        return f"acme/{model}-GGUF:Q8_0"

    def slot(self, model: str) -> dict[str, Any]:
        return {"name": model, "model": f"acme/{model}-GGUF", "quant": "Q8_0"}

    def runtime(self, http: Callable[[], Http], clock: Clock, cache: Path) -> Runtime:
        return LlamaServer(
            self.target(), http=http, clock=clock, cache_directory=cache, environ={}, idle_timeout_seconds=2.0,
            poll_seconds=0.05,
        )  # fmt: skip

    def variables(self) -> dict[str, str]:
        return {}

    def promised(self, model: str) -> str:
        return sha256_of(self._file(model))

    def installed(self) -> dict[str, str]:
        found = {}
        for path in self.router.cache.glob("models--*/snapshots/*/*.gguf"):
            repo = path.parents[2].name.removeprefix("models--").replace("--", "/")
            found[f"{repo}:Q8_0"] = sha256_of(path) if path.exists() else "damaged"
        return found

    def held_bytes(self) -> int:
        return allocated(self.router.cache.rglob("*"))

    def leftovers(self) -> list[str]:
        named = {path.resolve().name for path in self.router.cache.glob("models--*/snapshots/*/*.gguf")}
        return sorted(blob for blob in self.router.blobs() if blob not in named)

    @property
    def sent(self) -> int:
        return self.line.bytes

    def put(self, model: str) -> None:
        fetch(f"{self.router.url}/models", {"model": self.name_of(model)})
        wait_for(lambda: self.router.models().get(self.name_of(model)) == "unloaded", self.router.log)

    def spoil(self, model: str) -> None:
        """The file is written over in its place."""
        for path in self.router.cache.glob(f"models--acme--{model}-GGUF/snapshots/*/*.gguf"):
            content = bytearray(path.read_bytes())
            content[-1] ^= 0xFF
            path.resolve().write_bytes(content)

    def take_away(self, model: str) -> None:
        shutil.rmtree(self.router.cache / f"models--acme--{model}-GGUF", ignore_errors=True)
        fetch(f"{self.router.url}/models?reload=1")

    def load(self, model: str) -> None:
        try:
            self.router.load(self.name_of(model))
        except HTTPError:  # it runs already
            if self.router.models().get(self.name_of(model)) != "loaded":
                raise

    def unload(self, model: str) -> None:
        with suppress(HTTPError):  # it does not run
            fetch(f"{self.router.url}/models/unload", {"model": self.name_of(model)})

    def move(self, model: str) -> None:
        self._offer(MODELS.index(model), 1024 + 64 * MODELS.index(model))

    def dawdle(self, seconds: float | None) -> None:
        self.line.rate = seconds and self.size / seconds

    def start(self) -> None:
        self.router.start()

    def kill(self) -> None:
        self.router.kill()

    def restart(self) -> None:
        self.kill()
        self.start()

    def keep(self) -> None:
        self._folder.keep()
        self._presets = self.preset.read_text()

    def bring_back(self) -> None:
        self.kill()
        for number in range(len(MODELS)):
            self._offer(number, 512 + 64 * number)
        self._folder.bring_back()
        self.preset.write_text(self._presets, encoding="utf-8")
        self.start()


@contextmanager
def ollama_site(folder: Path, made: Callable[..., S] = OllamaSite) -> Iterator[S]:  # type: ignore[assignment]
    (folder / "hub").mkdir(parents=True)
    with _TappedRegistry() as registry, Tap(registry.url) as tap, serve(folder / "hub") as empty:
        registry.way = tap.url
        site = made(folder, registry, tap, empty.url)
        try:
            yield site
        finally:
            site.kill()


@contextmanager
def router_site(folder: Path, made: Callable[..., S] = RouterSite) -> Iterator[S]:  # type: ignore[assignment]
    root = folder / "hub"
    root.mkdir(parents=True)
    with serve(root) as hub, Line(hub.url) as line:
        site = made(folder, root, line)
        try:
            yield site
        finally:
            site.kill()


SITES = {"ollama": ollama_site, "llama-server": router_site}


def slot_of(site: Site, model: str, name: str | None = None) -> Slot:
    """A pin of one of the site's models, as the file would have it."""
    wanted = site.slot(model)
    return Slot(name=name or wanted["name"], model=wanted["model"], quant=wanted.get("quant"))


def target_of_file(site: Site) -> dict[str, Any]:
    """The site's target as a file has it."""
    return site.target().model_dump(mode="json", exclude_defaults=True)
