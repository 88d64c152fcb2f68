"""One scenario with its power cut at one instant or two: what must hold while it runs, and once it ran again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from reconciler.domain.record import Record
from reconciler.domain.units import GB
from reconciler.errors import UsageError
from tests.campaign.power import Power, powered
from tests.campaign.scenarios import SCENARIOS, Measuring, Scenario
from tests.engine.worlds import Fakes, name_of
from tests.fakes import Crash


@dataclass(frozen=True)
class Outcome:
    """What stands where, and what the record says of it; without what differs from run to run."""

    installed: frozenset[tuple[str, str, str | None]]
    owned: frozenset[tuple[str, str, tuple[str, ...], str | None, bool]]
    partials: int
    fetched: int
    """Downloads that came to their end, ever."""
    aliases: frozenset[tuple[str, str, str | None, bool]]
    """Target, stable name, what it stands for, and whether the record says that it is ours."""
    measured: frozenset[str | None]

    @classmethod
    def of(cls, here: Fakes) -> Outcome:
        installed = {
            (key, name, model.digest) for key, runtime in here.runtimes.items() for name, model in runtime.installed.items()
        }  # fmt: skip
        entries = here.record.entries
        owned = {(one.target_key, one.name, one.slots, one.digest, one.adopted) for one in entries}
        partials = sum(len(each.partials) for each in here.runtimes.values())
        ours = {(one.target_key, one.name) for one in here.record.aliases}
        aliases = {
            (key, name, alias.model, (key, name) in ours)
            for key, runtime in here.runtimes.items() for name, alias in runtime.aliases.items()
        }  # fmt: skip
        kept = here.kept.kept if isinstance(here, Measuring) else ()
        fetched = sum(each.stamps for each in here.runtimes.values())
        measured = frozenset(one.model_id for one in kept)
        return cls(frozenset(installed), frozenset(owned), partials, fetched, frozenset(aliases), measured)


def watched(here: Fakes, scenario: Scenario) -> None:
    """What holds at every instant of every run."""
    names = {name for runtime in here.runtimes.values() for name in runtime.installed}
    assert {name_of(model) for model in scenario.theirs} <= names, "somebody else's model is gone"
    stands = {name_of(model) for model in scenario.stands}
    assert not stands or stands & names, "what worked was removed before its replacement stood"
    if not scenario.names_may_dangle:
        dangling = [
            one.name for each in here.runtimes.values() for one in each.aliases.values() if one.model not in names
        ]
        assert not dangling, f"a stable name stands for nothing: {dangling}"
    used = sum(model.bytes for each in here.runtimes.values() for model in each.installed.values())
    unfinished = sum(size for each in here.runtimes.values() for size in each.partials.values())
    assert used + unfinished <= scenario.limit_gb * GB, "more is held than the budget allows"
    Record.model_validate_json(here.record.model_dump_json())


async def run(here: Fakes, scenario: Scenario, cut_at: int | None) -> Power:
    """The scenario's command once; the power goes off after ``cut_at`` instants, if it lasts that long."""
    power = Power(cut_at, watch=lambda: watched(here, scenario))
    with suppress(Crash):
        await scenario.command(powered(here.world, power))
    watched(here, scenario)
    return power


async def undisturbed(name: str) -> tuple[int, Outcome]:
    """How many instants the scenario has, and where it leads."""
    here = await SCENARIOS[name].prepare()
    power = await run(here, SCENARIOS[name], None)
    return power.instants, Outcome.of(here)


async def survive(name: str, cuts: tuple[int, ...], expected: Outcome) -> None:
    await endure(SCENARIOS[name], cuts, expected)


async def endure(scenario: Scenario, cuts: tuple[int, ...], expected: Outcome) -> None:
    """Cut the command as often as said, each time in the run after; then let it run, and compare.

    The last run is the command once more; a command that says there is nothing to do any more had been done.
    """
    here = await scenario.prepare()
    for cut in (*cuts, None):
        with suppress(UsageError):  # what is disowned already cannot be disowned
            await run(here, scenario, cut)
    ended = Outcome.of(here)
    assert ended == expected, f"it ended elsewhere than undisturbed: {ended}, not {expected}"
    assert not here.record.intents, "a step that was begun is open for ever"
