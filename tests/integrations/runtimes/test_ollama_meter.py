"""An Ollama server's models are timed by its own word, and left as they were found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reconciler.domain.desired import Target
from reconciler.domain.measurement import PROMPT, Trial
from reconciler.domain.observation import Installed
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, Refused, Unreachable
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.ollama_meter import OllamaMeter
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_model import Packed
from tests.doubles.ollama_rig import QuickClock, small
from tests.doubles.ollama_store import Name

MODEL = Installed(name="tiny:1b", bytes=Bytes(200_000))
RAM = Bytes(1000)
TRIAL = Trial(context=2048, generate_tokens=40, runs=3, max_seconds=30)


def put(double: OllamaDouble, name: str, model: Packed) -> None:
    for blob in model.blobs:
        double.store.add_blob(blob.read(), blob.media_type)
    double.store.write(Name.parse(name), model.manifest)


@pytest.fixture
def ollama(tmp_path: Path) -> Iterator[OllamaDouble]:
    with OllamaDouble(tmp_path / "models") as double:
        for name in ("tiny:1b", "other:1b"):
            put(double, name, small(len(name)))
        yield double


@asynccontextmanager
async def metering(double: OllamaDouble) -> AsyncIterator[OllamaMeter]:
    clock = QuickClock()
    target = Target(name="local", runtime="ollama", endpoint=double.url)
    meter = OllamaMeter(target, http=Http(clock=clock), clock=clock)
    yield meter
    await meter.close()


async def test_what_the_server_says_of_its_answers_is_what_is_measured(ollama: OllamaDouble) -> None:
    ollama.speed.on_accelerator = 0.75
    async with metering(ollama) as meter:
        assert await meter.obstacle(MODEL, RAM) is None
        found = await meter.measure(MODEL, TRIAL)
    assert [round(speed, 6) for speed in found.speeds] == [50.0] * 3
    assert (found.runtime, found.runtime_version, found.context) == ("ollama", "0.33.0", 2048)
    assert [(run.prompt_tokens, run.generated_tokens) for run in found.runs] == [(130, 40)] * 3
    assert found.prompt_speed == pytest.approx(500)
    assert found.first_token_ms == pytest.approx(1000 * (130 / 500 + 1 / 50))
    assert found.load_seconds == pytest.approx(2.0)
    assert found.on_accelerator == pytest.approx(0.75, rel=1e-4)
    assert found.loaded_bytes


async def test_what_was_not_loaded_is_not_loaded_afterwards(ollama: OllamaDouble) -> None:
    async with metering(ollama) as meter:
        await meter.measure(MODEL, TRIAL)
    assert ollama.runners == {}
    assert ollama.generated[-1] == {"model": "tiny:1b", "stream": False, "keep_alive": 0}


async def test_no_two_prompts_begin_alike_and_each_goes_in_raw(ollama: OllamaDouble) -> None:
    """A server keeps what it read: the same prompt again would time nothing."""
    async with metering(ollama) as meter:
        await meter.measure(MODEL, TRIAL)
    asked = [body for body in ollama.generated if "prompt" in body]
    assert [body["prompt"] for body in asked] == [f"{number}. {PROMPT}" for number in (1, 2, 3)]
    assert all(body["raw"] and body["options"]["num_predict"] == 40 for body in asked)


@pytest.mark.parametrize(("keep_alive", "kept"), [(1800.0, 1800.0), (10.0**9, 10.0**9)])
async def test_what_was_loaded_stays_as_it_was(ollama: OllamaDouble, keep_alive: float, kept: float) -> None:
    ollama.load("tiny:1b", keep_alive=keep_alive, context=1024)
    async with metering(ollama) as meter:
        assert await meter.obstacle(MODEL, RAM) is None
        found = await meter.measure(MODEL, TRIAL)
    (runner,) = ollama.runners.values()
    assert (found.context, runner.context, found.load_seconds) == (1024, 1024, None)
    assert runner.keep_alive == pytest.approx(kept, abs=30)


async def test_what_is_in_use_is_left_alone(ollama: OllamaDouble) -> None:
    async with metering(ollama) as meter:
        with ollama.in_flight("tiny:1b"):
            assert await meter.obstacle(MODEL, RAM) == "tiny:1b is in use now"
        ollama.runners.clear()
        with ollama.in_flight("other:1b"):
            assert await meter.obstacle(MODEL, RAM) == "other:1b is in use now"
        reason = await meter.obstacle(MODEL, RAM)
    assert reason is not None
    assert "ollama stop other:1b" in reason
    assert ollama.generated == []


async def test_a_model_that_writes_nothing_cannot_be_measured(ollama: OllamaDouble) -> None:
    ollama.speed.only_embeds = True
    async with metering(ollama) as meter:
        with pytest.raises(Refused, match="does not support generate") as raised:
            await meter.measure(MODEL, TRIAL)
    assert raised.value.code == "not-measurable"


async def test_an_answer_that_ends_at_once_times_nothing(ollama: OllamaDouble) -> None:
    ollama.speed.most_tokens = 3
    async with metering(ollama) as meter:
        with pytest.raises(Corrupt, match="too few") as raised:
            await meter.measure(MODEL, TRIAL)
    assert raised.value.code == "not-measurable"
    assert ollama.runners == {}


async def test_what_takes_too_long_is_unloaded_again(ollama: OllamaDouble) -> None:
    ollama.speed.takes_seconds = 5
    async with metering(ollama) as meter:
        with pytest.raises(Unreachable, match=r"not done within 0\.3 s") as raised:
            await meter.measure(MODEL, TRIAL.model_copy(update={"max_seconds": 0.3}))
    assert raised.value.hint == "give it longer with --max-time"
    assert ollama.runners == {}


async def test_fewer_runs_where_the_time_allows_no_more(ollama: OllamaDouble) -> None:
    ollama.speed.decode = 4.0
    async with metering(ollama) as meter:
        found = await meter.measure(MODEL, TRIAL.model_copy(update={"max_seconds": 12}))
    assert len(found.runs) == 1, "40 tokens took 10 s by the server's word"


async def test_a_stopped_measurement_leaves_nothing_loaded(ollama: OllamaDouble) -> None:
    ollama.speed.takes_seconds = 10
    async with metering(ollama) as meter:
        running = asyncio.create_task(meter.measure(MODEL, TRIAL))
        while not any("prompt" in body for body in ollama.generated):
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert ollama.runners == {}


async def test_a_model_that_is_gone_is_a_clear_no(ollama: OllamaDouble) -> None:
    async with metering(ollama) as meter:
        with pytest.raises(Refused, match="not found"):
            await meter.measure(MODEL.model_copy(update={"name": "gone:1b"}), TRIAL)
