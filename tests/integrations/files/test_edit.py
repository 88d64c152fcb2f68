"""An edit changes what was asked for, and not one other byte."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from reconciler.errors import DesiredStateError, UsageError
from reconciler.integrations.files.edit import (
    add_never,
    add_pin,
    allow_family,
    allow_org,
    remove_pin,
    save,
    set_budget,
    unified_diff,
    write_atomically,
)
from reconciler.integrations.files.yaml_positions import load_yaml

FLOW = """\
# top
localModels:   # the block
  pool:
    diskBudget: "120GB"   # why
    allowedOrgs: [ Qwen ,google ]   # whom

    never: []
  # slots come here
  slots:
    - {name: a, model: Qwen/X-GGUF, quant: Q8_0}   # first
    - name: 'b'   # second
      profile: coding
      # inside b

  # targets come here
  targets:
    - {name: local, runtime: ollama}
# end
"""
BLOCK = """\
apiVersion: localmodels.dev/v1alpha1
kind: LocalModels
metadata: {name: n}
spec:
    pool:
        diskBudgetGb: 120 # GiB
        allowedOrgs:
        - Qwen # one
        # after one
        packagers: [unsloth]
    slots:
    - name: a
      model: Qwen/X-GGUF
"""
BARE = "localModels: {}"
TEXTS = {"flow": FLOW, "block": BLOCK, "bare": BARE, "windows": FLOW.replace("\n", "\r\n"), "no end": FLOW.rstrip("\n")}

EDITS = {
    "set_budget": lambda text: set_budget(text, "1.5TB"),
    "allow_org": lambda text: allow_org(text, "meta-llama"),
    "allow_family": lambda text: allow_family(text, "qwen3"),
    "add_never": lambda text: add_never(text, "*-x*"),
    "add_pin": lambda text: add_pin(text, "google/gemma-3-4b-it-GGUF", "Q4_K_M", "local", None),
}


@pytest.mark.parametrize("form", ["flow", "block", "bare"])
def test_what_each_edit_changes(form: str, snapshot: SnapshotAssertion) -> None:
    text = TEXTS[form]
    shown = [f"-- {name}\n{unified_diff(text, edit(text), 'localmodels.yaml')}" for name, edit in EDITS.items()]
    assert "\n".join(shown) == snapshot


def comments(text: str) -> list[str]:
    return re.findall(r"#[^\r\n]*", text)


@pytest.mark.parametrize("form", TEXTS)
@pytest.mark.parametrize("name", EDITS)
def test_no_other_line_changes_and_no_comment_is_lost(form: str, name: str) -> None:
    text = TEXTS[form]
    edited = EDITS[name](text)
    assert edited != text
    assert comments(edited) == comments(text)
    before, after = text.splitlines(keepends=True), edited.splitlines(keepends=True)
    removed = [line for line in before if line not in after]
    assert len(removed) <= 1
    assert EDITS[name](edited) == edited, "a second time changes nothing"
    assert ("\r\n" in edited) == ("\r\n" in text)
    assert "\n" not in edited.replace("\r\n", "") or "\r\n" not in text


ITEM = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)


@st.composite
def files(draw: st.DrawFn) -> str:
    """Valid files in many styles, with a comment behind every line."""
    settings_: dict[str, Any] = {}
    if draw(st.booleans()):
        settings_["pool"] = {"diskBudget": "5GB"}
        if draw(st.booleans()):
            settings_["pool"]["allowedOrgs"] = draw(st.lists(ITEM, max_size=3))
        if draw(st.booleans()):
            settings_["pool"]["never"] = draw(st.lists(ITEM, max_size=2))
    if draw(st.booleans()):
        names = draw(st.lists(ITEM, max_size=3, unique_by=str.lower))
        settings_["slots"] = [{"name": f"s{name}", "model": f"o/{name}"} for name in names]
    flow = draw(st.sampled_from([None, False, True]))
    text = yaml.dump(
        {"localModels": settings_}, default_flow_style=flow, indent=draw(st.sampled_from([2, 4])), width=1000
    )
    return "# top\n" + "".join(f"{line} # {number}\n" for number, line in enumerate(text.splitlines()))


@settings(max_examples=150, deadline=None)
@given(files(), ITEM, st.sampled_from(["org", "family", "never", "pin", "budget"]))
def test_an_edit_says_what_was_asked_and_keeps_every_comment(text: str, item: str, kind: str) -> None:
    edit = {
        "org": lambda: allow_org(text, item), "family": lambda: allow_family(text, item),
        "never": lambda: add_never(text, f"*{item}*"), "pin": lambda: add_pin(text, f"new/{item}", None, None, "new"),
        "budget": lambda: set_budget(text, "9GB"),
    }[kind]  # fmt: skip
    edited = edit()
    assert comments(edited) == comments(text)
    read = load_yaml(edited).root["localModels"]
    if kind == "org":
        assert item in read["pool"]["allowedOrgs"]
    if kind == "pin":
        assert read["slots"][-1] == {"name": "new", "model": f"new/{item}"}
        assert remove_pin(edited, "new").count("new/") == 0


@settings(max_examples=150, deadline=None)
@given(files(), st.data())
def test_a_removed_pin_takes_only_its_own_lines(text: str, data: st.DataObject) -> None:
    slots = load_yaml(text).root["localModels"].get("slots") or []
    if not slots:
        return
    gone = data.draw(st.sampled_from(slots))
    edited = remove_pin(text, gone["name"])
    assert load_yaml(edited).root["localModels"]["slots"] == [slot for slot in slots if slot != gone]
    assert set(comments(edited)) <= set(comments(text))
    assert len(comments(text)) - len(comments(edited)) <= 2


def test_the_implied_slots_are_written_out_before_a_pin_joins_them() -> None:
    slots = load_yaml(add_pin(BARE, "qwen3:8b", None, None, None)).root["localModels"]["slots"]
    assert [slot["name"] for slot in slots] == ["general", "coding", "reasoning", "qwen3-8b"]


def test_a_pin_that_is_there_is_not_added_twice() -> None:
    once = add_pin(FLOW, "qwen3:8b", None, None, None)
    assert add_pin(once, "Qwen3:8B", None, None, None) == once
    twice = add_pin(once, "qwen3:8b", None, "local", None)
    assert load_yaml(twice).root["localModels"]["slots"][-1]["name"] == "qwen3-8b-2"


def test_the_last_pin_leaves_an_empty_list() -> None:
    assert remove_pin(BLOCK, "Qwen/X-GGUF").endswith("    slots: []\n")


def test_what_cannot_be_removed_is_said() -> None:
    with pytest.raises(UsageError, match="ranked, not a pin"):
        remove_pin(FLOW, "b")
    with pytest.raises(UsageError, match="no pin is called") as caught:
        remove_pin(FLOW, "Qwen/X-GGUFF")
    assert caught.value.hint == "did you mean Qwen/X-GGUF?"
    with pytest.raises(UsageError, match="called 'a' already"):
        add_pin(FLOW, "x/y", None, None, "a")
    with pytest.raises(UsageError, match="not a size"):
        set_budget(FLOW, "lots")


def test_a_shared_list_is_not_edited_behind_the_others_back() -> None:
    text = "localModels:\n  pool:\n    allowedOrgs: &a [Qwen]\n    packagers: *a\n"
    with pytest.raises(DesiredStateError, match="nothing was changed"):
        allow_org(text, "google")


@pytest.mark.parametrize("text", ["", "a: [", "localModels: 5\n", "localModels:\n"])
def test_a_broken_file_is_not_edited(text: str) -> None:
    with pytest.raises(DesiredStateError, match="cannot be edited"):
        allow_org(text, "google")


def test_an_edit_that_makes_the_file_invalid_is_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "localmodels.yaml"
    path.write_text(FLOW)
    with pytest.raises(DesiredStateError) as caught:
        save(path, add_never(FLOW, "*x-gguf"), environment={})
    assert "forbids" in caught.value.problems[0].message
    assert path.read_text() == FLOW


def test_saving_keeps_mode_and_link_and_leaves_no_litter(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "file.yaml", tmp_path / "localmodels.yaml"
    real.write_text(FLOW)
    real.chmod(0o640)
    link.symlink_to(real)
    desired = save(link, allow_org(FLOW, "mistralai"), environment={})
    assert desired.pool.allowed_orgs == ("Qwen", "google", "mistralai")
    assert link.is_symlink()
    assert "mistralai" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in real.parent.iterdir()] == ["file.yaml"]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DesiredStateError, match="cannot be written"):
        write_atomically(tmp_path / "no" / "x.yaml", "a")
