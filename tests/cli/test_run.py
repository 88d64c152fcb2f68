"""What holds for every command: exit codes, one envelope, variables for flags, no traceback ever."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.cli import outcome
from reconciler.cli.app import command
from reconciler.errors import (
    Corrupt,
    DesiredStateError,
    PlanningError,
    ReconcilerError,
    RecordConflict,
    RecordLocked,
    Refused,
    StalePlan,
    TamperedPlan,
    Unreachable,
    UsageError,
)
from tests.cli.line import Line


def commands(group: object = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every command with the words that call it."""
    found = group or command()
    for name, one in sorted(found.commands.items()):  # type: ignore[attr-defined]
        yield (*path, name), one
        if hasattr(one, "commands"):
            yield from commands(one, (*path, name))


EVERY = list(commands())
LEAVES = [(path, one) for path, one in EVERY if not hasattr(one, "commands")]
ARGUMENTS = {
    "observe": ("--out", "seen.json"), "explain": ("Qwen/Qwen3-8B",), "which": ("chat",), "set-budget": ("1GB",),
    "allow-org": ("Qwen",), "allow-family": ("qwen",), "install": ("Qwen/Qwen3-8B-GGUF",), "evict": ("x",),
    "adopt": ("x",), "disown": ("x",), "mirror": ("--dir", "nowhere"), "init": ("--out", "no/such/folder/f.yaml"),
    "refresh": ("--benchmarks", "nothing.json"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ReconcilerError("x"), 1), (DesiredStateError("x"), 1), (Unreachable("x"), 1), (Refused("x"), 1),
        (Corrupt("x"), 1), (RecordConflict("x"), 1), (PlanningError("x"), 1),
        (PlanningError("x", code="refused-by-guard"), 4), (PlanningError("x", code="disabled"), 4),
        (PlanningError("x", code="not-allowed"), 4), (RecordLocked("x"), 5), (StalePlan("x"), 6),
        (TamperedPlan("x"), 6), (UsageError("x"), 64),
    ],
)  # fmt: skip
def test_exit_code_of_an_error(error: ReconcilerError, code: int) -> None:
    assert outcome.exit_code_of(error) == code


@pytest.mark.parametrize("path", [path for path, _ in LEAVES], ids=" ".join)
def test_every_command_fails_in_one_envelope(line: Line, path: tuple[str, ...]) -> None:
    """Where nothing is, most commands cannot work; what they print is one document all the same."""
    line.write("localModels: {nonsense: 1}")
    if path == ("watch",):  # it waits for a file that is not valid to be mended; for one that is nowhere it does not
        (line.folder / "localmodels.yaml").unlink()
    answer = line(*path, *ARGUMENTS.get(path[-1], ()), "--json")
    if path[0] in ("hardware", "schema"):
        assert answer.data
        return
    last = answer.events[-1]["error"] if path[0] in ("apply", "watch") else answer.error
    assert last["code"]
    assert last["message"]
    assert answer.code in (1, 64)
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("path", [path for path, _ in LEAVES], ids=" ".join)
def test_every_command_refuses_a_wrong_option(line: Line, path: tuple[str, ...]) -> None:
    answer = line(*path, "--no-such-option", "--json")
    assert answer.code == 64
    last = answer.events[-1]["error"] if path[0] in ("apply", "watch") else answer.error
    assert last["code"] == "usage"
    text = line(*path, "--no-such-option")
    assert (text.code, text.out) == (64, "")
    assert text.err.startswith("error: ")
    assert "--help" in text.err


WRITES = {("init", "--out"), ("plan", "--out"), ("observe", "--out"), ("export", "--out"), ("export", "--manifest")}
"""Flags that say where a file goes."""


@pytest.mark.parametrize("path", [path for path, _ in LEAVES], ids=" ".join)
def test_every_flag_is_a_variable_too(path: tuple[str, ...]) -> None:
    (one,) = [found for where, found in LEAVES if where == path]
    for parameter in one.params:  # type: ignore[attr-defined]
        if parameter.param_type_name == "argument" or "--help" in parameter.opts:
            continue
        long = next(word for word in parameter.opts if word.startswith("--"))
        own = f"{path[-1]}-" if (path[-1], long) in WRITES else ""
        assert parameter.envvar == "LOCALMODELS_" + (own + long[2:]).upper().replace("-", "_")
        assert parameter.help


