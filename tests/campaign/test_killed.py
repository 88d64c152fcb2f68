"""The real program, killed, switched off or refused a file operation, and run again.

A few of what ``make campaign`` does by the hundred.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.lab import Forks, Lab, Trial, Trouble, kinds_of_trouble, tapped_hub
from tests.e2e.rig import Tap

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    running = Forks()
    yield running
    running.close()


@pytest.fixture(scope="module")
def tap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tap]:
    with tapped_hub(tmp_path_factory.mktemp("hub")) as tap:
        yield tap


@pytest.mark.parametrize("name", ["install", "swap", "gap", "drift"])
def test_killed_at_any_file_operation_the_next_run_makes_it_good(
    name: str, forks: Forks, tap: Tap, tmp_path: Path
) -> None:
    trial = Trial(Lab(tmp_path, forks, tap), name)
    dice = random.Random(name)
    for at in sorted(dice.sample(range(1, trial.end.instants), 2)):
        trial.survive(Trouble(at, dice.choice(["kill", "torn", "power"])))


@pytest.mark.parametrize("name", ["install", "evict"])
def test_what_the_disk_refuses_is_an_outcome_and_the_next_run_makes_it_good(
    name: str, forks: Forks, tap: Tap, tmp_path: Path
) -> None:
    trial = Trial(Lab(tmp_path, forks, tap), name)
    dice = random.Random(name)
    trial.survive(kinds_of_trouble(trial.end.instants, dice), kinds_of_trouble(trial.end.instants, dice))
