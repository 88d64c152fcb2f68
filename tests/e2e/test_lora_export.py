"""An export killed outright, in a process of its own: nothing half-written ever stands under the data set's name."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from tests.lora.corpora import native_row, text_row

pytestmark = pytest.mark.e2e

RECORDS = 12_000


def write_corpus(folder: Path, records: int) -> None:
    filler = "what it says " * 150
    with (folder / "corpus.jsonl").open("w") as file:
        for number in range(records):
            row = (text_row if number % 2 else native_row)(f"r{number}", id=f"r{number}")
            row["messages"][-1]["content"] += filler
            file.write(json.dumps(row) + "\n")


def command(folder: Path) -> list[str]:
    words = [
        "lora",
        "export",
        "--base",
        "Qwen/Qwen3-8B",
        "--corpus",
        ".",
        "--out",
        "out.jsonl",
        "--manifest",
        "out.json",
    ]
    return [sys.executable, "-m", "reconciler", *words]


def drafts(folder: Path) -> list[Path]:
    return [path for path in folder.glob(".out.*.part") if path.exists() and path.stat().st_size > 0]


def test_killed_in_the_middle_it_leaves_the_old_data_set_and_the_next_run_sweeps(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("old\n")
    write_corpus(tmp_path, RECORDS)
    running = subprocess.Popen(command(tmp_path), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not drafts(tmp_path) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    assert running.wait(30) == -signal.SIGKILL
    assert (tmp_path / "out.jsonl").read_text() == "old\n"
    assert not (tmp_path / "out.json").exists()
    assert drafts(tmp_path)

    write_corpus(tmp_path, 50)
    done = subprocess.run(command(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.stat().st_size) == [
        "corpus.jsonl",
        "out.json",
        "out.jsonl",
    ]
    manifest = json.loads((tmp_path / "out.json").read_text())
    assert manifest["output"]["sha256"] == sha256((tmp_path / "out.jsonl").read_bytes()).hexdigest()


def test_every_line_is_plain_json_with_messages_and_tools(tmp_path: Path) -> None:
    """What a trainer's JSON reader needs: one object a line, the same columns in each, no value of two types."""
    write_corpus(tmp_path, 60)
    subprocess.run(command(tmp_path), cwd=tmp_path, capture_output=True, timeout=60, check=True)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 60
    assert {tuple(row) for row in rows} == {
        ("id", "eval_name", "language", "task_type", "messages", "tools", "metadata")
    }
    kinds = {(key, type(value)) for row in rows for key, value in row.items()}
    assert len(kinds) == 7
    fields = {(key, type(value)) for row in rows for message in row["messages"] for key, value in message.items()}
    assert fields == {("role", str), ("content", str), ("tool_calls", list), ("tool_call_id", str), ("name", str)}
