"""What a look makes of a step that was cut off, and what a step is judged with: its own adapter, target and base."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.domain.adapter import AdapterServing, AdapterSource, RecordAdapter, ServedAdapter
from reconciler.domain.observation import ObservedTarget
from reconciler.domain.record import Intent, Record
from reconciler.domain.units import Bytes
from reconciler.engine.lora.settled import after_adapting
from reconciler.engine.reconcile import reconcile
from reconciler.integrations.http import ByteStream, Http, MockTransport, Request, Response
from reconciler.integrations.runtimes.adapter_store import LocalAdapterStore
from tests.builders import NOW, pool
from tests.engine.lora.adapting import EDGE, NEW, OLD, Room, coder, hub_lora
from tests.engine.lora.test_attach_guards import base_file
from tests.engine.worlds import BETA, OPTIONS
from tests.fakes import FakeRuntime, FixedClock

DIGEST, OTHER = "a" * 64, "b" * 64


# ------------------------------------------------------------------------------------------------ cut off


def wanted(**changes: object) -> RecordAdapter:
    base = RecordAdapter(
        target_key=EDGE.key, target_name="edge", adapter="sql", name="sql", base=OLD, digest=DIGEST,
        path="/asked/for", bytes=Bytes(1), attached_at=NOW,
    )  # fmt: skip
    return base.model_copy(update=changes)


def intent(action: str, **changes: object) -> Intent:
    base = Intent(
        id="i1", action=action, target_key=EDGE.key, target_name="edge", name="sql", begun_at=NOW, adapter=wanted()
    )  # type: ignore[arg-type]
    return base.model_copy(update=changes)


def settled(begun: Intent, *served: ServedAdapter, ours: tuple[RecordAdapter, ...] = ()) -> tuple[Record, str]:
    record = Record(name="default", adapters=ours, intents=(begun,))
    found, note = after_adapting(record, begun, ObservedTarget(name="edge", key=EDGE.key, adapters=served))
    assert found.intents == (), "whatever happened, it is settled"
    return found, note


AS_ASKED = ServedAdapter(name="sql", base=OLD, digest=DIGEST, path="/really/there", scale=1.0)
ANOTHER = ServedAdapter(name="sql", base=OLD, digest=OTHER, path="/elsewhere")


def test_a_detach_that_happened_is_written_down() -> None:
    record, note = settled(intent("detach"), ours=(wanted(),))
    assert (record.adapters, note) == ((), "adapter sql on edge is gone, as was begun")


def test_a_detach_that_did_not_happen_leaves_what_is_ours() -> None:
    record, note = settled(intent("detach"), AS_ASKED, ours=(wanted(),))
    assert (record.adapters, note) == ((wanted(),), "adapter sql on edge was not detached")


def test_a_detach_of_what_is_not_recorded_changes_nothing() -> None:
    record, note = settled(intent("detach"))
    assert (record.adapters, note) == ((), "adapter sql on edge was not detached")


def test_an_attachment_that_happened_is_ours_from_where_the_target_has_it() -> None:
    record, note = settled(intent("attach"), AS_ASKED)
    assert [(one.digest, one.path) for one in record.adapters] == [(DIGEST, "/really/there")]
    assert note == "adapter sql on edge is served, as was begun"
    untold, _ = settled(intent("attach"), AS_ASKED.model_copy(update={"path": None}))
    assert [one.path for one in untold.adapters] == ["/asked/for"]


def test_what_was_there_before_us_is_not_taken_by_a_look() -> None:
    record, note = settled(intent("attach", existed=True), AS_ASKED)
    assert (record.adapters, note) == ((), "adapter sql on edge was not attached")


@pytest.mark.parametrize(
    ("served", "ours", "still"),
    [((ANOTHER,), (wanted(digest=OTHER),), True), ((ANOTHER,), (), False), ((), (wanted(digest=OTHER),), False)],
)
def test_an_attachment_that_did_not_happen_leaves_what_was_served(
    served: tuple[ServedAdapter, ...], ours: tuple[RecordAdapter, ...], still: bool
) -> None:
    record, note = settled(intent("attach"), *served, ours=ours)
    assert record.adapters == ours
    assert note == f"adapter sql on edge was not attached{'; what was served there still is' if still else ''}"


# ------------------------------------------------------------------------------------------------ judged with its own


@dataclass
class Bases(FakeRuntime):
    """A target whose models' files can be read once they are installed, each its own."""

    files: dict[str, str] = field(default_factory=dict)

    async def file_of(self, name: str) -> str | None:
        return self.files.get(name) if name in self.installed else None


