"""The real program on a server that downloads by itself: it dies, or the server does, and the next run makes it good.

A few of what ``make campaign`` does by the hundred.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.lab import Forks, Lab, Trouble
from tests.campaign.served import ServedTrial, trouble_of
from tests.campaign.sites import SITES

pytestmark = pytest.mark.e2e
TOLD = [
    ("ollama", "swap under a name"), ("ollama", "gap"), ("ollama", "loaded at eviction time"),
    ("llama-server", "swap under a name"), ("llama-server", "drift"), ("llama-server", "settings"),
]  # fmt: skip


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    running = Forks()
    yield running
    running.close()


@pytest.mark.parametrize(("kind", "name"), TOLD)
def test_whatever_dies_the_next_run_makes_it_good(kind: str, name: str, forks: Forks, tmp_path: Path) -> None:
    dice = random.Random(name)
    with SITES[kind](tmp_path / "site") as site:
        trial = ServedTrial(Lab(tmp_path / "lab", forks, site.hub, site.variables()), site, name)
        trial.survive(trouble_of(trial.end, dice), trouble_of(trial.end, dice))


@pytest.mark.parametrize("kind", list(SITES))
def test_a_disk_that_another_program_fills_stops_a_server_s_download_too(
    kind: str, forks: Forks, tmp_path: Path
) -> None:
    with SITES[kind](tmp_path / "site") as site:
        trial = ServedTrial(Lab(tmp_path / "lab", forks, site.hub, site.variables()), site, "swap under a name")
        trial.bring_back()
        site.dawdle(8.0)
        ended = trial.lab.apply_until_the_disk_is_full(site.leftovers)
        site.dawdle(None)
        assert ended.code == 1, ended.text
        assert "was stopped: the disk has filled up to 0 B free" in ended.out + ended.err, ended.text
        trial.check_meanwhile(Trouble(how="filled"))
        assert trial.scene.names() == {"house": site.name_of("alpha")}, "clients have what they had"
        trial.go_on()
