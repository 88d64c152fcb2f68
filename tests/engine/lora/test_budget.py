"""The budget holds while adapters come: files are reserved before they are held, and counted once."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from reconciler.domain.adapter import AdapterServing
from reconciler.domain.units import Bytes
from reconciler.engine.lora.verdict import remote_source
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.errors import Unreachable
from reconciler.integrations.runtimes.partials import Partial, Ranges, Wanted
from reconciler.lora.adapter_content import AdapterContent
from reconciler.ports import Progress
from tests.builders import pool
from tests.engine.lora.adapting import OLD, Room, StoreBehind, codes, hub_lora, room
from tests.engine.lora.test_adapter_settled import fetching
from tests.engine.worlds import OPTIONS


@dataclass
class Watching(StoreBehind):
    """Notes the most it ever held."""

    most: int = 0
    holds: list[str] = field(default_factory=list)

    async def hold(self, content: AdapterContent, holder: str, progress: Progress) -> str:
        self.holds.append(content.digest)
        path = await super().hold(content, holder, progress)
        self.most = max(self.most, sum(one.bytes for one in await self.held()))
        return path


def watched(here: Room) -> Watching:
    store = Watching(here.store)
    here.store = store  # type: ignore[assignment]
    return store


def tight(here: Room, *, adapters: int) -> Bytes:
    """Room for the base and so many adapters of the usual size, and half a one more."""
    size = (here.folder / "sql.gguf").stat().st_size
    return Bytes(here.runtime.installed[OLD].bytes + size * adapters + size // 2)


async def test_what_goes_has_gone_before_what_needs_its_room_comes(tmp_path: Path) -> None:
    here = room(tmp_path)
    assert (await reconcile(here.world, OPTIONS)).verified
    here.gguf("notes", rank=4, seed=2)
    store = watched(here)
    here.edit(adapters=(here.lora("notes"),), pool=pool(disk_budget=tight(here, adapters=1)))
    report = await reconcile(here.world, OPTIONS)
    assert (report.verified, list(here.runtime.adapters)) == (True, ["notes"])
    assert store.most < 1.5 * (tmp_path / "sql.gguf").stat().st_size


async def test_without_room_by_now_nothing_is_fetched(tmp_path: Path) -> None:
    here = room(tmp_path)
    assert (await reconcile(here.world, OPTIONS)).verified
    here.gguf("notes", rank=4, seed=2)
    store = watched(here)
    here.edit(adapters=(here.lora("notes"),), pool=pool(disk_budget=tight(here, adapters=1)))
    here.runtime.fail_adapters["sql"] = [Unreachable("busy")] * 3
    report = await reconcile(here.world, OPTIONS)
    assert [code for _, code in codes(report)] == ["unreachable", "no-room"]
    assert store.holds == []


async def test_targets_that_share_one_content_reserve_it_once(tmp_path: Path) -> None:
    here = room(tmp_path)
    assert (await reconcile(here.world, OPTIONS)).verified
    here.gguf("notes", rank=4, seed=2)
    store = watched(here)
    twice = here.lora("notes", serve=(AdapterServing(target="edge", name="a"), AdapterServing(target="edge", name="b")))
    here.edit(adapters=(here.lora(), twice), pool=pool(disk_budget=tight(here, adapters=2)))
    assert (await reconcile(here.world, OPTIONS)).verified
    assert (sorted(here.runtime.adapters), len(set(store.holds))) == (["a", "b", "sql"], 1)


# ------------------------------------------------------------------------------------------------ half fetched


async def half_fetched(here: Room, holder: str | None = None) -> str:
    """Of an adapter of a Hub so much has arrived: half of its weights."""
    source = Path(here.peft())
    here.runtime.takes_adapters = "peft"
    here.hub.repos["acme/sql"] = source
    here.hub.endpoint = here.fakes.source.desired.hub.endpoint
    found = await here.hub.look("acme/sql", "v1", pickles=False)
    content = remote_source(hub_lora("acme/sql", "v1"), found, here.ports.files).content
    file, body = content.files[1], (source / "adapter_model.safetensors").read_bytes()
    wanted = Wanted("https://huggingface.co/x", "c" * 40, file.sha256, file.bytes, content.digest)
    root = here.folder / "data" / "adapters"
    with Partial(root / ".partial", wanted) as partial:
        partial.write(0, body[: len(body) // 2])
        partial.checkpoint(Ranges([(0, len(body) // 2)]))
    if holder is not None:
        marks = root / content.digest / "holders"
        marks.mkdir(parents=True)
        (marks / sha256(holder.encode()).hexdigest()[:32]).write_text(holder)
    here.edit(adapters=(hub_lora("acme/sql", "v1"),))
    return content.digest


async def test_what_has_arrived_of_an_adapter_is_in_the_budget_of_the_plan_once(tmp_path: Path) -> None:
    here = room(tmp_path)
    digest = await half_fetched(here)
    (told,) = await here.store.half_fetched()
    before = (await plan_once(here.world, OPTIONS)).plan
    (row,) = [row for row in before.changes if row.adapter is not None]
    assert row.adapter is not None
    assert row.adapter.verdict is not None
    assert (told.name, row.adapter.after) == (digest, digest)
    assert (before.budgets[0].used_bytes, row.bytes_down) == (told.bytes, row.adapter.verdict.bytes - told.bytes)
    here.hub.repos["acme/sql"].rename(tmp_path / "gone")
    here.hub.repos.clear()
    assert (await plan_once(here.world, OPTIONS)).plan.budgets[0].used_bytes == told.bytes


async def test_what_another_document_alone_is_fetching_is_not_ours_to_count(tmp_path: Path) -> None:
    here = room(tmp_path)
    await half_fetched(here, "another /elsewhere/models.yaml")
    assert (await plan_once(here.world, OPTIONS)).plan.budgets[0].used_bytes == 0


async def test_a_download_that_goes_on_fits_where_only_the_rest_has_room(tmp_path: Path) -> None:
    """To the byte: what has arrived is part of what comes, in the plan and in the step."""
    here = room(tmp_path)
    await half_fetched(here)
    here.store = fetching(here)
    whole = sum(path.stat().st_size for path in here.hub.repos["acme/sql"].iterdir())
    (base, _) = (await plan_once(here.world, OPTIONS)).plan.changes
    size = whole + base.bytes_down
    here.edit(adapters=(hub_lora("acme/sql", "v1"),), pool=pool(disk_budget=Bytes(size)))
    report = await reconcile(here.world, OPTIONS)
    assert (report.verified, list(here.runtime.adapters)) == (True, ["sql"])
    assert report.remaining is not None
    assert report.remaining.budgets[0].used_bytes == size
