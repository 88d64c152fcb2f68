"""The last look before a target is told: what the plan no longer has right is not attached, whatever the row says.

A plan that this program makes and keeps never holds such a row, or a race lies between; so these tests change the plan
in memory, or let the world move while an earlier row runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from reconciler.domain.adapter import Adapter, AdapterSource, AdapterVerdict, Gate
from reconciler.domain.desired import Hub
from reconciler.domain.finding import Finding
from reconciler.domain.plan import Action, AdapterMove, Row
from reconciler.domain.report import Report
from reconciler.engine.apply import apply
from reconciler.engine.destroy import destroy
from reconciler.engine.reconcile import plan_once, reconcile, session
from reconciler.engine.saved_plan import apply_saved, saved
from reconciler.engine.world import Planned
from reconciler.errors import StalePlan
from reconciler.lora.findings import error
from tests.builders import pool
from tests.engine.lora.adapting import EDGE, OLD, Room, coder, codes
from tests.engine.worlds import BETA, OPTIONS
from tests.fakes import FakeRuntime
from tests.lora_files import gguf_adapter

FLAW = error("base_shape_mismatch", "the weights do not fit")


async def ran(
    here: Room, move: Callable[[AdapterMove], AdapterMove] = lambda same: same, **row_changes: object
) -> Report:
    """The plan of now with its rows about adapters changed, run as apply runs a plan."""

    def changed(row: Row) -> Row:
        return row if row.adapter is None else row.model_copy(update={"adapter": move(row.adapter), **row_changes})

    planned = await plan_once(here.world, OPTIONS)
    plan = planned.plan.model_copy(update={"changes": tuple(changed(row) for row in planned.plan.changes)})
    async with session(here.world, OPTIONS) as now:
        edited = replace(planned, plan=plan, desired=now.desired)
        return await apply(edited, now.books, now.runtimes, here.world, OPTIONS)


async def with_the_file_of_now(here: Room, planned: Planned) -> Report:
    """A plan of before, run under what the file says by now."""
    async with session(here.world, OPTIONS) as now:
        return await apply(replace(planned, desired=now.desired), now.books, now.runtimes, here.world, OPTIONS)


def with_verdict(**changes: object) -> Callable[[AdapterMove], AdapterMove]:
    def changed(move: AdapterMove) -> AdapterMove:
        assert move.verdict is not None
        return move.model_copy(update={"verdict": move.verdict.model_copy(update=changes)})

    return changed


async def nothing_happened(here: Room, report: Report, code: str) -> str:
    """No target was told, nothing is held, no intent is left; the step's message."""
    (outcome,) = [one for one in report.outcomes if one.row.adapter is not None]
    assert (outcome.status, outcome.code) == ("failed", code), outcome.message
    assert not any(call.startswith(("attach", "detach")) for call in here.runtime.calls)
    assert (here.runtime.adapters, here.fakes.record.adapters, here.fakes.record.intents) == ({}, (), ())
    assert await here.held() == ()
    return outcome.message or ""


# ------------------------------------------------------------------------------------------------ its base


async def test_a_base_that_went_while_another_row_ran_gets_no_adapter(here: Room) -> None:
    here.gguf("notes", rank=2)
    here.edit(adapters=(here.lora("sql"), here.lora("notes")))
    here.runtime.on_attach = lambda held: here.runtime.installed.clear()
    report = await reconcile(here.world, OPTIONS)
    first, second = report.outcomes[1:]
    assert second.row.adapter is not None
    assert (second.status, second.code) == ("failed", "not-found")
    assert f"{OLD} is not on edge" in (second.message or "")
    told = [call for call in here.runtime.calls if call.startswith("attach")]
    assert told == [f"attach {first.row.adapter.name} {OLD}"], "the target is not even told"  # type: ignore[union-attr]
    files = [Path(file).name for file in map(str, (here.folder / "data" / "adapters").glob("*"))]
    assert second.row.adapter.after not in files, "its files were not held"
    assert {intent.name for intent in here.fakes.record.intents} == set()


async def test_detaching_needs_no_base(here: Room) -> None:
    """Somebody removed the base; nobody asks for the adapter any more."""
    assert (await reconcile(here.world, OPTIONS)).verified
    here.edit(coder(BETA))
    here.runtime.installed.clear()
    report = await reconcile(here.world, OPTIONS)
    assert ("detach", "done", None) in [(one.row.action.value, one.status, one.code) for one in report.outcomes]
    assert (here.runtime.adapters, OLD in here.runtime.installed) == ({}, False)


