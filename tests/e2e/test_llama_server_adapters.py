"""A LoRA adapter on a real llama-server with a real base: what a client gets, and what happens to everybody else."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from reconciler.domain.adapter import HeldAdapter
from reconciler.domain.desired import Target
from reconciler.domain.observation import ObservedTarget
from reconciler.errors import Refused
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.llama_server import LlamaServer
from reconciler.servers.mirror import serve
from tests.e2e.rig import SMOL_NAME, SMOL_REPO, fetch, wait_for
from tests.e2e.router import Router, copied
from tests.lora_files import adapter_for

BASE = f"{SMOL_REPO}:Q4_1"


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "presets.ini"
    path.write_text("version = 1\n\n[*]\nctx-size = 512\n")
    return path


@pytest.fixture
def router(tmp_path: Path, model: Path, llama_server: str, preset: Path) -> Iterator[Router]:
    """A router that has the real model."""
    copied(model, tmp_path / "hub" / SMOL_NAME)
    with serve(tmp_path / "hub") as hub, Router(tmp_path / "router", hub.url, "--models-preset", str(preset)) as router:
        fetch(f"{router.url}/models", {"model": BASE})
        wait_for(lambda: router.models().get(BASE) == "unloaded", router.log)
        yield router


@pytest.fixture
async def runtime(tmp_path: Path, router: Router, preset: Path) -> AsyncIterator[LlamaServer]:
    clock = SystemClock()
    target = Target(
        name="router", runtime="llama-server", endpoint=router.url, cache=str(router.cache), preset=str(preset)
    )
    open_one = LlamaServer(target, http=lambda: Http(clock=clock), clock=clock, cache_directory=tmp_path / "ours")
    yield open_one
    await open_one.close()


def held(tmp_path: Path, model: Path, seed: int, **more: object) -> HeldAdapter:
    made = adapter_for(model, tmp_path / f"{seed}.gguf", scale=0.5, seed=seed, **more)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    place = copied(made, tmp_path / "adapters" / digest / "adapter.gguf")
    return HeldAdapter(name="sql-tools", base=BASE, path=str(place), digest=digest, format="gguf")


def says(router: Router, name: str) -> str:
    """The likeliest words. A prompt that is kept keeps the scale it was read with, until its process starts again."""
    prompt = {"prompt": "The capital of France is", "cache_prompt": False}
    body = {"model": name, **prompt, "n_predict": 8, "temperature": 0}
    return str(fetch(f"{router.url}/completion", body)["content"])


async def test_an_adapter_on_a_real_base(tmp_path: Path, model: Path, router: Router, runtime: LlamaServer) -> None:
    plain, sql = says(router, BASE), held(tmp_path, model, 1)
    assert "Paris" in plain
    assert router.models()[BASE] == "loaded"
    await runtime.attach(sql)
    assert says(router, "sql-tools") != plain, "a client that asks by its name gets it"
    assert says(router, BASE) == plain, "and who asks for the base, the base"

    nothing = sql.model_copy(update={"scale": 0.0})
    with router.answering("sql-tools"):
        one = await runtime.attach(nothing)
        assert (one.scale, one.loaded) == (0.0, True), "its process was told, and what it answers goes on"
        assert router.models()["sql-tools"] == "loaded"
    assert says(router, "sql-tools") == plain, "the new scale is in force for whoever asks next"
    assert (await runtime.attach(nothing)).scale == 0.0
    assert says(router, "sql-tools") == plain

    broken = held(tmp_path, model, 2, architecture="qwen2")
    with pytest.raises(Refused) as raised:
        await runtime.attach(broken)
    assert raised.value.code == "adapter-refused"
    assert (says(router, "sql-tools"), says(router, BASE)) == (plain, plain)
    assert set(router.models()) == {BASE, "sql-tools"}, "nothing is left of the try"

    router.kill()
    router.start()
    seen = await runtime.observe()
    assert isinstance(seen, ObservedTarget)
    (one,) = seen.adapters
    assert (one.name, one.base, one.digest, one.scale) == ("sql-tools", BASE, sql.digest, 0.0)
    assert says(router, "sql-tools") == plain

    await runtime.detach("sql-tools", BASE)
    assert set(router.models()) == {BASE}
    assert says(router, BASE) == plain
