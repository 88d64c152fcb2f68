"""One driver per implementation of ``ServesAdapters``: which adapters its suite attaches, and how it makes trouble."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shlex
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest

from reconciler.domain.adapter import AdapterFormat, HeldAdapter
from reconciler.domain.desired import Target
from reconciler.domain.observation import Installed, ObservedTarget
from reconciler.domain.units import Bytes
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.llama_server import LlamaServer
from reconciler.integrations.runtimes.ollama import Ollama
from reconciler.integrations.runtimes.vllm import Vllm
from reconciler.ports import Runtime, ServesAdapters
from reconciler.servers.mirror import serve
from tests import lora_files
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_rig import Heard, QuickClock, library_row, runtime_on, small
from tests.doubles.registry_front_memory import MemoryRegistry
from tests.doubles.vllm import VllmDouble
from tests.e2e.rig import fetch, wait_for
from tests.e2e.router import Router, loadable_gguf
from tests.fakes import FakeRuntime

NOWHERE = "http://127.0.0.1:9"
"""The discard port: nobody listens there."""


class Serving(Runtime, ServesAdapters, Protocol):
    """A runtime that takes adapters."""


@dataclass
class AdapterDriver:
    """What the suite needs of an implementation. ``None`` where it has no such thing: the case is skipped, visibly."""

    runtime: Serving
    first: HeldAdapter
    """What is attached; nothing stands under its name at the beginning, and its base is served."""
    second: HeldAdapter
    """Other content for the same name and base."""
    answers: Callable[[str], Awaitable[bool]]
    """Whether a client that names this model gets an answer now."""
    answered: Callable[[], int] = field(default_factory=lambda: count().__next__)
    """How many requests the program has answered; where it does not count them, how often it was asked for that."""
    restart: Callable[[], Awaitable[None]] | None = None
    """The program is stopped and started anew, as it was started before."""
    survives: bool = False
    """What was attached is served after a restart."""
    refused: HeldAdapter | None = None
    """Under the same name; the runtime says no to these weights, as to those of another architecture."""
    beside: HeldAdapter | None = None
    """Another name on the same base: both are served at once."""
    rescaled: HeldAdapter | None = None
    """``first`` with another scale. Set: the runtime takes a scale."""
    taken: str | None = None
    """Name of a model of its own."""
    dead: Serving | None = None
    """The same, with nothing behind it."""
    asks_by_name: bool = True
    """A client picks the adapter by its name; else by that of its base."""
    tells_content: bool = True
    """A look tells the digest of an adapter that lies in our store."""
    seen_as: Callable[[HeldAdapter], str] = lambda adapter: adapter.name
    """Under which name a look lists an adapter."""
    reads_held: bool = False
    """While it serves it reads what we hold, which may have gone since."""
    format: AdapterFormat = "peft"
    deviations: Mapping[str, str] = field(default_factory=dict)
    """Test → why this implementation does not pass it: shown as the reason of a skip."""

    def called(self, adapter: HeldAdapter) -> str:
        """What a client asks for to get the adapter."""
        return adapter.name if self.asks_by_name else adapter.base


def held(
    store: Path, source: Path, name: str, base: str, *, kind: AdapterFormat = "peft", rank: int = 4, scale: float = 1.0
) -> HeldAdapter:
    """What the engine would hold of a folder or file, in a store whose folders are named by their content."""
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    named = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    digest = hashlib.sha256(repr(sorted(named.items())).encode()).hexdigest()
    place = store / digest / source.name
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, place) if source.is_dir() else shutil.copyfile(source, place)
    return HeldAdapter(
        name=name, base=base, path=str(place), digest=digest, format=kind, rank=rank, scale=scale
    )  # fmt: skip


async def completes(http: Http, url: str, name: str, key: str | None = None) -> bool:
    """Whether an OpenAI server completes a prompt under this name."""
    body = {"model": name, "prompt": "a", "max_tokens": 1}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    reply = await http.request("POST", f"{url}/v1/completions", json=body, headers=headers, timeout_seconds=120)
    return reply.ok


@asynccontextmanager
async def vllm_double(folder: Path) -> AsyncIterator[AdapterDriver]:
    """The double, as a vLLM that knows ``load_inplace``."""
    async with _vllm_double(folder, VllmDouble()) as driver:
        yield driver


@asynccontextmanager
async def vllm_double_before_in_place(folder: Path) -> AsyncIterator[AdapterDriver]:
    """The double, as an older vLLM: a name is unloaded before it is loaded with other weights."""
    async with _vllm_double(folder, VllmDouble(in_place=False, version="0.8.5", rank_at_load=False)) as driver:
        yield driver


@asynccontextmanager
async def _vllm_double(folder: Path, double: VllmDouble) -> AsyncIterator[AdapterDriver]:
    store, clock, base = folder / "adapters", QuickClock(), double.root
    ones = {
        name: lora_files.folder(folder / name, document=lora_files.config(lora_alpha=alpha, **more))
        for name, alpha, more in (("one", 8, {}), ("two", 16, {}), ("dora", 8, {"use_dora": True}))
    }
    lora_files.folder(folder / "two", lora_files.pairs("q_proj"), lora_files.config(target_modules=["q_proj"]))

    def opened(url: str) -> Vllm:
        target = Target(name="vllm", runtime="advisory", program="vllm", endpoint=url, is_asked=True)
        return Vllm(target, http=lambda: Http(clock=clock, retries=0), clock=clock)

    async def restart() -> None:
        double.restart()

    with double:
        http, runtime, dead = Http(clock=clock), opened(double.url), opened(NOWHERE)
        first = held(store, ones["one"], "sql", base)
        yield AdapterDriver(
            runtime=runtime,
            first=first,
            second=held(store, ones["two"], "sql", base),
            answers=lambda name: completes(http, double.url, name),
            answered=lambda: len(double.requests),
            restart=restart,
            refused=held(store, ones["dora"], "sql", base),
            beside=held(store, ones["two"], "chat", base),
            reads_held=True,
            taken=base,
            dead=dead,
        )
        for open_one in (http, runtime, dead):
            await open_one.close()


async def _for_real_base(folder: Path, http: Http, url: str, key: str | None) -> tuple[Path, Path]:
    """Two adapters of the base that a lent server serves: those that are named, else made by its ``config.json``."""
    if given := os.environ.get("LOCALMODELS_TEST_VLLM_ADAPTERS"):
        one, two = (Path(path) for path in given.split(os.pathsep))
        return one, two
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    cards = json.loads((await http.request("GET", f"{url}/v1/models", headers=headers)).body)["data"]
    root = str(next(card["root"] for card in cards if not card.get("parent")))
    if not (Path(root) / "config.json").is_file():
        pytest.skip(f"{root} is no folder of this host, so no adapters can be made: LOCALMODELS_TEST_VLLM_ADAPTERS")
    one, two = adapters_by_config(folder, Path(root))
    return one, two


def adapters_by_config(folder: Path, base: Path) -> tuple[Path, Path]:
    """Two adapters of different content, on the attention of a base as its ``config.json`` gives its widths."""
    said = json.loads((base / "config.json").read_text(encoding="utf-8"))
    said = said.get("text_config", said)
    hidden, heads = said["hidden_size"], said["num_attention_heads"]
    head = said.get("head_dim") or hidden // heads
    keys = (said.get("num_key_value_heads") or heads) * head
    widths = {"q_proj": (hidden, heads * head), "v_proj": (hidden, keys)}
    made = []
    for name, alpha in (("one", 8), ("two", 16)):
        weights = lora_files.pairs("q_proj", "v_proj", layers=range(said["num_hidden_layers"]), widths=widths)
        document = lora_files.config(base_model_name_or_path=str(base), lora_alpha=alpha)
        made.append(lora_files.folder(folder / name, weights, document))
    return made[0], made[1]


@asynccontextmanager
async def vllm_real(folder: Path) -> AsyncIterator[AdapterDriver]:
    """A server on this host that somebody lent us. Only adapters under names of ours are loaded and unloaded."""
    url = os.environ.get("LOCALMODELS_TEST_VLLM_URL")
    if not url:
        pytest.skip("no real vLLM: LOCALMODELS_TEST_VLLM_URL is not set")
    restarting = shlex.split(os.environ.get("LOCALMODELS_TEST_VLLM_RESTART", ""))
    key, clock, store = os.environ.get("LOCALMODELS_TEST_VLLM_KEY"), SystemClock(), folder / "adapters"

    def opened(endpoint: str) -> Vllm:
        target = Target(name="vllm", runtime="advisory", program="vllm", endpoint=endpoint, is_asked=True)
        return Vllm(target, http=lambda: Http(clock=clock), api_key=key)

    async def restart() -> None:
        assert await (await asyncio.create_subprocess_exec(*restarting)).wait() == 0

    http, runtime, dead = Http(clock=clock), opened(url), opened(NOWHERE)
    observed = await runtime.observe()
    assert isinstance(observed, ObservedTarget), observed
    if observed.takes_adapters is None:
        pytest.skip(f"{url} takes no adapters while it runs: see docs/testing.md")
    one, two = await _for_real_base(folder, http, url, key)
    base, name = observed.installed[0].name, f"localmodels-contract-{os.getpid()}"
    broken = lora_files.folder(folder / "broken", document=lora_files.config(use_dora=True))
    try:
        yield AdapterDriver(
            runtime=runtime,
            first=held(store, one, name, base),
            second=held(store, two, name, base),
            answers=lambda asked: completes(http, url, asked, key),
            restart=restart if restarting else None,
            refused=held(store, broken, name, base),
            beside=held(store, two, f"{name}-2", base),
            reads_held=True,
            taken=base,
            dead=dead,
        )
    finally:
        for one_name in (name, f"{name}-2"):
            await runtime.detach(one_name, base)
        for open_one in (http, runtime, dead):
            await open_one.close()


@asynccontextmanager
async def ollama_double(folder: Path) -> AsyncIterator[AdapterDriver]:
    """The double as an Ollama that makes models with adapters, its directory readable."""
    async with _ollama_double(folder, readable=True) as driver:
        yield driver


@asynccontextmanager
async def ollama_double_by_api(folder: Path) -> AsyncIterator[AdapterDriver]:
    """The same, where only its interface tells."""
    async with _ollama_double(folder, readable=False) as driver:
        yield driver


@asynccontextmanager
async def _ollama_double(folder: Path, *, readable: bool) -> AsyncIterator[AdapterDriver]:
    store, base, clock = folder / "adapters", "base:1b", QuickClock()

    def adapter(name: str, *, seed: int = 1, architecture: str = "llama") -> HeldAdapter:
        path = folder / f"{architecture}-{seed}.gguf"
        lora_files.gguf_adapter(path, architecture, {"blk.0.attn_q": (64, 64)}, seed=seed, scale=0.1)
        return held(store, path, name, base, kind="gguf")

    with ExitStack() as parts:
        registry = parts.enter_context(MemoryRegistry())
        for seed, name in enumerate((base, "other:1b")):
            registry.add(f"library/{name}", small(seed))
        program = parts.enter_context(ExitStack())

        def begun(port: int = 0) -> OllamaDouble:
            hosts = {"registry.ollama.ai": registry.url}
            return program.enter_context(
                OllamaDouble(folder / "models", registries=hosts, part_bytes=65_536, port=port)
            )

        async def restart() -> None:
            program.close()
            begun(int(double.url.rpartition(":")[2]))

        double = begun()
        runtime = runtime_on(double, directories=[folder / "models"] if readable else [], adapter_store=store)
        dead = Ollama(
            Target(name="dead", runtime="ollama", endpoint=NOWHERE),
            http=lambda: Http(clock=clock, retries=0), clock=clock, environ={}, directories=[],
        )  # fmt: skip
        for seed, name in enumerate((base, "other:1b")):
            await runtime.install(library_row(name, small(seed)), Heard())
        http = Http(clock=clock)

        async def answers(name: str) -> bool:
            body = {"model": name, "prompt": "a", "stream": False, "keep_alive": 0}
            return (await http.request("POST", f"{double.url}/api/generate", json=body)).ok

        yield AdapterDriver(
            runtime=runtime,
            first=adapter("sql"),
            second=adapter("sql", seed=2),
            answers=answers,
            answered=lambda: len(double.requests),
            restart=restart,
            survives=True,
            refused=adapter("sql", architecture="gemma2"),
            beside=adapter("chat", seed=2),
            taken="other:1b",
            dead=dead,
            format="gguf",
        )
        for open_one in (http, runtime, dead):
            await open_one.close()


@asynccontextmanager
async def fake(folder: Path) -> AsyncIterator[AdapterDriver]:
    """The fake that the engine's tests trust."""
    runtime = FakeRuntime(
        on=Target(name="fake", runtime="ollama", endpoint="http://fake"), takes_adapters="peft", forgets_adapters=True
    )
    runtime.put(Installed(name="base:1b", bytes=Bytes(1), digest="b" * 64))
    dead = FakeRuntime(on=runtime.on, unknown="nobody answers")

    def adapter(name: str, digit: str, kind: AdapterFormat = "peft") -> HeldAdapter:
        path = str(folder / (digit * 64))
        return HeldAdapter(name=name, base="base:1b", path=path, digest=digit * 64, format=kind)

    async def answers(name: str) -> bool:
        return name in runtime.installed or name in runtime.adapters

    async def restart() -> None:
        runtime.restart()

    first = adapter("sql", "1")
    yield AdapterDriver(
        runtime=runtime,
        first=first,
        second=adapter("sql", "2"),
        answers=answers,
        restart=restart,
        refused=adapter("sql", "3", "gguf"),
        beside=adapter("chat", "2"),
        rescaled=first.model_copy(update={"scale": 0.5}),
        taken="base:1b",
        dead=dead,
    )


