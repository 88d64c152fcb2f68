"""One writer at work: what it waits for, and what it reads once it has the lock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from reconciler.engine.destroy import destroy
from reconciler.engine.ownership import adopt, disown
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.saved_plan import apply_saved, parse, saved, text_of
from reconciler.engine.world import Options
from tests.engine.worlds import ALPHA, BETA, DELTA, OPTIONS, fakes, foreign, name_of, pin
from tests.fakes import MemoryRecordStore


class Waiting(MemoryRecordStore):
    """Notes how long it may wait; while it waits, something happens."""

    def __init__(self, inner: MemoryRecordStore, meanwhile: Callable[[], None] = lambda: None) -> None:
        super().__init__(inner.record)
        self.waits: list[float] = []
        self._meanwhile = meanwhile

    def lock(self, *, timeout_seconds: float) -> AbstractAsyncContextManager[None]:
        self.waits.append(timeout_seconds)
        return self._after_a_wait()

    @asynccontextmanager
    async def _after_a_wait(self):
        self._meanwhile()
        async with self._locked():
            yield


async def test_every_change_waits_for_the_lock_as_long_as_it_was_told() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().put(foreign(DELTA))
    plan = parse(text_of(saved(await plan_once(here.world, OPTIONS))))
    here.store = store = Waiting(here.store)
    options = Options(lock_timeout_seconds=600)
    await apply_saved(here.world, plan, options)
    await reconcile(here.world, options)
    await adopt(here.world, name_of(DELTA), None, options)
    await disown(here.world, name_of(DELTA), None, options)
    await destroy(here.world, options)
    assert store.waits == [600] * 5


async def test_what_was_edited_while_it_waited_is_what_is_applied() -> None:
    here = fakes(pin("a", ALPHA))
    here.store = Waiting(here.store, lambda: here.edit(pin("b", BETA)))
    assert (await reconcile(here.world, OPTIONS)).verified
    assert here.owned() == {name_of(BETA)}