# ------------------------------------------------------------------------------------------------ the verdict


async def test_a_row_whose_verdict_says_no_is_not_done(here: Room) -> None:
    flaw = FLAW.model_copy(update={"hint": "another base"})
    report = await ran(here, with_verdict(findings=(flaw,)))
    assert await nothing_happened(here, report, "adapter-rejected") == "sql: the weights do not fit"
    assert report.outcomes[-1].hint == "another base"


@pytest.mark.parametrize(("on_missing", "comes"), [("block", False), ("warn", True), ("serve-as-candidate", False)])
async def test_a_row_of_what_is_not_promoted_is_done_only_where_its_gate_lets_it(
    here: Room, on_missing: str, comes: bool
) -> None:
    gate = Gate(receipt=str(here.folder / "receipt.json"), on_missing=on_missing)  # type: ignore[arg-type]
    here.edit(adapters=(here.lora(gate=gate.model_copy(update={"on_missing": "warn"})),))
    planned = await plan_once(here.world, OPTIONS)
    here.edit(adapters=(here.lora(gate=gate),))
    report = await with_the_file_of_now(here, planned)
    if comes:
        assert "sql" in here.runtime.adapters
        return
    assert "no promotion receipt" in await nothing_happened(here, report, "not-promoted")


async def test_a_candidate_comes_under_its_own_name_and_never_under_that_of_the_promoted(here: Room) -> None:
    gate = Gate(receipt=str(here.folder / "receipt.json"), on_missing="serve-as-candidate")
    here.edit(adapters=(here.lora(gate=gate),))

    def plain(move: AdapterMove) -> AdapterMove:
        assert move.name == "sql-candidate"
        return move.model_copy(update={"name": "sql"})

    await nothing_happened(here, await ran(here, plain), "not-promoted")
    assert (await reconcile(here.world, OPTIONS)).verified
    assert list(here.runtime.adapters) == ["sql-candidate"]


async def test_warnings_and_notes_of_a_verdict_are_no_no(here: Room) -> None:
    told = [Finding(code="alpha_missing", severity=how, message="so") for how in ("warning", "note")]  # type: ignore[arg-type]
    assert (await ran(here, with_verdict(findings=tuple(told)))).verified


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda move: move.model_copy(update={"after": "0" * 64}), id="other-content"),
        pytest.param(lambda move: move.model_copy(update={"adapter": "nobody"}), id="nobody-asks-for-it"),
        pytest.param(lambda move: move.model_copy(update={"name": "other"}), id="other-name"),
        pytest.param(lambda move: move.model_copy(update={"name": "sql-candidate"}), id="candidate-without-a-gate"),
        pytest.param(lambda move: move.model_copy(update={"scale": 2.0}), id="other-scale"),
    ],
)
async def test_a_row_that_is_not_what_its_own_verdict_is_about(
    here: Room, change: Callable[[AdapterMove], AdapterMove]
) -> None:
    report = await ran(here, change)
    assert "does not ask for" in await nothing_happened(here, report, "not-allowed")


@pytest.mark.parametrize("how", ["absent", "other-target", "no-adapter"])
async def test_what_the_file_no_longer_asks_for_is_not_attached(here: Room, how: str) -> None:
    planned = await plan_once(here.world, OPTIONS)
    adapters: dict[str, tuple[Adapter, ...]] = {
        "absent": (here.lora(absent=True),),
        "other-target": (here.lora(serve=()),),
        "no-adapter": (),
    }
    here.edit(adapters=adapters[how])
    report = await with_the_file_of_now(here, planned)
    await nothing_happened(here, report, "not-allowed")


async def test_a_row_on_a_target_that_cannot_be_told_is_not_tried(here: Room) -> None:
    planned = await plan_once(here.world, OPTIONS)
    untold = Untold(EDGE, here.runtime)
    here.fakes.runtimes[EDGE.key] = untold  # type: ignore[assignment]
    async with session(here.world, OPTIONS) as now:
        report = await apply(planned, now.books, now.runtimes, here.world, OPTIONS)
    (outcome,) = [one for one in report.outcomes if one.row.adapter is not None]
    assert (outcome.status, outcome.code) == ("failed", "no-api")
    assert await here.held() == ()


@dataclass
class Untold:
    """A target without the two calls about adapters."""

    target: object
    inner: FakeRuntime

    def __getattr__(self, name: str) -> object:
        if name in ("attach", "detach"):
            raise AttributeError(name)
        return getattr(self.inner, name)


# ------------------------------------------------------------------------------------------------ its source


