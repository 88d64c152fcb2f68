"""What must hold of the adapters in a plan, whatever is declared, served, recorded and answered."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reconciler.domain.adapter import Adapter, AdapterServing, AdapterVerdict, Gate, RecordAdapter, ServedAdapter
from reconciler.domain.desired import DesiredState, Fuses, Slot
from reconciler.domain.observation import Observation, ObservedTarget
from reconciler.domain.plan import Action, Overrides, Plan, Row
from reconciler.domain.record import Record
from reconciler.domain.units import GB, Bytes
from tests.builders import after, desired, observation, pool, record
from tests.planning.adapter_world import (
    ALPHA,
    BETA,
    EDGE,
    Says,
    base_name,
    error,
    known,
    look,
    lora,
    ours,
    pin,
    recorded,
    said,
    serves,
    settled,
    there,
    verdict,
)

FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
BASES = (ALPHA, BETA)
NAMES = ("sql", "notes")


@dataclass(frozen=True)
class World:
    want: DesiredState
    seen: Observation
    mine: Record
    says: Says
    overrides: Overrides

    def plan(self) -> Plan:
        return settled(self.want, self.seen, self.mine, self.says, self.overrides).plan


@st.composite
def adapters_of(draw: st.DrawFn, name: str) -> Adapter:
    gate = draw(st.sampled_from([None, "block", "warn", "serve-as-candidate"]))
    return lora(
        name,
        base=draw(st.sampled_from(["coder", "acme/beta-1b-GGUF"])),
        on_base_change=draw(st.sampled_from(["hold", "drop", "follow"])),
        absent=draw(st.integers(0, 5)) == 0,
        gate=Gate(receipt="/r", on_missing=gate) if gate else None,  # type: ignore[arg-type]
        serve=(AdapterServing(target="edge", name=name, scale=draw(st.sampled_from([1.0, 1.0, 0.5]))),),
    )


@st.composite
def verdicts(draw: st.DrawFn, name: str) -> AdapterVerdict | str:
    kind = draw(st.sampled_from(["fits", "fits", "fits", "broken", "silent", "unpromoted"]))
    if kind == "silent":
        return "refused"
    content = f"{name} {draw(st.sampled_from(['1', '1', '2']))}"
    missing = (error("no receipt"),) if kind == "unpromoted" else ()
    return verdict(content, *((error(),) if kind == "broken" else ()), unpromoted=missing)


@st.composite
def standing(draw: st.DrawFn, name: str) -> tuple[ServedAdapter | None, RecordAdapter | None]:
    """What is served under a name, and what of it is recorded."""
    base = draw(st.sampled_from(BASES))
    kind = draw(st.sampled_from(["nothing", "ours", "ours", "ours", "gone", "foreign", "replaced", "drifted", "busy"]))
    held = recorded(name, f"{name} 1", base, declared_base=draw(st.sampled_from(["coder", "acme/beta-1b-GGUF"])))
    mine = serves(name, f"{name} 1", base)
    theirs = serves(name, "theirs", base, path="/theirs/a.gguf")
    return {
        "nothing": (None, None),
        "ours": (mine, held),
        "gone": (None, held),
        "foreign": (theirs, None),
        "replaced": (theirs, held),
        "drifted": (mine.model_copy(update={"scale": 0.25}), held),
        "busy": (mine.model_copy(update={"loaded": True}), held),
    }[kind]


@st.composite
def worlds(draw: st.DrawFn, *, roomy: bool = False, calm: bool = False) -> World:
    slots: tuple[Slot, ...] = draw(
        st.sampled_from([(Slot(name="coder"),), (pin(),), (pin(BETA),), (pin(), pin(BETA, name="chat")), ()])
    )
    declared = [draw(adapters_of(name)) for name in draw(st.sets(st.sampled_from(NAMES)).map(sorted))]
    stands = [draw(standing(name)) for name in NAMES]
    if calm:
        stands = [(one.model_copy(update={"loaded": False}) if one else None, held) for one, held in stands]
    there_now = draw(st.sets(st.sampled_from((0, 1))).map(sorted))
    there_now = sorted({*there_now, *(BASES.index(_base(one)) for one, _ in stands if one is not None)})
    owned = [number for number in there_now if draw(st.booleans())]
    takes = "gguf" if calm else draw(st.sampled_from(["gguf", "gguf", "gguf", None]))
    says: dict[object, AdapterVerdict | str | None] = {
        (name, base_name(base)): draw(verdicts(name)) for name in NAMES for base in BASES
    }
    budget = 100 * GB if roomy else draw(st.sampled_from([100 * GB, 11 * GB, 6 * GB, 5 * GB + 150 * 10**6]))
    policy = pool(
        disk_budget=Bytes(budget),
        allow_gap=draw(st.booleans()),
        prune=draw(st.sampled_from(["always", "always", "never", "pressure"])),
    )
    claimed = slots[0].addresses[0] if slots else "slot/old[0]"
    entries = [ours(BASES[number], claimed if place == 0 else "slot/old[0]") for place, number in enumerate(owned)]
    where = look(
        [there(BASES[number]) for number in there_now],
        [one for one, _ in stands if one is not None],
        takes_adapters=takes,
    )
    return World(
        desired(*slots, targets=(EDGE,), adapters=tuple(declared), pool=policy,
                fuses=Fuses(max_evictions=9, max_evict_share=1, allow_empty=True)),
        observation(known(alpha=60, beta=90), where),
        record(*entries, adapters=tuple(held for _, held in stands if held is not None)),
        says,
        Overrides(accept=draw(st.sampled_from([(), ("coder",)]))),
    )  # fmt: skip


def _base(served: ServedAdapter) -> object:
    return next(base for base in BASES if base_name(base) == served.base)


def of_models(rows: tuple[Row, ...]) -> list[Row]:
    return [row for row in rows if row.adapter is None]


@FAST
@given(worlds())
def test_only_what_we_attached_is_changed_or_detached(world: World) -> None:
    for row in world.plan().changes:
        if row.adapter is None or row.action is Action.ATTACH:
            continue
        assert world.mine.adapter(row.target_key, row.adapter.name) is not None, row


@FAST
@given(worlds())
def test_nothing_of_somebody_elses_is_replaced(world: World) -> None:
    where = world.seen.targets[0]
    assert isinstance(where, ObservedTarget)
    served = {one.name for one in where.adapters}
    for row in world.plan().changes:
        if row.adapter is not None and row.action is Action.ATTACH and not row.gap:
            assert row.adapter.name not in served, row


@FAST
@given(worlds())
def test_every_adapter_of_the_file_is_spoken_of(world: World) -> None:
    plan = world.plan()
    spoken = {
        row.adapter.adapter
        for row in (*plan.changes, *plan.kept, *plan.held, *plan.deferred, *plan.blocked)
        if row.adapter is not None
    }
    assert {one.name for one in world.want.adapters if not one.absent} <= spoken


@FAST
@given(worlds())
def test_broken_adapters_never_change_a_row_of_a_model(world: World) -> None:
    broken = {key: verdict("x", error()) for key in world.says}
    fresh = record(*world.mine.entries)
    whole = World(world.want.model_copy(update={"adapters": ()}), world.seen, fresh, {}, world.overrides).plan()
    told = World(world.want, world.seen, fresh, broken, world.overrides).plan()
    assert of_models(told.changes) == of_models(whole.changes)
    assert told.applicable == whole.applicable


@FAST
@given(worlds())
def test_an_adapter_stands_on_what_is_there_at_every_step(world: World) -> None:
    plan, where = world.plan(), world.seen.targets[0]
    assert isinstance(where, ObservedTarget)
    models = {one.name for one in where.installed}
    stands = {one.name: one.base for one in where.adapters if world.mine.adapter(EDGE.key, one.name) is not None}
    replaced = {row.adapter.name for row in plan.changes if row.adapter is not None and row.action is Action.FORGET}
    stands = {name: base for name, base in stands.items() if name not in replaced}
    for row in plan.changes:
        if row.adapter is not None:
            if row.action in (Action.ATTACH, Action.UPDATE):
                assert row.name in models, said(plan.changes)
                stands[row.adapter.name] = row.name
            else:
                stands.pop(row.adapter.name, None)
        elif row.fetches:
            models.add(row.name)
        elif row.action is Action.EVICT:
            if where.takes_adapters is not None:
                assert row.name not in stands.values(), said(plan.changes)
            models.discard(row.name)


def replaced_by_somebody_elses() -> World:
    """One of ours was replaced by another's, which stands on a base that nothing asks for; another of ours is to go."""
    theirs = serves("notes", "theirs", BETA, path="/theirs/a.gguf")
    attached = (recorded(), recorded("notes", "notes 1", BETA))
    return World(
        desired(Slot(name="coder"), targets=(EDGE,), adapters=(lora("notes"),), pool=pool(disk_budget=Bytes(100 * GB)),
                fuses=Fuses(max_evictions=9, max_evict_share=1, allow_empty=True)),
        observation(known(alpha=60, beta=90), look([there(), there(BETA)], [serves(), theirs])),
        record(ours(), ours(BETA, "slot/old[0]"), adapters=attached),
        {(name, base_name(base)): verdict(f"{name} 1") for name in NAMES for base in BASES},
        Overrides(),
    )  # fmt: skip


