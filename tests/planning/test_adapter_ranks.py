"""Ranks beyond what a vLLM was started for are blocked with the command that serves them all, or told where unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.adapter import AdapterServing, Gate
from reconciler.domain.advice import VLLM_RANKS
from reconciler.domain.desired import Target
from reconciler.domain.plan import Plan, Reason
from tests.builders import desired, observation, record
from tests.planning.adapter_world import (
    ALPHA,
    BETA,
    base_name,
    error,
    known,
    look,
    lora,
    ours,
    pin,
    planned,
    recorded,
    serves,
    settled,
    there,
    verdict,
    why,
)

URL = "http://127.0.0.1:8000"


def gpu(limit: int | None = None) -> Target:
    return Target(name="edge", runtime="advisory", program="vllm", endpoint=URL, is_asked=True, max_lora_rank=limit)


def on_gpu(ranks: dict[str, int], limit: int | None = None, *, served: tuple[str, ...] = (), **more: object) -> Plan:
    target = gpu(limit)
    names = [recorded(name, name, target_key=target.key) for name in served]
    seen = [*(serves(name, name) for name in served), *more.pop("foreign", ())]  # type: ignore[misc]
    says = {name: verdict(name, rank=rank) for name, rank in ranks.items()} | dict(more.pop("says", {}))  # type: ignore[call-overload]
    return planned(
        *(lora(name) for name in ranks),
        *more.pop("also", ()),  # type: ignore[misc]
        models=more.pop("models", [there()]),
        served=seen,
        mine=record(ours(target_key=target.key), adapters=tuple(names)),
        says=says,
        target=target,
        **more,
    ).plan


def test_a_rank_beyond_the_limit_is_blocked_with_the_limit_that_holds_every_adapter() -> None:
    plan = on_gpu({"sql": 24, "notes": 100, "small": 16}, limit=16)
    assert why(plan.changes) == [("small", "missing")]
    assert why(plan.blocked) == [("notes", "no-api"), ("sql", "no-api")]
    notes, sql = plan.blocked
    assert notes.command == sql.command
    assert sql.command is not None
    assert sql.command.endswith("vllm serve acme/alpha-1b-GGUF --enable-lora --max-lora-rank 128")
    assert sql.message == "edge takes ranks up to 16 as it was started, and sql has 24"
    assert "maxLoraRank" in (sql.hint or "")
    assert not plan.in_sync


def test_a_rank_between_two_limits_fits_the_upper_one() -> None:
    (row,) = on_gpu({"sql": 24}, limit=32).changes
    assert (row.reason, row.hint, row.message) == (Reason.MISSING, None, "")


def test_what_the_server_tells_counts_before_the_file() -> None:
    told = {"look_changes": {"max_adapter_rank": 64}}
    assert why(on_gpu({"sql": 64}, limit=16, **told).changes) == [("sql", "missing")]
    (row,) = on_gpu({"sql": 128}, **told).blocked
    assert (row.reason, "--max-lora-rank 128" in (row.command or "")) == (Reason.NO_API, True)
    assert "maxLoraRank" not in (row.hint or "")


def test_a_command_never_lowers_what_the_server_was_started_for() -> None:
    command = on_gpu({"sql": 8}, limit=256, look_changes={"takes_adapters": None}).blocked[0].command
    assert "--max-lora-rank 256" in (command or "")


def test_what_is_served_stays_and_what_would_take_its_place_is_blocked() -> None:
    plan = on_gpu({"sql": 64}, limit=16, served=("sql",), says={"sql": verdict("sql 2", rank=64)})
    (row,) = plan.blocked
    assert (plan.changes, row.reason, row.ours) == ((), Reason.NO_API, True)
    assert row.message.endswith("what is attached stays")
    assert on_gpu({"sql": 64}, limit=16, served=("sql",)).in_sync, "what it serves it can serve, whatever the file says"


def test_what_a_restart_with_less_lost_is_still_ours() -> None:
    target = gpu(8)
    mine = record(ours(target_key=target.key), adapters=(recorded(target_key=target.key),))
    plan = planned(lora(), models=[there()], mine=mine, says={"sql": verdict(rank=16)}, target=target).plan
    (row,) = plan.blocked
    assert (row.reason, row.ours, "stays" in row.message) == (Reason.NO_API, True, False)
    assert "--max-lora-rank 16" in (row.command or "")


def test_adapters_of_others_stand_in_the_command() -> None:
    theirs = serves("theirs", "?", digest=None, path="/theirs/lora")
    (row,) = on_gpu({"sql": 24}, limit=16, foreign=[theirs]).blocked
    assert (row.command or "").endswith("--max-lora-rank 32 --lora-modules 'theirs=/theirs/lora'")


def test_a_base_that_is_served_from_a_folder_is_named_by_it_with_every_name_it_goes_by() -> None:
    folder = there(served_from="/srv/my models/base", served_as=("acme/tiny", "it's"))
    start = "vllm serve '/srv/my models/base' --served-model-name acme/tiny 'it'\\''s' --enable-lora"
    (row,) = on_gpu({"sql": 24}, limit=16, models=[folder]).blocked
    assert (row.command or "").endswith(f"{start} --max-lora-rank 32")
    (told,) = on_gpu({"sql": 24}, models=[folder], look_changes={"takes_adapters": None}).blocked
    assert f"{start} --max-lora-rank 32 --lora-modules 'sql=/adapters/sql'" in (told.command or "")


def test_a_repository_that_is_served_under_other_names_keeps_them() -> None:
    (row,) = on_gpu({"sql": 24}, limit=16, models=[there(served_as=("coder",))]).blocked
    start = "vllm serve acme/alpha-1b-GGUF --served-model-name coder --enable-lora"
    assert (row.command or "").endswith(f"{start} --max-lora-rank 32")


def test_one_that_waits_for_its_promotion_counts_for_the_limit() -> None:
    waits = lora("later", gate=Gate(receipt="/r.json"))
    later = verdict("later", rank=200, unpromoted=(error("no receipt"),))
    plan = on_gpu({"sql": 24}, limit=16, also=[waits], says={"later": later})
    assert why(plan.blocked) == [("later", "not-promoted"), ("sql", "no-api")]
    assert "--max-lora-rank 256" in (plan.blocked[1].command or "")


def test_where_nobody_tells_the_limit_the_row_says_so_until_it_is_served() -> None:
    plan = on_gpu({"sql": 24, "notes": 16})
    sql = next(row for row in plan.changes if row.adapter is not None and row.adapter.name == "sql")
    notes = next(row for row in plan.changes if row.adapter is not None and row.adapter.name == "notes")
    assert sql.adapter is not None
    assert [one.code for one in sql.adapter.findings] == ["rank_limit_unknown"]
    assert "--max-lora-rank 32" in sql.message
    assert "--max-lora-rank 32" in (sql.hint or "")
    assert notes.hint is None, "vLLM takes 16 without being told"
    proven = on_gpu({"sql": 24, "large": 32}, served=("large",))
    assert [row.hint for row in proven.changes] == [None], "it serves a larger one already"
    theirs = serves("large", digest=None, path="/adapters/large")
    doubtful = on_gpu({"sql": 24, "large": 32}, foreign=[theirs])
    assert why(doubtful.kept) == [("large", "unmanaged-match")]
    assert [bool(row.hint) for row in doubtful.changes] == [True], "nobody knows what somebody else loaded"


def test_what_another_server_takes_proves_nothing() -> None:
    here, far = gpu(), gpu().model_copy(update={"name": "far", "endpoint": "http://127.0.0.2:8000"})
    sql = lora()
    large = lora("large", base="other", serve=(AdapterServing(target="far", name="large"),))
    alpha = look([there()]).model_copy(update={"name": "edge", "key": here.key})
    beta = look([there(BETA)], [serves("large", "large", on=BETA)]).model_copy(update={"name": "far", "key": far.key})
    mine = record(
        ours(target_key=here.key),
        ours(BETA, "slot/other[0]", target_key=far.key, target_name="far"),
        adapters=(recorded("large", "large", on=BETA, declared_base="other", target_key=far.key, target_name="far"),),
    )
    slots = (pin(target="edge"), pin(BETA, name="other", target="far"))
    want = desired(*slots, targets=(here, far), adapters=(sql, large))
    says = {"sql": verdict("sql", rank=24), "large": verdict("large", rank=32)}
    plan = settled(want, observation(known(), alpha, beta), mine, says).plan
    assert why(plan.kept) == [("large", "in-sync")]
    assert [(row.target, bool(row.hint)) for row in plan.changes] == [("edge", True)]


def test_a_llama_server_has_no_limit() -> None:
    plan = planned(lora(), models=[there()], mine=record(ours()), says={"sql": verdict(rank=4096)}).plan
    assert [(row.reason, row.hint) for row in plan.changes] == [(Reason.MISSING, None)]


RANKS = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(1, 512), min_size=1)


@given(ranks=RANKS, limit=st.sampled_from([None, *VLLM_RANKS]), served=st.sets(st.sampled_from(["a", "b", "c", "d"])))
def test_nothing_is_attached_beyond_the_limit_and_one_command_would_serve_all(
    ranks: dict[str, int], limit: int | None, served: set[str]
) -> None:
    plan = on_gpu(ranks, limit, served=tuple(sorted(served & set(ranks))))
    moved = {row.adapter.name for row in plan.changes if row.adapter is not None}
    blocked = {row.adapter.name: row for row in plan.blocked if row.adapter is not None}
    assert moved | blocked.keys() == ranks.keys() - served
    assert all(limit is None or ranks[name] <= limit for name in moved)
    assert all(limit is not None and ranks[name] > limit for name in blocked)
    least = next(one for one in VLLM_RANKS if one >= max(ranks.values()))
    server = f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve {base_name(ALPHA).partition(':')[0]}"
    assert {row.command for row in blocked.values()} <= {f"{server} --enable-lora --max-lora-rank {least}"}


@pytest.mark.parametrize("limit", [None, 8])
def test_the_same_in_any_order(limit: int | None) -> None:
    one = on_gpu({"a": 4, "b": 40, "c": 9}, limit)
    other = on_gpu({"c": 9, "b": 40, "a": 4}, limit)
    assert sorted(why(one.changes)) == sorted(why(other.changes))
    assert one.blocked == other.blocked