@asynccontextmanager
async def llama_server_real(folder: Path) -> AsyncIterator[AdapterDriver]:
    """A real llama-server in router mode with a preset file; its base comes from our mirror."""
    preset, store = folder / "presets.ini", folder / "adapters"
    preset.write_text("version = 1\n\n[*]\nctx-size = 512\n", encoding="utf-8")
    file = await asyncio.to_thread(loadable_gguf, folder / "hub" / "Org/Tiny-GGUF" / "tiny-Q8_0.gguf")
    base = "Org/Tiny-GGUF:Q8_0"
    made = {
        name: lora_files.adapter_for(file, folder / f"{name}.gguf", scale=0.5, seed=seed, **more)
        for name, seed, more in (("one", 1, {}), ("two", 2, {}), ("broken", 3, {"architecture": "qwen2"}))
    }
    with ExitStack() as parts:
        hub = parts.enter_context(serve(folder / "hub"))
        router = parts.enter_context(Router(folder / "router", hub.url, "--models-preset", str(preset)))
        clock = SystemClock()

        def opened(url: str) -> LlamaServer:
            target = Target(
                name="router", runtime="llama-server", endpoint=url, cache=str(router.cache), preset=str(preset)
            )
            return LlamaServer(target, http=lambda: Http(clock=clock), clock=clock, cache_directory=folder / "ours")

        async def restart() -> None:
            await asyncio.to_thread(router.kill)
            await asyncio.to_thread(router.start)

        await asyncio.to_thread(fetch, f"{router.url}/models", {"model": base})
        await asyncio.to_thread(wait_for, lambda: router.models().get(base) == "unloaded", router.log)
        http, runtime, dead = Http(clock=clock), opened(router.url), opened(NOWHERE)
        first = held(store, made["one"], "sql", base, kind="gguf")
        yield AdapterDriver(
            runtime=runtime,
            first=first,
            second=held(store, made["two"], "sql", base, kind="gguf"),
            answers=lambda name: completes(http, router.url, name),
            restart=restart,
            survives=True,
            refused=held(store, made["broken"], "sql", base, kind="gguf"),
            beside=held(store, made["two"], "chat", base, kind="gguf"),
            rescaled=first.model_copy(update={"scale": 0.3}),
            reads_held=True,
            taken=base,
            dead=dead,
            format="gguf",
        )
        for open_one in (http, runtime, dead):
            await open_one.close()


ADAPTER_DRIVERS: dict[str, Callable[[Path], object]] = {
    "fake": fake,
    "llama-server-real": llama_server_real,
    "ollama-double": ollama_double,
    "ollama-double-by-api": ollama_double_by_api,
    "vllm-double": vllm_double,
    "vllm-double-before-in-place": vllm_double_before_in_place,
    "vllm-real": vllm_real,
}
REAL_ADAPTER_DRIVERS = frozenset({"llama-server-real", "vllm-real"})
"""Those with real programs: marked ``e2e``."""
