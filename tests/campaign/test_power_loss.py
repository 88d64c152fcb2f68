"""The power goes off at every instant between us and a port, one after the other; the next run makes it good."""

from __future__ import annotations

import random

import pytest

from tests.campaign.cuts import survive, undisturbed
from tests.campaign.scenarios import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
async def test_power_lost_at_any_instant_is_made_good_by_the_next_run(name: str) -> None:
    instants, expected = await undisturbed(name)
    assert instants > 3
    for cut in range(instants):
        await survive(name, (cut,), expected)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_power_lost_again_while_recovering_is_made_good_too(name: str) -> None:
    instants, expected = await undisturbed(name)
    dice = random.Random(name)
    for _ in range(5):
        await survive(name, (dice.randrange(instants), dice.randrange(instants), dice.randrange(instants)), expected)
