"""``score``: anyone can judge our estimates on points of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.line import Line

COLUMNS = (
    "id", "hardware", "hw_class", "mem_gb", "bw_gbps", "engine", "model", "params_b", "active_params_b", "moe", "quant",
    "kv_dtype", "prompt_tokens", "gen_tokens", "ctx_alloc", "decode_tps", "peak_mem_gb", "likely_spill",
)  # fmt: skip
ROWS = (
    ("a", "RTX 4090", "DISCRETE_GPU", 24, 1008, "llama.cpp", "Qwen/Qwen3-8B", 8.19, None, False, "Q4_K_M", None, 512, 128,
     8192, 110.0, 6.4, False),
    ("b", "RTX 4090", "DISCRETE_GPU", 24, 1008, "llama.cpp", "Qwen/Qwen3-30B-A3B", 30.5, 3.3, True, "Q4_K_M", "q8_0", 512,
     128, 65536, 160.0, 22.1, False),
    ("c", "Apple M4 Pro", "UNIFIED", 24, 273, "ollama", "qwen3:1.7b", 1.7, None, False, "Q4_K_M", None, 20, 200, None, 90.0,
     None, False),
    ("d", "RTX 4060", "DISCRETE_GPU", 8, 272, "llama.cpp", "Qwen/Qwen3-32B", 32.8, None, False, "Q4_K_M", None, 20, 200,
     4096, 3.0, 7.9, True),
    ("e", "A board", "CPU_ONLY", 16, None, "llama.cpp", "Qwen/Qwen3-0.6B", 0.6, None, False, "Q8_0", None, 20, 200, 4096,
     30.0, 1.5, False),
)  # fmt: skip
FIGURES = {"n", "mdape", "bias", "coverage80", "width80"}


def points(line: Line, rows: Any = ROWS, **more: Any) -> str:
    document = {"columns": list(COLUMNS), "rows": [list(row) for row in rows], **more}
    return str(line.write(json.dumps(document), "points.json"))


def test_every_group_is_scored_over_every_row_that_counts(line: Line) -> None:
    found = line("score", points(line), "--json").data
    assert {name: group["n"] for name, group in found["speed"].items()} == {
        "all": 3,
        "dense": 2,
        "moe": 1,
        "under_2b": 1,
    }
    assert {name: group["n"] for name, group in found["memory"].items()} == {"all": 2, "over_32k": 1}
    assert all(set(group) == FIGURES for kind in ("speed", "memory") for group in found[kind].values())
    assert found["points"] == {"all": 5, "spilled": 1, "withoutBandwidth": 1, "notTimed": 0}
    assert found["speed"]["all"]["width80"] > 1
    assert 0 <= found["speed"]["all"]["coverage80"] <= 1


def test_a_group_without_rows_has_no_figures(line: Line) -> None:
    found = line("score", points(line, ROWS[:1]), "--json").data
    assert found["speed"]["moe"] == {"n": 0, "mdape": None, "bias": None, "coverage80": None, "width80": None}
    empty = line("score", points(line, ()), "--json").data
    assert {group["n"] for kind in ("speed", "memory") for group in empty[kind].values()} == {0}
    assert line("score", points(line, ())).code == 0


def test_rows_give_the_figures_again(line: Line) -> None:
    found = line("score", points(line), "--json", "--rows").data
    rows = found["rows"]
    assert [row["id"] for row in rows["speed"]] == ["a", "b", "c"]
    assert [row["id"] for row in rows["memory"]] == ["a", "b"]
    for row in (*rows["speed"], *rows["memory"]):
        assert row["low"] <= row["estimate"] <= row["high"]
    errors = sorted(abs(row["estimate"] / row["measured"] - 1) for row in rows["speed"])
    assert found["speed"]["all"]["mdape"] == pytest.approx(errors[1])


def test_a_person_reads_two_tables(line: Line) -> None:
    text = line("score", points(line)).out
    assert "3 of 5 points count for speed, 2 for memory (not counted: 1 spilled, 1 without a bandwidth)" in text
    lines = [part.split()[:2] for part in text.splitlines()]
    for expected in (["all", "3"], ["dense", "2"], ["moe", "1"], ["under_2b", "1"], ["over_32k", "1"]):
        assert expected in lines
    with_rows = line("score", points(line), "--rows").out
    assert with_rows.startswith(text)
    assert "tokens/s" in with_rows
    assert "GiB" in with_rows


def test_how_the_figures_are_shown(line: Line, snapshot: Any) -> None:
    from reconciler.cli.views.score import Counted, score_text
    from reconciler.ranking.scoring import Accuracy, GroupScore, ScoredRow

    row = ScoredRow("lm:cmq50shlu004bpf011", 104.25, 80.0, 130.0, 110.0)
    one, none = GroupScore(1, 0.0523, 0.948, 1.0, 1.625), GroupScore(0, None, None, None, None)
    speed = Accuracy((("all", one), ("dense", one), ("moe", none), ("under_2b", none)), (row,))
    memory = Accuracy((("all", GroupScore(12, 0.1, 1.0, 0.75, float("inf"))), ("over_32k", none)), (row,))
    of = Counted(points=16, speed=1, memory=12, spilled=2, without_bandwidth=1, not_timed=12)
    assert score_text(speed, memory, of, with_rows=True) == snapshot


def test_points_come_from_a_pipe_too(line: Line) -> None:
    given = Path(points(line)).read_text()
    command = [sys.executable, "-m", "reconciler", "score", "-", "--json"]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["data"] == line("score", points(line), "--json").data


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("nonsense", "is not JSON"),
        ("[]", "points.json: document:"),
        ('{"columns": ["id"], "rows": []}', "columns: hardware is missing"),
        (
            '{"columns": ["id", "hardware", "model", "params_b"], "rows": [["a", "b", "c", "eight"]]}',
            "rows[0].params_b",
        ),
        ('{"columns": ["id", "hardware", "model", "params_b"], "rows": [["a", "b"]]}', "rows[0]"),
        ("\ufeff{}", "columns"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_bad_file_says_what_and_where(line: Line, text: str, where: str) -> None:
    path = line.write(text, "points.json")
    answer = line("score", str(path), "--json")
    assert answer.code == 64
    assert answer.error["code"] == "points-invalid"
    assert where in answer.error["message"]
    assert "docs/estimates.md" in answer.error["hint"]


def test_every_flaw_is_told(line: Line) -> None:
    rows = [(*ROWS[0][:15], -1, *ROWS[0][16:]), (*ROWS[1][:7], 0, *ROWS[1][8:])]
    error = line("score", points(line, rows), "--json").error
    assert [each["path"] for each in error["details"]["problems"]] == ["rows[0].decode_tps", "rows[1].params_b"]
    assert "(and 1 more)" in error["message"]


def test_what_could_not_be_read_is_told_once_and_a_byte_order_mark_is_no_matter(line: Line) -> None:
    rows = [(*ROWS[0][:14], "8k", *ROWS[0][15:]), (*ROWS[1][:14], -1, *ROWS[1][15:])]
    document = json.dumps({"columns": list(COLUMNS), "rows": [list(row) for row in rows]})
    answer = line("score", str(line.write("\ufeff" + document, "points.json")), "--json")
    assert answer.data["speed"]["all"]["n"] == 2
    (warning,) = json.loads(answer.out)["warnings"]
    assert warning.startswith("2 values could not be read and count as unknown, such as rows[0].ctx_alloc")


def test_a_file_that_cannot_be_read(line: Line) -> None:
    assert line("score", "nowhere.json", "--json").error["code"] == "file-unreadable"
    assert line("score", ".", "--json").error["code"] == "file-unreadable"
    (line.folder / "bytes").write_bytes(b"\xff\xfe\x00")
    assert line("score", "bytes", "--json").error["code"] == "points-invalid"
    missing = line("score")
    assert missing.code == 64
    assert "score --help" in missing.err
