from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.record import Intent, Record
from reconciler.errors import RecordConflict, RecordError, RecordLocked, RecordUnreadable
from reconciler.integrations.record_store import FileRecordStore, folder_name
from tests.builders import artifact, entry
from tests.fakes import FAKE_NOW, FixedClock

FOUND = artifact("acme/alpha-1b-GGUF")
FULL = Record(
    name="default",
    source="/home/someone/localmodels.yaml",
    generation=7,
    entries=(entry(FOUND, "slot/a[0]", model_id="acme/alpha-1b"),),
    intents=(
        Intent(id="7", action="install", target_key="store|/models", target_name="local", name="x", begun_at=FAKE_NOW),
    ),
)


def store(tmp_path: Path, name: str = "default") -> FileRecordStore:
    return FileRecordStore(tmp_path, name, FixedClock())


async def saved(tmp_path: Path) -> FileRecordStore:
    found = store(tmp_path)
    await found.save(FULL)
    return found


async def test_missing_is_empty_and_creates_nothing(tmp_path: Path) -> None:
    assert await store(tmp_path).load() == Record(name="default")
    assert list(tmp_path.iterdir()) == []


async def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    await saved(tmp_path)
    assert await store(tmp_path).load() == FULL
    assert [path.name for path in (tmp_path / "default").iterdir()] == ["record.json"]


async def test_the_record_is_readable_json_for_its_owner_only(tmp_path: Path) -> None:
    found = await saved(tmp_path)
    assert json.loads(found.path.read_text())["formatVersion"] == 1
    assert found.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "not whole JSON"),
        (FULL.model_dump_json()[:200], "not whole JSON"),
        ('{"formatVersion": 2, "name": "default"}', "format version 2"),
        ('{"formatVersion": 1}', "not valid at name"),
        ('{"formatVersion": 1, "name": "default", "entries": [{"name": "x"}]}', "not valid at entries.0"),
        ("[]", "not valid at its top"),
        ("\x00\x00", "not whole JSON"),
    ],
)
async def test_a_bad_record_is_set_aside_with_its_reason_and_never_overwritten(
    tmp_path: Path, content: str, why: str
) -> None:
    found = await saved(tmp_path)
    found.path.write_text(content)
    with pytest.raises(RecordUnreadable) as caught:
        await found.load()
    aside = Path(caught.value.details["path"])
    assert why in caught.value.message
    assert aside.name.startswith("record.json.bad-20261122T120000")
    assert aside.read_text() == content
    assert not found.path.exists()
    with pytest.raises(RecordUnreadable, match="nothing took its place"):
        await found.load()
    aside.unlink()
    assert await found.load() == Record(name="default")


async def test_a_failed_save_leaves_the_old_record_and_no_temporary(tmp_path: Path) -> None:
    found = await saved(tmp_path)
    found.path.unlink()
    found.path.mkdir()
    with pytest.raises(RecordError, match="cannot save the record"):
        await found.save(FULL)
    assert [path.name for path in found.path.parent.iterdir()] == ["record.json"]


async def test_a_folder_in_place_of_the_record_is_no_question_of_rights_or_space(tmp_path: Path) -> None:
    found = await saved(tmp_path)
    found.path.unlink()
    found.path.mkdir()
    for step in (found.load(), found.save(FULL)):
        with pytest.raises(RecordError) as caught:
            await step
        assert "move it away" in (caught.value.hint or "")
        assert "space" not in (caught.value.hint or "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_read_only_folder_is_a_clear_error(tmp_path: Path) -> None:
    found = await saved(tmp_path)
    found.path.parent.chmod(0o500)
    try:
        with pytest.raises(RecordError) as caught:
            await found.save(FULL)
    finally:
        found.path.parent.chmod(0o700)
    assert "LOCALMODELS_STATE_DIR" in (caught.value.hint or "")
    assert await found.load() == FULL


async def test_a_state_directory_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    found = FileRecordStore(tmp_path / "state", "default", FixedClock())
    with pytest.raises(RecordError):
        await found.journal({"event": "intent"})
    with pytest.raises(RecordError):
        async with found.lock(timeout_seconds=0):
            pass
    with pytest.raises(RecordError):
        await found.load()


async def test_the_lock_is_per_document(tmp_path: Path) -> None:
    async with store(tmp_path).lock(timeout_seconds=0), store(tmp_path, "other").lock(timeout_seconds=0):
        with pytest.raises(RecordLocked):
            async with store(tmp_path).lock(timeout_seconds=0):
                pass


async def test_what_a_crash_in_a_save_left_is_swept_under_the_lock(tmp_path: Path) -> None:
    found = await saved(tmp_path)
    (found.path.parent / "record.json.tmp-abc").write_text("half")
    async with found.lock(timeout_seconds=0):
        assert not (found.path.parent / "record.json.tmp-abc").exists()
    assert await found.load() == FULL


async def test_a_record_of_another_name_is_not_taken(tmp_path: Path) -> None:
    found = await saved(tmp_path)
    found.path.write_text(FULL.model_copy(update={"name": "someone"}).model_dump_json())
    with pytest.raises(RecordConflict):
        await found.load()
    assert found.path.exists()


async def test_the_journal_is_dated(tmp_path: Path) -> None:
    found = await saved(tmp_path)
    await found.journal({"event": "intent"})
    line = json.loads((found.path.parent / "journal.jsonl").read_text().splitlines()[-1])
    assert line == {"v": 1, "at": "2026-11-22T12:00:00+00:00", "event": "intent"}


async def test_a_journal_begins_with_the_record_as_it_is_saved(tmp_path: Path) -> None:
    found = await saved(tmp_path)
    assert await found.history() == ()
    await found.journal({"event": "intent"})
    first, second = await found.history()
    assert Record.model_validate_json(json.dumps(first["whole"])) == FULL
    assert (first["event"], first["document"], first["generation"]) == ("opened", "default", 7)
    assert second["event"] == "intent"


async def test_a_record_that_is_lost_while_its_journal_is_there_is_not_an_empty_one(tmp_path: Path) -> None:
    found = store(tmp_path)
    await found.journal({"event": "intent", "after": 0, "generation": 1})
    assert await found.load() == Record(name="default"), "a line whose record was never saved"
    await found.journal({"event": "installed", "after": 1, "generation": 2})
    with pytest.raises(RecordUnreadable, match="is gone") as caught:
        await found.load()
    assert "localmodels rebuild" in (caught.value.hint or "")


async def test_other_documents_records_are_seen_as_far_as_they_can_be_read(tmp_path: Path) -> None:
    found = await saved(tmp_path)
    theirs = FULL.model_copy(update={"name": "other"})
    await store(tmp_path, "other").save(theirs)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "record.json").write_text("{")
    assert await found.others() == (theirs,)
    assert await store(tmp_path / "nowhere").others() == ()


@given(st.text(min_size=1, max_size=80))
def test_any_document_name_is_one_plain_folder(name: str) -> None:
    folder = folder_name(name)
    assert Path(folder).name == folder
    assert folder not in {".", ".."}
    assert folder == folder.lower()
    assert len(folder) <= 64


@given(st.text(max_size=20), st.text(max_size=20))
def test_two_names_are_two_folders(one: str, other: str) -> None:
    assert (folder_name(one) == folder_name(other)) == (one == other)
