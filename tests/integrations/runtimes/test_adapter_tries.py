"""What an attach that was killed leaves under a passing name: taken away when the step is settled, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reconciler.domain.adapter import HeldAdapter, RecordAdapter, digest_of_place
from reconciler.domain.observation import ObservedTarget
from reconciler.domain.record import Intent, Record
from reconciler.domain.units import Bytes
from reconciler.engine.recover import recover, swept
from reconciler.integrations.runtimes.llama_server_preset import OURS
from reconciler.integrations.runtimes.ollama import Ollama
from reconciler.ports import Runtime, TriesAdapters
from tests.contracts.adapter_drivers import held
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_rig import runtime_on as on_ollama
from tests.doubles.ollama_rig import small
from tests.doubles.ollama_store import Name
from tests.doubles.vllm import VllmDouble
from tests.integrations.runtimes.router_double import NAME, RouterDouble
from tests.integrations.runtimes.router_double import runtime_on as on_router
from tests.integrations.runtimes.test_llama_server_adapters import held as held_gguf
from tests.integrations.runtimes.test_vllm import runtime_on as on_vllm
from tests.lora_files import folder, gguf_adapter

NOW = datetime(2026, 11, 23, tzinfo=UTC)
BASE = "base:1b"


@dataclass(frozen=True)
class Killed:
    """A record whose run died after its adapter had its name, and before the step was closed."""

    runtime: Runtime
    base: str
    digest: str

    async def settled(self) -> Record:
        """What the next run makes of it."""
        seen = await self.runtime.observe()
        assert isinstance(seen, ObservedTarget), seen
        wanted = RecordAdapter(
            target_key=seen.key, target_name=seen.name, adapter="sql", name="sql", base=self.base, digest=self.digest,
            path="", bytes=Bytes(1), attached_at=NOW,
        )  # fmt: skip
        begun = Intent(
            id="1", action="attach", target_key=seen.key, target_name=seen.name, name="sql", existed=False, adapter=wanted,
            begun_at=NOW,
        )  # fmt: skip
        before = Record(name="lab", intents=(begun,))
        recovery = await recover(before, (seen,), {seen.name: self.runtime}, now=NOW)
        assert await swept(before, recovery.record, (seen,), {seen.name: self.runtime}) == ()
        return recovery.record


def ours(record: Record) -> list[str]:
    assert record.intents == ()
    return [one.name for one in record.adapters]


async def test_on_a_vllm(tmp_path: Path) -> None:
    with VllmDouble() as double:
        runtime = on_vllm(double.url)
        mine = held(tmp_path / "adapters", folder(tmp_path / "sql"), "sql", "Acme/Tiny-1B")
        await runtime.attach(mine)
        for left in (f"sql@{mine.digest[:8]}", "other@01234567"):
            double._load(left, mine.path)
        assert ours(await Killed(runtime, "Acme/Tiny-1B", mine.digest).settled()) == ["sql"]
        assert set(double.loras) == {"sql", "other@01234567"}
        await runtime.close()


async def test_on_a_router(tmp_path: Path) -> None:
    double = RouterDouble(tmp_path / "cache")
    double.arrive()
    double.preset = tmp_path / "presets.ini"
    double.preset.write_text("version = 1\n")
    runtime, mine = on_router(double, target={"preset": str(double.preset)}), held_gguf(tmp_path, "1")
    await runtime.attach(mine)
    whole = double.preset.read_text()
    section = whole[whole.index("[sql]") :].replace("[sql]", f"[sql@{'1' * 8}]")
    double.preset.write_text(f"{whole}\n{OURS}\n{section}")
    assert "[sql@" in double.preset.read_text()
    assert ours(await Killed(runtime, NAME, "1" * 64).settled()) == ["sql"]
    assert double.preset.read_text() == whole
    await runtime.close()


@asynccontextmanager
async def a_try_left_on_ollama(tmp_path: Path) -> AsyncIterator[tuple[OllamaDouble, Ollama, HeldAdapter]]:
    """An adapter attached to a base while the server would delete nothing."""
    with OllamaDouble(tmp_path / "models") as double:
        double.store.put(BASE, small(0))
        runtime = on_ollama(double, adapter_store=tmp_path / "adapters", cache_directory=tmp_path / "cache")
        file = gguf_adapter(tmp_path / "sql.gguf", "llama", {"blk.0.attn_q": (64, 64)}, scale=0.1)
        mine = held(tmp_path / "adapters", file, "sql", BASE, kind="gguf")
        double.faults.status["/api/delete"] = (0, b"")
        await runtime.attach(mine)
        double.faults.status.clear()
        yield double, runtime, mine
        await runtime.close()


async def test_on_an_ollama(tmp_path: Path) -> None:
    async with a_try_left_on_ollama(tmp_path) as (double, runtime, mine):
        assert len(double.store.listed()) == 3, "base, adapter, and the try"
        assert ours(await Killed(runtime, BASE, digest_of_place(mine.path) or "").settled()) == ["sql"]
        assert {stored.name.short for stored in double.store.listed()} == {BASE, "sql:latest"}


async def test_on_an_ollama_whose_only_copy_of_the_file_is_the_try_s(tmp_path: Path) -> None:
    """The try takes its blob along when it goes, so the file is given after that."""
    async with a_try_left_on_ollama(tmp_path) as (double, runtime, mine):
        stored = double.store.find(Name.parse("sql"))
        assert stored is not None
        double.store.delete(stored)
        assert (await runtime.attach(mine)).digest == mine.digest


def test_every_runtime_that_tries_adapters_ends_its_tries(tmp_path: Path) -> None:
    assert isinstance(on_vllm("http://127.0.0.1:9"), TriesAdapters)
    assert isinstance(on_router(RouterDouble(tmp_path), target={}), TriesAdapters)
