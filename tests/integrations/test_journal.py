from __future__ import annotations

from pathlib import Path

from reconciler.integrations.journal import ROTATE_BYTES, Journal


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"event": "intent", "name": "añb"})
    journal.append({"event": "installed"})
    assert [line["event"] for line in journal.lines()] == ["intent", "installed"]
    assert next(iter(journal.lines()))["name"] == "añb"


def test_half_a_line_is_skipped_and_the_next_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append({"event": "one"})
    with path.open("a") as file:
        file.write('{"v":1,"event":"ha')
    journal.append({"event": "two"})
    assert [line["event"] for line in journal.lines()] == ["one", "two"]


def test_no_file_is_no_lines(tmp_path: Path) -> None:
    assert list(Journal(tmp_path / "journal.jsonl").lines()) == []


def test_a_long_journal_is_set_beside_and_still_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append({"event": "old", "filler": "x" * ROTATE_BYTES})
    journal.append({"event": "new"})
    assert path.stat().st_size < 100
    assert [line["event"] for line in journal.lines()] == ["old", "new"]


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).append({"event": "one"})
    assert path.stat().st_mode & 0o077 == 0


def test_a_line_that_no_program_of_ours_wrote_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("[" * 100_000 + '\n{"event": "one"}\n', encoding="utf-8")
    assert [line["event"] for line in Journal(path).lines()] == ["one"]
