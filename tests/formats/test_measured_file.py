import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.formats.flaws import Flawed
from reconciler.formats.measured_file import MeasuredPoint, PointsRead, parse_points, read_points

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


def test_null_is_unknown():
    (point,) = parse([*COLUMNS, "moe", "likely_spill", "mem_gb"], [[*ROW, None, None, None]])
    assert (point.moe, point.likely_spill, point.mem_gb) == (None, False, None)


def one(column, value) -> tuple[object, tuple[str, ...]]:
    found = read_points({"columns": [*COLUMNS, column], "rows": [[*ROW, value]]})
    assert isinstance(found, PointsRead), found
    return getattr(found.points[0], column), found.warnings


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("gpu_layers", -1), ("flash_attn", "auto"), ("context", "8k"), ("ttft_ms", -1), ("mem_gb", [8]), ("mem_gb", -1),
        ("bw_gbps", float("nan")), ("bw_gbps", 10**400), ("ctx_alloc", True), ("engine", {}), ("moe", "perhaps"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_read_is_unknown_with_one_warning(column, value):
    read, warnings = one(column, value)
    assert read is None
    assert len(warnings) == 1
    assert f"1 value could not be read and counts as unknown, such as rows[0].{column}" in warnings[0]


@pytest.mark.parametrize(
    ("column", "value", "read"),
    [
        ("mem_gb", "24", 24.0), ("gen_tokens", "128", 128), ("gen_tokens", 127.6, 128), ("date", 20260101, "20260101"),
        ("moe", 1, True), ("moe", 0, False), ("moe", "true", True), ("suspect", True, "not said why"),
        ("suspect", False, None), ("flash_attn", "on", True), ("bw_gbps", 0, None), ("mem_gb", 0, None),
        ("active_params_b", 0, None), ("prefill_tps", 0, None), ("decode_tps", 0, None), ("decode_tps", "9.5", 9.5),
        ("quant", " ", None),
    ],
)  # fmt: skip
def test_what_people_write_is_understood(column, value, read):
    assert one(column, value) == (read, ())


def test_unread_values_are_counted_in_one_warning():
    found = read_points({"columns": [*COLUMNS, "context"], "rows": [[*ROW, "8k"]] * 3})
    assert isinstance(found, PointsRead)
    (warning,) = found.warnings
    assert warning.startswith("3 values could not be read and count as unknown, such as rows[0].context: must be")
    assert warning.endswith("found '8k'")


@pytest.mark.parametrize("value", ["fast", True, -1, float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("column", ["decode_tps", "peak_mem_gb"])
def test_a_measurement_that_is_none_is_refused(column, value):
    assert [path for path, _ in flaws([*COLUMNS, column], [[*ROW, value]])] == [f"rows[0].{column}"]


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (["a", "b", None, 8], "model"), (["a", "b", " ", 8], "model"), (["a", "b", "c", 0], "params_b"),
        (["a", "b", "c", "eight"], "params_b"), (["a", "b", "c", 1e300], "params_b"),
    ],
)  # fmt: skip
def test_a_row_about_no_model_is_refused(row, column):
    assert [path for path, _ in flaws(rows=[row])] == [f"rows[0].{column}"]


def test_a_number_is_an_id():
    assert parse(rows=[[7, "RTX 4090", "acme/alpha", "8"]]) == (MeasuredPoint("7", "RTX 4090", "acme/alpha", 8.0),)


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
