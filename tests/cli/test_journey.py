"""What an operator does, from a file to a machine that is as it says, through the real parts."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from reconciler.integrations.clock import SystemClock
from reconciler.integrations.record_store import FileRecordStore
from tests.cli.line import Answer, Line

NAME = "acme/tiny-GGUF/tiny-Q8_0.gguf"
FILE = """\
localModels:
  name: tiny
  pool: {{diskBudget: 1GB, minFreeDisk: 1MB, allowedOrgs: [acme]}}
  slots:
    - {{name: chat, model: acme/tiny-GGUF, quant: Q8_0}} # the pin
  targets:
    - {{name: files, runtime: store, path: ./models}}
  fuses: {{allowEmpty: true}}
  hardware: {{override: {{platform: nvidia, vramGb: 24, bandwidthGbps: 1008, ramGb: 64}}}}
  hub: {{endpoint: "{hub}"}}
"""


@pytest.fixture
def here(line: Line, hub: str) -> Line:
    line.write(FILE.format(hub=hub))
    return line


@pytest.fixture
def applied(here: Line) -> Line:
    assert here("apply", "--yes").code == 0
    return here


def test_plan_apply_in_sync(here: Line) -> None:
    planned = here("plan", "--json")
    assert planned.code == 0
    assert [row["action"] for row in planned.data["changes"]] == ["install"]
    assert here("plan", "--detailed-exitcode").code == 2
    unfilled = here("which", "chat", "--json")
    assert (unfilled.code, unfilled.error["code"]) == (4, "slot-unfilled")
    done = here("apply", "--yes")
    assert done.code == 0
    assert "Done: 1 of 1 steps" in done.out
    assert f"installed {NAME} on files" in done.err
    again = here("plan", "--detailed-exitcode")
    assert again.code == 0
    assert again.out.endswith("In sync: 1 kept.\n")


def test_apply_in_json_is_a_stream(here: Line) -> None:
    events = here("apply", "--yes", "--json").events
    assert {"stepStarted", "stepFinished"} <= {event["type"] for event in events}
    assert events[-1]["ok"] is True
    assert events[-1]["data"]["outcomes"][0]["status"] == "done"


def test_apply_asks_nobody_without_a_terminal(here: Line) -> None:
    refused = here("apply")
    assert (refused.code, refused.err.splitlines()[0]) == (64, "error: nobody can be asked here")
    assert "--yes" in refused.err
    assert here("apply", "--json").events[-1]["error"]["code"] == "confirmation-needed"
    assert not (here.folder / "models/acme").exists()


def test_which_says_where_a_program_finds_the_model(applied: Line) -> None:
    (found,) = applied("which", "chat", "--json").data
    assert found["path"] == str(applied.folder / "models" / NAME)
    assert (found["target"], found["model"], found["context"], found["ours"]) == ("files", NAME, 2048, True)
    text = applied("which", "slot/chat[0]")
    assert f"path     {applied.folder}/models/{NAME}" in text.out
    assert applied("which", "chat", "--path").out == f"{applied.folder}/models/{NAME}\n"
    (applied.folder / "models" / NAME).write_bytes(b"other")
    changed = applied("which", "chat", "--path")
    assert (changed.code, changed.out) == (4, f"{applied.folder}/models/{NAME}\n")
    assert "is not what was installed" in changed.err
    unknown = applied("which", "chatt")
    assert unknown.code == 64
    assert "did you mean chat?" in unknown.err


def test_status_in_sync(applied: Line, snapshot: object) -> None:
    assert applied("status").code == 0
    assert applied.stable(applied("status").out) == snapshot
    found = applied("status", "--json").data
    assert found["inSync"] is True
    assert found["targets"][0]["models"][0]["standing"] == "ours"


def test_drift_is_seen_and_repaired(applied: Line, snapshot: object) -> None:
    shutil.rmtree(applied.folder / "models/acme")
    assert applied.stable(applied("status").out) == snapshot
    assert applied("plan", "--detailed-exitcode").code == 2
    assert applied("apply", "--yes").code == 0
    assert applied("plan", "--detailed-exitcode").code == 0


def test_disown_and_adopt(applied: Line) -> None:
    let_go = applied("disown", NAME)
    assert let_go.code == 0
    assert "not ours any more" in let_go.out
    assert applied("plan", "--json").data["kept"][0]["reason"] == "unmanaged-match"
    assert applied("disown", NAME).code == 64
    taken = applied("adopt", NAME, "--json")
    assert taken.data["adopted"] is True
    assert applied("plan", "--json").data["kept"][0]["reason"] == "in-sync"
    assert applied("adopt", "no/such/model", "--json").error["code"] == "usage"


def test_evict_of_a_pin_takes_its_slot_out(applied: Line, snapshot: object) -> None:
    edited = applied("evict", NAME)
    assert edited.code == 0
    assert applied.stable(edited.out) == snapshot
    assert "next:" in edited.err
    assert applied("plan", "--json").data["changes"][0]["action"] == "evict"
    assert applied("apply", "--yes").code == 0
    assert not (applied.folder / "models" / NAME).exists()


def test_install_pins_a_second_model(applied: Line) -> None:
    edited = applied("install", "acme/other-GGUF", "--quant", "Q8_0", "--slot-name", "second", "--json")
    assert edited.data["changed"] is True
    assert "# the pin" in (applied.folder / "localmodels.yaml").read_text()
    assert applied("install", "acme/other-GGUF", "--quant", "Q8_0").out.endswith("nothing is changed\n")
    assert applied("apply", "--yes").code == 0
    assert applied("which", "second").code == 0


def test_destroy_takes_everything_of_ours(applied: Line) -> None:
    assert applied("destroy", "--dry-run").code == 0
    assert (applied.folder / "models" / NAME).exists()
    refused = applied("destroy")
    assert refused.code == 64
    foreign = applied.folder / "models/acme/tiny-GGUF/mine.gguf"
    shutil.copy(applied.folder / "models" / NAME, foreign)
    gone = applied("destroy", "--yes", "--json")
    assert gone.code == 0
    assert gone.data["outcomes"][0]["status"] == "done"
    assert not (applied.folder / "models" / NAME).exists()
    assert foreign.exists()


def test_a_saved_plan_runs_exactly_or_not_at_all(here: Line) -> None:
    assert here("plan", "--out", "plan.json").code == 0
    assert here("apply", "plan.json").code == 0
    stale = here("apply", "plan.json", "--json")
    assert stale.code == 6
    assert stale.events[-1]["error"]["code"] == "plan-stale"
    document = json.loads((here.folder / "plan.json").read_text())
    document["plan"]["changes"] = []
    (here.folder / "plan.json").write_text(json.dumps(document))
    tampered = here("apply", "plan.json")
    assert tampered.code == 6
    assert "not what its own observation leads to" in tampered.err


def test_a_saved_plan_finds_its_own_file(here: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert here("plan", "--out", "plan.json").code == 0
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "localmodels.yaml").write_text((here.folder / "localmodels.yaml").read_text().replace("tiny\n", "b\n", 1))
    saved = str(here.folder / "plan.json")
    other = here("apply", saved, "-f", str(beside / "localmodels.yaml"), "--json")
    assert other.code == 6
    assert "it is a plan of another document: 'tiny'" in other.events[-1]["error"]["message"]
    monkeypatch.chdir(beside)
    assert here("apply", saved).code == 0
    assert (here.folder / "models" / NAME).exists()


def test_an_observation_is_planned_from_elsewhere(applied: Line) -> None:
    assert applied("observe", "--out", "seen.json").code == 0
    elsewhere = applied.folder / "checkout"
    elsewhere.mkdir()
    shutil.copy(applied.folder / "localmodels.yaml", elsewhere)
    planned = applied("plan", "-f", str(elsewhere / "localmodels.yaml"), "--observation", "seen.json", "--json")
    assert planned.code == 0
    assert planned.data["summary"]["kept"] == 1
    assert planned.data["changes"] == []
    renamed = elsewhere / "renamed.yaml"
    renamed.write_text((elsewhere / "localmodels.yaml").read_text().replace("name: tiny", "name: another"))
    other = applied("plan", "-f", str(renamed), "--observation", "seen.json")
    assert other.code == 64
    assert "the observation is of 'tiny'" in other.err


def test_an_observation_that_is_none(applied: Line) -> None:
    applied.write("{}", "broken.json")
    assert applied("plan", "--observation", "broken.json", "--json").error["code"] == "observation-unreadable"
    assert applied("plan", "--observation", "missing.json", "--json").error["code"] == "file-unreadable"


def test_a_target_that_is_down(line: Line) -> None:
    line.write("localModels: {name: down, targets: [{name: o, runtime: ollama, endpoint: 'http://127.0.0.1:9'}]}")
    assert line("plan", "--offline").code == 1
    status = line("status", "--json")
    assert status.code == 1
    assert status.error["code"] == "target-unknown"
    assert status.envelope["data"]["targets"][0]["state"] == "unknown"
    plan = line("plan", "--offline", "--json")
    assert (plan.code, plan.error["details"]) == (1, {"targets": ["o"]})
    assert plan.envelope["data"]["formatVersion"]
    assert line("plan", "--offline", "--detailed-exitcode").code == 1
    seen = line("observe", "--offline", "--out", "seen.json", "--json")
    assert (seen.code, seen.error["code"]) == (1, "target-unknown")
    assert seen.envelope["data"]["unknownTargets"] == ["o"]
    assert line("apply", "--yes", "--offline").code == 1


def test_markdown_is_for_a_pull_request(here: Line) -> None:
    text = here("plan", "--markdown").out
    assert text.startswith("<!-- localmodels-plan:tiny -->")
    assert "| `+` install |" in text


def test_a_second_file_of_the_same_name_is_refused(applied: Line) -> None:
    copy = applied.folder / "copy.yaml"
    shutil.copy(applied.folder / "localmodels.yaml", copy)
    refused = applied("plan", "-f", str(copy), "--json")
    assert (refused.code, refused.error["code"]) == (1, "record-conflict")
    assert applied("plan", "-f", str(copy), "--take-over").code == 0


def test_a_plan_that_the_guard_refuses(applied: Line) -> None:
    path = applied.folder / "localmodels.yaml"
    path.write_text(path.read_text().replace("  fuses: {allowEmpty: true}\n", ""))
    applied("evict", "chat")
    assert applied("plan", "--detailed-exitcode").code == 4
    refused = applied("apply", "--yes", "--json")
    assert refused.code == 4
    assert refused.events[-1]["error"]["code"] == "refused-by-guard"
    assert applied("apply", "--yes", "--allow-evictions", "1").code == 0


def test_two_at_once(here: Line) -> None:
    """While another run holds the lock, an apply says whose it is and leaves with 5."""

    async def meanwhile() -> None:
        store = FileRecordStore(here.folder.parent / "state", "tiny", SystemClock())
        async with store.lock(timeout_seconds=0):
            answers.append(await asyncio.to_thread(here, "pool", "show"))
            answers.append(await asyncio.to_thread(here, "disown", NAME, "--json"))

    answers: list[Answer] = []
    asyncio.run(meanwhile())
    looked, refused = answers
    assert looked.code == 0
    assert (refused.code, refused.error["code"]) == (5, "locked")


def test_catalog_refresh_asks_the_hub_of_the_file(here: Line) -> None:
    found = here("catalog", "refresh", "--json").data
    assert found["origin"] == "live"
    assert {"name": "acme", "count": 2} in found["publishers"]
    assert here("catalog", "--json").data["origin"] == "cached"


def test_destroy_of_nothing_says_so_once(here: Line) -> None:
    answer = here("destroy")
    assert answer.code == 0
    assert answer.out.count("kept") == 1
