"""What a run makes of what it sees of adapters: who is asked, what is told, what counts as ours, what is tidied up."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from reconciler.domain.adapter import AdapterServing, AdapterSource, Gate, HeldAdapter, RecordAdapter, ServedAdapter
from reconciler.domain.advice import quoted
from reconciler.domain.observation import AdapterNeed, ObservedTarget, Unavailable, UnknownTarget
from reconciler.domain.plan import Action, Reason
from reconciler.engine.lora.removal import removal_of_adapter
from reconciler.engine.lora.settled import stands
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.world import AdapterPorts, Freshness, World
from reconciler.errors import Corrupt, Refused, Unreachable, UsageError
from reconciler.lora.remote_adapter import RemoteAdapter
from tests.engine.lora.adapting import EDGE, OLD, Room, applied, codes, hub_lora
from tests.engine.worlds import OPTIONS
from tests.fakes import FakeRuntime

OFFLINE: Freshness = "offline"
DIGEST, OTHER = "a" * 64, "b" * 64


# ------------------------------------------------------------------------------------------------ who is asked


async def test_offline_nobody_is_asked_for_what_is_not_held(here: Room) -> None:
    here.edit()
    await applied(here)
    here.hub.repos["acme/sql"] = Path(here.peft())
    here.edit(adapters=(hub_lora("acme/sql", "v1"),))
    planned = await plan_once(here.world, OPTIONS)
    asked = here.hub.asked
    assert asked > 0
    (unsaid,) = [one for one in planned.observation.answers if isinstance(one.need, AdapterNeed)]
    assert not isinstance(unsaid, Unavailable)
    offline = await plan_once(here.world, replace(OPTIONS, freshness=OFFLINE, ask=False))
    assert here.hub.asked == asked
    (said,) = [one for one in offline.observation.answers if isinstance(one.need, AdapterNeed)]
    assert isinstance(said, Unavailable)
    assert (said.code, "acme/sql cannot be asked for: offline" in said.message) == ("offline", True)


class FailingHub:
    """Says one thing to whoever asks."""

    def __init__(self, says: Exception) -> None:
        self.says = says

    async def look(self, repo: str, revision: str | None, *, pickles: bool) -> RemoteAdapter:
        raise self.says


@pytest.mark.parametrize(
    ("says", "code", "told"),
    [
        (Unreachable("no route", hint="later"), "unreachable", "no route"),
        (Refused("closed", code="gated"), "gated", "closed"),
        (Refused("who are you", code="unauthorised"), "unauthorised", "who are you"),
        (Refused("no adapter", code="not-installable"), "not-installable", "no adapter"),
        (Refused("odd", code="anything"), "not-readable", "odd"),
        (Corrupt("damaged"), "corrupt", "damaged"),
        (UsageError("not so"), "not-readable", "not so"),
        (ValueError("no sense"), "corrupt", "no sense"),
    ],
)
async def test_why_a_source_cannot_be_judged_is_told_as_it_is(
    here: Room, says: Exception, code: str, told: str
) -> None:
    here.edit(adapters=(hub_lora("acme/sql", "v1"),))
    planned = await plan_once(with_ports(here, hub=lambda _: FailingHub(says)), OPTIONS)
    (answer,) = [one for one in planned.observation.answers if isinstance(one.need, AdapterNeed)]
    assert isinstance(answer, Unavailable)
    assert (answer.code, answer.message, answer.hint) == (code, told, getattr(says, "hint", None))


def with_ports(here: Room, **changes: object) -> World:
    ports: AdapterPorts = replace(here.ports, **changes)  # type: ignore[arg-type]
    return replace(here.world, adapters=lambda: ports)


async def test_where_nothing_converts_at_all_peft_is_told_so(here: Room) -> None:
    here.edit(adapters=(here.lora(source=AdapterSource(path=here.peft())),))
    report = await reconcile(with_ports(here, converter=lambda _: None), OPTIONS)
    assert codes(report) == [("done", None)]
    assert "nothing on this host converts adapters" in report.remaining.blocked[0].message  # type: ignore[union-attr]


async def test_the_gate_of_a_hub_adapter_is_a_file_of_this_host(here: Room) -> None:
    source = Path(here.peft())
    here.runtime.takes_adapters = "peft"
    here.hub.repos["acme/sql"] = source
    receipt = here.folder / "receipt.json"
    gate = Gate(receipt=str(receipt))
    here.edit(adapters=(hub_lora("acme/sql", "v1", gate=gate),))
    assert "no promotion receipt" in (await plan_once(here.world, OPTIONS)).plan.blocked[0].message
    weights = sha256((source / "adapter_model.safetensors").read_bytes()).hexdigest()
    document = {"artifacts": [{"sha256": weights}], "cases": [{"case": "a", "status": "pass"}]}
    receipt.write_text(json.dumps(document))
    plan = (await plan_once(here.world, OPTIONS)).plan
    assert (plan.blocked, [row.action for row in plan.changes][-1]) == ((), Action.ATTACH)
    config = sha256((source / "adapter_config.json").read_bytes()).hexdigest()
    receipt.write_text(json.dumps({**document, "artifacts": [{"sha256": config}]}))
    assert "other weights" in (await plan_once(here.world, OPTIONS)).plan.blocked[0].message


@pytest.mark.parametrize(("body", "why"), [(b"{", "is no promotion receipt"), (None, "is not a regular file")])
async def test_a_receipt_that_is_none_promotes_nothing(here: Room, body: bytes | None, why: str) -> None:
    receipt = here.folder / "receipt.json"
    receipt.mkdir() if body is None else receipt.write_bytes(body)
    here.edit(adapters=(here.lora(gate=Gate(receipt=str(receipt))),))
    (row,) = (await plan_once(here.world, OPTIONS)).plan.blocked
    assert (row.reason, row.adapter is not None) == (Reason.NOT_PROMOTED, True)
    assert why in row.message


# ------------------------------------------------------------------------------------------------ what the target is told


async def test_a_target_is_told_form_rank_scale_and_place(here: Room) -> None:
    told: list[HeldAdapter] = []
    here.runtime.on_attach = told.append
    here.edit(adapters=(here.lora(serve=(AdapterServing(target="edge", name="sql", scale=0.25),)),))
    await applied(here)
    (held,) = told
    assert (held.name, held.base, held.format, held.rank, held.scale) == ("sql", OLD, "gguf", 4, 0.25)
    assert (Path(held.path).parent.parent.name, held.digest) == (held.digest, here.fakes.record.adapters[0].digest)


async def test_a_folder_of_peft_is_told_as_that(here: Room) -> None:
    told: list[HeldAdapter] = []
    here.runtime.on_attach = told.append
    here.runtime.takes_adapters = "peft"
    here.edit(adapters=(here.lora(source=AdapterSource(path=here.peft())),))
    await applied(here)
    assert [(held.format, Path(held.path).is_dir()) for held in told] == [("peft", True)]


async def test_what_an_attachment_is_recorded_as(here: Room) -> None:
    await applied(here)
    (ours,) = here.fakes.record.adapters
    assert (ours.target_key, ours.target_name, ours.adapter, ours.name, ours.base, ours.declared_base) == (
        EDGE.key, "edge", "sql", "sql", OLD, "coder",
    )  # fmt: skip
    assert (ours.bytes, ours.scale) == ((here.folder / "sql.gguf").stat().st_size, 1.0)


@pytest.mark.parametrize("code", ["no-api", "adapter-refused"])
async def test_only_a_command_to_run_by_hand_names_the_source(here: Room, code: str) -> None:
    """Our copy goes with the attempt that failed, so a command must not name it."""

    def refuse(held: HeldAdapter) -> None:
        raise Refused("no", code=code, hint=f"run: serve --lora {held.path}", details={"command": f"serve {held.path}"})

    here.runtime.on_attach = refuse
    report = await reconcile(here.world, OPTIONS)
    outcome = report.outcomes[-1]
    assert outcome.code == code
    assert (str(here.folder / "sql.gguf") in (outcome.hint or "")) == (code == "no-api")


@pytest.mark.parametrize("name", ["my adapters", "it's; $(x)"])
async def test_a_source_in_a_command_is_one_word_of_it(here: Room, name: str) -> None:
    (here.folder / name).mkdir()
    source = (here.folder / "sql.gguf").rename(here.folder / name / "sql.gguf")
    here.edit(adapters=(here.lora(source=AdapterSource(path=str(source))),))

    def refuse(held: HeldAdapter) -> None:
        command = f"MAY=True serve --lora {quoted(f'sql={held.path}')}"
        raise Refused("no", code="no-api", hint=f"start it again: {command}", details={"command": command})

    here.runtime.on_attach = refuse
    report = await reconcile(here.world, OPTIONS)
    told = (report.outcomes[-1].hint or "").removeprefix("start it again: ")
    assert told.startswith("MAY=True serve --lora '")
    assert shlex.split(told)[-1] == f"sql={source}"


async def test_no_hint_is_made_up_for_a_refusal_without_one(here: Room) -> None:
    def refuse(_: HeldAdapter) -> None:
        raise Refused("no", code="no-api")

    here.runtime.on_attach = refuse
    report = await reconcile(here.world, OPTIONS)
    assert (report.outcomes[-1].code, report.outcomes[-1].hint) == ("no-api", None)


# ------------------------------------------------------------------------------------------------ what counts as ours


async def test_what_a_target_does_not_tell_of_ours_is_still_ours(here: Room) -> None:
    """A server that names an adapter and neither its place nor its content, as some do."""
    await applied(here)
    here.runtime.adapters["sql"] = ServedAdapter(name="sql", base=OLD)
    here.edit()
    report = await reconcile(here.world, OPTIONS)
    assert (report.verified, here.steps()) == (True, [f"detach sql {OLD}"])


async def test_ours_at_its_place_is_ours_whatever_became_of_its_bytes(here: Room) -> None:
    await applied(here)
    served = here.runtime.adapters["sql"]
    here.runtime.adapters["sql"] = served.model_copy(update={"digest": OTHER})
    here.edit()
    assert (await reconcile(here.world, OPTIONS)).verified
    assert here.runtime.adapters == {}


async def test_another_content_at_another_place_under_our_name_is_left_alone_by_the_step_too(here: Room) -> None:
    await applied(here)
    here.gguf(rank=2)
    theirs = ServedAdapter(name="sql", base=OLD, path="/theirs/a.gguf", digest=OTHER, scale=1.0)
    here.gguf("notes", rank=1)
    first = here.lora("notes", serve=(AdapterServing(target="edge", name="a"),))
    here.edit(adapters=(first, here.lora()))

    def somebody(held: HeldAdapter) -> None:
        if held.name == "a":
            here.runtime.adapters["sql"] = theirs

    here.runtime.on_attach = somebody
    report = await reconcile(here.world, OPTIONS)
    outcomes = {one.row.adapter.name: (one.status, one.code) for one in report.outcomes if one.row.adapter}
    assert outcomes["sql"] == ("failed", "unmanaged-conflict")
    assert here.runtime.adapters["sql"] == theirs


async def test_what_somebody_put_in_the_place_of_ours_is_forgotten_and_left(here: Room) -> None:
    await applied(here)
    theirs = ServedAdapter(name="sql", base=OLD, path="/theirs/a.gguf", digest=OTHER)
    here.runtime.adapters["sql"] = theirs
    here.edit()
    report = await reconcile(here.world, OPTIONS)
    assert (report.verified, here.steps(), here.fakes.record.adapters) == (True, [], ())
    assert here.runtime.adapters == {"sql": theirs}
    assert await here.held() == ()


def target(*adapters: ServedAdapter) -> ObservedTarget:
    return ObservedTarget(name="edge", key=EDGE.key, adapters=adapters)


def wanted(**changes: object) -> RecordAdapter:
    from reconciler.domain.units import Bytes
    from tests.builders import NOW

    base = RecordAdapter(
        target_key=EDGE.key, target_name="edge", adapter="sql", name="sql", base=OLD, digest=DIGEST,
        path=f"/held/{DIGEST}/files/adapter.gguf", bytes=Bytes(1), attached_at=NOW,
    )  # fmt: skip
    return base.model_copy(update=changes)


@pytest.mark.parametrize(
    ("here", "so"),
    [
        (ServedAdapter(name="sql", digest=DIGEST), True),
        (ServedAdapter(name="sql", digest=DIGEST, base=OLD, scale=1.0), True),
        (ServedAdapter(name="sql", digest=OTHER, path=f"/held/{DIGEST}/files"), False),
        (ServedAdapter(name="sql", path=f"/held/{DIGEST}/files"), True),
        (ServedAdapter(name="sql", path="/elsewhere"), False),
        (ServedAdapter(name="sql"), False),
        (ServedAdapter(name="chat", digest=DIGEST), False),
        (ServedAdapter(name="sql", digest=DIGEST, base="another:Q4_K_M"), False),
        (ServedAdapter(name="sql", digest=DIGEST, scale=0.5), False),
        (ServedAdapter(name="sql", digest=DIGEST, scale=1.000005), True),
        (ServedAdapter(name="sql", digest=DIGEST, scale=1.00002), False),
    ],
)
def test_when_it_stands_as_it_was_to(here: ServedAdapter, so: bool) -> None:
    assert (stands(target(here), wanted()) is not None) is so


def test_a_scale_is_compared_by_its_own_size_as_planning_does() -> None:
    large, tiny, none = wanted(scale=100.0), wanted(scale=0.00005), wanted(scale=0.0)
    told = ServedAdapter(name="sql", digest=DIGEST, scale=100.0005)
    assert stands(target(told), large) is not None
    assert stands(target(told.model_copy(update={"scale": 0.0})), tiny) is None
    assert stands(target(told.model_copy(update={"scale": 0.0})), none) is not None


def test_content_is_what_the_target_says_before_what_its_place_says() -> None:
    assert ServedAdapter(name="sql", digest=DIGEST).holds(DIGEST)
    assert not ServedAdapter(name="sql").holds(DIGEST)


# ------------------------------------------------------------------------------------------------ taking away, tidying up


@pytest.mark.parametrize(
    ("seen", "action", "reason", "name", "words"),
    [
        (target(ServedAdapter(name="sql", digest=DIGEST)), Action.DETACH, Reason.NOT_DESIRED, "edge", "is to go"),
        (
            target(ServedAdapter(name="sql", digest=DIGEST, loaded=True)),
            Action.KEEP, Reason.IN_USE, "edge", "in use now: it stays, and stays ours",
        ),
        (
            target(ServedAdapter(name="sql", path="/theirs/sql", loaded=True)),
            Action.FORGET, Reason.GONE, "edge", "not ours: it stays",
        ),
        (target(), Action.FORGET, Reason.GONE, "edge", "gone already"),
        (
            target(ServedAdapter(name="sql", path="/theirs/sql")),
            Action.FORGET, Reason.GONE, "edge", "not ours: it stays",
        ),
        (
            UnknownTarget(name="edge", key=EDGE.key, reason="it sleeps"),
            Action.KEEP, Reason.TARGET_UNKNOWN, "edge", "it sleeps",
        ),
        (None, Action.KEEP, Reason.TARGET_UNKNOWN, "old-name", "it is not configured"),
    ],
)  # fmt: skip
def test_the_row_that_takes_one_of_ours_away(
    seen: ObservedTarget | UnknownTarget | None, action: Action, reason: Reason, name: str, words: str
) -> None:
    row = removal_of_adapter(wanted(target_name="old-name"), seen)
    assert (row.action, row.reason, row.target, row.ours, row.name) == (action, reason, name, True, OLD)
    assert words in row.message
    assert row.adapter is not None
    assert (row.adapter.before, row.adapter.after, row.adapter.name) == (DIGEST, None, "sql")


async def test_what_a_killed_run_left_half_made_is_swept_by_the_next_that_changes_something(here: Room) -> None:
    await applied(here)
    draft = here.folder / "data" / "adapters" / ".new" / f"{OTHER}.0"
    draft.mkdir(parents=True)
    (draft / "adapter_model.safetensors").write_bytes(b"half")
    here.edit()
    assert (await reconcile(here.world, OPTIONS)).verified
    assert not draft.exists()


async def test_while_any_target_is_unknown_no_file_goes(here: Room) -> None:
    """It may serve them."""
    await applied(here)
    far = EDGE.model_copy(update={"name": "far", "endpoint": "http://10.0.0.9:8080"})
    here.fakes.runtimes[far.key] = FakeRuntime(far, unknown="it sleeps")
    here.edit(adapters=(), targets=(EDGE, far))
    await reconcile(here.world, OPTIONS)
    assert here.runtime.adapters == {}
    assert len(await here.held()) == 1
    here.fakes.runtimes[far.key].unknown = None
    await reconcile(here.world, OPTIONS)
    assert await here.held() == ()


async def test_what_a_target_still_serves_is_kept_though_the_record_does_not_name_it(here: Room) -> None:
    """By place or by content, whichever of the two it tells."""
    await applied(here)
    (held,) = await here.held()
    for told in (
        ServedAdapter(name="theirs", base=OLD, digest=held.digest),
        ServedAdapter(name="theirs", base=OLD, path=f"/data/adapters/{held.digest}/files/adapter.gguf"),
    ):
        here.runtime.adapters = {"sql": here.runtime.adapters.get("sql") or told, "theirs": told}
        here.edit(adapters=())
        await reconcile(here.world, OPTIONS)
        assert [one.digest for one in await here.held()] == [held.digest]
    here.runtime.adapters.clear()
    await reconcile(here.world, OPTIONS)
    assert await here.held() == ()


async def test_files_that_do_not_go_are_a_warning_and_no_end(here: Room) -> None:
    await applied(here)
    place = here.folder / "data" / "adapters"
    (digest,) = [path.name for path in place.iterdir() if len(path.name) == 64]
    marks = place / digest / "holders"
    kept = {each.name: each.read_bytes() for each in marks.iterdir()}
    for each in marks.iterdir():
        each.unlink()
        each.mkdir()
    here.edit()
    report = await reconcile(here.world, OPTIONS)
    assert here.runtime.adapters == {}
    assert any("were not removed" in warning for warning in report.warnings), report.warnings
    assert kept
