from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.integrations.catalog.hub_cache import DAY_SECONDS, HubCache
from tests.integrations.catalog.world import START, StillClock


def cache(folder: Path, clock: StillClock | None = None) -> HubCache:
    return HubCache(folder / "deep" / "huggingface.json", clock=clock or StillClock())


def written(folder: Path, text: str | bytes) -> HubCache:
    made = cache(folder)
    path = folder / "deep" / "huggingface.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return made


def test_missing_key_is_none(tmp_path: Path) -> None:
    made = cache(tmp_path)
    assert made.get("a") is None
    assert made.warnings == ()


def test_fresh_until_the_ttl_and_stale_at_exactly_the_ttl(tmp_path: Path) -> None:
    clock = StillClock()
    made = cache(tmp_path, clock)
    made.set("a", 1)
    assert made.get("a").is_fresh
    clock.pass_hours((DAY_SECONDS - 1) / 3600)
    assert made.get("a").is_fresh
    clock.pass_hours(1 / 3600)
    entry = made.get("a")
    assert (entry.is_fresh, entry.value, entry.age_seconds) == (False, 1, DAY_SECONDS)


def test_stale_entries_are_kept_with_their_age(tmp_path: Path) -> None:
    clock = StillClock()
    made = cache(tmp_path, clock)
    made.set("a", {"b": [1]})
    made.persist()
    clock.pass_hours(24 * 400)
    entry = cache(tmp_path, clock).get("a")
    assert entry.value == {"b": [1]}
    assert entry.age_seconds == 400 * DAY_SECONDS
    assert entry.stored_at == START


def test_an_entry_from_the_future_is_stale(tmp_path: Path) -> None:
    clock = StillClock()
    made = cache(tmp_path, clock)
    made.set("a", 1)
    clock.pass_hours(-48)
    assert (made.get("a").is_fresh, made.get("a").age_seconds) == (False, 0.0)


def test_persisted_with_version_1_and_the_time_it_was_stored(tmp_path: Path) -> None:
    made = cache(tmp_path)
    made.set("b", None)
    made.set("a", "ü")
    made.persist()
    path = tmp_path / "deep" / "huggingface.json"
    at = round(START.timestamp() * 1000)
    assert json.loads(path.read_text()) == {
        "version": 1,
        "entries": {"a": {"storedAt": at, "value": "ü"}, "b": {"storedAt": at, "value": None}},
    }
    assert [each.name for each in path.parent.iterdir()] == ["huggingface.json"]


def test_setting_alone_writes_nothing(tmp_path: Path) -> None:
    made = cache(tmp_path)
    made.set("a", 1)
    assert not (tmp_path / "deep").exists()


def test_another_process_reads_what_was_persisted(tmp_path: Path) -> None:
    made = cache(tmp_path)
    made.set("a", [1, 2])
    made.persist()
    again = cache(tmp_path)
    assert again.get("a").value == [1, 2]
    assert again.snapshot() == made.snapshot()


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("{not json", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "schema version mismatch"),
        ('{"version": 2, "entries": {}}', "schema version mismatch"),
        ('{"version": true, "entries": {}}', "schema version mismatch"),
        ('{"entries": {}}', "schema version mismatch"),
        ('{"version": 1, "entries": []}', "schema version mismatch"),
        ('{"version": 1, "entries": {"a": 3}}', "no usable date"),
        ('{"version": 1, "entries": {"a": {"storedAt": 1e300, "value": 1}}}', "no usable date"),
        ('{"version": 1, "entries": {"a": {"storedAt": NaN, "value": 1}}}', "no usable date"),
    ],
)
def test_a_file_that_cannot_be_used_is_empty_with_exactly_one_warning(
    tmp_path: Path, text: str | bytes, warning: str
) -> None:
    made = written(tmp_path, text)
    assert made.get("a") is None
    assert made.get("b") is None
    assert len(made.warnings) == 1
    assert warning in made.warnings[0]
    assert "huggingface.json" in made.warnings[0]


def test_a_file_that_cannot_be_read_is_empty_with_exactly_one_warning(tmp_path: Path) -> None:
    made = cache(tmp_path)
    (tmp_path / "deep" / "huggingface.json").mkdir(parents=True)
    assert made.get("a") is None
    assert made.get("a") is None
    assert len(made.warnings) == 1
    assert "cache read failed" in made.warnings[0]


def test_a_disk_that_refuses_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "deep").write_text("a file where the folder belongs")
    made = cache(tmp_path)
    made.set("a", 1)
    made.persist()
    assert made.get("a").value == 1
    assert any("cache write failed" in warning for warning in made.warnings)


def test_clear_forgets_everything(tmp_path: Path) -> None:
    made = cache(tmp_path)
    made.set("a", 1)
    made.clear()
    assert made.get("a") is None
    assert made.snapshot() == {}


def test_load_reads_once_ever(tmp_path: Path) -> None:
    made = cache(tmp_path)
    made.load()
    written(tmp_path, '{"version": 1, "entries": {"a": {"storedAt": 1, "value": 1}}}')
    made.load()
    assert made.get("a") is None


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    clock = StillClock()
    made = cache(tmp_path, clock)
    for number in range(5000):
        clock.pass_hours(1)
        made.set(f"k{number}", number)
    made.persist()
    kept = cache(tmp_path, clock).snapshot()
    assert len(kept) == 4096
    assert "k4999" in kept
    assert "k0" not in kept


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
        lambda v: json.dumps({"version": 1, "entries": {"a": v}}).encode()
    )
)
def test_whatever_lies_there_nothing_is_raised(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = written(Path(folder), content)
        made.get("a")
        assert len(made.warnings) <= 1
