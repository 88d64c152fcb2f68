"""The budget while steps run: what is counted when a step ends otherwise than planned."""

from __future__ import annotations

import pytest

from reconciler.domain.plan import Action, Budget, Row
from reconciler.domain.units import Bytes
from reconciler.engine.room import Room
from reconciler.errors import Corrupt, OutsideError, PlanningError, Unreachable
from reconciler.planning.make_plan import make_plan
from reconciler.planning.room import Unfinished
from tests.builders import catalogue, desired, observation, record

BUDGET = Budget(
    scope="host", limit_bytes=Bytes(100), used_bytes=Bytes(40), peak_bytes=Bytes(100), after_bytes=Bytes(100)
)


def room(begun: dict[tuple[str, str], Unfinished] | None = None, adapters: dict[str, Bytes] | None = None) -> Room:
    plan = make_plan(desired(), observation(catalogue()), record()).model_copy(update={"budgets": (BUDGET,)})
    return Room(plan, {"local": "host"}, begun, adapters=adapters)


def row(name: str, size: int, **changes: object) -> Row:
    base = Row(
        address="slot/a[0]", action=Action.INSTALL, reason="missing", target="local", target_key="store|/models",
        name=name, bytes_down=Bytes(size),
    )  # fmt: skip
    return base.model_copy(update=changes)


def left(held: Room) -> int:
    """Bytes that one more download may have."""
    return max((size for size in range(201) if _fits(held, row("probe", size))), default=-1)


def _fits(held: Room, one: Row) -> bool:
    try:
        broken_off(held, one, 0, Unreachable("only asking"))
    except PlanningError:
        return False
    except Unreachable:
        return True
    raise AssertionError("neither")


def broken_off(held: Room, one: Row, heard: int, error: OutsideError) -> None:
    with held.reserved(one) as hold:
        hold.heard(heard, 0.0)
        raise error


def refused(held: Room, one: Row) -> str:
    with pytest.raises(PlanningError) as caught, held.reserved(one):
        pass
    return caught.value.code


def test_two_downloads_at_once_do_not_share_the_same_room() -> None:
    here = room()
    with here.reserved(row("a", 40)):
        assert left(here) == 20
        assert refused(here, row("b", 21)) == "no-room"


def test_what_arrived_whole_stays_counted() -> None:
    here = room()
    with here.reserved(row("a", 40)):
        pass
    assert left(here) == 20


def test_of_a_download_that_fails_what_has_arrived_stays_counted_and_counts_once_when_it_goes_on() -> None:
    here = room()
    with pytest.raises(Unreachable):
        broken_off(here, row("a", 40), 30, Unreachable("broke off"))
    assert left(here) == 30
    with here.reserved(row("a", 40)):
        assert left(here) == 20


def test_of_content_that_was_wrong_nothing_is_kept() -> None:
    here = room()
    with pytest.raises(Corrupt):
        broken_off(here, row("a", 40), 40, Corrupt("other bytes"))
    assert left(here) == 60


def test_an_update_gives_the_old_content_back_once_the_new_is_there() -> None:
    here = room()
    with here.reserved(row("a", 40, action=Action.UPDATE, bytes_freed=Bytes(35))):
        assert left(here) == 20
    assert left(here) == 55


def test_an_eviction_that_freed_less_makes_room_for_that_only() -> None:
    here = room()
    evicted = row("old", 0, action=Action.EVICT, bytes_freed=Bytes(30))
    here.freed(evicted, Bytes(4))
    assert left(here) == 64
    here.freed(evicted, Bytes(900))
    assert left(here) == 94, "never more than was counted for it"


def test_what_had_arrived_before_is_part_of_what_comes() -> None:
    here = room({("local", "a"): Unfinished(25, can_go=True)})
    with here.reserved(row("a", 85)):
        assert left(here) == 0
    other = room({("local", "a"): Unfinished(25, can_go=True)})
    other.cleaned([("local", "a")])
    assert left(other) == 85


def test_files_of_one_adapter_count_once_however_many_targets_share_them() -> None:
    held = room()
    with held.reserved_for_files("sql", "d1", Bytes(50)), held.reserved_for_files("sql", "d1", Bytes(50)):
        assert left(held) == 10
        assert held.missing_for_files("d1", Bytes(50)) == 0
        assert held.missing_for_files("d2", Bytes(11)) == 1
    assert left(held) == 10


def test_without_room_no_file_of_an_adapter_is_fetched_and_nothing_is_counted() -> None:
    held = room()
    with pytest.raises(PlanningError) as caught, held.reserved_for_files("sql", "d1", Bytes(61)):
        raise AssertionError
    assert (caught.value.code, left(held)) == ("no-room", 60)


def test_files_of_an_attach_count_until_they_are_seen_to_be_gone() -> None:
    held = room(adapters={"old": Bytes(10)})
    with held.reserved_for_files("sql", "d1", Bytes(50)):
        held.files_gone({"old"})
        assert left(held) == 10, "what is being fetched is no file yet, and counts"
    assert left(held) == 10
    held.files_gone({"old"})
    assert left(held) == 60
    held.files_gone(set())
    assert left(held) == 70, "what the plan counted as used goes too"
