"""``measure`` as it is typed: a person's view, the envelope, the exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from reconciler.cli.views.measure import measure_text
from reconciler.domain.units import GB, Bytes
from reconciler.engine.measure import MeasureReport, MeasureRow
from reconciler.planning.measuring import Expected
from tests.cli.line import Line
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_rig import small
from tests.doubles.ollama_store import Name
from tests.measurements import measured

FILE = """
localModels:
  name: t
  pool: {{allowedOrgs: [Qwen]}}
  slots: [{{name: chat, profile: general}}]
  targets:
    - {{name: server, runtime: ollama, endpoint: "{url}"}}
"""


def row(name: str, **changes: object) -> MeasureRow:
    fields = {
        "target": "server", "name": name, "model_id": "Qwen/Qwen3-8B", "quant": "Q4_K_M", "bytes": Bytes(5 * GB),
        "state": "measured", "context": 4096, "expected": Expected(tokens_per_second=110.4, low=88.3, high=138.0),
    }  # fmt: skip
    return MeasureRow.model_validate(fields | changes)


FOUND = measured(
    decode_tokens_per_second=98.34, slowest=97.1, fastest=99.62, prefill_tokens_per_second=2140.0,
    loaded_bytes=Bytes(6 * GB), on_accelerator=1.0,
)  # fmt: skip
REPORT = MeasureReport(
    machine="0123456789abcdef",
    rows=(
        row("qwen3:8b", measurement=FOUND),
        row("own:latest", expected=None, notes=("other work took 80% of the processors: measure again",),
            measurement=measured(decode_tokens_per_second=9.87, slowest=9.0, fastest=11.0)),
        row("nomic-embed-text:latest", state="skipped", reason="it writes no text: there is no speed to tell"),
        row("big:70b", state="failed", reason="big:70b was not done within 60 s", code="timed-out",
            hint="give it longer with --max-time"),
        row("", target="far", state="failed", reason="nobody answers"),
    ),
)  # fmt: skip


def test_what_a_person_reads(snapshot: SnapshotAssertion) -> None:
    assert measure_text(REPORT) == snapshot


def test_what_a_person_reads_before(snapshot: SnapshotAssertion) -> None:
    planned = (row("qwen3:8b", state="planned"), row("own:latest", state="planned", expected=None))
    assert measure_text(REPORT.model_copy(update={"rows": planned})) == snapshot
    assert measure_text(REPORT.model_copy(update={"rows": ()})) == "Nothing to measure: no model is installed."


@pytest.fixture
def ollama(tmp_path: Path) -> Iterator[OllamaDouble]:
    with OllamaDouble(tmp_path / "ollama") as double:
        model = small()
        for blob in model.blobs:
            double.store.add_blob(blob.read(), blob.media_type)
        double.store.write(Name.parse("qwen3:8b"), model.manifest)
        yield double


def kept(line: Line) -> list[dict[str, object]]:
    return json.loads((line.folder.parent / "state" / "measurements.json").read_text())["measurements"]


def test_a_model_of_a_server_is_measured_and_kept(line: Line, ollama: OllamaDouble) -> None:
    line.write(FILE.format(url=ollama.url))
    answer = line("measure", "--json")
    assert answer.code == 0, answer
    (found,) = answer.data["rows"]
    assert (found["state"], found["name"], found["modelId"]) == ("measured", "qwen3:8b", "Qwen/Qwen3-8B")
    assert found["measurement"]["decodeTokensPerSecond"] == pytest.approx(50.0)
    assert kept(line) == [found["measurement"]]
    assert datetime.fromisoformat(str(kept(line)[0]["measuredAt"])) == datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert ollama.runners == {}


def test_a_dry_run_loads_nothing(line: Line, ollama: OllamaDouble) -> None:
    line.write(FILE.format(url=ollama.url))
    answer = line("measure", "--dry-run")
    assert answer.code == 0
    assert re.search(r"Would be measured:\n  qwen3:8b  server", answer.out)
    assert ollama.generated == []
    assert not (line.folder.parent / "state").exists()


def test_nothing_that_can_be_measured_is_no_failure(line: Line, ollama: OllamaDouble) -> None:
    ollama.speed.only_embeds = True
    line.write(FILE.format(url=ollama.url))
    answer = line("measure")
    assert answer.code == 0
    assert "does not support generate" in answer.out
    assert answer.out.endswith("Nothing was measured.\n")


def test_a_server_that_does_not_answer_is_a_failure(line: Line) -> None:
    line.write(FILE.format(url="http://127.0.0.1:9"))
    answer = line("measure", "--json")
    assert answer.code == 1
    assert answer.error["code"] == "not-measured"
    assert answer.error["details"]["failed"] == [{"target": "server", "name": "", "code": "unreachable"}]
    assert answer.envelope["data"]["rows"][0]["state"] == "failed"


def test_some_that_failed_and_some_that_did_not(line: Line, ollama: OllamaDouble) -> None:
    text = FILE.format(url=ollama.url) + '    - {name: gone, runtime: ollama, endpoint: "http://127.0.0.1:9"}\n'
    line.write(text)
    answer = line("measure")
    assert answer.code == 3
    assert "1 model measured" in answer.out
    assert "Failed:" in answer.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--runs", "0"),
        ("--max-time", "0"),
        ("--target", "nowhere"),
        ("--model", "gone*"),
        ("--llama",),
        ("--context", "999999999"),
        ("--context", "511"),
        ("--context", "many"),
    ],
)
def test_wrong_usage(line: Line, ollama: OllamaDouble, arguments: tuple[str, ...]) -> None:
    line.write(FILE.format(url=ollama.url))
    answer = line("measure", "--json", *arguments)
    assert answer.code == 64
    assert answer.error["hint"]


@pytest.mark.parametrize("blocked", ["state", "state/measuring.lock"])
def test_a_state_directory_that_cannot_be_written_is_found_before_anything_is_loaded(
    line: Line, ollama: OllamaDouble, blocked: str
) -> None:
    line.write(FILE.format(url=ollama.url))
    path = line.folder.parent / blocked
    if blocked == "state":
        path.write_text("a file where the directory should be")
    else:
        path.mkdir(parents=True)
    answer = line("measure", "--json")
    assert answer.code == 1
    assert str(path) in answer.error["message"]
    assert "LOCALMODELS_STATE_DIR" in answer.error["hint"]
    assert (ollama.generated, ollama.runners) == ([], {})


def test_without_a_file_it_says_so(line: Line) -> None:
    assert line("measure", "--json").error["code"] == "desired-state-missing"


@pytest.mark.parametrize("option", ["--total-time", "--max-time", "--lock-timeout"])
@pytest.mark.parametrize("value", ["inf", "nan", "-1", "1e12", "soon"])
def test_a_time_that_is_none_is_wrong_usage(line: Line, option: str, value: str) -> None:
    assert line("measure", "--dry-run", f"{option}={value}").code == 64


def test_a_server_that_is_no_program_is_wrong_usage(line: Line, tmp_path: Path) -> None:
    text = tmp_path / "words"
    text.write_text("words")
    text.chmod(0o755)
    for wrong in (text, tmp_path, tmp_path / "nothing"):
        assert line("measure", "--dry-run", "--llama-server", str(wrong)).code == 64
