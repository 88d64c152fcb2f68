"""Stories of adapters on fakes, with the power cut as often as said, each time in the run after."""

from __future__ import annotations

import tempfile
from pathlib import Path

from reconciler.engine.reconcile import reconcile
from tests.campaign.power import Power
from tests.engine.lora.test_power import STORIES, always, outcome, powered, prepared
from tests.engine.worlds import OPTIONS

__all__ = ["STORIES", "survive", "undisturbed"]


async def undisturbed(story: str) -> tuple[int, object]:
    """How many instants the story has, and where it leads."""
    with tempfile.TemporaryDirectory() as folder:
        here, power = await prepared(Path(folder) / "here", story), Power()
        assert (await reconcile(powered(here, power), OPTIONS)).verified
        return power.instants, await outcome(here)


async def survive(story: str, cuts: tuple[int, ...], expected: object) -> None:
    """Each cut in the run after the one before; then a run to its end: all is as it should be."""
    with tempfile.TemporaryDirectory() as folder:
        here = await prepared(Path(folder) / "here", story)
        look = always(here, story)
        for cut in cuts:
            dying = Power(cut_at=cut, watch=look)
            try:
                await reconcile(powered(here, dying), OPTIONS)
            except BaseException:
                assert dying.instants > cut, "something else than the power broke it off"
            here.fakes.store._lock = type(here.fakes.store._lock)()
        assert (await reconcile(here.world, OPTIONS)).verified
        assert await outcome(here) == expected, (story, cuts)
