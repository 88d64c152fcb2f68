"""A saved plan whose adapter was saved anew meanwhile is stale, before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.engine.reconcile import planned, session
from reconciler.engine.saved_plan import SavedPlan, apply_saved, parse, saved, text_of
from reconciler.engine.world import Options
from reconciler.errors import StalePlan
from tests.engine.lora.adapting import Room, room


async def plan_of(here: Room) -> SavedPlan:
    async with session(here.world, Options()) as now:
        made = await planned(here.world, now.desired, now.books.record, now.runtimes, Options())
    return parse(text_of(saved(made)))


async def test_the_same_files_are_applied(tmp_path: Path) -> None:
    here = room(tmp_path)
    assert (await apply_saved(here.world, await plan_of(here), Options())).verified
    assert list(here.runtime.adapters) == ["sql"]


@pytest.mark.parametrize(("gone", "told"), [(False, "holds other content"), (True, "cannot be read any more: ")])
async def test_other_files_make_it_stale(tmp_path: Path, gone: bool, told: str) -> None:
    here = room(tmp_path)
    document = await plan_of(here)
    if gone:
        Path(here.gguf()).unlink()
    else:
        here.gguf(rank=2)
    with pytest.raises(StalePlan) as raised:
        await apply_saved(here.world, document, Options())
    (moved,) = raised.value.details["moved"]
    assert moved.startswith(f"the source of adapter sql {told}")
    assert here.steps() == []
