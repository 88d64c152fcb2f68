"""The real program on a server that downloads by itself: it dies, or the server does, and the next run makes it good.

A few of what ``make campaign`` does by the hundred.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.lab import Forks, Lab
from tests.campaign.served import ServedTrial, trouble_of
from tests.campaign.sites import SITES

pytestmark = pytest.mark.e2e
TOLD = [
    ("ollama", "install"), ("ollama", "gap"), ("ollama", "loaded at eviction time"),
    ("llama-server", "install"), ("llama-server", "drift"), ("llama-server", "settings"),
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
