"""What every implementation of the ``Runtime`` port promises, in one suite.

How to run it against a real server: ``docs/testing.md``.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reconciler.domain.names import same_stable_name
from reconciler.domain.observation import ObservedTarget, UnknownTarget
from reconciler.errors import OutsideError, Refused
from reconciler.ports import Names
from tests.contracts.drivers import DRIVERS, REAL, Driver
from tests.doubles.ollama_rig import Heard


def marked(name: str):
    return pytest.param(name, marks=pytest.mark.e2e) if name in REAL else name


@pytest.fixture(params=[marked(name) for name in sorted(DRIVERS)])
async def driver(request, tmp_path):
    async with DRIVERS[request.param](tmp_path) as driver:
        if reason := driver.deviations.get(request.function.__name__):
            pytest.skip(f"{request.param}: {reason}")
        yield driver


async def seen(driver: Driver) -> ObservedTarget:
    observed = await driver.runtime.observe()
    assert isinstance(observed, ObservedTarget), observed
    return observed


async def named(driver: Driver, name: str):
    return next((model for model in (await seen(driver)).installed if model.name == name), None)


async def expendable(driver: Driver, name: str) -> str:
    return await driver.expendable(name) if driver.expendable else name


async def interrupted_install(driver: Driver) -> Heard:
    """Begin an install and cancel it once bytes have arrived."""
    driver.slowly()
    heard, arrived = Heard(), asyncio.Event()

    def listen(done, total, note=""):
        heard(done, total, note)
        if done > 0:
            arrived.set()

    task = asyncio.create_task(driver.runtime.install(driver.wanted, listen))
    waiting = asyncio.create_task(arrived.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return heard


async def test_observing_twice_says_the_same(driver):
    first, second = await seen(driver), await seen(driver)
    assert first.installed == second.installed
    assert (first.name, first.key, first.version, first.notes) == (
        second.name,
        second.key,
        second.version,
        second.notes,
    )


async def test_what_was_installed_is_observed_with_its_digest(driver):
    installed = await driver.runtime.install(driver.wanted, Heard())
    assert installed == await named(driver, driver.wanted.name)
    assert installed.digest == driver.wanted.artifact.digest
    assert installed.bytes == driver.wanted.artifact.bytes


async def test_the_digest_can_be_asked_for(driver):
    installed = await driver.runtime.install(driver.wanted, Heard())
    digest, stamp = await driver.runtime.digest(installed.name, Heard())
    assert (digest, stamp) == (installed.digest, installed.stamp)
    with pytest.raises(Refused):
        await driver.runtime.digest(driver.unknown.name, Heard())


async def test_installing_again_changes_nothing(driver):
    first = await driver.runtime.install(driver.wanted, Heard())
    assert await driver.runtime.install(driver.wanted, Heard()) == first
    assert [model.name for model in (await seen(driver)).installed].count(driver.wanted.name) == 1


async def test_progress_reaches_the_total_and_never_passes_it(driver):
    heard = Heard()
    await driver.runtime.install(driver.wanted, heard)
    total = driver.wanted.artifact.bytes
    assert {said for _, said, _ in heard.calls} == {total}
    assert heard.done == sorted(heard.done)
    assert heard.done[-1] == total


async def test_what_is_removed_is_gone_and_its_bytes_are_free(driver):
    installed = await driver.runtime.install(driver.wanted, Heard())
    name = await expendable(driver, installed.name)
    freed = await driver.runtime.remove(name)
    assert await named(driver, name) is None
    assert freed == installed.bytes or not driver.frees


async def test_removing_what_is_gone_frees_nothing(driver):
    installed = await driver.runtime.install(driver.wanted, Heard())
    name = await expendable(driver, installed.name)
    await driver.runtime.remove(name)
    assert await driver.runtime.remove(name) == 0


async def test_an_unknown_model_is_a_clear_no_and_leaves_nothing_listed(driver):
    before = (await seen(driver)).installed
    with pytest.raises(OutsideError) as raised:
        await driver.runtime.install(driver.unknown, Heard())
    assert not raised.value.retryable
    assert (await seen(driver)).installed == before


async def test_a_cancelled_install_leaves_no_entry_and_can_be_resumed(driver):
    heard = await interrupted_install(driver)
    if heard.done and heard.done[-1] == driver.wanted.artifact.bytes:
        pytest.skip("the model arrived before it could be interrupted: name a larger one")
    assert await named(driver, driver.wanted.name) is None
    if driver.partial_bytes is not None:
        assert driver.partial_bytes() > 0
    installed = await driver.runtime.install(driver.wanted, Heard())
    assert installed.digest == driver.wanted.artifact.digest
    if driver.partial_bytes is not None:
        assert driver.partial_bytes() == 0


async def test_what_is_in_use_stays(driver):
    if driver.in_use is None:
        pytest.skip("this implementation has no way to be in use from a test")
    installed = await driver.runtime.install(driver.wanted, Heard())
    with driver.in_use(installed.name):
        assert (await named(driver, installed.name)).loaded
        with pytest.raises(Refused) as raised:
            await driver.runtime.remove(installed.name)
        assert raised.value.code == "in-use"
    assert await named(driver, installed.name) is not None


async def test_nothing_behind_it_is_unknown_and_not_empty(driver):
    if driver.dead is None:
        pytest.skip("this implementation needs no endpoint")
    observed = await driver.dead.observe()
    assert isinstance(observed, UnknownTarget)
    assert observed.reason
    with pytest.raises(OutsideError) as raised:
        await driver.dead.install(driver.wanted, Heard())
    assert raised.value.retryable


# ------------------------------------------------------------------------------------------------ stable names

STABLE = "localmodels-contract"


@pytest.fixture
async def names(driver):
    """A driver whose runtime has stable names, with both models on it."""
    if driver.other is None:
        pytest.skip("this implementation, as the driver sets it up, has no stable names")
    assert isinstance(driver.runtime, Names)
    for row in (driver.wanted, driver.other):
        await driver.runtime.install(row, Heard())
    return driver


async def alias(driver: Driver, name: str = STABLE):
    target = await seen(driver)
    return next((one for one in target.aliases if same_stable_name(target.key, one.name, name)), None)


async def models(driver: Driver) -> list[str]:
    """The models that stand there; some targets list a stable name as one too."""
    target = await seen(driver)
    return [
        model.name
        for model in target.installed
        if not any(same_stable_name(target.key, one.name, model.name) for one in target.aliases)
    ]


async def test_a_name_that_is_made_is_observed(names):
    before = await models(names)
    assert await alias(names) is None
    made = await names.runtime.name(STABLE, names.wanted.name, context=2048)
    assert made == await alias(names)
    assert made.model == names.wanted.name
    assert made.context in (None, 2048)
    assert await models(names) == before


async def test_making_a_name_again_changes_nothing(names):
    first = await names.runtime.name(STABLE, names.wanted.name, context=2048)
    assert await names.runtime.name(STABLE, names.wanted.name, context=2048) == first
    target = await seen(names)
    assert len([one for one in target.aliases if same_stable_name(target.key, one.name, STABLE)]) == 1


async def test_a_name_moves_to_another_model_and_back(names):
    await names.runtime.name(STABLE, names.wanted.name, context=2048)
    first = names.content(STABLE) if names.content else b""
    moved = await names.runtime.name(STABLE, names.other.name, context=2048)
    assert moved == await alias(names)
    assert moved.model == names.other.name
    assert names.content is None or names.content(STABLE) != first
    await names.runtime.name(STABLE, names.wanted.name, context=2048)
    assert (await alias(names)).model == names.wanted.name


async def test_two_names_may_stand_for_one_model(names):
    await names.runtime.name(STABLE, names.wanted.name, context=2048)
    await names.runtime.name(f"{STABLE}-2", names.wanted.name, context=1024)
    assert {(await alias(names, name)).model for name in (STABLE, f"{STABLE}-2")} == {names.wanted.name}
    await names.runtime.unname(f"{STABLE}-2")
    assert (await alias(names)).model == names.wanted.name


async def test_a_name_that_is_removed_is_gone_and_its_model_stays(names):
    before = await models(names)
    await names.runtime.name(STABLE, names.wanted.name, context=2048)
    await names.runtime.unname(STABLE)
    assert await alias(names) is None
    assert await models(names) == before
    await names.runtime.unname(STABLE)


async def test_a_name_is_never_made_for_what_is_not_there(names):
    with pytest.raises(OutsideError):
        await names.runtime.name(STABLE, names.unknown.name, context=2048)
    assert await alias(names) is None


async def test_what_is_no_name_is_not_taken(names):
    if names.occupy is None:
        pytest.skip("the driver puts nothing else under a name")
    occupied = names.occupy(STABLE)
    if asyncio.iscoroutine(occupied):
        await occupied
    before = (await seen(names)).installed
    for step in (names.runtime.name(STABLE, names.wanted.name, context=2048), names.runtime.unname(STABLE)):
        with pytest.raises(Refused) as raised:
            await step
        assert raised.value.code == "unmanaged-conflict"
    assert (await seen(names)).installed == before


async def test_a_name_of_a_model_that_went_stands_for_nothing(names):
    await names.runtime.name(STABLE, names.other.name, context=2048)
    await names.runtime.remove(names.other.name)
    assert getattr(await alias(names), "model", None) is None
    assert names.other.name not in await models(names)
    await names.runtime.name(STABLE, names.wanted.name, context=2048)
    assert (await alias(names)).model == names.wanted.name


async def test_in_use_under_a_name_is_seen(names):
    if names.in_use_as is None:
        pytest.skip("the driver has no way to use a model under a stable name")
    await names.runtime.name(STABLE, names.wanted.name, context=2048)
    assert not (await alias(names)).loaded
    with names.in_use_as(STABLE):
        assert (await alias(names)).loaded