BOTH = pool(allowed_orgs=("acme", "labs"))
ONLY_THE_BASE = pool(allowed_orgs=("acme",))


def hub_adapter(here: Room, repo: str = "labs/sql", revision: str | None = "v1") -> Adapter:
    return here.lora(source=AdapterSource(repo=repo, revision=revision))


def hub_room(here: Room) -> Room:
    here.runtime.takes_adapters = "peft"
    here.hub.repos["labs/sql"] = Path(here.peft())
    here.hub.endpoint = here.fakes.source.desired.hub.endpoint
    here.edit(adapters=(hub_adapter(here),), pool=BOTH)
    return here


async def test_an_organisation_that_is_withdrawn_after_the_plan_is_refused_by_the_step_itself(here: Room) -> None:
    planned = await plan_once(hub_room(here).world, OPTIONS)
    here.edit(adapters=(hub_adapter(here),), pool=ONLY_THE_BASE)
    report = await with_the_file_of_now(here, planned)
    assert "labs is not in pool.allowedOrgs" in await nothing_happened(here, report, "not-allowed")
    assert OLD in here.runtime.installed


async def test_a_repository_that_is_forbidden_after_the_plan_is_refused_by_the_step_itself(here: Room) -> None:
    planned = await plan_once(hub_room(here).world, OPTIONS)
    here.edit(adapters=(hub_adapter(here),), pool=BOTH.model_copy(update={"never": ("labs/*",)}))
    report = await with_the_file_of_now(here, planned)
    assert "labs/sql is forbidden by never" in await nothing_happened(here, report, "not-allowed")
    assert report.outcomes[-1].hint == "see pool.never, or take the adapter out"


async def test_an_organisation_that_is_withdrawn_makes_a_saved_plan_stale(here: Room) -> None:
    document = saved(await plan_once(hub_room(here).world, OPTIONS))
    assert [row.action for row in document.plan.changes][-1] is Action.ATTACH
    here.edit(adapters=(hub_adapter(here),), pool=ONLY_THE_BASE)
    with pytest.raises(StalePlan, match="file was edited"):
        await apply_saved(here.world, document, OPTIONS)
    assert here.runtime.adapters == {}


async def test_the_hub_that_the_plan_was_made_with_is_the_only_one(here: Room) -> None:
    here.edit()
    assert (await reconcile(here.world, OPTIONS)).verified
    planned = await plan_once(hub_room(here).world, OPTIONS)
    here.edit(adapters=(hub_adapter(here),), pool=BOTH, hub=Hub(endpoint="https://mirror.example"))
    report = await with_the_file_of_now(here, planned)
    assert "the file's hub is https://mirror.example" in await nothing_happened(here, report, "not-allowed")


@pytest.mark.parametrize("to", ["path", "repo"])
async def test_another_source_than_the_plan_s_is_not_attached(here: Room, to: str) -> None:
    planned = await plan_once(hub_room(here).world, OPTIONS)
    other = here.lora() if to == "path" else hub_adapter(here, "labs/other")
    here.edit(adapters=(other,), pool=BOTH)
    report = await with_the_file_of_now(here, planned)
    await nothing_happened(here, report, "not-allowed")


async def test_a_path_of_this_host_in_the_plan_and_a_repository_in_the_file(here: Room) -> None:
    planned = await plan_once(here.world, OPTIONS)
    here.edit(adapters=(hub_adapter(here),), pool=BOTH)
    report = await with_the_file_of_now(here, planned)
    assert "source of sql is another" in await nothing_happened(here, report, "not-allowed")


async def test_files_that_are_not_those_of_the_verdict_are_not_fetched(here: Room) -> None:
    def other_files(move: AdapterMove) -> AdapterMove:
        verdict = move.verdict
        assert isinstance(verdict, AdapterVerdict)
        assert verdict.artifact is not None
        artifact = verdict.artifact.model_copy(update={"files": verdict.artifact.files[:1]})
        return move.model_copy(update={"verdict": verdict.model_copy(update={"artifact": artifact})})

    report = await ran(hub_room(here), other_files)
    await nothing_happened(here, report, "content-changed")


# ------------------------------------------------------------------------------------------------ judged as held


@dataclass
class WithFiles(FakeRuntime):
    """A target whose models' files can be read here, once they are installed."""

    base: Path = Path("/nonexistent")

    async def file_of(self, name: str) -> str | None:
        return str(self.base) if name in self.installed else None


