"""Streams that are closed or full, in a process of its own: an answer and an exit code, a traceback never."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.streams import GuardedStream, drawing, harmless, harmless_json

FILE = """
localModels:
  name: streams
  pool: {allowedOrgs: [Qwen], packagers: [ggml-org]}
  slots: [{name: chat, profile: general}]
  targets: [{name: s, runtime: store, path: ./models}]
  hardware: {override: {platform: nvidia, vramGb: 24, bandwidthGbps: 1008, ramGb: 64}}
"""
LOST = "error: the output cannot be written: No space left on device\n"
COMMANDS = (
    "plan --offline", "plan --offline --json", "apply --yes --json --offline", "validate", "schema", "status --json",
    "--version", "--help", "plan --no-such-option --json",
)  # fmt: skip
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


@dataclass(frozen=True)
class Shell:
    """Runs the program with streams as a shell redirects them."""

    folder: Path

    def __call__(
        self, words: str, redirected: str, *, stdout: int = subprocess.PIPE
    ) -> subprocess.CompletedProcess[str]:
        (self.folder / "localmodels.yaml").write_text(FILE)
        environment = {f"LOCALMODELS_{kind}_DIR": str(self.folder / kind) for kind in ("STATE", "CACHE", "DATA")}
        environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""}
        script = f'exec "$0" -m reconciler {words} {redirected}'
        return subprocess.run(
            ["/bin/sh", "-c", script, sys.executable],
            cwd=self.folder, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@full
@pytest.mark.parametrize("words", COMMANDS)
def test_a_full_output_is_one_sentence(shell: Shell, words: str) -> None:
    done = shell(words, ">/dev/full")
    assert (done.returncode, done.stderr) == (1, LOST)


def test_a_closed_output_leads_nowhere(shell: Shell) -> None:
    done = shell("plan --offline", ">&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert shell("plan --no-such-option --json", ">&-").returncode == 64


def test_a_closed_input_has_nobody_to_be_asked(shell: Shell) -> None:
    done = shell("apply --offline", "<&-")
    assert done.returncode != 0
    assert "NoneType" not in done.stderr
    adopted = shell.folder / "models" / "Qwen" / "Qwen3-0.6B-GGUF"
    assert not adopted.exists()


def test_what_cannot_be_said_on_the_side_changes_no_answer(shell: Shell) -> None:
    assert shell("plan --offline", "2>&-").stdout.endswith(".\n")
    assert shell("plan --no-such-option", "2>&-").returncode == 64
    assert shell("validate", "<&- >&- 2>&-").returncode == 0


@pytest.mark.parametrize("words", ["schema", "plan --offline", "apply --yes --offline", "apply --yes --json --offline"])
def test_a_reader_who_leaves_ends_the_run_in_silence(shell: Shell, words: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = shell(words, "2>&-", stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_reader_who_leaves_is_told_of_nothing(shell: Shell) -> None:
    done = shell("schema", "| true")
    assert (done.returncode, done.stderr) == (0, "")


@given(st.text())
def test_nothing_that_is_printed_moves_a_cursor_or_rings_a_bell(text: str) -> None:
    colours = re.compile(r"\x1b\[[0-9;]*m")
    shown = colours.sub("", harmless(text)).replace("\r\n", "\n")
    assert all(letter in "\n\t" or unicodedata.category(letter) != "Cc" for letter in shown)
    assert harmless(harmless(text)) == harmless(text)


@given(st.text())
def test_json_says_the_same_without_them(text: str) -> None:
    document = json.dumps(text, ensure_ascii=False)
    assert json.loads(harmless_json(document)) == text
    assert harmless(harmless_json(document)) == harmless_json(document)


def test_a_guarded_stream_shows_what_others_wrote_and_obeys_nobody() -> None:
    written = io.StringIO()
    stream = GuardedStream(written, vital=True)
    stream.write("foreign model\x1b[2J\x1b]0;title\x07 \x1b[31mred\x1b[0m\n")
    drawing(stream).write("\x1b[1A")
    assert written.getvalue() == "foreign model�[2J�]0;title� �[31mred�[0m\n\x1b[1A"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_colour", "shown"), [("", "\x1b[31mred\x1b[0m"), ("1", "�[31mred�[0m")])
def test_colours_of_our_own_pass_where_a_terminal_wants_them(
    no_colour: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_colour)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    GuardedStream(terminal, vital=True).write("\x1b[31mred\x1b[0m")
    assert terminal.getvalue() == shown
