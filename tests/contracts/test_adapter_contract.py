"""What every implementation of the ``ServesAdapters`` port promises, in one suite.

How to run it against a real server: ``docs/testing.md``.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from reconciler.domain.adapter import HeldAdapter, ServedAdapter
from reconciler.domain.observation import ObservedTarget, UnknownTarget
from reconciler.errors import Refused, Unreachable
from reconciler.ports import ServesAdapters
from tests.contracts.adapter_drivers import ADAPTER_DRIVERS, REAL_ADAPTER_DRIVERS, AdapterDriver


def marked(name: str):
    return pytest.param(name, marks=pytest.mark.e2e) if name in REAL_ADAPTER_DRIVERS else name


@pytest.fixture(params=[marked(name) for name in sorted(ADAPTER_DRIVERS)])
async def driver(request, tmp_path):
    async with ADAPTER_DRIVERS[request.param](tmp_path) as driver:
        if reason := driver.deviations.get(request.function.__name__):
            pytest.skip(f"{request.param}: {reason}")
        yield driver


async def seen(driver: AdapterDriver) -> ObservedTarget:
    observed = await driver.runtime.observe()
    assert isinstance(observed, ObservedTarget), observed
    return observed


async def served(driver: AdapterDriver, adapter: HeldAdapter) -> list[ServedAdapter]:
    """Everything that a look lists under the adapter's name."""
    return [one for one in (await seen(driver)).adapters if one.name == driver.seen_as(adapter)]


async def is_served(driver: AdapterDriver, adapter: HeldAdapter) -> None:
    """It, once, and no other content under its name; a client gets an answer."""
    (one,) = await served(driver, adapter)
    assert one.base == adapter.base
    assert not driver.tells_content or one.digest == adapter.digest
    assert one.scale in (None, adapter.scale)
    assert await driver.answers(driver.called(adapter))


def idle(one: ServedAdapter) -> ServedAdapter:
    """Without what changes from moment to moment."""
    return one.model_copy(update={"loaded": False})


async def test_it_is_a_runtime_that_takes_adapters(driver):
    assert isinstance(driver.runtime, ServesAdapters)
    target = await seen(driver)
    assert target.takes_adapters == driver.format
    assert driver.first.base in {model.name for model in target.installed}
    assert await served(driver, driver.first) == []


async def test_what_was_attached_is_observed(driver):
    made = await driver.runtime.attach(driver.first)
    await is_served(driver, driver.first)
    assert [idle(made)] == [idle(one) for one in await served(driver, driver.first)]


async def test_looking_changes_nothing(driver):
    await driver.runtime.attach(driver.first)
    before = (await seen(driver)).adapters
    assert [idle(one) for one in (await seen(driver)).adapters] == [idle(one) for one in before]


async def test_attaching_again_changes_nothing(driver):
    first = await driver.runtime.attach(driver.first)
    before = await seen(driver)
    assert idle(await driver.runtime.attach(driver.first)) == idle(first)
    after = await seen(driver)
    assert [idle(one) for one in after.adapters] == [idle(one) for one in before.adapters]


async def test_other_content_takes_the_place_of_the_old(driver):
    await driver.runtime.attach(driver.first)
    await driver.runtime.attach(driver.second)
    await is_served(driver, driver.second)
    await driver.runtime.attach(driver.first)
    await is_served(driver, driver.first)


async def test_nothing_but_the_name_is_left_of_a_change(driver):
    before = {one.name for one in (await seen(driver)).adapters}
    await driver.runtime.attach(driver.first)
    await driver.runtime.attach(driver.second)
    assert {one.name for one in (await seen(driver)).adapters} == before | {driver.seen_as(driver.second)}


async def test_the_base_serves_on(driver):
    before = {model.name for model in (await seen(driver)).installed}
    for step in (driver.first, driver.second):
        await driver.runtime.attach(step)
        assert await driver.answers(step.base)
    await driver.runtime.detach(driver.first.name, driver.first.base)
    assert await driver.answers(driver.first.base)
    assert driver.first.base in before <= {model.name for model in (await seen(driver)).installed}


async def test_what_was_detached_is_gone_and_may_come_back(driver):
    await driver.runtime.attach(driver.first)
    await driver.runtime.detach(driver.first.name, driver.first.base)
    assert await served(driver, driver.first) == []
    if driver.asks_by_name:
        assert not await driver.answers(driver.first.name)
    await driver.runtime.detach(driver.first.name, driver.first.base)
    await driver.runtime.attach(driver.first)
    await is_served(driver, driver.first)


async def test_detaching_what_is_not_there_is_nothing(driver):
    await driver.runtime.attach(driver.first)
    await driver.runtime.detach("nobody-knows-it", driver.first.base)
    await is_served(driver, driver.first)


