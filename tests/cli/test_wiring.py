"""What a run opens on its way out of this host, it closes at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.cli.wiring import Wiring
from reconciler.engine.reconcile import plan_once
from reconciler.engine.suggest import Question, scene_for
from reconciler.engine.world import Options, World, opened
from reconciler.errors import OutsideError
from reconciler.integrations.http import Http, MockTransport
from tests.doubles.hub import HUB, DoubleFile, DoubleRepo, HubDouble
from tests.fakes import RecordingReporter
from tests.integrations.catalog.world import StillClock
from tests.lora_files import folder

FILE = f"""\
localModels:
  name: wired
  pool: {{allowedOrgs: [acme]}}
  hub: {{endpoint: {HUB}}}
  slots: []
  targets: [{{name: s, runtime: store, path: ./models}}]
"""


class Door(MockTransport):
    """The double of a Hub, which tells whether it was asked and whether it was closed."""

    def __init__(self, double: HubDouble) -> None:
        super().__init__(double.transport().handler)
        self.double, self.closed = double, 0

    async def aclose(self) -> None:
        self.closed += 1


@dataclass(frozen=True)
class Watched(Wiring):
    """The wiring of the program, with the network replaced."""

    double: HubDouble = field(default_factory=HubDouble)
    doors: list[Door] = field(default_factory=list)

    def http(self) -> Http:
        self.doors.append(Door(self.double))
        return Http(clock=self.clock, transport=self.doors[-1])


@pytest.fixture
def wiring(tmp_path: Path) -> Watched:
    (tmp_path / "localmodels.yaml").write_text(FILE)
    environment = {f"LOCALMODELS_{kind}_DIR": str(tmp_path / kind) for kind in ("STATE", "CACHE", "DATA")}
    double, made = HubDouble(), folder(tmp_path / "sql")
    repo = DoubleRepo("acme/sql")
    repo.push({one.name: DoubleFile(one.read_bytes(), lfs=one.suffix != ".json") for one in made.iterdir()})
    double.repos[repo.id] = repo
    return Watched(tmp_path / "localmodels.yaml", None, environment, StillClock(), double)


def world(wiring: Watched) -> World:
    return wiring.world(RecordingReporter())


async def look(world: World) -> None:
    assert world.adapters is not None
    desired = await world.source.load()
    await world.adapters().hub(desired).look("acme/sql", None, pickles=False)


async def test_adapters_that_are_looked_into_share_one_client_which_the_run_closes(wiring: Watched) -> None:
    here = world(wiring)
    async with opened(here, await here.source.load()):
        await look(here)
        await look(here)
        assert [door.closed for door in wiring.doors] == [0]
    assert [door.closed for door in wiring.doors] == [1]


async def test_a_second_run_opens_it_again_and_closes_it_again(wiring: Watched) -> None:
    """Passes of ``watch``: as many as there are, no more is open after the last than after the first."""
    here = world(wiring)
    for passes in (1, 2, 3):
        async with opened(here, await here.source.load()):
            await look(here)
        assert [door.closed for door in wiring.doors] == [passes]


async def test_a_run_that_ends_in_an_error_closes_it_too(wiring: Watched) -> None:
    here = world(wiring)
    wiring.double.repos.clear()
    with pytest.raises(OutsideError):
        async with opened(here, await here.source.load()):
            await look(here)
    assert [door.closed for door in wiring.doors] == [1]


async def test_a_plan_that_reads_the_hub_closes_what_its_catalogue_opened(wiring: Watched) -> None:
    await plan_once(world(wiring), Options(freshness="refresh"))
    assert wiring.double.asked("")
    assert [door.closed for door in wiring.doors] == [1]


async def test_a_suggestion_that_reads_the_hub_closes_what_its_catalogue_opened(wiring: Watched) -> None:
    here = world(wiring)
    await scene_for(here, await here.source.load(), Question(), "refresh")
    assert [door.closed for door in wiring.doors] == [1]


async def test_a_run_that_asks_nobody_opens_nothing(wiring: Watched) -> None:
    await plan_once(world(wiring), Options(freshness="offline", ask=False))
    assert wiring.doors == []
