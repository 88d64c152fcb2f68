"""Removing from Ollama: what is in use stays, what is idle is unloaded first, what is free afterwards is measured."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.domain.desired import Target
from reconciler.domain.observation import ObservedTarget
from reconciler.errors import Refused, Unreachable
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.ollama import Ollama
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_model import packed, tiny_gguf
from tests.doubles.ollama_rig import Heard, QuickClock, library_row, runtime_on, small
from tests.doubles.ollama_store import Name
from tests.doubles.registry_front_memory import MemoryRegistry

TINY = small(1)
WEIGHTS = tiny_gguf(150_000, seed=5)
ONE, TWO = packed(WEIGHTS, template="one"), packed(WEIGHTS, template="two!")


@pytest.fixture
def double(tmp_path):
    with MemoryRegistry() as registry:
        registry.add("library/tiny:1b", TINY)
        registry.add("library/one:1b", ONE)
        registry.add("library/two:1b", TWO)
        with OllamaDouble(tmp_path / "models", registries={"registry.ollama.ai": registry.url}) as double:
            yield double


@pytest.fixture
def clock():
    return QuickClock()


@pytest.fixture
async def runtime(double, clock):
    runtime = runtime_on(double, directories=[double.store.root], clock=clock)
    await runtime.install(library_row("tiny:1b", TINY), Heard())
    yield runtime
    await runtime.close()


@pytest.fixture
async def blind(double, runtime):
    """A runtime that knows only what the API tells."""
    blind = runtime_on(double)
    yield blind
    await blind.close()


async def model(runtime, name="tiny:1b"):
    seen = await runtime.observe()
    assert isinstance(seen, ObservedTarget), seen
    return next((one for one in seen.installed if one.name == name), None)


async def test_an_idle_model_is_resident_and_not_in_use(runtime, double, clock):
    double.load("tiny:1b")
    seen = await model(runtime)
    assert (seen.loaded, seen.resident) == (False, True)
    assert clock.slept == [], "a look does not wait"


async def test_a_model_that_is_not_loaded_is_looked_at_once(runtime, double, clock):
    await model(runtime)
    assert [path for _, path in double.requests].count("/api/ps") == 2, "one look after the install, and this one"
    await runtime.remove("tiny:1b")
    assert clock.slept == []
    assert double.generated == []


async def test_an_idle_model_is_unloaded_and_then_removed(runtime, double):
    double.load("tiny:1b")
    assert await runtime.remove("tiny:1b") == TINY.size
    assert double.generated == [{"model": "tiny:1b", "stream": False, "keep_alive": 0}]
    assert double.runners == {}
    assert await model(runtime) is None
    paths = [path for _, path in double.requests]
    assert paths.index("/api/generate") < paths.index("/api/delete")


async def test_a_model_loaded_for_ever_and_idle_goes_too(runtime, double):
    double.load("tiny:1b", keep_alive=10.0**9)
    assert await runtime.remove("tiny:1b") == TINY.size


async def test_one_that_is_answering_again_before_its_old_time_is_not_cut_off(runtime, double, clock):
    """A re-use looks idle from outside (1.8). The server unloads only after it: it does not go, so it stays."""
    with double.in_flight("tiny:1b") as runner:
        runner.first_use = False
        runner.expires_at = datetime.now(UTC) + timedelta(seconds=250)
        assert not (await model(runtime)).loaded, "nobody can tell from outside"
        with pytest.raises(Refused) as raised:
            await runtime.remove("tiny:1b")
        assert raised.value.code == "in-use"
        assert 30 <= sum(clock.slept) < 40, "bounded"
        assert double.runners
    assert await model(runtime) is not None
    assert await runtime.remove("tiny:1b") == TINY.size


async def test_waiting_for_it_to_unload_is_bounded_also_when_the_clock_is_set_back(runtime, double):
    class SetBack(QuickClock):
        async def sleep(self, seconds):
            await super().sleep(seconds)
            self.jump(-86_400)

    clock = SetBack()
    with double.in_flight("tiny:1b") as runner:
        runner.first_use = False
        runner.expires_at = datetime.now(UTC) + timedelta(seconds=250)
        with pytest.raises(Refused) as raised:
            await runtime_on(double, clock=clock).remove("tiny:1b")
    assert raised.value.code == "in-use"
    assert 30 <= sum(clock.slept) < 40


async def test_a_request_that_begins_between_the_looks_keeps_it(runtime, double, clock):
    class Busy(QuickClock):
        async def sleep(self, seconds):
            await super().sleep(seconds)
            double.runners["registry.ollama.ai/library/tiny:1b"].expires_at += timedelta(seconds=1)

    double.load("tiny:1b")
    busy = runtime_on(double, clock=Busy())
    with pytest.raises(Refused) as raised:
        await busy.remove("tiny:1b")
    assert raised.value.code == "in-use"
    assert double.generated == [], "it is not even unloaded"
    await busy.close()


async def test_an_unload_that_fails_removes_nothing(runtime, double):
    double.load("tiny:1b")
    double.faults.status["/api/generate"] = (500, b'{"error":"oh"}')
    with pytest.raises(Unreachable):
        await runtime.remove("tiny:1b")
    double.faults.status.clear()
    assert await model(runtime) is not None


@pytest.mark.parametrize("readable", [True, False])
async def test_weights_in_use_under_another_name_are_in_use(runtime, blind, double, readable):
    """Names that share weights share what is loaded; it is listed under the one that asked first."""
    reading = runtime if readable else blind
    await runtime.install(library_row("one:1b", ONE), Heard())
    await runtime.install(library_row("two:1b", TWO), Heard())
    with double.in_flight("two:1b"):
        assert (await model(reading, "one:1b")).loaded
        assert not (await model(reading)).loaded
        with pytest.raises(Refused) as raised:
            await reading.remove("one:1b")
        assert (raised.value.code, "two:1b" in raised.value.message) == ("in-use", True)
    await reading.remove("one:1b")
    assert double.generated == [], "the other one stays loaded"
    assert double.runners


async def test_what_answers_from_a_content_that_is_gone_may_read_any_file(runtime, double):
    await runtime.install(library_row("one:1b", ONE), Heard())
    fresh = runtime_on(double, directories=[double.store.root])
    with double.in_flight("one:1b"):
        stored = double.store.find(Name.parse("one:1b"))
        double.store.delete(stored)
        with pytest.raises(Refused):
            await fresh.remove("tiny:1b")
    assert await fresh.remove("tiny:1b") == TINY.size
    await fresh.close()


async def test_the_last_use_is_known_where_the_keep_alive_is(runtime, double):
    clock = QuickClock()
    told = Ollama(
        Target(name="local", runtime="ollama", endpoint=double.url),
        http=lambda: Http(clock=clock), clock=clock, directories=[], environ={"OLLAMA_KEEP_ALIVE": "5m"},
    )  # fmt: skip
    runner = double.load("tiny:1b")
    runner.expires_at -= timedelta(seconds=100)
    used = (await model(told)).last_used_at
    assert abs((clock.now() - used).total_seconds() - 100) < 10
    assert (await model(runtime)).last_used_at is None, "the server's default is a guess"
    await told.close()


async def test_bytes_are_measured_before_and_after_where_the_directory_is_readable(runtime, double):
    await runtime.install(library_row("one:1b", ONE), Heard())
    await runtime.install(library_row("two:1b", TWO), Heard())
    before = sum(path.stat().st_size for path in double.store.blobs.iterdir())
    freed = await runtime.remove("one:1b")
    after = sum(path.stat().st_size for path in double.store.blobs.iterdir())
    assert freed == before - after == ONE.size - len(WEIGHTS)


async def test_a_file_that_a_failed_delete_leaves_is_not_counted_as_freed(runtime, double):
    stored = double.store.find(Name.parse("tiny:1b"))
    kept = double.store.blob(TINY.weights.digest)
    content = kept.read_bytes()
    double.store.remove_unused = lambda digests: [
        double.store.blob(digest).unlink() for digest in digests if digest != TINY.weights.digest
    ]
    assert stored is not None
    freed = await runtime.remove("tiny:1b")
    assert freed == TINY.size - len(content)
    seen = await runtime.observe()
    assert any("files that no model refers to (1) take" in note for note in seen.notes)


async def test_without_the_directory_names_that_share_weights_free_nothing(runtime, blind):
    await runtime.install(library_row("one:1b", ONE), Heard())
    await runtime.install(library_row("two:1b", TWO), Heard())
    assert await blind.remove("one:1b") == 0
    assert await blind.remove("two:1b") == TWO.size


async def test_unfinished_downloads_and_their_parts_are_counted_as_downloads(runtime, double):
    for letter, parts in (("a", 3), ("b", 1)):
        partial = double.store.blobs / f"sha256-{letter * 64}-partial"
        partial.write_bytes(b"y" * 9_000)
        for number in range(parts):
            partial.with_name(f"{partial.name}-{number}").write_text('{"N": 0}')
    seen = await runtime.observe()
    (note,) = seen.notes
    assert "unfinished downloads (2) take" in note
    assert seen.partial_bytes >= 18_000
    await runtime.remove("tiny:1b")
    assert len(list(double.store.blobs.glob("*-partial*"))) == 6, "never touched under a live server"


async def test_a_name_goes_while_what_it_stood_for_before_is_still_loaded_under_it(runtime, double):
    await runtime.name("coder", "tiny:1b", context=2048)
    double.load("coder").digest = "0" * 64
    double.runners[next(iter(double.runners))].weights = "sha256:" + "0" * 64
    await runtime.unname("coder")
    assert [runner.name for runner in double.runners.values()] == ["coder:latest"], "nobody's time was cut short"
    assert double.store.find(Name.parse("coder")) is None
