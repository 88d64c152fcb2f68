"""A machine with adapters: two bases, what its file asks, what it serves, what is recorded, and who answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.domain.adapter import (
    Adapter,
    AdapterServing,
    AdapterSource,
    AdapterVerdict,
    RecordAdapter,
    ServedAdapter,
)
from reconciler.domain.desired import DesiredState, Slot, Target
from reconciler.domain.finding import Finding
from reconciler.domain.observation import (
    AdapterNeed,
    DiskSpace,
    Installed,
    Observation,
    ObservedTarget,
    PartialDownload,
    Resolved,
    Unavailable,
)
from reconciler.domain.plan import Overrides, Plan, Row
from reconciler.domain.record import Record, RecordEntry
from reconciler.domain.units import Bytes
from tests.builders import (
    NOW,
    answered,
    artifact,
    catalogue,
    desired,
    entry,
    installed,
    model,
    observation,
    observed,
    record,
    settle,
    sha,
)

NAMES = ("acme/alpha-1b", "acme/beta-1b")
ALPHA, BETA = (artifact(f"{name}-GGUF") for name in NAMES)
MB = 10**6
SIZE = Bytes(100 * MB)
EDGE = Target(name="edge", runtime="llama-server", endpoint="http://127.0.0.1:8080", preset="/etc/models.ini")


def base_name(found: object) -> str:
    return f"{found.repo}:Q4_K_M"  # type: ignore[attr-defined]


def known(**scores: float):
    return catalogue(
        *(model(name, params=1_000_000_000) for name in NAMES),
        scores={f"acme/{name}-1b": score for name, score in scores.items()},
    )


def pin(found: object = ALPHA, *, name: str = "coder", **changes: object) -> Slot:
    model_id = found.repo.removesuffix("-GGUF")  # type: ignore[attr-defined]
    return Slot(name=name, model=model_id, quant="Q4_K_M").model_copy(update=changes)


def lora(name: str = "sql", **changes: object) -> Adapter:
    base = Adapter(
        name=name,
        base="coder",
        source=AdapterSource(path=f"/adapters/{name}"),
        serve=(AdapterServing(target="edge", name=name),),
    )
    return base.model_copy(update=changes)


def there(found: object = ALPHA, **changes: object) -> Installed:
    return installed(found, name=base_name(found), **changes)  # type: ignore[arg-type]


def ours(found: object = ALPHA, *slots: str, **changes: object) -> RecordEntry:
    update = {"name": base_name(found), "target_key": EDGE.key, "target_name": "edge"}
    model_id = found.repo.removesuffix("-GGUF")  # type: ignore[attr-defined]
    made = entry(found, *(slots or ("slot/coder[0]",)), model_id=model_id)  # type: ignore[arg-type]
    return made.model_copy(update={**update, **changes})


def digest(content: str = "sql 1") -> str:
    return sha(content)


def recorded(name: str = "sql", content: str = "sql 1", on: object = ALPHA, **changes: object) -> RecordAdapter:
    base = RecordAdapter(
        target_key=EDGE.key,
        target_name="edge",
        adapter=name,
        name=name,
        base=base_name(on),
        declared_base="coder",
        digest=digest(content),
        path=f"/held/{digest(content)}/a.gguf",
        bytes=SIZE,
        attached_at=NOW,
    )
    return base.model_copy(update=changes)


def serves(name: str = "sql", content: str = "sql 1", on: object = ALPHA, **changes: object) -> ServedAdapter:
    base = ServedAdapter(
        name=name, base=base_name(on), path=f"/held/{digest(content)}/a.gguf", scale=1.0, digest=digest(content)
    )
    return base.model_copy(update=changes)


def error(message: str = "it has 4 layers, its base has 32") -> Finding:
    return Finding(code="layers_differ", severity="error", message=message)


def verdict(content: str = "sql 1", *findings: Finding, **changes: object) -> AdapterVerdict:
    base = AdapterVerdict(digest=digest(content), format="gguf", bytes=SIZE, rank=16, findings=findings)
    return base.model_copy(update=changes)


Says = Mapping[object, AdapterVerdict | str | None]
"""What becomes of a question: by ``adapter`` or ``(adapter, base name)``; a text: the source does not answer."""


def answer(need: AdapterNeed, says: Says) -> Resolved | Unavailable:
    said = says.get((need.adapter, need.base_name), says.get(need.adapter, verdict(f"{need.adapter} 1")))
    if isinstance(said, AdapterVerdict):
        return Resolved(need=need, adapter=said)
    return Unavailable(need=need, code="unreachable", message=said or "nobody answers")


@dataclass(frozen=True)
class Told:
    """A plan that needs nothing more, and what it was made from."""

    plan: Plan
    want: DesiredState
    seen: Observation
    known: Record


def settled(
    want: DesiredState, seen: Observation, mine: Record, says: Says, overrides: Overrides | None = None
) -> Told:
    """Plan, answer what is asked, plan again, as the engine does."""

    def with_answers(plan: Plan, before: Observation) -> Observation:
        after = answered(plan, before)
        asked = [need for need in plan.needs if isinstance(need, AdapterNeed)]
        return after.model_copy(update={"answers": (*after.answers, *(answer(need, says) for need in asked))})

    plan, seen = settle(want, seen, mine, overrides=overrides, answer=with_answers)
    return Told(plan, want, seen, mine)


def look(models: Iterable[Installed] = (), adapters: Iterable[ServedAdapter] = (), **changes: object) -> ObservedTarget:
    where = observed(*models, name="edge", key=EDGE.key)
    update = {"adapters": tuple(adapters), "takes_adapters": "gguf"}
    return where.model_copy(update={**update, **changes})


def planned(
    *adapters: Adapter,
    slots: tuple[Slot, ...] = (pin(),),
    models: Iterable[Installed] = (),
    served: Iterable[ServedAdapter] = (),
    mine: Record | None = None,
    says: Says | None = None,
    scores: Mapping[str, float] | None = None,
    target: Target = EDGE,
    overrides: Overrides | None = None,
    look_changes: Mapping[str, object] | None = None,
    offline: bool = False,
    halves: tuple[PartialDownload, ...] = (),
    adapter_disk: DiskSpace | None = None,
    **changes: object,
) -> Told:
    where = look(models, served, **dict(look_changes or {}))
    want = desired(*slots, targets=(target,), adapters=adapters, **changes)
    seen = observation(known(**dict(scores or {})), where.model_copy(update={"key": target.key}), offline=offline)
    seen = seen.model_copy(update={"adapter_partials": halves, "adapter_disk": adapter_disk})
    return settled(want, seen, mine or record(), says or {}, overrides)


def said(rows: Iterable[Row]) -> list[str]:
    """Each row in a word: ``install alpha``, ``attach sql to alpha``."""
    found = []
    for row in rows:
        short = row.name.rpartition("/")[2].partition("-")[0]
        if row.adapter is None:
            found.append(f"{row.action.value} {short}")
        else:
            preposition = "from" if row.action.value in ("detach", "forget") else "to"
            found.append(f"{row.action.value} {row.adapter.name} {preposition} {short}")
    return found


def why(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """(name, reason) of the rows about adapters."""
    return [(row.adapter.name, row.reason.value) for row in rows if row.adapter is not None]
