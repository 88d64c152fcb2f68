"""Hypothesis strategies for whole small worlds: a file, a machine with models of several owners, a record."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.catalog import Catalogue
from reconciler.domain.desired import DesiredState, Fuses, Refresh, Slot
from reconciler.domain.observation import Observation
from reconciler.domain.record import Record
from reconciler.domain.units import GB, Bytes
from tests.builders import (
    artifact,
    catalogue,
    desired,
    entry,
    installed,
    model,
    observation,
    observed,
    pool,
    record,
    target,
)

CONTEXTS: st.SearchStrategy[object] = st.sampled_from([None, None, 8192, "max", "max"])
NAMES = tuple(f"acme/m{index}-{index + 1}b" for index in range(6))


@dataclass(frozen=True)
class World:
    """The arguments of ``make_plan``."""

    want: DesiredState
    seen: Observation
    known: Record


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogue:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=6))
    models = [
        model(
            name,
            size_gb=draw(st.sampled_from([1.0, 3.0, 6.0])),
            quants=draw(st.sampled_from([("Q4_K_M",), ("Q4_K_M", "Q8_0")])),
            line=draw(st.sampled_from(["general", "general", "coder", "embedding"])),
            params=2_000_000_000,
            lineage=name[5:7],
        )
        for name in names
    ]
    scores = {name: draw(st.integers(5, 95)) for name in names}
    return catalogue(*models, scores={name: float(value) for name, value in scores.items()})


def slots() -> st.SearchStrategy[tuple[Slot, ...]]:
    ranked = st.builds(
        Slot,
        name=st.sampled_from(["a", "b", "c"]),
        profile=st.sampled_from(["general", "coding", "embedding"]),
        count=st.integers(1, 2),
        context=CONTEXTS,
        kv_cache=st.sampled_from(["f16", "q8_0", "q4_0"]),
        parallel=st.sampled_from([1, 1, 4]),
    )
    pins = st.builds(Slot, name=st.sampled_from(["p", "q"]), model=st.sampled_from(NAMES), context=CONTEXTS)
    return st.lists(st.one_of(ranked, pins), max_size=3, unique_by=lambda slot: slot.name).map(tuple)


@st.composite
def worlds(draw: st.DrawFn, *, prune: tuple[str, ...] = ("always", "pressure", "never")) -> World:
    known = draw(catalogues())
    builds: list[tuple[str, str, HubArtifact]] = [
        (one.id, build.quant, artifact(one.repositories[0].id, build.quant, size=build.bytes))
        for one in known.models
        for build in one.repositories[0].builds
    ]
    present = draw(st.lists(st.sampled_from(builds), unique_by=lambda build: build[2].files[0].path, max_size=6))
    found, entries = [], []
    for model_id, quant, files in present:
        owner = draw(st.sampled_from(["ours", "ours", "foreign", "gone", "changed", "loaded"]))
        if owner != "gone":
            stamp = "s2" if owner == "changed" else "s1"
            digest = "f" * 64 if owner == "changed" else files.digest
            found.append(installed(files, quant, stamp=stamp, digest=digest, loaded=owner == "loaded"))
        if owner != "foreign":
            filled = draw(
                st.sampled_from([(), ("slot/a[0]",), ("slot/b[0]",), ("slot/old[0]",), ("slot/a[0]", "slot/b[0]")])
            )
            entries.append(entry(files, *filled, model_id=model_id, quant=quant))
    want = desired(
        *draw(slots()),
        pool=pool(
            disk_budget=Bytes(draw(st.sampled_from([4, 8, 20, 100])) * GB),
            min_free_disk=Bytes(GB),
            prune=draw(st.sampled_from(prune)),
            keep=draw(st.sampled_from([(), (f"{NAMES[0]}*",)])),
            allow_gap=draw(st.booleans()),
        ),
        approval=draw(st.sampled_from(["manual", "auto"])),
        refresh=Refresh(proposal_threshold=5),
        fuses=Fuses(max_evictions=100, max_evict_share=1, allow_empty=True),
        targets=(target(),),
    )
    free_gb = draw(st.sampled_from([3, 9, 500]))
    seen = observation(known, observed(*found, free_gb=free_gb))
    return World(want, seen, record(*entries, applied_digest=draw(st.sampled_from([None, "d1"]))))
