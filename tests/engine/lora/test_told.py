"""What is attached and cannot be looked into any more: it stays, and plan, status and watch all tell of it alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from reconciler.cli.views.plan import plan_markdown, plan_text
from reconciler.cli.views.status import status_text
from reconciler.domain.adapter import Adapter, AdapterSource, ExpectedContract, ServedAdapter
from reconciler.domain.plan import Reason
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.status import status
from reconciler.errors import Unreachable
from tests.engine.lora.adapting import OLD, Room
from tests.engine.test_watch import watching
from tests.engine.worlds import OPTIONS


def manifest(here: Room) -> Path:
    path = here.folder / "sql.manifest.json"
    path.write_text(json.dumps({"contract": {"base_model": "acme/alpha-1b"}}))
    return path


async def attached(here: Room, *, contract: bool = False) -> Adapter:
    """It is served, and its manifest was there then."""
    wanted = here.lora()
    if contract:
        named = ExpectedContract(manifest=str(manifest(here)))
        wanted = here.lora(contract=named, on_mismatch="warn")
    here.edit(adapters=(wanted,))
    report = await reconcile(here.world, OPTIONS)
    assert report.verified, report
    assert list(here.runtime.adapters) == ["sql"]
    here.runtime.calls.clear()
    return wanted


def without_source(here: Room) -> str:
    (here.folder / "sql.gguf").unlink()
    return "sql.gguf is not there"


def without_manifest(here: Room) -> str:
    (here.folder / "sql.manifest.json").unlink()
    return "its contract manifest"


def with_a_folder_for_a_manifest(here: Room) -> str:
    without_manifest(here)
    (here.folder / "sql.manifest.json").mkdir()
    return "is not a regular file"


LOST = [without_source, without_manifest, with_a_folder_for_a_manifest]


@pytest.mark.parametrize("lose", LOST)
async def test_plan_and_status_tell_alike_and_nothing_is_lost(here: Room, lose: Callable[[Room], str]) -> None:
    await attached(here, contract=True)
    words = lose(here)
    plan = (await plan_once(here.world, OPTIONS)).plan
    (row,) = [row for row in plan.kept if row.adapter is not None]
    assert (plan.in_sync, plan.changes, row.reason) == (True, (), Reason.UNAVAILABLE)
    assert words in row.message
    assert "put it back" in (row.hint or "") or row.hint == "name a file"
    (told,) = [line for line in plan.warnings if line.startswith("adapter/sql: ")]
    assert words in told
    seen = await status(here.world, OPTIONS)
    assert seen.in_sync
    assert told in seen.warnings
    (one,) = seen.targets[0].adapters
    assert (one.standing, [(each.code, each.severity) for each in one.findings]) == (
        "ours",
        [("served_unverified", "warning")],
    )
    report = await reconcile(here.world, OPTIONS)
    assert (report.verified, report.changed, here.steps(), list(here.runtime.adapters)) == (True, False, [], ["sql"])
    assert len(await here.held()) == 1, "its files stay"


@pytest.mark.parametrize("apply", [False, True])
async def test_watch_tells_once_when_it_goes_and_when_it_is_back(here: Room, apply: bool) -> None:
    await attached(here)
    whole = (here.folder / "sql.gguf").read_bytes()
    async with watching(here, apply=apply) as at:  # type: ignore[arg-type]

        async def looked() -> tuple[bool, bool]:
            at.wakeups.send("changed")
            one = await at.next_pass()
            plan = one.planned.plan if one.planned is not None else one.report.plan if one.report else None
            assert plan is not None
            return one.repeated, any("sql.gguf is not there" in line for line in plan.warnings)

        await at.next_pass()
        assert await looked() == (True, False)
        without_source(here)
        assert await looked() == (False, True)
        assert await looked() == (True, True)
        (here.folder / "sql.gguf").write_bytes(whole)
        assert await looked() == (False, False)


async def test_once_it_is_readable_again_it_is_in_sync(here: Room) -> None:
    await attached(here, contract=True)
    without_manifest(here)
    await reconcile(here.world, OPTIONS)
    manifest(here)
    plan = (await plan_once(here.world, OPTIONS)).plan
    assert [row.reason for row in plan.kept if row.adapter is not None] == [Reason.IN_SYNC]


async def test_broken_is_rejected_and_missing_is_unavailable(here: Room) -> None:
    """What can be read and is wrong is said of the adapter; what cannot be read, of its source."""
    path = Path(here.peft())
    here.edit(adapters=(here.lora(source=AdapterSource(path=str(path))),))

    async def blocked() -> tuple[str, bool]:
        plan = (await plan_once(here.world, OPTIONS)).plan
        (row,) = [row for row in plan.blocked if row.adapter is not None]
        return row.reason.value, bool(row.hint)

    for content in (b"{", b"[]", b"\x00\x01"):
        (path / "adapter_config.json").write_bytes(content)
        assert await blocked() == ("adapter-rejected", True)
    for one in path.iterdir():
        one.unlink()
    assert await blocked() == ("adapter-rejected", True)
    path.rmdir()
    assert await blocked() == ("unavailable", True)


async def test_a_broken_manifest_of_what_is_attached_is_rejected_and_it_stays(here: Room) -> None:
    await attached(here, contract=True)
    (here.folder / "sql.manifest.json").write_text("{")
    plan = (await plan_once(here.world, OPTIONS)).plan
    (row,) = plan.blocked
    assert (row.reason, row.message.endswith("; what is attached stays")) == (Reason.ADAPTER_REJECTED, True)
    assert not plan.in_sync
    await reconcile(here.world, OPTIONS)
    assert list(here.runtime.adapters) == ["sql"]


async def test_a_hub_that_does_not_answer_is_told_of_and_offline_is_not(here: Room) -> None:
    path = here.peft()
    here.edit(adapters=(here.lora(source=AdapterSource(path=path)),))
    assert (await reconcile(here.world, OPTIONS)).verified
    here.hub.repos["acme/sql"] = Path(path)
    here.edit(adapters=(here.lora(source=AdapterSource(repo="acme/sql", revision="v1")),))
    assert (await plan_once(here.world, OPTIONS)).plan.warnings == ()

    async def silent(repo: str, revision: str | None, *, pickles: bool) -> object:
        raise Unreachable("no route to the Hub")

    here.hub.look = silent  # type: ignore[method-assign, assignment]
    plan = (await plan_once(here.world, OPTIONS)).plan
    assert [line for line in plan.warnings if "no route to the Hub; plan again" in line]
    seen = await status(here.world, OPTIONS)
    assert [one.findings for one in seen.targets[0].adapters] == [()], "status asks nobody outside"


async def test_as_a_person_reads_it(here: Room, snapshot: SnapshotAssertion) -> None:
    await attached(here, contract=True)
    without_manifest(here)
    here.runtime.adapters["chat"] = ServedAdapter(name="chat", base=OLD, path=str(here.folder / "chat.gguf"))
    here.gguf("chat")
    wanted = here.lora(contract=ExpectedContract(manifest=str(here.folder / "sql.manifest.json")))
    here.edit(adapters=(wanted, here.lora("chat")))
    plan = (await plan_once(here.world, OPTIONS)).plan
    shown = [plan_text(plan), plan_markdown(plan)]
    shown.append(status_text(await status(here.world, OPTIONS), now=here.fakes.clock.now()))
    assert "\n\n-----\n\n".join(shown).replace(str(here.folder), "/adapters") == snapshot
