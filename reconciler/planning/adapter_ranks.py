"""Ranks that a server takes: what it was started for, what its adapters need, and what it would have to be started for.

A vLLM has one limit for all its adapters, and does not tell it: the file may (``maxLoraRank``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.domain.advice import VLLM_DEFAULT_RANK, VLLM_RANKS, adapter_command
from reconciler.domain.desired import Target
from reconciler.domain.finding import Finding
from reconciler.domain.observation import ObservedTarget
from reconciler.domain.plan import Action, AdapterMove, Reason, Row
from reconciler.planning.adapter_base import started_with
from reconciler.planning.adapter_by_hand import theirs_on
from reconciler.planning.room import Place
from reconciler.planning.scene import Scene


@dataclass(slots=True)
class Ranks:
    """The ranks of all adapters that the file asks for, by the server they are for."""

    scene: Scene
    needed: dict[Place, int] = field(default_factory=dict)
    """The highest at each base of a target: that is what one server serves."""

    def count(self, target: Target, base: str, rank: int | None) -> None:
        """Take in one that belongs to its base, whether or not it may be attached yet."""
        place = (target.name, base)
        self.needed[place] = max(self.needed.get(place, 0), rank or 0)

    def highest(self, target: Target, base: str) -> int | None:
        """Of every adapter for this server; at least what it was started for. None: nobody knows any."""
        return max(self.needed.get((target.name, base), 0), largest_taken(self.scene, target) or 0) or None

    def judge(self, row: Row, target: Target, kept: Iterable[Row]) -> Row:
        """A change as it can be done: blocked where its rank is beyond the server, told where nobody knows.

        Args:
            row: attaches an adapter, or changes one.
            target: that can be told.
            kept: rows of what is served as the file asks.
        """
        rank = row.adapter.verdict.rank if row.adapter is not None and row.adapter.verdict is not None else None
        if rank is None or target.program != "vllm" or row.adapter is None:
            return row
        limit, command = largest_taken(self.scene, target), self._command(target, row.name)
        if limit is not None and rank > limit:
            return _beyond(row, target, rank, limit, command)
        proven = [VLLM_DEFAULT_RANK, *(_rank_of(one) for one in kept if one.target == target.name)]
        return _untold(row, row.adapter, target, rank, command) if limit is None and rank > max(proven) else row

    def _command(self, target: Target, base: str) -> str:
        """What the server would have to be started with; apply attaches what is ours, and others' are named."""
        rank = self.highest(target, base)
        start, names = started_with(self.scene, target, base)
        return adapter_command("vllm", start, theirs_on(self.scene, target, base), rank=rank, names=names) or ""


def largest_taken(scene: Scene, target: Target) -> int | None:
    """The highest rank that a server takes: as it tells, else as the file says; None: nobody does."""
    observed = scene.observed.get(target.name)
    told = observed.max_adapter_rank if isinstance(observed, ObservedTarget) else None
    return told if told is not None else target.max_lora_rank


def _rank_of(row: Row) -> int:
    """Of an adapter that is served: its server takes that much."""
    verdict = row.adapter.verdict if row.adapter is not None and row.ours else None
    return (verdict.rank or 0) if verdict is not None else 0


def _beyond(row: Row, target: Target, rank: int, limit: int, command: str) -> Row:
    name = row.adapter.name if row.adapter is not None else row.name
    stays = "; what is attached stays" if row.action is Action.UPDATE else ""
    message = f"{target.name} takes ranks up to {limit} as it was started, and {name} has {rank}{stays}"
    hint = "start it so; apply attaches what is ours then"
    if target.max_lora_rank is not None:
        hint = "start it so and write that limit at `maxLoraRank`; apply attaches what is ours then"
    update = {
        "action": Action.KEEP, "reason": Reason.NO_API, "message": message, "hint": hint, "command": command,
        "ours": row.action is Action.UPDATE or row.reason is Reason.DRIFTED,
    }  # fmt: skip
    return row.model_copy(update=update)


def _untold(row: Row, move: AdapterMove, target: Target, rank: int, command: str) -> Row:
    least = next((one for one in VLLM_RANKS if one >= rank), rank)
    told = Finding(
        code="rank_limit_unknown",
        severity="warning",
        message=f"{target.name} does not tell the highest rank it takes, and refuses {move.name} (rank {rank}) "
        f"where it was started with less than --max-lora-rank {least}; vLLM's default is {VLLM_DEFAULT_RANK}",
        hint=f"write `maxLoraRank` at the target, and have it started with enough: {command}",
    )
    message = "; ".join(part for part in (row.message, told.message) if part)
    found = move.model_copy(update={"findings": (*move.findings, told)})
    return row.model_copy(update={"message": message, "hint": told.hint, "adapter": found})
