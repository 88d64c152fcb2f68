"""``init`` and the commands that edit the file: the file is the truth, and what is wrong never reaches it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from reconciler.integrations.files.desired_file import DesiredFile
from tests.cli.line import Line

FILE = """\
localModels:
  name: pooled # ours
  pool:
    diskBudget: 50GB # half of it
    allowedOrgs: [Qwen]
    packagers: [ggml-org]
  slots:
    - {name: chat, profile: general}
    - {name: small, model: Qwen/Qwen3-0.6B-GGUF, quant: Q8_0}
  targets: [{name: s, runtime: store}]
  hardware: {override: {platform: nvidia, vramGb: 24, bandwidthGbps: 1008, ramGb: 64}}
"""


@pytest.fixture
def here(line: Line) -> Line:
    line.write(FILE)
    return line


@pytest.mark.parametrize("machine", ["rtx-4090", "m3-max-36gb", "cpu-16gb", "cpu-4gb"])
def test_init_writes_a_file_that_is_valid_and_plans(line: Line, machine: str) -> None:
    assert line("init", "--hardware", machine).code == 0
    desired = asyncio.run(DesiredFile(line.folder / "localmodels.yaml", environment={}).load())
    assert desired.slots
    assert line("validate").code == 0
    assert line("plan", "--offline", "--hardware", machine).code == 0


def test_init_does_not_replace_a_file(here: Line) -> None:
    refused = here("init", "--json")
    assert (refused.code, refused.error["code"]) == (64, "file-exists")
    assert (here.folder / "localmodels.yaml").read_text() == FILE
    assert here("init", "--force", "--json").data["slots"]
    assert (here.folder / "localmodels.yaml").read_text() != FILE


def test_init_elsewhere(line: Line) -> None:
    assert line("init", "--out", "other.yaml").code == 0
    assert line("validate", "-f", "other.yaml").code == 0
    unwritable = line("init", "--out", "no/such/folder/other.yaml", "--json")
    assert (unwritable.code, unwritable.error["code"]) == (1, "file-unwritable")


def test_pool_show(here: Line, snapshot: object) -> None:
    assert here.stable(here("pool", "show").out) == snapshot
    assert here("pool", "show", "--json").data["pool"]["allowedOrgs"] == ["Qwen"]


def test_pool_edits_keep_comments_and_show_the_difference(here: Line, snapshot: object) -> None:
    shown = [
        here("pool", "set-budget", "80GB").out,
        here("pool", "allow-org", "google").out,
        here("pool", "allow-family", "qwen3").out,
    ]
    assert here.stable("\n".join(shown)) == snapshot
    text = (here.folder / "localmodels.yaml").read_text()
    assert "# ours" in text
    assert "# half of it" in text


def test_an_edit_that_would_break_the_file_is_refused(here: Line) -> None:
    for words in (
        ("install", "google/gemma-3-4b-it-GGUF"),
        ("install", "Qwen/Qwen3-8B-GGUF", "--target", "nope"),
        ("pool", "set-budget", "0GB"),
        ("pool", "allow-org", "a/b"),
    ):
        refused = here(*words, "--json")
        assert (refused.code, refused.error["code"]) == (64, "edit-refused")
        assert refused.error["details"]["problems"]
        text = here(*words).err
        assert text.startswith("this edit would make ")
        assert "localmodels.yaml invalid, so nothing was written:\n" in text
        assert "is not valid" not in text
    assert (here.folder / "localmodels.yaml").read_text() == FILE
    assert here("pool", "set-budget", "80").code == 64


def test_a_file_that_is_wrong_already_is_not_blamed_on_the_edit(here: Line) -> None:
    here.write(FILE.replace("50GB", "none"))
    refused = here("pool", "allow-org", "google", "--json")
    assert (refused.code, refused.error["code"]) == (1, "desired-state-invalid")


def test_evict_of_a_ranked_pick_forbids_it(here: Line) -> None:
    rows = here("plan", "--offline", "--json").data["changes"]
    pick = next(row["modelId"] for row in rows if "slot/chat[0]" in row["slots"])
    edited = here("evict", pick, "--json")
    assert edited.data["changed"] is True
    assert pick in edited.data["diff"]
    again = here("plan", "--offline", "--json").data["changes"]
    assert pick not in {row["modelId"] for row in again}


def test_evict_says_what_it_cannot(here: Line) -> None:
    ranked = here("evict", "chat", "--json")
    assert ranked.code == 64
    assert "ranked, not a pin" in ranked.error["message"]
    unknown = here("evict", "smal", "--json")
    assert (unknown.error["code"], unknown.error["hint"]) == ("unknown-model", "did you mean small?")


def test_evict_of_a_pin_by_its_slot(here: Line) -> None:
    assert here("evict", "small").code == 0
    assert "Qwen3-0.6B" not in (here.folder / "localmodels.yaml").read_text()


def test_validate_tells_everything_at_once(line: Line) -> None:
    line.write("localModels:\n  poool: {}\n  approval: maybe\n  interval: never\n")
    wrong = line("validate", "--json")
    assert wrong.code == 1
    assert len(wrong.error["details"]["problems"]) == 3
    assert all(problem["line"] and problem["column"] for problem in wrong.error["details"]["problems"])
    text = line("validate").err
    assert "localmodels.yaml:2:3" in text
    assert "pool" in text


def test_validate_of_a_valid_file(here: Line) -> None:
    found = here("validate", "--json").data
    assert (found["name"], found["slots"], found["targets"]) == ("pooled", ["chat", "small"], ["s"])
    assert "is valid: pooled, 2 slots, 1 target" in here("validate").out


def test_validate_takes_several_files_as_a_hook_gives_them(here: Line) -> None:
    here.write("localModels: {slots: [{name: a}], targets: [{name: t}]}\n", "b.yaml")
    both = here("validate", "localmodels.yaml", "b.yaml")
    assert both.code == 0
    assert "pooled, 2 slots, 1 target\n" in both.out
    assert "default, 1 slot, 1 target\n" in both.out
    assert [one["name"] for one in here("validate", "-f", "b.yaml", "localmodels.yaml", "--json").data["files"]] == [
        "default",
        "pooled",
    ]


def test_validate_tells_the_problems_of_all_files(here: Line) -> None:
    here.write("localModels: {poool: {}, approval: maybe}\n", "b.yaml")
    here.write("localModels: {interval: never}\n", "c.yaml")
    told = here("validate", "b.yaml", "localmodels.yaml", "c.yaml", "gone.yaml")
    assert told.code == 1
    assert "localmodels.yaml is valid" in told.out
    assert told.err.startswith("3 of 4 files not valid: 4 problems\n")
    assert all(place in told.err for place in ("b.yaml:1:15: ", "c.yaml:1:25: ", "gone.yaml does not exist"))
    wrong = here("validate", "b.yaml", "localmodels.yaml", "c.yaml", "--json")
    assert wrong.code == 1
    problems = wrong.error["details"]["problems"]
    assert [Path(problem["file"]).name for problem in problems] == ["b.yaml", "b.yaml", "c.yaml"]


def test_a_family_that_matches_nothing_is_a_warning_with_the_nearest(here: Line) -> None:
    told = here("pool", "allow-family", "qwenn3")
    assert told.code == 0
    assert "qwenn3" in told.err
    assert "qwen" in told.err.replace("qwenn3", "")
    assert here("pool", "allow-family", " ").code == 64


ADAPTED = (
    FILE.replace("{name: s, runtime: store}", "{name: s, runtime: llama-server}")
    + """\
  adapters: # LoRA
    - name: sql # ours
      base: small
      source: {path: ./sql} # trained here
      serve: [{target: s}]
"""
)


def test_an_edit_keeps_adapters_as_they_are(line: Line) -> None:
    line.write(ADAPTED)
    assert line("pool", "set-budget", "60GB").code == 0
    assert (line.folder / "localmodels.yaml").read_text() == ADAPTED.replace("50GB", "60GB")


def test_the_slot_that_an_adapter_stands_on_is_not_edited_away(line: Line) -> None:
    line.write(ADAPTED)
    refused = line("evict", "small", "--json")
    assert refused.code != 0
    assert "found 'small'; allowed: a slot (chat), or a model" in str(refused.error)
    assert (line.folder / "localmodels.yaml").read_text() == ADAPTED
