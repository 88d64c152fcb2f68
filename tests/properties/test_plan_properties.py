"""What must hold of a plan for any input."""

from __future__ import annotations

import json
import random
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.domain.desired import Slot
from reconciler.domain.observation import Observation, ObservedTarget
from reconciler.domain.plan import Action, Plan
from reconciler.domain.record import Record
from reconciler.planning.make_plan import make_plan
from tests.builders import after, observed, record, scaled, settle
from tests.strategies import World, worlds

FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def applied(world: World) -> tuple[Plan, Observation, Record]:
    plan, seen = settle(world.want, world.seen, world.known)
    return plan, *after(plan, seen, world.known)


def there(seen: Observation) -> set[str]:
    return {one.name for where in seen.targets if isinstance(where, ObservedTarget) for one in where.installed}


@FAST
@given(worlds())
def test_it_converges(world: World) -> None:
    _, seen, known = applied(world)
    again, _ = settle(world.want, seen, known)
    assert not again.changes, [(row.action, row.reason, row.name) for row in again.changes]


@FAST
@given(worlds())
def test_it_touches_only_its_own(world: World) -> None:
    plan, _ = settle(world.want, world.seen, world.known)
    owned = {entry.name for entry in world.known.entries}
    evicted = {row.name for row in plan.changes if row.action is Action.EVICT}
    assert evicted <= owned
    if world.want.pool.prune == "never":
        assert not evicted


@FAST
@given(worlds(prune=("always",)))
def test_the_books_balance(world: World) -> None:
    plan, seen, known = applied(world)
    present, owned = there(seen), {entry.name for entry in known.entries}
    wanted = {row.name for row in (*plan.kept, *plan.changes) if row.action is not Action.EVICT and row.name}
    assert {row.name for row in plan.changes if row.action in (Action.INSTALL, Action.UPDATE)} <= present
    waiting = {row.name for row in (*plan.deferred, *plan.blocked)}
    assert owned <= present | waiting
    assert owned <= wanted | waiting


@FAST
@given(worlds(), st.integers(0, 2**16))
def test_order_is_irrelevant(world: World, seed: int) -> None:
    def shuffled(items: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(random.Random(seed).sample(items, len(items)))

    where = world.seen.targets[0]
    assert isinstance(where, ObservedTarget)
    known = replace(
        world.seen.catalogue,
        models=shuffled(world.seen.catalogue.models),  # type: ignore[arg-type]
        observations=shuffled(world.seen.catalogue.observations),  # type: ignore[arg-type]
    )
    mixed = world.seen.model_copy(
        update={
            "catalogue": known,
            "targets": (where.model_copy(update={"installed": shuffled(where.installed)}),),
        }
    )
    plan = make_plan(world.want, world.seen, world.known)
    assert plan.model_dump_json() == make_plan(world.want, mixed, world.known).model_dump_json()


@FAST
@given(worlds())
def test_a_plan_survives_the_round_trip(world: World) -> None:
    plan, seen = settle(world.want, world.seen, world.known)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert Observation.model_validate_json(seen.model_dump_json()) == seen
    keys = set(json.loads(plan.model_dump_json()))
    assert {"formatVersion", "fingerprint", "changes", "held", "blocked", "unfilled"} <= keys


@FAST
@given(worlds(), st.data())
def test_it_does_not_flap(world: World, data: st.DataObject) -> None:
    """A slot filled with the best keeps it while scores move by less than half the threshold each."""
    want = world.want.model_copy(update={"slots": (Slot(name="a"),), "approval": "auto"})
    bare = world.seen.model_copy(update={"targets": (observed(free_gb=500),)})
    _, seen, known = applied(World(want, bare, record(applied_digest="d1")))
    scores = {one.model: one.value for one in seen.catalogue.observations}
    moved = {name: value + data.draw(st.floats(-2.4, 2.4)) for name, value in scores.items()}
    wobbled = seen.model_copy(update={"catalogue": scaled(seen.catalogue, moved)})
    plan, _ = settle(want, wobbled, known)
    assert not plan.changes


@FAST
@given(worlds())
def test_it_never_overfills(world: World) -> None:
    plan, seen = settle(world.want, world.seen, world.known)
    sizes = {one.name: one.bytes for where in seen.targets for one in where.installed}  # type: ignore[union-attr]
    owned = {entry.name: sizes[entry.name] for entry in world.known.entries if entry.name in sizes}
    where = seen.targets[0]
    assert isinstance(where, ObservedTarget)
    assert where.disk is not None
    free, limit = where.disk.free_bytes, world.want.pool.disk_budget
    for row in plan.changes:
        if row.bytes_down:
            assert free - row.bytes_down >= world.want.pool.min_free_disk  # type: ignore[operator]
            assert sum(owned.values()) + row.bytes_down <= limit
            owned[row.name] = row.bytes_down
        elif row.action is Action.EVICT:
            owned.pop(row.name)
        free += row.bytes_freed - row.bytes_down


@FAST
@given(worlds())
def test_every_slot_address_is_spoken_for(world: World) -> None:
    plan, _ = settle(world.want, world.seen, world.known)
    said = {
        address
        for row in (*plan.changes, *plan.kept, *plan.blocked, *plan.unfilled)
        if row.action is not Action.EVICT
        for address in (row.slots or (row.address,))
    }
    wanted = {address for slot in world.want.slots for address in slot.addresses}
    assert wanted <= said


@FAST
@given(worlds())
def test_a_model_that_works_never_goes_before_its_replacement(world: World) -> None:
    plan, _ = settle(world.want, world.seen, world.known)
    done: set[str] = set()
    for row in plan.changes:
        if row.action is Action.EVICT and row.reason.value == "replaced" and not row.gap:
            coming = {
                address
                for other in plan.changes
                if other.action in (Action.INSTALL, Action.UPDATE)
                for address in other.slots
            }
            assert set(row.slots) & coming <= done
        done |= set(row.slots) if row.bytes_down else set()
