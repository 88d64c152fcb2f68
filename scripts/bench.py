"""``make bench``: how fast we are beside the peers, in one run, as ratios. Writes ``docs/benchmarks.md``.

Usage: ``python scripts/bench.py [--runs N] [--whichllm PROGRAM] [--llmfit PROGRAM]`` from the repository's root.
What is not installed is skipped, and the page says so. Figures depend on the machine; the ratios much less.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench_measure import side_by_side
from bench_rig import Rig, nginx

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
MARKS = ("<!-- bench: written by `make bench`; nothing here is typed by hand -->", "<!-- end bench -->")
OURS = [sys.executable, "-m", "reconciler"]
BARE_IMPORT = [sys.executable, "-c", "import pydantic, httpx, yaml"]
GIGABYTE = 1_000_000_000
MODELS = (15_000, 50_000, 200_000)
SAVES = 15
IDLE_SECONDS = 10.0

Row = tuple[str, str, str, str]
"""What, goal, figure, and whether it is met."""


def judged(what: str, goal: str, figure: str, *, met: bool) -> Row:
    return (what, goal, figure, "met" if met else "**not met**")


def skipped(what: str, goal: str, why: str) -> Row:
    return (what, goal, f"skipped: {why}", "–")


def ratio(what: str, goal: float, ours: float, theirs: float, unit: str) -> Row:
    figure = f"{ours / theirs:.2f} × ({ours:.3g} {unit} : {theirs:.3g} {unit})"
    return judged(what, f"at most {goal:g} ×", figure, met=ours <= goal * theirs)


def version_rows(whichllm: str | None, runs: int) -> Iterator[Row]:
    what = "`localmodels --version` : `whichllm --version`, time"
    if whichllm is None:
        yield skipped(what, "at most 0.5 ×", "whichllm is not installed")
        return
    costs = side_by_side({"ours": [*OURS, "--version"], "theirs": [whichllm, "--version"]}, runs)
    yield ratio(what, 0.5, costs["ours"].seconds, costs["theirs"].seconds, "s")


def plan_rows(rig: Rig, llmfit: str | None, runs: int) -> Iterator[Row]:
    commands = {name: [*OURS, "plan", "--offline", "-f", str(rig.file(name))] for name in ("pinned", "ranked")}
    commands["import"] = BARE_IMPORT
    if llmfit is not None:
        commands["llmfit"] = [llmfit, "--json", "recommend"]
    costs = side_by_side(commands, runs, rig.environment)
    for name in ("pinned", "ranked"):
        plan, what = costs[name], f"`plan --offline`, in sync, one {name} slot"
        if llmfit is None:
            yield skipped(f"{what} : `llmfit --json recommend`", "at most 0.5 ×, 1 ×", "llmfit is not installed")
        else:
            peer = costs["llmfit"]
            yield ratio(f"{what} : `llmfit --json recommend`, time", 0.5, plan.seconds, peer.seconds, "s")
            yield ratio(f"{what} : `llmfit --json recommend`, peak memory", 1.0, plan.peak_mib, peer.peak_mib, "MiB")
        bare = "`python -c 'import pydantic, httpx, yaml'`"
        yield ratio(f"{what} : {bare}, time", 1.5, plan.seconds, costs["import"].seconds, "s")


def ranking_rows(llmfit: str | None, runs: int) -> Iterator[Row]:
    """Each size in a process of its own, so that one's memory is not the other's."""
    found = {count: ranked(count, rounds=3 if count == MODELS[0] else 1) for count in MODELS}
    few = found[MODELS[0]]
    seconds, peak = few["ranked"]["seconds"], few["peak_mib"]
    what = f"ranking {MODELS[0]:,} models × quants ({few['builds']:,} builds)"
    yield judged(f"{what}: every model by its best build", "under 1 s", f"{seconds:.2f} s", met=seconds < 1)
    yield judged("the same, peak memory with the catalogue", "under 300 MB", f"{peak} MiB", met=peak * 1.048576 < 300)
    for count in MODELS[1:]:
        many = found[count]["ranked"]["processor"]
        growth = many / few["ranked"]["processor"] / (count / MODELS[0])
        told = f"{growth:.2f} × ({many:.1f} s of processor, {found[count]['peak_mib']} MiB)"
        yield judged(
            f"the same at {count:,} models, time per model", "linear (at most 1.25 ×)", told, met=growth <= 1.25
        )
    yield (f"{what}: the first 20 builds", "–", f"{few['first_20']['seconds']:.2f} s", "–")
    yield (f"{what}: every build in its place", "–", f"{few['every']['seconds']:.2f} s", "–")
    if llmfit is not None:
        peer = side_by_side({"llmfit": [llmfit, "--json", "recommend"]}, runs)["llmfit"]
        known = len(json.loads(subprocess.run([llmfit, "--json", "list"], capture_output=True, check=True).stdout))
        per_model, theirs = seconds / MODELS[0] * 1e6, peer.seconds / known * 1e6
        told = f"{per_model / theirs:.1f} × ({per_model:.0f} µs : {theirs:.0f} µs, {known:,} models in {peer.seconds:.2f} s)"
        yield ("ranking : `llmfit --json recommend` as a whole process, time per model", "–", told, "–")


def ranked(count: int, *, rounds: int) -> dict[str, Any]:
    """What ``bench_ranking.py`` tells of a catalogue of so many models."""
    command = [sys.executable, str(ROOT / "scripts" / "bench_ranking.py"), "--rounds", str(rounds), str(count)]
    around = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=around, cwd=ROOT)
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def watch_rows(rig: Rig) -> Iterator[Row]:
    what = "`watch`: a file saved → its plan printed"
    delays, cpu, peak = watched(rig)
    delay = statistics.median(delays)
    figure = f"median {delay:.3f} s, slowest {max(delays):.3f} s of {len(delays)}"
    yield judged(what, "median under 0.2 s", figure, met=delay < 0.2)
    share = 100 * cpu / IDLE_SECONDS
    yield judged("`watch`, idle: processor", "none (under 0.5 %)", f"{share:.2f} % of one core", met=share < 0.5)
    yield judged(
        "`watch`, after all that: memory", "under 80 MB", f"{peak * 1.048576:.0f} MB", met=peak * 1.048576 < 80
    )


def watched(rig: Rig) -> tuple[list[float], float, float]:
    """Seconds from each save to its plan, processor seconds while idle, and resident MiB at the end."""
    file = rig.file("pinned")
    original = file.read_text()
    command = [*OURS, "watch", "--offline", "--json", "-f", str(file)]
    around = dict(os.environ) | rig.environment | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=around)
    assert process.stdout is not None
    guard = threading.Timer(120, process.kill)
    guard.start()
    try:
        passes = (
            line for line in process.stdout if json.loads(line).get("why") or json.loads(line).get("type") == "pass"
        )
        next(passes)
        delays = []
        for number in range(SAVES):
            time.sleep(0.5)
            begun = time.perf_counter()
            file.write_text(original.replace("diskBudget: 20GB", f"diskBudget: {21 + number}GB"))
            next(passes)
            delays.append(time.perf_counter() - begun)
        time.sleep(1)
        before = _processor_seconds(process.pid)
        time.sleep(IDLE_SECONDS)
        return delays, _processor_seconds(process.pid) - before, _resident_mib(process.pid)
    finally:
        guard.cancel()
        process.terminate()
        process.wait(20)
        file.write_text(original)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mib(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def store_rows(folder: Path, runs: int) -> Iterator[Row]:
    what, goal = (
        "`store` download, verified, 1 GB from nginx on loopback : `curl … \\| sha256sum`, rate",
        "at least 0.9 ×",
    )
    missing = [name for name in ("nginx", "curl", "sha256sum") if shutil.which(name) is None]
    if missing:
        yield skipped(what, goal, f"{', '.join(missing)} not installed")
        return
    ours, theirs = [], []
    repo, commit, path = "org/Large-GGUF", "c0ffee", "large-Q8_0.gguf"
    place = folder / "root" / repo / "resolve" / commit / path
    sha256 = _made(place)
    with nginx(folder) as url:
        for _ in range(runs + 1):
            ours.append(_stored(folder / "fetched", [url, repo, commit, path, str(GIGABYTE), sha256]))
            theirs.append(_piped(f"{url}/{repo}/resolve/{commit}/{path}", sha256))
    here, there = statistics.median(ours[1:]), statistics.median(theirs[1:])
    figure = f"{there / here:.2f} × ({GIGABYTE / here / 1e6:.0f} MB/s : {GIGABYTE / there / 1e6:.0f} MB/s)"
    yield judged(what, goal, figure, met=there / here >= 0.9)


def _made(place: Path) -> str:
    """A gigabyte that does not compress; its digest."""
    place.parent.mkdir(parents=True)
    block, digest = random.Random(0).randbytes(1_000_000), hashlib.sha256()
    with place.open("wb") as out:
        for _ in range(GIGABYTE // len(block)):
            out.write(block)
            digest.update(block)
    return digest.hexdigest()


def _stored(folder: Path, arguments: list[str]) -> float:
    script = str(ROOT / "scripts" / "bench_store.py")
    told = subprocess.run([sys.executable, script, *arguments, str(folder)], capture_output=True, text=True, check=True)
    shutil.rmtree(folder)
    return float(told.stdout)


def _piped(url: str, sha256: str) -> float:
    begun = time.perf_counter()
    told = subprocess.run(f"curl -s {url} | sha256sum", shell=True, capture_output=True, text=True, check=True)
    assert told.stdout.startswith(sha256)
    return time.perf_counter() - begun


def page(rows: list[Row], runs: int) -> str:
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"""# Benchmarks

