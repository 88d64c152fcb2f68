import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.formats.flaws import Flawed
from reconciler.formats.measured_file import MeasuredPoint, parse_points

COLUMNS = ["id", "hardware", "model", "params_b"]
ROW = ["a", "RTX 4090", "acme/alpha", 8]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


def parse(columns=COLUMNS, rows=(ROW,), **more):
    return parse_points({"columns": list(columns), "rows": [list(row) for row in rows], **more})


def flaws(*args, **more) -> list[tuple[str, str]]:
    found = parse(*args, **more)
    assert isinstance(found, Flawed)
    return [(problem.path, problem.message) for problem in found.problems]


def test_four_columns_are_enough_and_the_rest_is_unknown():
    (point,) = parse()
    assert point == MeasuredPoint("a", "RTX 4090", "acme/alpha", 8.0)
    assert (point.suspect, point.ctx_alloc, point.likely_spill, point.with_prompt) == (None, None, False, False)


def test_columns_nobody_knows_are_left_alone():
    (point,) = parse([*COLUMNS, "phase_of_moon"], [[*ROW, {"full": True}]])
    assert point.params_b == 8.0


def test_columns_may_stand_in_any_order():
    (point,) = parse(COLUMNS[::-1], [ROW[::-1]])
    assert point.model == "acme/alpha"


def test_null_is_unknown_and_a_null_flag_is_false():
    (point,) = parse([*COLUMNS, "moe", "likely_spill", "mem_gb"], [[*ROW, None, None, None]])
    assert (point.moe, point.likely_spill, point.mem_gb) == (False, False, None)


@pytest.mark.parametrize("value", ["8", True, [8], -1, 0, float("nan"), float("inf")])
def test_what_is_no_positive_number_is_refused(value):
    assert [path for path, _ in flaws([*COLUMNS, "mem_gb"], [[*ROW, value]])] == ["rows[0].mem_gb"]


def test_texts_for_numbers_are_refused_with_what_was_found():
    assert flaws([*COLUMNS, "gen_tokens"], [[*ROW, "128"]]) == [
        ("rows[0].gen_tokens", "Value error, must be a number; found '128'")
    ]


def test_a_required_column_that_is_missing_is_named():
    assert flaws(["id", "hardware", "model"], [["a", "b", "c"]]) == [("columns", "params_b is missing")]


def test_a_column_may_stand_there_once():
    assert flaws([*COLUMNS, "id"], [[*ROW, "b"]]) == [("columns", "id stands there more than once")]


def test_a_row_has_a_value_for_every_column():
    assert flaws(rows=[ROW, ROW[:3]]) == [("rows[1]", "has 3 values for 4 columns")]


def test_every_flaw_is_counted_and_the_first_twenty_shown():
    found = parse(rows=[[*ROW[:3], None]] * 30)
    assert isinstance(found, Flawed)
    assert (len(found.problems), found.count) == (20, 30)


@pytest.mark.parametrize("document", [None, [], "points", {}, {"columns": 3, "rows": {}}, {"columns": [], "rows": []}])
def test_what_is_no_table_is_refused(document):
    assert isinstance(parse_points(document), Flawed)


def test_a_rate_over_wall_time_includes_the_prompt():
    assert parse([*COLUMNS, "tps_def"], [[*ROW, 3]])[0].with_prompt
    definitions = ["tokens / wall time", "decode only"]
    made = parse([*COLUMNS, "tps_def"], [[*ROW, 0], [*ROW, 1]], tps_defs=definitions)
    assert [point.with_prompt for point in made] == [True, False]


@given(anything)
def test_any_document_gives_points_or_flaws(document):
    assert isinstance(parse_points(document), tuple | Flawed)


@given(st.lists(anything, min_size=6, max_size=6))
def test_any_row_gives_a_point_or_flaws(row):
    found = parse([*COLUMNS, "moe", "decode_tps"], [row])
    assert isinstance(found, Flawed) or (len(found) == 1 and found[0].params_b > 0)


def test_a_document_survives_being_written_and_read():
    document = {"columns": COLUMNS, "rows": [ROW]}
    assert parse_points(json.loads(json.dumps(document))) == parse_points(document)
