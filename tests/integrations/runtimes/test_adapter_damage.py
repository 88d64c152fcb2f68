"""A damaged copy of ours is seen by a look, made again, and read anew by the process that had the damaged one."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.domain.adapter import HeldAdapter, ServedAdapter, made_key
from reconciler.domain.observation import ObservedTarget
from reconciler.integrations.runtimes.adapter_damage import HeldFilesAsTheyStand
from reconciler.integrations.runtimes.adapter_store import LocalAdapterStore
from reconciler.integrations.runtimes.digest_cache import DigestCache, stamp_of
from reconciler.integrations.runtimes.llama_server import LlamaServer
from reconciler.lora.adapter_content import AdapterContent
from tests.integrations.runtimes.router_double import NAME, RouterDouble, runtime_on
from tests.integrations.runtimes.test_adapter_store import ME, content_of, quiet, store

BODY = b"GGUF" + b"weights" * 40


@pytest.fixture
def wanted(tmp_path: Path) -> AdapterContent:
    return content_of(tmp_path / "source", sql__gguf=BODY)


@pytest.fixture
def double(tmp_path: Path) -> RouterDouble:
    double = RouterDouble(tmp_path / "cache")
    double.arrive()
    double.preset = tmp_path / "presets.ini"
    double.preset.write_text("version = 1\n")
    return double


def runtime(double: RouterDouble) -> LlamaServer:
    return runtime_on(double, target={"preset": str(double.preset)})


async def held(keeper: LocalAdapterStore, wanted: AdapterContent) -> HeldAdapter:
    path = await keeper.hold(wanted, ME, quiet)
    return HeldAdapter(name="sql", base=NAME, path=path, digest=wanted.digest, format="gguf")


async def seen(server: LlamaServer) -> ServedAdapter:
    found = await server.observe()
    assert isinstance(found, ObservedTarget)
    (one,) = found.adapters
    return one


def truncated(path: Path) -> None:
    path.write_bytes(BODY[:10])


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(len(BODY)))


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [truncated, zeroed, removed])
async def test_what_was_damaged_is_made_again_and_read_anew(damage, tmp_path, double, wanted):
    server, keeper = runtime(double), store(tmp_path)
    one = await held(keeper, wanted)
    await server.attach(one)
    await server._router.load("sql")
    assert (await seen(server)).digest == wanted.digest
    damage(Path(one.path))
    now = await seen(server)
    assert (now.digest, now.damaged, now.path) == (None, True, one.path)
    double.asked.clear()
    assert await held(keeper, wanted) == one
    assert (await server.attach(one)).digest == wanted.digest
    told = [line for line in double.asked if line.startswith("POST /models/")]
    assert told[-2:] == ["POST /models/unload sql", "POST /models/load sql"], told
    assert not (await seen(server)).damaged
    double.asked.clear()
    await server.attach(one)
    assert not [line for line in double.asked if line.startswith("POST /models/")], "once is enough"


async def test_a_process_that_answers_is_not_stopped(tmp_path, double, wanted):
    server, keeper = runtime(double), store(tmp_path)
    one = await held(keeper, wanted)
    await server.attach(one)
    await server._router.load("sql")
    zeroed(Path(one.path))
    assert (await seen(server)).damaged
    await held(keeper, wanted)
    double.busy.add("sql")
    with pytest.raises(Exception, match="serving a request"):
        await server.attach(one)
    double.busy.clear()
    assert (await server.attach(one)).digest == wanted.digest


async def test_what_was_made_of_it_is_looked_at_by_its_seal(tmp_path, wanted):
    keeper, files = store(tmp_path), HeldFilesAsTheyStand(DigestCache(None))
    await keeper.hold(wanted, ME, quiet)

    async def make(out: str) -> None:
        Path(out).write_bytes(BODY)

    path = await keeper.converted(wanted.digest, made_key("ab12", "f16"), make)
    assert await files.damaged(frozenset({path})) == frozenset()
    zeroed(Path(path))
    assert await files.damaged(frozenset({path})) == {path}
    assert await keeper.made(wanted.digest) == ()
    assert await keeper.converted(wanted.digest, made_key("ab12", "f16"), make) == path
    assert await files.damaged(frozenset({path})) == frozenset()


async def test_what_nobody_wrote_down_is_not_called_damaged(tmp_path, wanted):
    files = HeldFilesAsTheyStand(DigestCache(None))
    path = await store(tmp_path).hold(wanted, ME, quiet)
    elsewhere = tmp_path / "adapter.gguf"
    elsewhere.write_bytes(b"x")
    (Path(path).parent.parent / "origin.json").unlink()
    truncated(Path(path))
    assert await files.damaged(frozenset({path, str(elsewhere)})) == frozenset()


async def test_it_is_read_whole_only_once_it_was_touched(tmp_path, wanted):
    known = DigestCache(None)
    files, path = HeldFilesAsTheyStand(known), Path(await store(tmp_path).hold(wanted, ME, quiet))
    await files.damaged(frozenset({str(path)}))
    assert known.get(path, stamp_of(path.stat())) == wanted.files[0].sha256
