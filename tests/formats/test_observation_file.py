import json
import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.catalog import BenchmarkObservation, Catalogue
from reconciler.formats.flaws import Flawed
from reconciler.formats.observation_file import parse_observations, with_observations

ROW = {"model": "Qwen/Qwen3-8B", "benchmark": "mmlu-pro", "value": 61}
HEAD = {"formatVersion": 1, "source": "our lab", "observedAt": "2026-05-01"}


def document(*rows, **head):
    return {**HEAD, **head, "observations": list(rows)}


def test_a_row_may_say_more_than_the_document():
    full = {
        **ROW, "value": 1210.5, "scale": "elo", "source": "arena", "observedAt": "2026-04-02", "evidence": "self-reported",
        "quant": "Q4_K_M", "release": "2026-04", "variant": "thinking",
    }  # fmt: skip
    assert parse_observations(document(full)) == (
        BenchmarkObservation(
            "Qwen/Qwen3-8B", "mmlu-pro", 1210.5, "elo", "arena", date(2026, 4, 2), "self-reported", "Q4_K_M", "2026-04",
            "thinking",
        ),
    )  # fmt: skip


def test_no_rows_are_fine():
    assert parse_observations(document()) == ()


@pytest.mark.parametrize(
    ("given_document", "path"),
    [
        (None, "document"),
        ([], "document"),
        (document(formatVersion=2), "formatVersion"),
        (document(extra=1), "extra"),
        (document(ROW, 7), "observations[1]"),
        (document({**ROW, "model": "Qwen3-8B"}), "observations[0].model"),
        (document({**ROW, "benchmark": "two words"}), "observations[0].benchmark"),
        (document({**ROW, "value": True}), "observations[0].value"),
        (document({**ROW, "value": 101}), "observations[0].value"),
        (document({**ROW, "value": float("nan")}), "observations[0].value"),
        (document({**ROW, "scale": "stars"}), "observations[0].scale"),
        (document({**ROW, "observedAt": "soon"}), "observations[0].observedAt"),
        (document({**ROW, "evidence": "sure"}), "observations[0].evidence"),
        ({"formatVersion": 1, "source": "x", "observations": [ROW]}, "observations[0].observedAt"),
        ({"formatVersion": 1, "observedAt": "2026-01-01", "observations": [ROW]}, "observations[0].source"),
    ],
)
def test_flaws_name_their_place(given_document, path):
    parsed = parse_observations(given_document)
    assert isinstance(parsed, Flawed)
    assert parsed.problems[0].path == path
    assert parsed.problems[0].message


def test_all_flaws_are_counted_and_the_first_shown():
    parsed = parse_observations(document(*({**ROW, "value": -1} for _ in range(50))))
    assert isinstance(parsed, Flawed)
    assert (len(parsed.problems), parsed.count) == (20, 50)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*HEAD, *ROW, "observations"]) | st.text(), inner),
    max_leaves=10,
)


@given(JSON | st.builds(document, JSON))
def test_any_json_is_read_or_refused(value):
    parse_observations(value)


def test_a_newer_value_replaces_the_older_one():
    old = BenchmarkObservation("a/b", "x", 1, "0-100", "s", date(2026, 1, 1))
    other = BenchmarkObservation("a/b", "x", 1, "0-100", "s", date(2026, 1, 1), variant="thinking")
    new = BenchmarkObservation("a/b", "x", 2, "0-100", "s", date(2026, 2, 1))
    catalogue = Catalogue((), (old, other), date(2026, 1, 1), "bundled")
    assert with_observations(catalogue, [new]).observations == (new, other)


def test_the_documented_example_is_valid():
    text = (Path(__file__).parents[2] / "docs" / "benchmarks-format.md").read_text("utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    parsed = parse_observations(json.loads(example))
    assert not isinstance(parsed, Flawed)
    assert len(parsed) == 3