async def test_refused_weights_leave_the_old_ones_serving(driver):
    if driver.refused is None:
        pytest.skip("the driver has no weights that are refused")
    await driver.runtime.attach(driver.first)
    with pytest.raises(Refused) as raised:
        await driver.runtime.attach(driver.refused)
    assert raised.value.code == "adapter-refused"
    await is_served(driver, driver.first)
    assert await driver.answers(driver.first.base)


async def test_refused_weights_leave_nothing_behind(driver):
    if driver.refused is None:
        pytest.skip("the driver has no weights that are refused")
    before = await seen(driver)
    with pytest.raises(Refused):
        await driver.runtime.attach(driver.refused)
    after = await seen(driver)
    assert after.adapters == before.adapters
    assert await driver.answers(driver.first.base)
    await driver.runtime.attach(driver.first)
    await is_served(driver, driver.first)


async def test_two_adapters_stand_beside_each_other(driver):
    if driver.beside is None:
        pytest.skip("the driver has no second adapter for the base")
    for one in (driver.first, driver.beside):
        await driver.runtime.attach(one)
    for one in (driver.first, driver.beside):
        await is_served(driver, one)
    await driver.runtime.detach(driver.first.name, driver.first.base)
    assert await served(driver, driver.first) == []
    await is_served(driver, driver.beside)


async def test_a_held_copy_that_is_gone_is_told_and_costs_nothing_once_it_is_put_back(driver):
    if not driver.reads_held or driver.beside is None:
        pytest.skip("this runtime reads nothing of what we hold while it serves")
    for one in (driver.first, driver.beside):
        await driver.runtime.attach(one)
    place = Path(driver.first.path)
    away = place.rename(place.with_name("away"))
    (one,) = await served(driver, driver.first)
    assert (one.damaged, one.digest, one.path) == (True, None, driver.first.path)
    (other,) = await served(driver, driver.beside)
    assert not other.damaged
    away.rename(place)
    await driver.runtime.attach(driver.first)
    for each in (driver.first, driver.beside):
        await is_served(driver, each)
    assert not (await served(driver, driver.first))[0].damaged
    assert await driver.answers(driver.first.base)


async def test_a_scale_is_in_force(driver):
    if driver.rescaled is None:
        pytest.skip("this runtime takes no scale")
    await driver.runtime.attach(driver.first)
    await driver.runtime.attach(driver.rescaled)
    (one,) = await served(driver, driver.rescaled)
    assert one.scale == driver.rescaled.scale
    await driver.runtime.attach(driver.first)
    (one,) = await served(driver, driver.first)
    assert one.scale == driver.first.scale


async def test_a_restart_is_understood(driver):
    if driver.restart is None:
        pytest.skip("the driver cannot restart the program")
    await driver.runtime.attach(driver.first)
    await driver.restart()
    if driver.survives:
        await is_served(driver, driver.first)
    else:
        assert await served(driver, driver.first) == []
    await driver.runtime.attach(driver.first)
    await is_served(driver, driver.first)


async def test_a_model_is_not_taken_for_an_adapter(driver):
    if driver.taken is None:
        pytest.skip("no model could have the name of an adapter")
    before = (await seen(driver)).installed
    with pytest.raises(Refused) as raised:
        await driver.runtime.attach(driver.first.model_copy(update={"name": driver.taken}))
    assert raised.value.code == "unmanaged-conflict"
    assert {model.name for model in (await seen(driver)).installed} == {model.name for model in before}
    assert await driver.answers(driver.first.base)


async def test_a_base_that_is_not_there_takes_none(driver):
    before = await seen(driver)
    with pytest.raises(Refused):
        await driver.runtime.attach(driver.first.model_copy(update={"base": "Acme/Nowhere-1B"}))
    assert (await seen(driver)).adapters == before.adapters


@pytest.mark.parametrize("requests", [1, 2, 3, 4, 6, 8])
async def test_attaching_may_be_cancelled_at_any_moment(driver, requests):
    await driver.runtime.attach(driver.first)
    before = driver.answered()
    task = asyncio.create_task(driver.runtime.attach(driver.second))
    while driver.answered() < before + requests and not task.done():
        await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert await driver.answers(driver.first.base)
    assert len(await served(driver, driver.first)) == 1
    await driver.runtime.attach(driver.second)
    await is_served(driver, driver.second)


async def test_what_does_not_answer_is_unknown_and_takes_nothing(driver):
    if driver.dead is None:
        pytest.skip("the driver has no dead runtime")
    assert isinstance(await driver.dead.observe(), UnknownTarget)
    with pytest.raises(Unreachable):
        await driver.dead.attach(driver.first)
    with pytest.raises(Unreachable):
        await driver.dead.detach(driver.first.name, driver.first.base)
