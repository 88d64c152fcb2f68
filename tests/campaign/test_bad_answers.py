"""A model server that refuses, stalls, breaks off, stumbles or lies: an outcome, never a prune on its word."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.domain.report import Report
from reconciler.errors import ReconcilerError
from tests.campaign.bad_answers import LIES, PARTS, any_faults
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
        if isinstance(ended, Report) and ended.verified:
            break
    assert not isinstance(ended, ReconcilerError), ended
    assert not (await machine.plan()).plan.changes
    expected = {(box.key, machine.name_of(model)): machine.promised(model) for model in ("beta", "gamma", THEIRS)}
    assert machine.installed() == expected
    assert set(machine.owned()) == {(box.key, machine.name_of(model)) for model in ("beta", "gamma")}
    assert not machine.record.intents
    assert machine.leftovers() == [], machine.leftovers()


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


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with SITES[request.param](tmp_path_factory.mktemp("site")) as site:
        site.keep()
        yield site


TRIED = [
    ("ollama", "an empty list", 0), ("ollama", "a list without its first", 2), ("ollama", "a list with a stranger", 1),
    ("ollama", "stalled", 1), ("ollama", "status 500", 0),
    ("llama-server", "an empty list", 0), ("llama-server", "half a list", 1), ("llama-server", "broken off", 0),
]  # fmt: skip
"""A kind of server, a kind of answer, and which answer it is; lies are told where models are listed, and the others
where a model is asked for. ``make campaign`` tries every kind in every place."""


@pytest.mark.parametrize(("site", "kind", "after"), TRIED, indirect=["site"])
async def test_whatever_a_server_answers_nothing_is_lost(site: Site, kind: str, after: int, tmp_path: Path) -> None:
    site.bring_back()
    machine, parts = ServedMachine(tmp_path, site=site), PARTS[site.kind]
    await swapped_over(machine, [Fault(kind, parts[0 if kind in LIES else 1], after, times=3)])
    assert machine.answers.met


@pytest.mark.parametrize("site", list(SITES), indirect=True)
async def test_it_answers_badly_in_several_ways_at_once(site: Site, tmp_path: Path) -> None:
    site.bring_back()
    await swapped_over(ServedMachine(tmp_path, site=site), any_faults(site.kind, random.Random(1)))