@FAST
@example(replaced_by_somebody_elses())
@given(worlds(roomy=True, calm=True))
def test_it_converges(world: World) -> None:
    told = settled(world.want, world.seen, world.mine, world.says, world.overrides)
    seen, mine = after(told.plan, told.seen, told.known)
    again = settled(world.want, seen, mine, world.says, world.overrides).plan
    assert not again.changes, (said(told.plan.changes), said(again.changes), [row.message for row in again.changes])


@FAST
@given(worlds())
def test_the_budget_holds_at_every_step(world: World) -> None:
    (budget,) = world.plan().budgets
    if budget.used_bytes <= budget.limit_bytes:
        assert budget.peak_bytes <= budget.limit_bytes
        assert budget.after_bytes <= budget.peak_bytes


@FAST
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_served_and_recorded_is_irrelevant(world: World, chance: object) -> None:
    where = world.seen.targets[0]
    assert isinstance(where, ObservedTarget)
    mixed = where.model_copy(
        update={key: tuple(chance.sample(list(getattr(where, key)), len(getattr(where, key))))  # type: ignore[attr-defined]
                for key in ("adapters", "installed")}
    )  # fmt: skip
    other = World(
        world.want, world.seen.model_copy(update={"targets": (mixed,)}), world.mine, world.says, world.overrides
    )
    assert other.plan() == world.plan()
