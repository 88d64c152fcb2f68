"""``docs/estimates.md`` is generated from a run of minutes: here, what it quotes is what the code has, and adds up."""

import json
import re
from dataclasses import fields

import pytest

from reconciler.domain.units import KIB
from reconciler.formats.measured_file import MeasuredPoint, parse_points
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.ranking.decode import CONSTANTS
from reconciler.ranking.kv_cache import kv_bytes
from reconciler.ranking.scoring import ScoredRow, score_speed
from reconciler.ranking.scoring_memory import INTERVAL, score_memory
from tests.scripts.loading import ROOT, load

estimates_fit = load(
    "score_peers_llmfit", "estimates_figures", "fit_constants", "fit_rows", "fit_prefill", "fit_speed", "estimates_fit"
)
estimates_speed = load("estimates_speed")
estimates_memory = load("estimates_memory")

PAGE = (ROOT / "docs" / "estimates.md").read_text(encoding="utf-8")
CATALOGUE = load_bundled()
POINT = MeasuredPoint("a", "RTX 4090", "Qwen/Qwen3-8B", 8.2, mem_gb=24, bw_gbps=1008, decode_tps=100.0)


def part(name: str) -> str:
    found = re.search(rf"<!-- generated: {name} -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    assert found is not None, name
    return found[1].strip()


def cells(name: str) -> list[list[str]]:
    lines = [line for line in part(name).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


# The page.


def test_the_page_quotes_the_constants_of_the_code():
    assert part("constants") == estimates_fit.constants_part(CONSTANTS).strip(), "run 'make estimates'"


def test_the_page_quotes_the_interval_of_the_code():
    assert f"As it ships: {INTERVAL.lower:g} × to {INTERVAL.upper:g} × and {INTERVAL.other_gib:g} GiB." in part(
        "interval"
    )


def test_every_fitted_constant_rests_on_several_devices_and_models():
    rows = [row for row in cells("fit") if row[0].startswith("`")]
    assert {row[0].strip("`") for row in rows} == set(estimates_fit.GUESSED)
    assert all(int(row[3]) > 1 and int(row[4]) > 1 for row in rows)
    assert "one model alone: none." in part("fit")
    assert f"{len(estimates_fit.GUESSED)} constants fitted, {len(estimates_fit.ASSUMED)} assumed" in part("fit")


def test_the_page_says_of_every_judged_group_what_a_device_left_out_costs():
    ratios = re.findall(r"^\* (\S+): ([\d.]+) × \((.*)\)$", part("fit"), re.MULTILINE)
    assert {"all", "dense", "moe", "under_2b"} <= {name for name, *_ in ratios}
    for name, ratio, verdict in ratios:
        if "not judged" not in verdict:
            assert verdict == ("met" if float(ratio) <= 1.5 else "**not met**"), name
    assert next(verdict for name, _, verdict in ratios if name == "all") == "met"


def test_the_page_shows_prompts_and_who_is_unsure():
    rows = {row[0]: row for row in cells("prompts")}
    assert {"prompt tokens a second, cuda dense", "time to the first token, all"} <= set(rows)
    assert [row[-1] for row in rows.values()].count("medium") == 1


def test_the_page_lists_every_row_whose_context_is_taken():
    rows = [row for row in cells("context") if row[0] == "counted"]
    assert sum(int(row[2]) for row in rows) == sum(row[3].count("`") // 2 for row in rows)
    stated = next(row for row in cells("memory") if row[0] == "allocated context not stated")
    assert int(stated[1]) == sum(int(row[2]) for row in rows)


@pytest.mark.parametrize(("name", "context", "kib"), estimates_memory.GOLDEN)
def test_the_cache_of_the_golden_models_is_exact(name, context, kib):
    model = next(model for model in CATALOGUE.models if model.id == name)
    per_token = (kv_bytes(model.architecture, context) or 0) / context / KIB
    assert per_token == pytest.approx(kib, rel=0.005)
    row = next(row for row in cells("kv") if row[0].startswith(name.partition("/")[2]))
    assert row[1] == row[2]


def test_the_peers_do_not_estimate_better_in_any_group_that_is_judged():
    for row in cells("speed")[2:]:
        if "(few)" not in row[0]:
            assert float(row[-1]) < 1, row
    assert "**not met**" not in part("summary")


def test_the_page_says_nothing_of_the_machine_it_was_made_on():
    assert not re.search(r"(?<!\w)/(work|home|root|tmp|Users)/", PAGE)


def test_the_example_of_the_format_is_a_file_of_points():
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    points = parse_points(json.loads(shown))
    assert isinstance(points, tuple)
    assert score_speed(points, CATALOGUE).group("all").n == score_memory(points, CATALOGUE).group("all").n == 1


def test_every_column_of_the_format_is_described():
    table = PAGE.partition("## A file of measured points")[2]
    described = {
        word for line in table.splitlines() if line.startswith("| `") for word in re.findall(r"`([a-z_]+)`", line)
    }
    assert {field.name for field in fields(MeasuredPoint)} - {"with_prompt"} <= described


# What it is made of.


def timed(point, ours, whichllm, llmfit):
    row = ScoredRow(point.id, ours * 100, 80 * ours, 120 * ours, 100.0)
    return estimates_speed.Timed(point, row, whichllm, llmfit)


def test_a_group_shows_the_reading_that_is_kinder_to_a_peer():
    rows = [timed(POINT, 1.1, (1.5, 1.2), 0.7), timed(POINT, 0.9, (1.4, 0.7), 1.4)]
    (one,) = estimates_speed.compared(rows, [("all", lambda _: True)])
    assert one.whichllm == (1.2, 0.7)
    assert one.mdape == pytest.approx(0.1)
    assert one.better_peer == pytest.approx(0.25)
    assert not one.judged


def test_few_rows_are_shown_and_not_judged():
    (line,) = [line for line in estimates_speed.summary_lines([timed(POINT, 1.1, (1.5,), 0.7)]) if "all" in line]
    assert "too few rows to judge" in line
    many = estimates_speed.summary_lines([timed(POINT, 1.05, (1.5,), 0.7)] * 20)
    assert many[0].endswith("| at most 10 %: met |")
    worse = estimates_speed.summary_lines([timed(POINT, 1.3, (1.5,), 0.7)] * 20)
    assert worse[0].endswith("| at most 10 %: **not met** |")


def test_same_is_the_reason_of_another_row_of_the_device_or_of_the_row_before():
    def row(id_, hardware, suspect):
        return MeasuredPoint(id_, hardware, "m", 1.0, suspect=suspect)

    points = [
        row("a", "X", "same"),
        row("b", "X", "hot"),
        row("c", "Y", "same"),
        row("d", "Z", None),
        row("e", "W", "slow"),
    ]
    assert estimates_fit.suspicions(points) == {"a": "hot", "b": "hot", "c": "hot", "e": "slow"}


def test_a_derived_interval_leaves_a_tenth_on_each_side():
    rows = [(POINT, ScoredRow(str(n), 10.0, 0, 0, 8.0 + n / 5)) for n in range(31)]
    found = estimates_memory.derived(rows, upper=1.0)
    assert found.lower == pytest.approx(0.86)
    assert found.other_gib == pytest.approx(3.4)
