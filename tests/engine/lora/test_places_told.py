"""A plan that would attach what its target cannot be told the place of says so, and attaches nothing."""

from __future__ import annotations

from pathlib import Path

from reconciler.domain.plan import Reason
from reconciler.engine.reconcile import reconcile
from reconciler.engine.world import Options
from reconciler.errors import Refused
from tests.engine.lora.adapting import EDGE, room
from tests.fakes import FakeRuntime


class Picky(FakeRuntime):
    """Cannot be told of paths with a colon in them."""

    def check_path(self, path: str) -> None:
        if ":" in path:
            raise Refused(f"{path} cannot be named", code="not-installable", hint="move it")


async def test_a_place_that_cannot_be_told_blocks_the_plan(tmp_path: Path) -> None:
    for folder, attached in (("a:b", []), ("ab", ["sql"])):
        (tmp_path / folder).mkdir()
        here = room(tmp_path / folder)
        here.fakes.runtimes[EDGE.key] = Picky(EDGE, takes_adapters="gguf")
        report = await reconcile(here.world, Options())
        assert list(here.runtime.adapters) == attached
        if not attached:
            (row,) = [row for row in report.plan.blocked if row.adapter]
            assert row.reason is Reason.ADAPTER_REJECTED
            assert (row.message, row.hint) == (f"{here.store.folder} cannot be named", "move it")
