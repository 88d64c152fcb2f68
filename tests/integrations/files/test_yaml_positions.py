"""YAML read safely, with the place of every part."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reconciler.errors import DesiredStateError
from reconciler.integrations.files.desired_file import read_desired
from reconciler.integrations.files.yaml_positions import load_yaml, plain_value, show_path
from tests.integrations.files.documents import mutated

TEXT = """\
a:
  b: [1, {c: x}]
  'd e': "y"
"""


def test_every_key_and_value_knows_its_place() -> None:
    loaded = load_yaml(TEXT)
    assert loaded.root == {"a": {"b": [1, {"c": "x"}], "d e": "y"}}
    key, value = loaded.keys["a", "b", 1, "c"], loaded.values["a", "b", 1, "c"]
    assert (key.line, key.column, value.line, value.column, value.text) == (2, 11, 2, 14, "x")
    assert (loaded.keys["a", "d e"].line, loaded.values["a", "d e"].column) == (3, 10)


def test_what_is_not_there_is_placed_at_what_is_around_it() -> None:
    place = load_yaml(TEXT).place(("a", "missing", 3))
    assert place is not None
    assert (place.line, place.column) == (1, 1)


def test_a_second_key_is_told_and_the_first_one_counts() -> None:
    loaded = load_yaml("a: {x: 1}\nb: 2\na: {y: [1]}\n")
    assert loaded.root == {"a": {"x": 1}, "b": 2}
    (problem,) = loaded.problems
    assert (problem.path, problem.line, problem.column) == ("a", 3, 1)
    assert ("a", "y") not in loaded.keys


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", "no"), ("Yes", "Yes"), ("true", True), ("FALSE", False), ("null", None), ("", None), ("010", 10), ("0x1F", 31),
     ("1_000", "1_000"), ("1:30", "1:30"), ("2026-11-22", "2026-11-22"), ("-1.5e3", -1500.0), ("+3", 3), (".5", 0.5), ("9" * 200, "9" * 200)],
)  # fmt: skip
def test_unquoted_words_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    found = plain_value(text)
    assert (found, type(found)) == (value, type(value))


def test_quotes_and_blocks_are_text() -> None:
    assert load_yaml("a: '1'\nb: \"true\"\nc: |\n  5\nd: >-\n  null\n").root == {
        "a": "1",
        "b": "true",
        "c": "5\n",
        "d": "null",
    }


def test_paths_are_shown_as_people_write_them() -> None:
    assert show_path(("localModels", "slots", 2, "context")) == "localModels.slots[2].context"
    assert show_path(()) == ""


@settings(deadline=None, max_examples=100)
@given(mutated(), st.sampled_from([None, False, True]))
def test_what_a_dumper_writes_is_read_back(root: dict[str, Any], flow: bool | None) -> None:
    text = yaml.safe_dump(root, default_flow_style=flow, allow_unicode=True, width=60)
    assume(yaml.safe_load(text) == root)  # the dumper writes a bare next-line character that its own reader folds
    loaded = load_yaml(text)
    if not loaded.problems:
        assert loaded.root == root


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.binary(max_size=60), st.text("ab:-[]{}&*!|>'\"#%@`?,\n\t .0é<~", max_size=60).map(str.encode)))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with pytest.raises(DesiredStateError) as caught:
        read_desired(content, source="x", environment={})
    assert caught.value.problems


def test_a_mark_at_the_start_is_no_part_of_the_text() -> None:
    assert load_yaml(b"\xef\xbb\xbfa: 1").root == {"a": 1}