def base_file(path: Path, width: int) -> Path:
    """A base of one layer; the adapter of the room is for a width of 4096."""
    shapes = {"blk.0.attn_q.weight": (width, width), "blk.0.attn_v.weight": (width, 1024)}
    whole = {name: np.zeros((outputs, inputs), "float16") for name, (inputs, outputs) in shapes.items()}
    return gguf_adapter(path, "llama", {}, kind="model", adapter_type=None, alpha=None, more=whole)


@pytest.mark.parametrize(("width", "fits"), [(4096, True), (2048, False)])
async def test_it_is_judged_again_with_the_base_that_came(here: Room, width: int, fits: bool) -> None:
    """Planned by the catalogue, for the base was not there; the base's own file then says otherwise."""
    runtime = WithFiles(EDGE, takes_adapters="gguf", base=base_file(here.folder / "base.gguf", width))
    here.fakes.runtimes[EDGE.key] = runtime
    report = await reconcile(here.world, OPTIONS)
    if fits:
        assert (report.verified, list(runtime.adapters)) == (True, ["sql"])
        return
    assert codes(report) == [("done", None), ("failed", "adapter-rejected")]
    assert "do not fit" in (report.outcomes[1].message or "")
    assert OLD in runtime.installed, "the base is never part of the outcome"
    assert (runtime.adapters, here.fakes.record.adapters, here.fakes.record.intents) == ({}, (), ())
    assert await here.held() == (), "what did not come is not kept"


async def test_what_onMismatch_lets_pass_passes_as_held_too(here: Room) -> None:
    """Names and papers may be let pass, widths never."""
    peft = here.lora(source=AdapterSource(path=here.peft("acme/another")), on_mismatch="warn")
    here.runtime.takes_adapters = "peft"
    here.edit(adapters=(peft,))
    assert (await reconcile(here.world, OPTIONS)).verified
    here.edit(coder(), adapters=(peft.model_copy(update={"on_mismatch": "fail"}),))
    row = (await plan_once(here.world, OPTIONS)).plan.blocked[0]
    assert row.reason.value == "adapter-rejected"


# ------------------------------------------------------------------------------------------------ whose it is


async def test_another_documents_is_neither_attached_nor_detached(here: Room) -> None:
    """Its server was started anew, so nothing stands under the name; two owners would take it from each other."""
    assert (await reconcile(here.world, OPTIONS)).verified
    theirs = here.fakes.record.model_copy(update={"name": "theirs", "source": "/theirs.yaml"})
    here.fakes.store.neighbours = (theirs,)
    calls = list(here.runtime.calls)
    here.edit(adapters=())
    report = await reconcile(here.world, OPTIONS)
    (outcome,) = [one for one in report.outcomes if one.row.adapter is not None]
    assert (outcome.row.action, outcome.code) == (Action.DETACH, "unmanaged-conflict")
    assert "localmodels disown adapter/sql" in (outcome.hint or "")
    here.edit(adapters=(here.lora(),))
    here.runtime.adapters.clear()
    report = await reconcile(here.world, OPTIONS)
    (outcome,) = [one for one in report.outcomes if one.row.adapter is not None]
    assert (outcome.row.action, outcome.code) == (Action.ATTACH, "unmanaged-conflict")
    assert outcome.message == "the adapter sql on edge belongs to 'theirs', applied from /theirs.yaml"
    assert "with the file of 'theirs'" in (outcome.hint or "")
    assert not [one for one in here.runtime.calls[len(calls) :] if one.startswith(("attach", "detach"))]
    here.fakes.store.neighbours = ()
    assert (await reconcile(here.world, OPTIONS)).verified


@pytest.mark.parametrize("is_theirs", [True, False])
async def test_what_a_server_serves_for_another_document_keeps_no_files_for_us(here: Room, is_theirs: bool) -> None:
    """The same content under another name; where no record says whose it is, the files are kept for it."""
    assert (await reconcile(here.world, OPTIONS)).verified
    (ours,) = here.fakes.record.adapters
    (held,) = await here.held()
    theirs = here.fakes.record.model_copy(
        update={"name": "theirs", "source": "/theirs.yaml", "adapters": (ours.model_copy(update={"name": "other"}),)}
    )
    here.runtime.adapters["other"] = here.runtime.adapters["sql"].model_copy(update={"name": "other"})
    await here.store.keep(held.digest, "theirs /theirs.yaml")
    here.fakes.store.neighbours = (theirs,) if is_theirs else ()
    await destroy(here.world, OPTIONS)
    assert here.runtime.adapters.keys() == {"other"}
    (left,) = await here.held()
    assert len(left.holders) == (1 if is_theirs else 2)
    assert "theirs /theirs.yaml" in left.holders
