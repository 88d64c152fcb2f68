"""A model server that refuses, stalls, breaks off, stumbles or lies: an outcome, never a prune on its word."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.errors import ReconcilerError
from tests.campaign.bad_answers import KINDS, PARTS, any_faults
from tests.campaign.bad_line import Fault
from tests.campaign.served_world import ServedMachine
from tests.campaign.sites import SITES, THEIRS, Site

pytestmark = pytest.mark.e2e


async def swapped_over(machine: ServedMachine, faults: list[Fault]) -> None:
    """alpha gives way to beta while the server answers badly, beside a stranger; then it answers well."""
    (box,) = machine.targets
    machine.put(box, THEIRS)
    machine.edit(machine.pin("a", "alpha"))
    ended = await machine.run()
    assert not isinstance(ended, ReconcilerError), ended
    machine.edit(machine.pin("a", "beta"), machine.pin("b", "gamma"))
    machine.answers.faults = faults
    for _ in range(2):
        ended = await machine.run()
        assert ended is not None
        check(machine, box.key)
    machine.answer_well()
    for _ in range(2):
        ended = await machine.run()
    assert not isinstance(ended, ReconcilerError), ended
    assert not (await machine.plan()).plan.changes
    expected = {(box.key, machine.name_of(model)): machine.promised(model) for model in ("beta", "gamma", THEIRS)}
    assert machine.installed() == expected
    assert set(machine.owned()) == {(box.key, machine.name_of(model)) for model in ("beta", "gamma")}
    assert not machine.record.intents
    assert machine.leftovers() == []


def check(machine: ServedMachine, key: str) -> None:
    installed = machine.installed()
    assert installed[key, machine.name_of(THEIRS)] == machine.promised(THEIRS)
    whole = {
        model for model in ("alpha", "beta") if installed.get((key, machine.name_of(model))) == machine.promised(model)
    }
    assert whole, "what worked is gone"
    record = machine.record
    known = {(one.target_key, one.name) for one in (*record.entries, *record.intents)}
    lost = set(installed) - known - {(key, machine.name_of(THEIRS))}
    assert not lost, f"{lost} was ours, and is nobody's now"


@pytest.fixture(scope="module", params=list(SITES))
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with SITES[request.param](tmp_path_factory.mktemp("site")) as site:
        site.keep()
        yield site


@pytest.mark.parametrize("number", range(len(KINDS)), ids=KINDS)
async def test_whatever_a_server_answers_nothing_is_lost(number: int, site: Site, tmp_path: Path) -> None:
    site.bring_back()
    machine, parts = ServedMachine(tmp_path, site=site), PARTS[site.kind]
    await swapped_over(machine, [Fault(KINDS[number], parts[number % len(parts)], number % 3, times=3)])


@pytest.mark.parametrize("seed", range(3))
async def test_it_answers_badly_in_several_ways_at_once(seed: int, site: Site, tmp_path: Path) -> None:
    site.bring_back()
    await swapped_over(ServedMachine(tmp_path, site=site), any_faults(site.kind, random.Random(seed)))
