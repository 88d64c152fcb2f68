"""What holds in any small world, whatever is edited, installed by others, removed by hand, failed or killed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.domain.desired import Slot
from reconciler.domain.plan import Overrides
from reconciler.domain.units import GB, Bytes
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.saved_plan import apply_saved, parse, saved, text_of
from reconciler.engine.world import Options
from reconciler.errors import Corrupt, OutOfSpace, ReconcilerError, Refused, Unreachable
from tests.builders import pool, target
from tests.engine.worlds import SCORES, Fakes, fakes, foreign, name_of, pin
from tests.fakes import Crash

BOLD = Options(overrides=Overrides(allow_evictions=99))
MODELS = sorted(SCORES)
TWO = (target(), target("other", path="/other"))

pins = st.builds(pin, st.sampled_from("pq"), st.sampled_from(MODELS), target=st.sampled_from([None, "local", "other"]))
ranked = st.builds(Slot, name=st.sampled_from("ab"), count=st.integers(1, 2))
files = st.tuples(
    st.lists(st.one_of(pins, ranked), max_size=3, unique_by=lambda slot: slot.name).map(tuple),
    st.sampled_from([6, 11, 16, 100]),
    st.sampled_from(["always", "pressure", "never"]),
    st.booleans(),
)
faults = st.sampled_from([Refused("no"), Unreachable("later"), Corrupt("bad"), OutOfSpace("full"), Crash()])
events = st.one_of(
    st.tuples(st.just("edit"), files),
    st.tuples(st.just("theirs"), st.sampled_from(MODELS), st.sampled_from(TWO)),
    st.tuples(st.just("removed"), st.sampled_from(MODELS), st.sampled_from(TWO)),
    st.tuples(st.just("install fails"), st.sampled_from(MODELS), st.sampled_from(TWO), faults),
    st.tuples(st.just("removal fails"), st.sampled_from(MODELS), st.sampled_from(TWO), faults),
    st.tuples(st.just("killed after"), st.sampled_from(MODELS), st.sampled_from(TWO)),
    st.tuples(st.just("down"), st.sampled_from(TWO)),
    st.tuples(st.just("apply")),
)


class Theirs:
    """What somebody else installed, and nobody but them may remove."""

    def __init__(self, here: Fakes) -> None:
        self.here = here
        self.models: set[tuple[str, str]] = set()

    def put(self, key: str, model: str) -> None:
        if name_of(model) not in self.here.runtime(key).installed:
            self.here.runtime(key).put(foreign(model))
            ours = any((entry.target_key, entry.name) == (key, name_of(model)) for entry in self.here.record.entries)
            open_step = any((one.target_key, one.name) == (key, name_of(model)) for one in self.here.record.intents)
            if not (ours or open_step):
                self.models.add((key, name_of(model)))

    def are_there(self) -> bool:
        return all(name in self.here.runtime(key).installed for key, name in self.models)


def happens(here: Fakes, theirs: Theirs, event: tuple[object, ...]) -> None:
    match event:
        case ("edit", (slots, budget, prune, gap)):
            limits = pool(disk_budget=Bytes(budget * GB), prune=prune, allow_gap=gap)  # type: ignore[operator]
            here.edit(*slots, pool=limits, targets=TWO)  # type: ignore[misc]
        case ("theirs", str(model), where):
            theirs.put(where.key, model)  # type: ignore[attr-defined]
        case ("removed", str(model), where):
            here.runtime(where.key).installed.pop(name_of(model), None)  # type: ignore[attr-defined]
            theirs.models.discard((where.key, name_of(model)))  # type: ignore[attr-defined]
        case ("install fails", str(model), where, fault):
            here.runtime(where.key).fail_installs[name_of(model)] = [fault]  # type: ignore[attr-defined, list-item]
        case ("removal fails", str(model), where, fault):
            here.runtime(where.key).fail_removes[name_of(model)] = [fault]  # type: ignore[attr-defined, list-item]
        case ("killed after", str(model), where):
            here.runtime(where.key).crash_after = name_of(model)  # type: ignore[attr-defined]
        case ("down", where):
            here.runtime(where.key).unknown = "down"  # type: ignore[attr-defined]


async def applied(here: Fakes) -> None:
    with suppress(ReconcilerError, Crash):
        await reconcile(here.world, BOLD)


def healthy(here: Fakes) -> None:
    for runtime in here.runtimes.values():
        runtime.unknown = runtime.crash_after = None
        runtime.fail_installs.clear()
        runtime.fail_removes.clear()


async def lived(history: list[tuple[object, ...]]) -> tuple[Fakes, Theirs]:
    here = fakes(targets=TWO)
    theirs = Theirs(here)
    for event in history:
        happens(here, theirs, event)
        if event[0] in ("apply", "edit"):
            await applied(here)
            assert theirs.are_there(), "something that is not ours was removed"
            for runtime in here.runtimes.values():
                runtime.unknown = None
    healthy(here)
    return here, theirs


@settings(max_examples=60, deadline=None)
@given(st.lists(events, max_size=8))
def test_it_converges_from_anywhere_and_touches_only_its_own(history: list[tuple[object, ...]]) -> None:
    async def story() -> None:
        here, theirs = await lived(history)
        for _ in range(3):
            await applied(here)
        assert theirs.are_there()
        seen = await plan_once(here.world, BOLD)
        assert not seen.plan.changes
        assert not here.record.intents
        saves = len(here.store.saved)
        mutations = [list(runtime.mutations) for runtime in here.runtimes.values()]
        await applied(here)
        assert len(here.store.saved) == saves
        assert [list(runtime.mutations) for runtime in here.runtimes.values()] == mutations

    asyncio.run(story())


@settings(max_examples=60, deadline=None)
@given(st.lists(events, max_size=8))
def test_the_books_balance(history: list[tuple[object, ...]]) -> None:
    """Afterwards everything owned is installed, and everything installed is owned or somebody else's."""

    async def story() -> None:
        here, theirs = await lived(history)
        for _ in range(3):
            await applied(here)
        installed = {(key, name) for key, runtime in here.runtimes.items() for name in runtime.installed}
        owned = {(entry.target_key, entry.name) for entry in here.record.entries}
        assert owned <= installed
        assert installed - owned == theirs.models - owned
        assert not owned & theirs.models

    asyncio.run(story())


@settings(max_examples=40, deadline=None)
@given(st.lists(events, max_size=6))
def test_a_saved_plan_is_applied_exactly_or_refused(history: list[tuple[object, ...]]) -> None:
    async def story() -> None:
        here, _ = await lived(history)
        document = parse(text_of(saved(await plan_once(here.world, BOLD))))
        try:
            report = await apply_saved(here.world, document, BOLD)
        except ReconcilerError as error:
            assert error.code in {"refused-by-guard", "plan-not-applicable"}  # noqa: PT017 - several are right
        else:
            assert report.plan == document.plan
            assert all(one.status == "done" for one in report.outcomes)

    asyncio.run(story())
