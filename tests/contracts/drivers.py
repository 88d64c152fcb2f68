"""One driver per implementation of the ``Runtime`` port: how the contract suite offers models and makes trouble."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reconciler.domain.artifact import ArtifactFile, HubArtifact, Layer, RegistryArtifact
from reconciler.domain.desired import Limits, Target
from reconciler.domain.names import OllamaName
from reconciler.domain.plan import Row
from reconciler.domain.units import Bytes
from reconciler.errors import Refused
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.llama_server import LlamaServer
from reconciler.integrations.runtimes.ollama import Ollama
from reconciler.integrations.runtimes.store import Store
from reconciler.ports import Runtime
from reconciler.servers.mirror import serve
from tests.doubles.hub import HubDouble
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_model import MANIFEST_TYPE, tiny_gguf
from tests.doubles.ollama_rig import QuickClock, install_row, library_row, runtime_on, small
from tests.doubles.ollama_store import Name
from tests.doubles.registry_front_memory import MemoryRegistry
from tests.e2e.rig import sha256_of
from tests.e2e.router import Line, Router, loadable_gguf
from tests.fakes import FakeRuntime

NOWHERE = "http://127.0.0.1:9"
"""The discard port: nobody listens there."""


@dataclass
class Driver:
    """What the suite needs of an implementation. ``None`` where it has no such thing: the case is skipped, visibly."""

    runtime: Runtime
    wanted: Row
    """A model that is offered and not installed."""
    unknown: Row
    """A model that nobody offers."""
    slowly: Callable[[], None]
    """From now on, downloads take long enough to be interrupted."""
    partial_bytes: Callable[[], int] | None = None
    """Bytes kept of unfinished downloads."""
    in_use: Callable[[str], AbstractContextManager[object]] | None = None
    dead: Runtime | None = None
    """The same, with nothing behind it."""
    expendable: Callable[[str], Any] | None = None
    """Makes a throw-away name of an installed one, where the model's own name must not be removed."""
    deviations: Mapping[str, str] = field(default_factory=dict)
    """Test → why this implementation does not pass it: shown as the reason of a skip."""
    frees: bool = True
    """Whether removing an expendable name gives bytes back."""
    other: Row | None = None
    """Another model that is offered. Set: the runtime has stable names (``Names``), and a name can move to it."""
    occupy: Callable[[str], Any] | None = None
    """Something that is no stable name by its form stands under this name from now on; may be a coroutine."""
    in_use_as: Callable[[str], AbstractContextManager[object]] | None = None
    """A model is in use under this stable name."""
    content: Callable[[str], bytes] | None = None
    """What a client reads under a stable name, where it reads files."""


def _dead_ollama() -> Ollama:
    clock = QuickClock()
    target = Target(name="dead", runtime="ollama", endpoint=NOWHERE)
    return Ollama(target, http=lambda: Http(clock=clock), clock=clock, environ={}, directories=[])


@asynccontextmanager
async def ollama_double(folder: Path) -> AsyncIterator[Driver]:
    model, other = small(1), small(3, parameters={"stop": "<end>"})
    with ExitStack() as parts:
        registry = parts.enter_context(MemoryRegistry())
        registry.add("library/contract:1b", model)
        registry.add("library/other:1b", other)
        double = OllamaDouble(folder / "models", registries={"registry.ollama.ai": registry.url}, part_bytes=65_536)
        parts.enter_context(double)
        runtime, dead = runtime_on(double, directories=[folder / "models"]), _dead_ollama()

        def slowly() -> None:
            double.pace.bytes_per_second = 100_000

        yield Driver(
            runtime=runtime,
            wanted=library_row("contract:1b", model),
            unknown=library_row("nowhere:1b", small(2)),
            slowly=slowly,
            partial_bytes=lambda: sum(1 for _ in double.store.blobs.glob("*-partial")),
            in_use=double.in_flight,
            dead=dead,
            other=library_row("other:1b", other),
            occupy=lambda name: double.store.write(Name.parse(name), model.manifest),
            in_use_as=double.in_flight,
        )
        await runtime.close()
        await dead.close()


