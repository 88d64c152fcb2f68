"""A world of fakes with one llama-server that takes adapters, and real files of adapters in a real store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from reconciler.domain.adapter import Adapter, AdapterServing, AdapterSource, Outtype
from reconciler.domain.artifact import ArtifactFile, HubArtifact
from reconciler.domain.desired import Slot, Target
from reconciler.domain.observation import PartialDownload
from reconciler.domain.units import Bytes
from reconciler.engine.reconcile import reconcile
from reconciler.engine.world import AdapterPorts, World
from reconciler.errors import Refused, Unreachable
from reconciler.integrations.files.adapter_files import LocalAdapterFiles
from reconciler.integrations.lora_routes import load_routes
from reconciler.integrations.runtimes.adapter_store import LocalAdapterStore
from reconciler.lora.adapter_content import AdapterContent, HeldFiles
from reconciler.lora.remote_adapter import RemoteAdapter
from reconciler.ports import AdapterStore, Progress
from tests.engine.worlds import ALPHA, BETA, OPTIONS, Fakes, fakes
from tests.fakes import FakeRuntime, FixedClock
from tests.lora_files import config, folder, gguf_adapter, pairs

EDGE = Target(name="edge", runtime="llama-server", endpoint="http://127.0.0.1:8080", preset="/etc/models.ini")
WIDTHS = {"q_proj": (4096, 4096), "v_proj": (4096, 1024)}
"""Of the bases, as the catalogue of the tests has them."""
SHAPES = {"blk.0.attn_q.weight": (4096, 4096), "blk.0.attn_v.weight": (4096, 1024)}


def on_edge(model_id: str = ALPHA) -> str:
    return f"{model_id}-GGUF:Q4_K_M"


OLD, NEW = on_edge(ALPHA), on_edge(BETA)


def coder(model_id: str = ALPHA, **changes: object) -> Slot:
    return Slot(name="coder", model=model_id, quant="Q4_K_M").model_copy(update=changes)


class FakeConverter:
    """Copies what it was given; says no, or dies, where a test asks."""

    def __init__(self) -> None:
        self.fail: list[BaseException] = []
        self.missing = False
        self.version = "one"
        self.made = 0

    async def identity(self) -> str:
        if self.missing:
            raise Refused("no converter here", code="no-converter", hint="get one")
        return self.version

    async def convert(self, folder: str, base: str | None, outtype: Outtype, out: str) -> None:
        if self.fail:
            raise self.fail.pop(0)
        self.made += 1
        shutil.copyfile(Path(folder) / "adapter_model.safetensors", out)


class FakeHub:
    """Adapters by repository, as files of a folder."""

    def __init__(self) -> None:
        self.repos: dict[str, Path] = {}
        self.asked = 0
        self.endpoint = "https://huggingface.co"

    async def look(self, repo: str, revision: str | None, *, pickles: bool) -> RemoteAdapter:
        self.asked += 1
        if repo not in self.repos:
            raise Refused(f"there is no {repo}", code="not-found")
        from hashlib import sha256

        found = {path.name: path.read_bytes() for path in sorted(self.repos[repo].iterdir())}
        artifact = HubArtifact(
            endpoint=self.endpoint,
            repo=repo,
            commit="c" * 40,
            files=tuple(
                ArtifactFile(path=name, bytes=len(body), sha256=sha256(body).hexdigest())  # type: ignore[arg-type]
                for name, body in found.items()
            ),
        )
        return RemoteAdapter(artifact, found)


@dataclass
class Room:
    """Everything a test touches."""

    fakes: Fakes
    folder: Path
    converter: FakeConverter
    hub: FakeHub
    store: LocalAdapterStore

    @property
    def world(self) -> World:
        return replace(self.fakes.world, adapters=lambda: self.ports)

    @property
    def ports(self) -> AdapterPorts:
        return AdapterPorts(
            files=LocalAdapterFiles(os.environ),
            hub=lambda _: self.hub,
            store=lambda _: self.store,
            routes=load_routes,
            converter=lambda _: self.converter,
        )

    @property
    def runtime(self) -> FakeRuntime:
        return self.fakes.runtime(EDGE.key)

    def gguf(self, name: str = "sql", *, rank: int = 4, **how: object) -> str:
        return str(gguf_adapter(self.folder / f"{name}.gguf", "llama", SHAPES, rank=rank, **how))  # type: ignore[arg-type]

    def peft(self, base: str = ALPHA) -> str:
        """A folder as peft saves it."""
        tensors = pairs("q_proj", "v_proj", layers=[0], widths=WIDTHS)
        return str(folder(self.folder / "peft", tensors, config(base_model_name_or_path=base)))

    def lora(self, name: str = "sql", **changes: object) -> Adapter:
        source = AdapterSource(path=str(self.folder / f"{name}.gguf"))
        base = Adapter(name=name, base="coder", source=source, serve=(AdapterServing(target="edge", name=name),))
        return base.model_copy(update=changes)

    def edit(self, *slots: Slot, adapters: Iterable[Adapter] = (), **changes: object) -> None:
        changes = {"targets": (EDGE,), "adapters": tuple(adapters), **changes}
        self.fakes.edit(*(slots or (coder(),)), **changes)

    def steps(self) -> list[str]:
        return [call for call in self.runtime.mutations if not call.startswith("clean")]

    async def held(self) -> tuple[HeldFiles, ...]:
        return await self.store.held()


def no_http() -> object:
    raise Unreachable("no network in this test")


def room(folder: Path, *slots: Slot) -> Room:
    made = fakes(*(slots or (coder(),)), targets=(EDGE,))
    made.runtimes[EDGE.key].takes_adapters = "gguf"
    store = LocalAdapterStore(folder / "data" / "adapters", http=no_http, clock=FixedClock())  # type: ignore[arg-type]
    here = Room(made, folder, FakeConverter(), FakeHub(), store)
    here.gguf()
    here.edit(*slots, adapters=(here.lora(),))
    return here


async def applied(here: Room) -> Room:
    """The file, applied once; what the runtime was called with for it is forgotten."""
    report = await reconcile(here.world, OPTIONS)
    assert report.verified, [one.message for one in report.outcomes]
    here.runtime.calls.clear()
    return here


@dataclass
class StoreBehind:
    """An ``AdapterStore`` that hands everything on; a test says what it does besides."""

    inner: AdapterStore

    async def hold(self, content: AdapterContent, holder: str, progress: Progress) -> str:
        return await self.inner.hold(content, holder, progress)

    async def converted(self, digest: str, key: str, make: Callable[[str], Awaitable[None]]) -> str:
        return await self.inner.converted(digest, key, make)

    async def find(self, repo: str, commit: str) -> tuple[AdapterContent, str] | None:
        return await self.inner.find(repo, commit)

    async def recall(self, digest: str) -> tuple[AdapterContent, str] | None:
        return await self.inner.recall(digest)

    async def made(self, digest: str) -> tuple[str, ...]:
        return await self.inner.made(digest)

    async def half_fetched(self) -> tuple[PartialDownload, ...]:
        return await self.inner.half_fetched()

    async def held(self) -> tuple[HeldFiles, ...]:
        return await self.inner.held()

    async def keep(self, digest: str, holder: str) -> None:
        await self.inner.keep(digest, holder)

    async def drop(self, digest: str, holder: str) -> Bytes:
        return await self.inner.drop(digest, holder)

    async def sweep(self) -> None:
        await self.inner.sweep()


def codes(report: object) -> list[tuple[str, str | None]]:
    return [(one.status, one.code) for one in report.outcomes]  # type: ignore[attr-defined]


def raised_crash(raised: pytest.ExceptionInfo[BaseException], kind: type[BaseException]) -> bool:
    return isinstance(raised.value, kind) or raised.group_contains(kind)


def hub_lora(repo: str, revision: str | None = None, **changes: object) -> Adapter:
    """An adapter of a Hub as the file declares it."""
    source = AdapterSource(repo=repo, revision=revision)
    base = Adapter(name="sql", base="coder", source=source, serve=(AdapterServing(target="edge", name="sql"),))
    return base.model_copy(update=changes)