def test_what_is_written_has_a_variable_of_its_own() -> None:
    """One that another command reads, or writes something else to, would be overwritten by whoever had it set."""
    named = [(parameter.envvar, path) for path, one in LEAVES for parameter in one.params]  # type: ignore[attr-defined]
    written = ["LOCALMODELS_" + f"{name}{flag[1:]}".upper().replace("-", "_") for name, flag in WRITES]
    assert [sum(variable == each for variable, _ in named) for each in written] == [1] * len(WRITES)


def test_a_variable_counts_as_its_flag(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.write("localModels: {name: there}", "there.yaml")
    monkeypatch.setenv("LOCALMODELS_FILE", "there.yaml")
    monkeypatch.setenv("LOCALMODELS_JSON", "1")
    monkeypatch.setenv("LOCALMODELS_OFFLINE", "1")
    assert line("plan").data["name"] == "there"
    assert line("plan", "--refresh").error["code"] == "usage"
    assert line("plan", "--bogus").error["code"] == "usage"


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_is_given_to_whoever_asks(line: Line, words: tuple[str, ...]) -> None:
    answer = line(*words)
    assert answer.code == 0
    assert "Commands:" in answer.out


def test_version(line: Line) -> None:
    assert re.fullmatch(r"localmodels \d+\.\d+\.\d+\n", line("--version").out)


@pytest.mark.parametrize("words", [("pool",), ("nonsense",), ("plan", "extra"), ("suggest", "--top", "0"), ("explain",),
                                   ("suggest", "--profile", "poetry"), ("mirror", "--dir", ".", "--port", "70000")])  # fmt: skip
def test_wrong_usage(line: Line, words: tuple[str, ...]) -> None:
    assert line(*words).code == 64


def test_no_file_is_said_with_the_way_out(line: Line) -> None:
    answer = line("plan")
    assert answer.code == 1
    assert "localmodels init" in answer.err
    assert line("plan", "--json").error["code"] == "desired-state-missing"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00", b"", b"- 1", b"localModels: [", b"{" * 5000])
def test_no_file_gives_a_traceback(line: Line, content: bytes) -> None:
    (line.folder / "localmodels.yaml").write_bytes(content)
    for words in (("validate",), ("plan", "--offline"), ("status",), ("pool", "allow-org", "x"), ("evict", "x")):
        answer = line(*words)
        assert answer.code == 1, (words, answer)
        assert "Traceback" not in answer.err
        assert "should not happen" not in answer.err


def test_a_folder_that_cannot_be_written(line: Line) -> None:
    line.write("localModels: {name: t, targets: [{name: s, runtime: store}]}")
    line.folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    answer = line("plan", "--offline", "--out", "/proc/plan.json", "--json")
    line.folder.chmod(0o755)
    assert (answer.code, answer.error["code"]) == (1, "file-unwritable")


def test_a_defect_is_a_sentence_and_a_traceback_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise RuntimeError("oops")

    with pytest.raises(RuntimeError) as caught:
        broken()
    found = outcome.unexpected(caught.value)
    assert (found.code, outcome.exit_code_of(found)) == ("internal", 1)
    assert "RuntimeError: oops" in found.message
    assert "LOCALMODELS_DEBUG=1" in (found.hint or "")
    assert capsys.readouterr().err == ""


def test_a_traceback_is_printed_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LOCALMODELS_DEBUG", "1")
    outcome.unexpected(RuntimeError("oops"))
    assert "RuntimeError: oops" in capsys.readouterr().err


def test_contradicting_flags(line: Line) -> None:
    line.write("localModels: {}")
    assert line("plan", "--offline", "--refresh").code == 64
    assert line("catalog", "refresh", "--offline").code == 64
    assert line("apply", "plan.json", "--accept", "chat").code == 64
    assert line("apply", "missing.json").code == 64


def test_enabled_false_changes_nothing(line: Line) -> None:
    line.write("localModels: {name: off, enabled: false, slots: [], targets: [{name: s, runtime: store, path: ./m}]}")
    assert line("apply", "--yes", "--offline").code == 0, line("plan").out
    refused = line("destroy", "--yes", "--json")
    assert (refused.code, refused.error["code"]) == (4, "disabled")
    assert not (line.folder / "m").exists() or not list(Path(line.folder / "m").rglob("*.gguf"))