async def test_each_adapter_is_judged_with_its_own_base(here: Room) -> None:
    """Two bases come at once; only what is for the one that does not fit is refused."""
    files = {OLD: base_file(here.folder / "old.gguf", 4096), NEW: base_file(here.folder / "new.gguf", 2048)}
    runtime = Bases(EDGE, takes_adapters="gguf", files={name: str(path) for name, path in files.items()})
    here.fakes.runtimes[EDGE.key] = runtime
    here.gguf("notes", rank=2)
    here.edit(coder(), coder(BETA, name="chat"), adapters=(here.lora(), here.lora("notes", base="chat")))
    report = await reconcile(here.world, OPTIONS)
    told = {one.row.adapter.name: (one.status, one.code) for one in report.outcomes if one.row.adapter is not None}
    assert told == {"sql": ("done", None), "notes": ("failed", "adapter-rejected")}
    assert list(runtime.adapters) == ["sql"]


async def test_a_part_of_a_model_says_nothing_of_what_the_model_lacks(here: Room) -> None:
    """Of a model in several files the first has some tensors only."""
    part = base_file(here.folder / "base-00001-of-00002.gguf", 2048)
    here.fakes.runtimes[EDGE.key] = Bases(EDGE, takes_adapters="gguf", files={OLD: str(part)})
    assert (await reconcile(here.world, OPTIONS)).verified


# ------------------------------------------------------------------------------------------------ what came


def fetching(here: Room) -> LocalAdapterStore:
    """A store that fetches the files of the fake Hub."""

    def serve(request: Request) -> Response:
        _, organisation, name, _, _, file = request.url.path.split("/", 5)
        body = (here.hub.repos[f"{organisation}/{name}"] / file).read_bytes()
        return Response(200, headers={"Content-Length": str(len(body))}, stream=ByteStream(body))

    return LocalAdapterStore(
        here.folder / "data" / "adapters",
        http=lambda: Http(clock=FixedClock(), transport=MockTransport(serve)),
        clock=FixedClock(),
        hub_endpoint=here.hub.endpoint,
    )


async def test_what_is_fetched_of_a_hub_is_held_attached_and_counted(here: Room) -> None:
    source = Path(here.peft())
    here.runtime.takes_adapters = "peft"
    here.hub.repos["labs/sql"] = source
    here.hub.endpoint = here.fakes.source.desired.hub.endpoint
    here.store = fetching(here)
    here.edit(adapters=(hub_lora("labs/sql", "v1"),), pool=pool(allowed_orgs=("acme", "labs")))
    report = await reconcile(here.world, OPTIONS)
    assert report.verified, [one.message for one in report.outcomes]
    (outcome,) = [one for one in report.outcomes if one.row.adapter is not None]
    assert outcome.bytes_down == sum(path.stat().st_size for path in source.iterdir())
    (held,) = await here.held()
    assert here.fakes.record.adapters[0].digest == held.digest == here.runtime.adapters["sql"].digest


async def test_what_is_copied_on_this_host_came_from_nowhere(here: Room) -> None:
    report = await reconcile(here.world, OPTIONS)
    (outcome,) = [one for one in report.outcomes if one.row.adapter is not None]
    assert (outcome.status, outcome.bytes_down) == ("done", 0)


async def test_two_names_of_one_adapter_are_two_steps_and_one_copy(here: Room) -> None:
    serve = tuple(AdapterServing(target="edge", name=name, scale=scale) for name, scale in (("a", 1.0), ("b", 0.5)))
    here.edit(adapters=(here.lora(serve=serve),))
    assert (await reconcile(here.world, OPTIONS)).verified
    assert {name: one.scale for name, one in here.runtime.adapters.items()} == {"a": 1.0, "b": 0.5}
    assert len(await here.held()) == 1
    here.edit(adapters=(here.lora(serve=serve[:1]),))
    assert (await reconcile(here.world, OPTIONS)).verified
    assert (list(here.runtime.adapters), len(await here.held())) == (["a"], 1)


async def test_a_source_that_moves_on_this_host_is_no_change(here: Room) -> None:
    """Content is what counts, wherever it lies."""
    assert (await reconcile(here.world, OPTIONS)).verified
    moved = (here.folder / "sql.gguf").rename(here.folder / "else.gguf")
    here.edit(adapters=(here.lora(source=AdapterSource(path=str(moved))),))
    report = await reconcile(here.world, OPTIONS)
    assert report.verified
    assert len(here.fakes.record.adapters) == 1
