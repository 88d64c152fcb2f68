"""The real program, killed, switched off or refused a file operation, and run again.

A few of what ``make campaign`` does by the hundred.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.lab import Forks, Lab, Trial, Trouble, kinds_of_trouble, tapped_hub
from tests.e2e.rig import Machine, Tap, tiny_slot

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


@pytest.mark.parametrize("name", ["install", "swap under a name", "gap", "drift", "shards and a projector"])
def test_killed_at_any_file_operation_the_next_run_makes_it_good(
    name: str, forks: Forks, tap: Tap, tmp_path: Path
) -> None:
    trial = Trial(Lab(tmp_path, forks, tap.url), name, tap)
    dice = random.Random(name)
    for at in sorted(dice.sample(range(1, trial.end.instants), 2)):
        trial.survive(Trouble(at, dice.choice(["kill", "torn", "power"])))


def test_a_record_lost_on_top_of_a_crash_is_made_again_and_the_next_run_ends_the_same(
    forks: Forks, tap: Tap, tmp_path: Path
) -> None:
    trial = Trial(Lab(tmp_path, forks, tap.url), "swap under a name", tap)
    dice = random.Random(5)
    for at in dice.sample(range(1, trial.end.instants), 2):
        trial.survive(Trouble(at), lose_record=True)


@pytest.mark.parametrize("name", ["install", "evict"])
def test_what_the_disk_refuses_is_an_outcome_and_the_next_run_makes_it_good(
    name: str, forks: Forks, tap: Tap, tmp_path: Path
) -> None:
    trial = Trial(Lab(tmp_path, forks, tap.url), name, tap)
    dice = random.Random(name)
    trial.survive(kinds_of_trouble(trial.end.instants, dice), kinds_of_trouble(trial.end.instants, dice))


def test_a_disk_that_another_program_fills_stops_a_download_that_goes_on_when_there_is_room(
    forks: Forks, tap: Tap, tmp_path: Path
) -> None:
    trial = Trial(Lab(tmp_path, forks, tap.url), "slow", tap)
    lab = trial.lab
    lab.bring_back()
    ended = lab.apply_until_the_disk_is_full(lambda: any(path.endswith(".partial") for path in lab.leftovers()))
    assert ended.code == 1, ended.text
    assert "still to fetch, 0 B free" in ended.out + ended.err, ended.text
    trial.check_meanwhile(Trouble(how="filled"))
    record = lab.record()
    assert record is not None
    assert [intent.action for intent in record.intents] == ["install"], "what has arrived is ours"
    assert lab.leftovers(), "and kept"
    trial.go_on()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_ends_the_run_in_words_and_loses_nothing(tap: Tap, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "here", tap.url)
    machine.write(tiny_slot("alpha"), tiny_slot("beta"))
    command = [sys.executable, "-m", "reconciler", "apply", "--yes"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=machine.repository, env=machine.environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )  # fmt: skip
    assert done.returncode == 1
    assert "the output cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    machine.apply()
    assert machine.partials() == []
    machine.in_sync()
