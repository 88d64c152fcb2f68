"""How long ranking a catalogue of any size takes, with the seeded generator of the tests.

Usage: ``python scripts/bench_ranking.py [--rounds N] MODELS`` from the repository's root. Prints one line of JSON:

* ``ranked``: every model in its order, each by the best of all its builds; the fastest of the rounds in seconds, and
  the processor's seconds of the same;
* ``first_20``: the first 20 builds, listing them included;
* ``every``: all builds in their order, listing them included;
* ``peak_mib``: resident memory of the process with the catalogue and the ranked models, before the other two.

Every round starts from the catalogue alone: evidence, scales and estimates are computed again.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial

from reconciler.domain.catalog import Catalogue
from reconciler.domain.estimate import Requirement
from reconciler.domain.hardware import Device, Hardware
from reconciler.domain.units import GIB, Bytes
from reconciler.ranking.candidates import candidates
from reconciler.ranking.rank import Ranking, rank, rank_models
from tests.ranking.generated import generated_catalogue

MACHINE = Hardware(
    platform="nvidia",
    devices=(Device(name="made", vendor="nvidia", memory_bytes=Bytes(24 * GIB), bandwidth_gbps=1008.0),),
    ram_bytes=Bytes(64 * GIB),
    ram_bandwidth_gbps=80.0,
    ram_reserve_bytes=Bytes(0),
    cpu_name="made",
    cpu_count=8,
    detected_at=datetime(2026, 11, 22, tzinfo=UTC),
)
ASKED = Requirement(context=8192)
TODAY = date(2026, 11, 22)


def ranked_models(catalogue: Catalogue) -> Ranking:
    return rank_models(catalogue, ASKED, MACHINE, TODAY)


def ranked_builds(catalogue: Catalogue, limit: int | None) -> Ranking:
    return rank(candidates(catalogue), ASKED, MACHINE, catalogue, TODAY, limit=limit)


def fastest(work: Callable[[], Ranking], rounds: int) -> dict[str, float]:
    costs = []
    for _ in range(rounds):
        begun, before = time.perf_counter(), time.process_time()
        found = work()
        costs.append((time.perf_counter() - begun, time.process_time() - before))
        assert found[0].fits
        del found
    seconds, processor = min(costs)
    return {"seconds": round(seconds, 3), "processor": round(processor, 3)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("models", type=int)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    gc.set_threshold(300_000, 20, 100)  # as the command line starts
    catalogue = generated_catalogue(given.models)
    gc.collect()
    gc.freeze()
    builds = sum(len(repository.builds) for model in catalogue.models for repository in model.repositories)
    models = fastest(partial(ranked_models, catalogue), given.rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {
        "models": given.models,
        "builds": builds,
        "ranked": models,
        "peak_mib": round(peak),
        "first_20": fastest(partial(ranked_builds, catalogue, 20), given.rounds),
        "every": fastest(partial(ranked_builds, catalogue, None), given.rounds),
    }
    print(json.dumps(found))


main()
