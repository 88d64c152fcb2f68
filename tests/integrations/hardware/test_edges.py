"""The real edges, on harmless programs and files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reconciler.errors import Refused, Unreachable
from reconciler.integrations.hardware.concurrency import concurrently
from reconciler.integrations.hardware.edges import LocalFiles, LocalShell, LocalSystem, parse_meminfo


def test_shell_gives_what_was_printed_without_interpreting_it() -> None:
    printed = LocalShell().run([sys.executable, "-c", "import sys; print(sys.argv[1])", "$HOME; echo no"])
    assert printed.strip() == "$HOME; echo no"


def test_missing_program_is_refused() -> None:
    with pytest.raises(Refused, match="not installed"):
        LocalShell().run(["no-such-program-anywhere"])


def test_non_zero_exit_is_refused_with_what_it_said() -> None:
    with pytest.raises(Refused, match="ended with 9: broken"):
        LocalShell().run([sys.executable, "-c", "print('broken'); raise SystemExit(9)"])


def test_a_program_that_hangs_is_stopped_with_its_children() -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with pytest.raises(Unreachable, match="did not end"):
        LocalShell(timeout_seconds=0.3).run([sys.executable, "-c", child])


def test_a_program_that_never_stops_printing_is_stopped() -> None:
    with pytest.raises(Refused, match="more than 1000 bytes"):
        LocalShell(output_bytes=1000).run([sys.executable, "-c", "while True: print('x' * 100)"])


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "b").write_text(" 12 \n\0")
    (tmp_path / "a").mkdir()
    files = LocalFiles()
    assert files.read(str(tmp_path / "b")) == "12"
    assert files.names(str(tmp_path)) == ("a", "b")
    assert files.names(str(tmp_path / "nowhere")) == ()


def test_this_system_has_memory_and_processors() -> None:
    system = LocalSystem(LocalFiles())
    total, available = system.memory()
    assert total > 0
    assert available is None or 0 <= available <= total
    assert system.processors()[1] >= 1
    assert system.arch
    assert system.system in {"linux", "macos", "windows", "other"}


def test_meminfo_skips_what_is_not_a_number() -> None:
    assert parse_meminfo("MemTotal: 4 kB\nodd\nHugePages_Total: 3\nBad: x kB") == {
        "MemTotal": 4096,
        "HugePages_Total": 3,
    }


def test_questions_are_answered_or_end_in_their_exception() -> None:
    def fails() -> int:
        raise ValueError("no")

    answers = concurrently({"good": lambda: 1, "bad": fails})
    assert answers["good"] == 1
    assert isinstance(answers["bad"], ValueError)


def test_a_question_without_an_answer_does_not_hold_the_others() -> None:
    from threading import Event

    never = Event()
    answers = concurrently({"stuck": lambda: never.wait(30), "good": lambda: True}, timeout_seconds=0.2)
    never.set()
    assert answers["good"] is True
    assert isinstance(answers["stuck"], Unreachable)
