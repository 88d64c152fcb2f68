"""Everything that can go wrong on the way to a Hub: an outcome, never a loss, and made good once the line is good."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from reconciler.errors import ReconcilerError
from tests.campaign.bad_line import KINDS, Fault, any_faults
from tests.campaign.real_world import Machine, name_of, pin, sha_of


async def swapped_over(machine: Machine, faults: list[Fault]) -> None:
    """alpha gives way to beta over a bad line, beside a stranger; then the line heals."""
    (box,) = machine.targets
    machine.put(box, "delta")
    machine.edit(pin("a", "alpha"))
    await machine.run()
    machine.edit(pin("a", "beta"), pin("b", "gamma"))
    machine.line.faults = faults
    for _ in range(2):
        ended = await machine.run()
        assert ended is not None
        check(machine, box.key)
    machine.line.faults = []
    for _ in range(2):  # a refresh that nobody answered is not tried again at once
        ended = await machine.run()
    assert not isinstance(ended, ReconcilerError), ended
    assert not (await machine.plan()).plan.changes
    expected = {(box.key, name_of(model)): sha_of(model) for model in ("beta", "gamma", "delta")}
    assert machine.installed() == expected
    assert set(machine.owned()) == {(box.key, name_of(model)) for model in ("beta", "gamma")}
    assert not machine.record.intents
    assert machine.leftovers() == []


def check(machine: Machine, key: str) -> None:
    installed = machine.installed()
    assert installed[key, name_of("delta")] == sha_of("delta")
    assert {name_of("alpha"), name_of("beta")} & {name for _, name in installed}, "what worked is gone"
    for (_, name), digest in installed.items():
        assert digest == sha_of(name.split("/")[1].removesuffix("-GGUF")), "content that was not promised"
    assert set(machine.owned()) <= set(installed)


PARTS = ("/api/", "resolve", "cdn.")
ROUNDS = [(kind, PARTS[number % 3]) for number, kind in enumerate(KINDS)]
"""Every kind in one place each; ``make campaign`` tries every place."""


@pytest.mark.parametrize(("kind", "part"), ROUNDS)
async def test_whatever_goes_wrong_on_the_way_to_a_hub_is_made_good(kind: str, part: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    await swapped_over(machine, [Fault(kind, part, times=6)])
    assert machine.line.met


@pytest.mark.parametrize("seed", range(4))
async def test_several_things_go_wrong_at_once(seed: int, tmp_path: Path) -> None:
    await swapped_over(Machine(tmp_path), any_faults(random.Random(seed)))
