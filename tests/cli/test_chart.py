"""The picture of a ranking: any names, any numbers, always one readable and repeatable SVG."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.views.chart import WIDTH, chart_svg, frontier
from reconciler.cli.views.labels import Box, placed
from reconciler.domain.hardware import HardwareReading
from reconciler.engine.suggest import Suggestion
from tests.builders import hardware
from tests.cli.line import Line
from tests.cli.suggested import ranking, suggestion

SVG = "{http://www.w3.org/2000/svg}"
OFFLINE = ("suggest", "--offline", "--hardware", "rtx-4090")
ROWS = (
    suggestion("acme/large-70b", 71.0, speed=9.0),
    suggestion("acme/middle-30b-a3b", 66.0, speed=90.0),
    suggestion("acme/beaten-27b", 60.0, speed=24.0),
    suggestion("acme/small-8b", 48.0, speed=110.0, speed_basis="measured"),
    suggestion("acme/tiny-1b", 30.0, speed=400.0, exact=False),
    suggestion("acme/beaten-1b", 22.0, speed=380.0),
)


def texts(svg: str) -> list[str]:
    return [found.text or "" for found in ET.fromstring(svg).iter(f"{SVG}text")]


def test_picture(snapshot: object) -> None:
    assert chart_svg(ranking(*ROWS)) == snapshot


def test_it_says_machine_profile_context_and_day() -> None:
    said = " ".join(texts(chart_svg(ranking(*ROWS, context=8192))))
    for part in ("coding", "NVIDIA GeForce RTX 4090", "8192 tokens", "2026-11-22", "2026-11-23", "tokens per second",
                 "score, 0 to 100", "80 % intervals", "measured on this machine"):  # fmt: skip
        assert part in said


def test_a_doubtful_measurement_has_a_ring_of_its_own_and_says_why() -> None:
    once = suggestion("acme/once-8b", 48.0, speed=110.0, speed_basis="measured", speed_doubtful=True)
    svg, sure = chart_svg(ranking(once)), chart_svg(ranking(*ROWS))
    assert "dashed: once, or while other work ran" in " ".join(texts(svg))
    assert ", measured here once, or while other work ran</title>" in svg
    assert "dashed" not in sure
    assert svg.count('stroke-dasharray="2 1.5"') == 1
    assert 'stroke-dasharray="2 1.5"' not in sure


def test_the_frontier_is_named_and_nothing_else() -> None:
    said = texts(chart_svg(ranking(*ROWS)))
    assert {"1 large-70b Q4_K_M", "2 middle-30b-a3b Q4_K_M", "3 small-8b Q4_K_M", "4 tiny-1b Q4_K_M"} <= set(said)
    assert not any("beaten" in text for text in said)


def test_nothing_to_draw_is_a_picture_too() -> None:
    for rows in ((), (suggestion("acme/a", 50.0, speed=0.0),)):
        assert "nothing that is allowed fits" in texts(chart_svg(ranking(*rows)))


def test_nothing_runs_and_nothing_is_fetched() -> None:
    svg = chart_svg(ranking(*ROWS))
    assert all(word not in svg for word in ("<script", "href", "url(", "@import", "onload", "<style"))
    assert svg.count("http") == 1  # the name space


POINTS = st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 5000)), max_size=40)


@given(POINTS)
def test_the_frontier_is_what_no_other_one_beats(points: list[tuple[float, float]]) -> None:
    rows = [suggestion(f"acme/m{index}", score, speed=speed) for index, (score, speed) in enumerate(points)]

    def beaten(one: Suggestion) -> bool:
        return any(
            other.score >= one.score
            and other.tokens_per_second >= one.tokens_per_second
            and (other.score, other.tokens_per_second) != (one.score, one.tokens_per_second)
            for other in rows
        )

    assert {row.model_id for row in frontier(rows)} == {row.model_id for row in rows if not beaten(row)}


@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=30))
def test_names_of_any_kind_are_text_and_nothing_more(name: str, quant: str, device: str) -> None:
    machine = hardware().model_copy(
        update={"devices": tuple(one.model_copy(update={"name": device}) for one in hardware().devices)}
    )
    svg = chart_svg(
        ranking(suggestion(name, 50.0, quant=quant), hardware=HardwareReading(hardware=machine, source="simulated"))
    )
    root = ET.fromstring(svg.encode())
    assert {found.tag.removeprefix(SVG) for found in root.iter()} <= {
        "svg", "title", "rect", "text", "line", "path", "circle"
    }  # fmt: skip
    assert root.get("width") == str(WIDTH)


@given(POINTS, st.randoms(use_true_random=False))
def test_the_same_ranking_gives_the_same_bytes_and_stays_inside(points: list[tuple[float, float]], mix: object) -> None:
    rows = [suggestion(f"acme/m{index}", score, speed=speed) for index, (score, speed) in enumerate(points)]
    svg = chart_svg(ranking(*rows))
    assert svg == chart_svg(ranking(*rows))
    root = ET.fromstring(svg)
    height = float(root.get("height") or 0)
    for circle in root.iter(f"{SVG}circle"):
        assert 0 <= float(circle.get("cx") or -1) <= WIDTH
        assert 0 <= float(circle.get("cy") or -1) <= height


@given(
    st.lists(st.tuples(st.text("abc-7", min_size=1, max_size=30), st.floats(62, 936), st.floats(78, 500)), max_size=14)
)
def test_no_label_is_over_another_or_over_a_point_that_has_one(wanted: list[tuple[str, float, float]]) -> None:
    room = Box(62, 78, 936, 500)
    labels = placed(wanted, [(x + 5, y) for _, x, y in wanted], room)
    for index, label in enumerate(labels):
        assert room.holds(label.box)
        assert not any(label.box.meets(other.box) for other in labels[:index])
        assert not any(label.box.left < x < label.box.right and label.box.top < y < label.box.bottom
                       for _, x, y in wanted)  # fmt: skip


def test_suggest_draws_into_a_file_and_replaces_what_was_there(line: Line) -> None:
    target = line.write("old", "out.svg")
    found = line(*OFFLINE, "--chart", "out.svg")
    assert found.code == 0
    assert "Models for general" in found.out
    assert "out.svg" in found.err
    drawn = target.read_text()
    assert len(list(ET.fromstring(drawn).iter(f"{SVG}circle"))) > 50
    again = line(*OFFLINE, "--chart", "-")
    assert again.out == drawn
    assert [one.name for one in line.folder.iterdir()] == ["out.svg"]


def test_the_chart_has_every_model_and_the_json_the_first(line: Line) -> None:
    found = line(*OFFLINE, "--chart", "out.svg", "--json", "--top", "3").data
    assert len(found["rows"]) == 3
    circles = list(ET.parse(line.folder / "out.svg").iter(f"{SVG}circle"))
    assert len(circles) == found["eligible"]


@pytest.mark.parametrize("name", ["no/such/folder/out.svg", "."])
def test_a_chart_that_cannot_be_written_says_so(line: Line, name: str) -> None:
    refused = line(*OFFLINE, "--chart", name, "--json")
    assert (refused.code, refused.error["code"]) == (1, "file-unwritable")
    assert "--chart" in refused.error["hint"]
    assert "Traceback" not in refused.err


def test_two_things_cannot_both_have_stdout(line: Line) -> None:
    refused = line(*OFFLINE, "--chart", "-", "--json")
    assert refused.code == 64
    assert "out.svg" in refused.error["hint"]


def test_a_chart_under_a_name_of_another_format_is_refused(line: Line) -> None:
    refused = line(*OFFLINE, "--chart", "out.png", "--json")
    assert refused.error["code"] == "usage"
    assert "SVG" in refused.error["message"]