Written by `make bench`; do not edit. {datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python
{platform.python_version()}. Whole processes, measured in turn (A B A B) after a warm-up, medians of {runs} runs (the download: of 3). Not a test:
figures depend on the machine and on what else it does, ratios less so, and nothing fails when a goal is missed.

| what | goal | figure | |
|---|---|---|---|
{table}

* `plan`: a document with one `store` in sync, six publishers allowed, the shipped catalogue; `pinned` names its model,
  `ranked` asks for the best of a profile. The bare import is what three of our libraries cost before any line of ours.
* `llmfit` is a native binary. Where `plan` misses its goals, the time goes, in this order, into loading pydantic, typer
  and asyncio, making our own values' classes, reading the shipped catalogue, and placing its benchmarks on one scale.
* `whichllm` runs in an environment of its own, since it needs an older typer and click than ours.
* Ranking: a seeded catalogue (`tests/ranking/generated.py`), every round from the catalogue alone: evidence, scales
  and estimates are computed again. All quants of all repositories are looked at; which build is its model's best, and
  which model comes before which, is decided by the numbers the order reads, and an assessment with its parts is made
  when one is looked at. Builds that their quality alone keeps from winning are not placed; properties show that the
  order is that of all numbers computed (`tests/ranking/test_rank.py`). The best of three rounds; growth by processor
  time, one round each. `scripts/bench_ranking.py` runs one size alone. llmfit's time includes starting and reading its
  list; it considers as many models, with fewer quants.
* KV-cache bytes per token are no matter of speed: the table of real models is asserted in
  `tests/ranking/test_kv_cache.py`. Decode speed beside measurements: `docs/estimates.md`.
"""


def put_in_readme(rows: list[Row]) -> None:
    """Between the marks of the README, where it has them: the rows that have a goal."""
    text = README.read_text(encoding="utf-8") if README.exists() else ""
    before, opening, rest = text.partition(MARKS[0])
    _, closing, after = rest.partition(MARKS[1])
    if not opening or not closing:
        return
    lines = "\n".join(f"| {what} | {goal} | {figure} | {met} |" for what, goal, figure, met in rows if goal != "–")
    table = f"\n| what | goal | figure | |\n|---|---|---|---|\n{lines}\n"
    README.write_text(f"{before}{opening}{table}{closing}{after}", encoding="utf-8")


def found_program(given: str) -> str | None:
    return shutil.which(given)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=15)
    options.add_argument("--whichllm", default="whichllm")
    options.add_argument("--llmfit", default="llmfit")
    given = options.parse_args()
    rows: list[Row] = []

    def add(found: Iterator[Row]) -> None:
        for row in found:
            rows.append(row)
            print(" · ".join(row), flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        rig = Rig(folder)
        add(version_rows(found_program(given.whichllm), given.runs))
        add(plan_rows(rig, found_program(given.llmfit), given.runs))
        add(ranking_rows(found_program(given.llmfit), given.runs))
        add(watch_rows(rig))
        add(store_rows(folder, 3))
    PAGE.write_text(page(rows, given.runs), encoding="utf-8")
    put_in_readme(rows)
    print(f"written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
