"""An adapter that was held on its old base follows to the new one in one apply, once its file says so."""

from __future__ import annotations

from pathlib import Path

from reconciler.engine.reconcile import reconcile
from reconciler.engine.world import Options
from tests.engine.lora.adapting import BETA, NEW, OLD, coder, room


async def test_hold_becomes_follow_in_one_apply(tmp_path: Path) -> None:
    here = room(tmp_path)
    for slot, change in ((coder(), "hold"), (coder(BETA), "hold")):
        here.edit(slot, adapters=(here.lora(on_base_change=change),))
        assert (await reconcile(here.world, Options())).verified
    assert (sorted(here.runtime.installed), here.runtime.adapters["sql"].base) == ([OLD, NEW], OLD)
    here.edit(coder(BETA), adapters=(here.lora(on_base_change="follow"),))
    report = await reconcile(here.world, Options())
    assert [row.action.value for row in report.plan.changes] == ["update", "evict"]
    assert "cannot follow" not in " ".join(row.message or "" for row in report.plan.kept)
    assert report.verified
    assert (list(here.runtime.installed), here.runtime.adapters["sql"].base) == ([NEW], NEW)
    assert (await reconcile(here.world, Options())).plan.changes == ()
