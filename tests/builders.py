"""Domain values with sensible defaults: a test overrides what it is about."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from reconciler.domain.adapter import RecordAdapter, ServedAdapter
from reconciler.domain.artifact import ArtifactFile, HubArtifact
from reconciler.domain.catalog import (
    Architecture,
    BenchmarkObservation,
    Build,
    CatalogModel,
    Catalogue,
    Repository,
)
from reconciler.domain.desired import DesiredState, Pool, Slot, Target
from reconciler.domain.hardware import Device, Hardware, HardwareReading
from reconciler.domain.observation import (
    Alias,
    DigestNeed,
    DiskSpace,
    HubNeed,
    Installed,
    Observation,
    ObservedTarget,
    Resolved,
)
from reconciler.domain.plan import Action, AdapterMove, AliasMove, Overrides, Plan, Reason, Row
from reconciler.domain.record import Record, RecordAlias, RecordEntry
from reconciler.domain.units import GB, GIB, Bytes
from reconciler.planning.claims import with_claims
from reconciler.planning.make_plan import make_plan

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HUB = "https://hub.example"
ARCHITECTURE = Architecture(name="llama", layers=32, hidden=4096, heads=32, kv_heads=8, head_dim=128, vocab=128_256)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def hardware(*, vram_gib: float = 24, ram_gib: float = 64) -> Hardware:
    devices = (
        (
            Device(
                name="NVIDIA GeForce RTX 4090",
                vendor="nvidia",
                memory_bytes=Bytes(int(vram_gib * GIB)),
                bandwidth_gbps=1008,
            ),
        )
        if vram_gib
        else ()
    )
    return Hardware(
        platform="nvidia" if vram_gib else "cpu",
        devices=devices,
        ram_bytes=Bytes(int(ram_gib * GIB)),
        ram_bandwidth_gbps=60,
        ram_reserve_bytes=Bytes(4 * GIB),
        cpu_name="CPU",
        cpu_count=16,
        detected_at=NOW,
    )


def model(
    name: str = "acme/coyote-8b-instruct",
    *,
    score: float | None = None,
    params: int = 8_000_000_000,
    quants: Iterable[str] = ("Q4_K_M",),
    repos: Iterable[str] | None = None,
    size_gb: float = 5.0,
    line: str = "general",
    license_name: str = "apache-2.0",
    lineage: str = "coyote",
    capabilities: Iterable[str] = (),
    context: int = 32_768,
) -> CatalogModel:
    ids = tuple(repos) if repos is not None else (f"{name}-GGUF",)
    builds = tuple(
        Build(quant=quant, bytes=Bytes(int(size_gb * GB * (1 + 0.2 * index))), exact=True)
        for index, quant in enumerate(quants)
    )
    return CatalogModel(
        id=name,
        lineage=lineage,
        generation="3",
        line=line,
        params=params,
        active_params=None,
        gguf_weights=params,
        architecture=ARCHITECTURE,
        context_length=context,
        license=license_name,
        released=date(2026, 6, 1),
        capabilities=tuple((capability, ("test",)) for capability in capabilities),
        repositories=tuple(Repository(repo, builds, source="test") for repo in ids),
        sources=("test",),
    )


def score_of(model_id: str, value: float, *, benchmark: str = "mmlu-pro") -> BenchmarkObservation:
    return BenchmarkObservation(
        model=model_id,
        benchmark=benchmark,
        value=value,
        scale="0-100",
        source="open-llm-leaderboard",
        observed_at=date(2026, 11, 1),
        evidence="direct",
    )


def catalogue(*models: CatalogModel, scores: dict[str, float] | None = None) -> Catalogue:
    observations = tuple(score_of(name, value) for name, value in (scores or {}).items())
    return Catalogue(models=models, observations=observations, generated_at=date(2026, 11, 1), origin="bundled")


def target(name: str = "local", *, path: str | None = "/models", **changes: object) -> Target:
    return Target(name=name, runtime="store", path=path).model_copy(update=changes)


def desired(*slots: Slot, **changes: object) -> DesiredState:
    base = DesiredState(
        pool=Pool(disk_budget=Bytes(100 * GB), allowed_orgs=("acme",)),
        slots=slots,
        targets=(target(),),
        digest="d1",
        source="/home/someone/localmodels.yaml",
    )
    return base.model_copy(update=changes)


def pool(**changes: object) -> Pool:
    return Pool(disk_budget=Bytes(100 * GB), allowed_orgs=("acme",)).model_copy(update=changes)


def artifact(repo: str, quant: str = "Q4_K_M", *, size: int = 5 * GB, content: str = "") -> HubArtifact:
    stem = repo.partition("/")[2].removesuffix("-GGUF")
    path = f"{stem}-{quant}.gguf"
    return HubArtifact(
        endpoint=HUB,
        repo=repo,
        commit=sha(repo + content)[:40],
        files=(ArtifactFile(path=path, bytes=Bytes(size), sha256=sha(f"{repo}/{path}{content}")),),
    )


def store_name(found: HubArtifact) -> str:
    return f"{found.repo}/{found.files[0].path}"


def installed(found: HubArtifact, quant: str = "Q4_K_M", *, stamp: str = "s1", **changes: object) -> Installed:
    base = Installed(
        name=store_name(found), bytes=found.bytes, digest=found.digest, stamp=stamp, repo=found.repo, quant=quant
    )
    return base.model_copy(update=changes)


def entry(
    found: HubArtifact, *slots: str, model_id: str, quant: str = "Q4_K_M", stamp: str = "s1", **changes: object
) -> RecordEntry:
    base = RecordEntry(
        target_key=target().key,
        target_name="local",
        name=store_name(found),
        slots=slots,
        model_id=model_id,
        quant=quant,
        artifact=found,
        digest=found.digest,
        stamp=stamp,
        bytes=found.bytes,
        installed_at=NOW - timedelta(days=3),
    )
    return base.model_copy(update=changes)


def record(*entries: RecordEntry, **changes: object) -> Record:
    return Record(name="default", entries=entries, generation=len(entries)).model_copy(update=changes)


def observed(*models: Installed, free_gb: float = 500, name: str = "local", key: str | None = None) -> ObservedTarget:
    return ObservedTarget(
        name=name,
        key=key or target(name).key,
        installed=models,
        disk=DiskSpace(device="sda1", total_bytes=Bytes(1000 * GB), free_bytes=Bytes(int(free_gb * GB))),
    )


def observation(cat: Catalogue, *targets: object, **changes: object) -> Observation:
    base = Observation(
        now=NOW,
        hardware=HardwareReading(hardware=hardware()),
        targets=targets or (observed(),),  # type: ignore[arg-type]
        catalogue=cat,
    )
    return base.model_copy(update=changes)


def answered(plan: Plan, seen: Observation) -> Observation:
    """The observation with every need of the plan answered, as a Hub that has everything would."""
    answers = []
    for need in plan.needs:
        if isinstance(need, HubNeed):
            build = _build(seen.catalogue, need)
            found = artifact(need.repo, need.quant or "Q4_K_M", size=build.bytes if build else 5 * GB)
            answers.append(Resolved(need=need, artifact=found))
        elif isinstance(need, DigestNeed):
            held = next(
                one
                for where in seen.targets
                if isinstance(where, ObservedTarget) and where.name == need.target
                for one in where.installed
                if one.name == need.name
            )
            answers.append(Resolved(need=need, digest=held.digest or sha(held.name), stamp=held.stamp))
    return seen.model_copy(update={"answers": (*seen.answers, *answers)})


def settle(
    want: DesiredState,
    seen: Observation,
    known: Record,
    *,
    overrides: Overrides | None = None,
    answer: Callable[[Plan, Observation], Observation] = answered,
) -> tuple[Plan, Observation]:
    """The plan once nothing more is needed, and the observation with all answers: plan, answer, plan again."""
    for _ in range(12):
        plan = make_plan(want, seen, known, overrides=overrides)
        if not plan.needs:
            return plan, seen
        seen = answer(plan, seen)
    raise AssertionError(f"never settles: {plan.needs}")


def settled(want: DesiredState, seen: Observation, known: Record, overrides: Overrides | None = None) -> Plan:
    """The plan once every need is answered by a Hub that has everything."""
    return settle(want, seen, known, overrides=overrides)[0]


def _build(known: Catalogue, need: HubNeed) -> Build | None:
    return next(
        (
            build
            for one in known.models
            for repo in one.repositories
            if repo.id == need.repo
            for build in repo.builds
            if build.quant == need.quant
        ),
        None,
    )


def after(plan: Plan, seen: Observation, known: Record) -> tuple[Observation, Record]:
    """The world once every change of a plan was done, as the promises say it will be."""
    for row in plan.changes:
        seen, known = _done(row, seen, known)
    if not plan.blocked:
        known = known.model_copy(update={"applied_digest": plan.fingerprint.desired})
    return seen, _filled(plan, known)


def _done(row: Row, seen: Observation, known: Record) -> tuple[Observation, Record]:
    where = seen.target(row.target)
    assert isinstance(where, ObservedTarget)
    if row.alias is not None:
        return _named(row, row.alias, where, seen, known)
    if row.adapter is not None:
        return _adapted(row, row.adapter, where, seen, known)
    others = tuple(one for one in where.installed if one.name != row.name)
    disk = where.disk
    if row.action in (Action.INSTALL, Action.UPDATE):
        assert isinstance(row.artifact, HubArtifact)
        fresh = installed(row.artifact, row.quant or "", stamp=f"new {row.artifact.commit}", name=row.name)
        others = (*others, fresh)
        new = entry(row.artifact, *row.slots, model_id=row.model_id or "", quant=row.quant or "")
        update = {
            "target_key": row.target_key,
            "target_name": row.target,
            "name": row.name,
            "stamp": fresh.stamp,
            "digest": fresh.digest,
            "revision": row.revision,
            "score": row.evidence.score or 0.0,
        }
        known = known.with_entry(new.model_copy(update=update))
    else:
        known = known.without(row.target_key, row.name)
    if disk is not None:
        disk = disk.model_copy(update={"free_bytes": disk.free_bytes - row.bytes_down + row.bytes_freed})
    served = where.adapters
    if row.action is Action.EVICT:  # a base takes what stands on it along
        served = tuple(one for one in served if one.base != row.name)
    changed = where.model_copy(update={"installed": others, "disk": disk, "adapters": served})
    targets = tuple(changed if one.name == row.target else one for one in seen.targets)
    return seen.model_copy(update={"targets": targets}), known


def _adapted(
    row: Row, move: AdapterMove, where: ObservedTarget, seen: Observation, known: Record
) -> tuple[Observation, Record]:
    others = tuple(one for one in where.adapters if one.name != move.name)
    known = known.without_adapter(row.target_key, move.name)
    if row.action is Action.FORGET:
        others = where.adapters
    elif move.after is not None and move.verdict is not None:
        held = RecordAdapter(
            target_key=row.target_key,
            target_name=row.target,
            adapter=move.adapter,
            name=move.name,
            base=move.base,
            declared_base=move.declared_base,
            digest=move.after,
            scale=move.scale,
            path=f"/adapters/{move.after}/adapter",
            bytes=move.verdict.bytes,
            attached_at=NOW,
        )
        known = known.with_adapter(held)
        served = ServedAdapter(name=move.name, base=move.base, path=held.path, scale=move.scale, digest=move.after)
        others = (*others, served)
    changed = where.model_copy(update={"adapters": others})
    targets = tuple(changed if one.name == row.target else one for one in seen.targets)
    return seen.model_copy(update={"targets": targets}), known


def _named(
    row: Row, move: AliasMove, where: ObservedTarget, seen: Observation, known: Record
) -> tuple[Observation, Record]:
    """A stable name made, moved or removed; on an Ollama it is listed among the models too."""
    listed = f"{move.name}:latest" if row.target_key.startswith("ollama|") else ""
    digest = f"{move.name} of {move.after} at {move.context}" if listed else None
    known = known.without_alias(row.target_key, move.name)
    aliases = [one for one in where.aliases if one.name != move.name]
    models = [one for one in where.installed if one.name != listed]
    if move.after is not None:
        assert any(one.name == move.after for one in models), f"{move.name} would stand for what is not there"
        context = move.context if listed else None
        aliases.append(Alias(name=move.name, model=move.after, digest=digest, context=context))
        models += [Installed(name=listed, bytes=Bytes(1), digest=digest)] if listed else []
        known = known.with_alias(
            RecordAlias(
                target_key=row.target_key, target_name=row.target, name=move.name, model=move.after, digest=digest,
                context=move.context, made_at=NOW,
            )
        )  # fmt: skip
    changed = where.model_copy(update={"installed": tuple(models), "aliases": tuple(aliases)})
    targets = tuple(changed if one.name == row.target else one for one in seen.targets)
    return seen.model_copy(update={"targets": targets}), known


def _filled(plan: Plan, known: Record) -> Record:
    """Entries learn which slots they fill now, as apply writes it down once it saw them there."""
    there = tuple(
        row.model_copy(update={"reason": Reason.IN_SYNC})
        for row in plan.changes
        if row.action in (Action.INSTALL, Action.UPDATE) and row.alias is None
    )
    return with_claims(known, plan.model_copy(update={"kept": (*plan.kept, *there)}))


def scaled(known: Catalogue, scores: dict[str, float]) -> Catalogue:
    """The same models with other scores."""
    return replace(known, observations=tuple(score_of(name, value) for name, value in scores.items()))