@asynccontextmanager
async def ollama_real(_: Path) -> AsyncIterator[Driver]:
    """A server somebody lent us. Only a copy under a throw-away name is removed; the model only if we brought it."""
    url, model = os.environ.get("LOCALMODELS_TEST_OLLAMA_URL"), os.environ.get("LOCALMODELS_TEST_OLLAMA_MODEL")
    if not url or not model:
        pytest.skip("no real Ollama: LOCALMODELS_TEST_OLLAMA_URL and LOCALMODELS_TEST_OLLAMA_MODEL are not set")
    clock, insecure = SystemClock(), os.environ.get("LOCALMODELS_TEST_OLLAMA_INSECURE") == "1"
    target = Target(name="real", runtime="ollama", endpoint=url, insecure=insecure)
    runtime = Ollama(target, http=lambda: Http(clock=clock), clock=clock)
    http, dead = Http(clock=clock), _dead_ollama()
    row, prefix = (
        await _real_row(http, model, "http" if insecure else "https"),
        f"localmodels-contract-{uuid.uuid4().hex[:8]}",
    )
    before = {installed.name for installed in getattr(await runtime.observe(), "installed", ())}

    second = os.environ.get("LOCALMODELS_TEST_OLLAMA_OTHER")
    another = await _real_row(http, second, "http" if insecure else "https") if second else None

    async def occupy(name: str) -> None:
        reply = await http.request("POST", f"{url}/api/copy", json={"source": row.name, "destination": name})
        assert reply.ok
        occupied.append(name)

    async def expendable(name: str) -> str:
        copy = f"{prefix}/copy:latest"
        reply = await http.request("POST", f"{url}/api/copy", json={"source": name, "destination": copy})
        assert reply.ok
        return copy

    occupied: list[str] = []
    brought = [one.name for one in (row, another) if one is not None]
    if there := before.intersection(brought):
        pytest.skip(f"{', '.join(there)} is on {url} already: name small models that are not, they will be removed")
    try:
        yield Driver(
            runtime=runtime,
            wanted=row,
            unknown=install_row(OllamaName(row.artifact.registry, prefix, "nowhere", "latest").canonical, row.artifact),
            slowly=lambda: None,
            in_use=lambda name: _answering(url, name),
            in_use_as=lambda name: _answering(url, name),
            other=another,
            occupy=occupy,
            dead=dead,
            expendable=expendable,
            frees=False,
        )
    finally:
        stable = (f"localmodels-contract{suffix}" for suffix in ("", "-2"))
        for name in (f"{prefix}/copy:latest", *occupied, *stable, *brought):
            await _gone(runtime, name)
        for open_one in (runtime, dead, http):
            await open_one.close()


async def _gone(runtime: Ollama, name: str) -> None:
    """Removed, once a request that was broken off has ended on the server."""
    for _ in range(20):
        with suppress(Refused):
            await runtime.remove(name)
            return
        await asyncio.sleep(0.5)
    await runtime.remove(name)


