"""Corpora on a disk: read in bounded lines, written whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from reconciler.domain.units import Bytes
from reconciler.errors import OutsideError, Refused, UsageError
from reconciler.integrations.files.corpus_files import LocalCorpusFiles
from reconciler.lora.corpus import CONVENTIONAL_NAMES, MOST_BYTES_OF_A_LINE

FILES = LocalCorpusFiles()


def numbered(path: Path) -> list[tuple[int, bytes | None]]:
    return [(line.number, line.content) for line in FILES.corpus(str(path)).lines()]


def test_lines_are_numbered_and_hashed_while_they_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"one\n\ntwo\r\nthree")
    corpus = FILES.corpus(str(file))
    assert [(line.number, line.content) for line in corpus.lines()] == [
        (1, b"one"), (2, b""), (3, b"two\r"), (4, b"three"),
    ]  # fmt: skip
    assert corpus.sha256 == sha256(file.read_bytes()).hexdigest()


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert numbered(tmp_path / "a") == []


def test_a_line_that_is_too_long_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "a"
    whole = b"x" * MOST_BYTES_OF_A_LINE
    file.write_bytes(whole + b"\n" + whole + b"y\n" + b"after\n" + whole + b"z")
    corpus = FILES.corpus(str(file))
    found = [(line.number, len(line.content) if line.content is not None else None) for line in corpus.lines()]
    assert found == [(1, MOST_BYTES_OF_A_LINE), (2, None), (3, 5), (4, None)]
    assert corpus.sha256 == sha256(file.read_bytes()).hexdigest()


def test_a_corpus_that_changes_is_no_corpus(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one\ntwo\n")
    lines = FILES.corpus(str(file)).lines()
    next(lines)
    with file.open("ab") as more:
        more.write(b"three\n")
    with pytest.raises(Refused, match="changed") as found:
        list(lines)
    assert found.value.code == "content-changed"


def test_a_folder_holds_it_under_a_conventional_name(tmp_path: Path) -> None:
    assert CONVENTIONAL_NAMES == ("tool-calling-corpus.jsonl", "burin-tool-calling-corpus.jsonl", "corpus.jsonl")
    for name in reversed(CONVENTIONAL_NAMES):
        (tmp_path / name).write_bytes(b"")
        assert FILES.corpus(str(tmp_path)).path == str(tmp_path / name)


def test_home_is_meant_by_a_leading_tilde_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").write_bytes(b"")
    assert FILES.corpus("~/a").path == str(tmp_path / "a")
    with pytest.raises(UsageError, match="~a"):
        FILES.corpus("~a")


@pytest.mark.parametrize(
    "named", ["nothing", "empty-folder", "pipe", "dangling", "circle", "", "a\0b", "x" * 5000, "file/below"]
)
def test_what_is_no_corpus_is_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty-folder").mkdir()
    os.mkfifo("pipe")
    Path("dangling").symlink_to("gone")
    Path("circle").symlink_to("circle")
    Path("file").write_bytes(b"")
    with pytest.raises(UsageError) as found:
        FILES.corpus(named)
    assert found.value.code == "file-unreadable"


def test_a_link_that_leads_out_of_the_folder_is_not_taken_for_its_corpus(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"x\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "corpus.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="leads out"):
        FILES.corpus(str(folder))
    assert numbered(folder / "corpus.jsonl") == [(1, b"x")]  # who names the link means it


def test_a_small_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert FILES.text(str(tmp_path / "a"), limit=Bytes(5)) == b"12345"
    for named, limit in (("a", 4), ("b", 5), (".", 5)):
        with pytest.raises(UsageError) as found:
            FILES.text(str(tmp_path / named), limit=Bytes(limit))
        assert found.value.code == "file-unreadable"


# writing


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def write(out: Path, manifest: Path | None, apart_from: Path | None = None, *, keep: bool = True) -> None:
    apart = (FILES.corpus(str(apart_from)),) if apart_from else ()
    with FILES.drafts(str(out), str(manifest) if manifest else None, apart_from=apart) as drafts:
        drafts.add("row\n")
        assert drafts.dataset_sha256() == sha256(b"row\n").hexdigest()
        assert drafts.put_manifest("{}\n") == "{}\n"
        if keep:
            drafts.keep()


def test_both_are_put_in_their_places_together(tmp_path: Path) -> None:
    write(tmp_path / "new/deep/out", tmp_path / "m")
    assert left(tmp_path) == ["m", "new", "new/deep", "new/deep/out"]
    assert ((tmp_path / "new/deep/out").read_text(), (tmp_path / "m").read_text()) == ("row\n", "{}\n")


def test_what_is_not_kept_leaves_nothing_and_the_old_stays(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("old")
    write(tmp_path / "new/deep/out", tmp_path / "m", keep=False)
    assert (left(tmp_path), (tmp_path / "m").read_text()) == (["m"], "old")


def test_a_failure_in_between_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    with suppress(ZeroDivisionError), FILES.drafts(str(tmp_path / "out"), None, apart_from=()) as drafts:
        drafts.add("new")
        raise ZeroDivisionError
    assert (left(tmp_path), (tmp_path / "out").read_text()) == (["out"], "old")


@pytest.mark.parametrize("there", [True, False])
def test_when_the_second_cannot_be_put_the_first_is_taken_back(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "out").write_text("old")
    with FILES.drafts(str(tmp_path / "out"), str(tmp_path / "m"), apart_from=()) as drafts:
        drafts.add("new")
        drafts.put_manifest("{}")
        (tmp_path / "m").mkdir()  # somebody was faster
        (tmp_path / "m" / "theirs").write_text("x")
        with pytest.raises(OutsideError) as found:
            drafts.keep()
    assert found.value.code == "file-unwritable"
    assert left(tmp_path) == ["m", "m/theirs", *(["out"] if there else [])]
    assert not there or (tmp_path / "out").read_text() == "old"


def test_what_a_killed_run_left_is_swept_and_what_another_run_writes_is_not(tmp_path: Path) -> None:
    mine, theirs, odd = (tmp_path / f".out.{letter * 32}.part" for letter in ("a", "b", "Z"))
    old = tmp_path / f".out.{'c' * 32}.old"
    for file in (mine, theirs, odd, old):
        file.write_text("rows")
    with theirs.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write(tmp_path / "out", None)
        assert left(tmp_path) == sorted([theirs.name, odd.name, old.name, "out"])
        write(tmp_path / "out", None)
        assert left(tmp_path) == sorted([theirs.name, odd.name, "out"])


def test_two_runs_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with FILES.drafts(out, None, apart_from=()) as one, FILES.drafts(out, None, apart_from=()) as other:
        one.add("one")
        other.add("other")
        one.keep()
        with FILES.drafts(out, None, apart_from=()):
            other.keep()
    assert (left(tmp_path), Path(out).read_text()) == (["out"], "other")


def test_an_old_file_keeps_its_permissions_and_a_new_one_gets_the_usual(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    (tmp_path / "out").chmod(0o640)
    write(tmp_path / "out", tmp_path / "m")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "m").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_stays_and_what_it_means_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("made")
    write(tmp_path / "link", tmp_path / "dangling")
    assert ((tmp_path / "link").is_symlink(), (tmp_path / "real").read_text()) == (True, "row\n")
    assert (tmp_path / "made").read_text() == "{}\n"


def _same(folder: Path) -> tuple[str, str]:
    return "corpus", "m"


def _linked(folder: Path) -> tuple[str, str]:
    (folder / "link").symlink_to("corpus")
    return "out", "link"


def _hard_link(folder: Path) -> tuple[str, str]:
    os.link(folder / "corpus", folder / "twin")
    return "twin", "m"


def _both(folder: Path) -> tuple[str, str]:
    (folder / "sub").mkdir()
    return "out", "sub/../out"


def _folder(folder: Path) -> tuple[str, str]:
    return ".", "m"


def _pipe(folder: Path) -> tuple[str, str]:
    os.mkfifo(folder / "pipe")
    return "pipe", "m"


def _circle(folder: Path) -> tuple[str, str]:
    (folder / "circle").symlink_to("circle")
    return "circle", "m"


@pytest.mark.parametrize("places", [_same, _linked, _hard_link, _both, _folder, _pipe, _circle])
def test_places_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: Callable[[Path], tuple[str, str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("corpus").write_text("mine\n")
    out, manifest = places(tmp_path)
    before = left(tmp_path)
    with pytest.raises(UsageError) as found:
        write(Path(out), Path(manifest), Path("corpus"))
    assert found.value.code == "file-unwritable"
    assert (left(tmp_path), Path("corpus").read_text()) == (before, "mine\n")


def test_a_place_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises((OutsideError, UsageError)) as found:
        write(tmp_path / "file/out", None)
    assert found.value.code == "file-unwritable"
    assert left(tmp_path) == ["file"]


def test_a_file_system_without_second_names_is_written_too(tmp_path: Path) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    (tmp_path / "out").write_text("old")
    with LocalCorpusFiles(refused).drafts(str(tmp_path / "out"), None, apart_from=()) as drafts:
        drafts.add("row")
        drafts.keep()
    assert (left(tmp_path), (tmp_path / "out").read_text()) == (["out"], "row")