@contextmanager
def _answering(url: str, name: str) -> Iterator[None]:
    """A request that runs: a stream of words that we read slowly, broken off at the end."""
    body = json.dumps(
        {"model": name, "prompt": "Count.", "options": {"num_predict": 4096}, "keep_alive": "5m"}
    ).encode()
    request = urllib.request.Request(f"{url}/api/generate", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        answer.readline()
        yield


async def _real_row(http: Http, text: str, scheme: str) -> Row:
    """What the model's own registry says of it now."""
    name = OllamaName.parse(text)
    url = f"{scheme}://{name.host}/v2/{name.namespace}/{name.model}/manifests/{name.tag}"
    reply = await http.request("GET", url, headers={"Accept": MANIFEST_TYPE}, follow_redirects=True)
    assert reply.ok, f"{url} answered {reply.status}"
    document = reply.json()
    entries = [document["config"], *document["layers"]]
    artifact = RegistryArtifact(
        registry=name.host,
        namespace=name.namespace,
        name=name.model,
        tag=name.tag,
        manifest_digest=hashlib.sha256(reply.body).hexdigest(),
        layers=tuple(Layer(digest=entry["digest"], bytes=Bytes(entry["size"])) for entry in entries),
    )
    return install_row(name.canonical, artifact)


@asynccontextmanager
async def store(folder: Path) -> AsyncIterator[Driver]:
    """Our own directory, filled over HTTP from a Hub."""
    hub, content, path = HubDouble(), tiny_gguf(300_000, seed=7), "model-Q4_K_M.gguf"
    repo = hub.add("Org/Tiny-GGUF", {path: content})
    second = tiny_gguf(200_000, seed=8)
    other = hub.add("Org/Other-GGUF", {path: second})
    with hub.serve() as endpoint:
        clock, target = SystemClock(), Target(name="here", runtime="store", path=str(folder / "store"))
        limits, halted = Limits(), Limits(download_rate=Bytes(40_000))

        def opened(limits: Limits) -> Store:
            return Store(
                target, http=lambda: Http(clock=clock), clock=clock, token=None, hub_endpoint=endpoint,
                limits=limits, cache_directory=folder / "cache",
            )  # fmt: skip

        def artifact(sha256: str, place: str) -> HubArtifact:
            file = ArtifactFile(path=place, bytes=Bytes(len(content)), sha256=sha256)
            return HubArtifact(endpoint=endpoint, repo=repo.id, commit=repo.head, files=(file,))

        def occupy(name: str) -> None:
            (folder / "store" / "aliases").mkdir(parents=True, exist_ok=True)
            (folder / "store" / "aliases" / f"{name}.gguf").write_bytes(b"somebody's")

        another = ArtifactFile(path=path, bytes=Bytes(len(second)), sha256=hashlib.sha256(second).hexdigest())

        sha256 = hashlib.sha256(content).hexdigest()
        driver = Driver(
            runtime=opened(limits),
            wanted=install_row(f"{repo.id}/{path}", artifact(sha256, path)),
            unknown=install_row(f"{repo.id}/other.gguf", artifact("0" * 64, "other.gguf")),
            slowly=lambda: setattr(driver, "runtime", opened(halted)),
            in_use=(lambda name: _held_open(folder / "store" / name)) if sys.platform == "linux" else None,
            other=install_row(
                f"{other.id}/{path}",
                HubArtifact(endpoint=endpoint, repo=other.id, commit=other.head, files=(another,)),
            ),
            occupy=occupy,
            content=lambda name: (folder / "store" / "aliases" / f"{name}.gguf").read_bytes(),
        )
        first = driver.runtime
        yield driver
        for runtime in {first, driver.runtime}:
            await runtime.close()


@contextmanager
def _held_open(path: Path) -> Iterator[None]:
    """Another program has the file open, as a server that maps its weights."""
    with path.open("rb") as file:
        program = subprocess.Popen(["sleep", "60"], stdin=file)
    try:
        yield
    finally:
        program.kill()
        program.wait()


@asynccontextmanager
async def llama_server_real(folder: Path) -> AsyncIterator[Driver]:
    """A real llama-server in router mode that downloads from our mirror, with a preset file for its stable names."""
    path, preset = "tiny-Q8_0.gguf", folder / "presets.ini"
    files = {
        repo: await asyncio.to_thread(loadable_gguf, folder / "hub" / repo / path, vocab=vocab)
        for repo, vocab in (("Org/Tiny-GGUF", 512), ("Org/Other-GGUF", 640))
    }
    preset.write_text("version = 1\n\n[*]\nctx-size = 512\n", encoding="utf-8")
    with ExitStack() as parts:
        hub = parts.enter_context(serve(folder / "hub"))
        line = parts.enter_context(Line(hub.url))
        router = parts.enter_context(Router(folder / "router", line.url, "--models-preset", str(preset)))
        clock = SystemClock()

        def opened(url: str) -> LlamaServer:
            target = Target(
                name="router", runtime="llama-server", endpoint=url, cache=str(router.cache), preset=str(preset)
            )
            return LlamaServer(target, http=lambda: Http(clock=clock), clock=clock, cache_directory=folder / "ours")

        def row(repo: str) -> Row:
            file = files.get(repo, files["Org/Tiny-GGUF"])
            named = ArtifactFile(path=path, bytes=Bytes(file.stat().st_size), sha256=sha256_of(file))
            artifact = HubArtifact(endpoint=hub.url, repo=repo, commit="a" * 40, files=(named,))
            return install_row(f"{repo}:Q8_0", artifact)

        @contextmanager
        def in_use(name: str) -> Iterator[None]:
            router.load(name)
            with router.answering(name):
                yield

        def occupy(name: str) -> None:
            section = f"\n[{name}]\nmodel = {files['Org/Other-GGUF']}\n"
            preset.write_text(preset.read_text(encoding="utf-8") + section, encoding="utf-8")
            router.reload()

        runtime, dead = opened(router.url), opened(NOWHERE)
        yield Driver(
            runtime=runtime,
            wanted=row("Org/Tiny-GGUF"),
            unknown=row("Org/Nowhere-GGUF"),
            slowly=lambda: setattr(line, "rate", 800_000),
            in_use=in_use,
            dead=dead,
            other=row("Org/Other-GGUF"),
            occupy=occupy,
            in_use_as=in_use,
        )
        await runtime.close()
        await dead.close()


@asynccontextmanager
async def fake(_: Path) -> AsyncIterator[Driver]:
    """The fake that the engine's tests trust."""
    target = Target(name="fake", runtime="ollama", endpoint="http://fake")
    runtime, model, lost = FakeRuntime(on=target), small(1), small(2)
    runtime.fail_installs["nowhere:1b"] = [Refused("no such model", code="not-found")]

    @contextmanager
    def in_use(name: str) -> Iterator[None]:
        idle = runtime.installed[name]
        runtime.installed[name] = idle.model_copy(update={"loaded": True})
        yield
        runtime.installed[name] = idle

    def slowly() -> None:
        runtime.stall = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, runtime.stall.set)

    yield Driver(
        runtime=runtime,
        wanted=library_row("contract:1b", model),
        unknown=library_row("nowhere:1b", lost),
        slowly=slowly,
        partial_bytes=lambda: sum(runtime.partials.values()),
        in_use=in_use,
        other=library_row("other:1b", small(3)),
        deviations={
            "test_installing_again_changes_nothing": "the fake forbids it, so that the engine never does it",
            "test_progress_reaches_the_total_and_never_passes_it": "the fake tells of the first half only",
        },
    )


DRIVERS = {
    "fake": fake,
    "llama-server-real": llama_server_real,
    "ollama-double": ollama_double,
    "ollama-real": ollama_real,
    "store": store,
}
REAL = frozenset({"llama-server-real"})
"""Drivers that start a real program."""
