"""A target that only a person can drive: LM Studio, vLLM, llama-server behind a command line."""

from __future__ import annotations

from reconciler.domain.advice import Program, command_for
from reconciler.domain.artifact import HubArtifact
from reconciler.domain.desired import Target
from reconciler.domain.observation import Installed, ObservedTarget
from reconciler.domain.plan import Row
from reconciler.domain.units import Bytes
from reconciler.errors import Refused
from reconciler.ports import Progress

NOTE = "what is installed here is not known: this target takes commands from a person only"


class Advisory:
    """Tells the command instead of running it. Observes nothing, so nothing is ever pruned on its word.

    Source: the origin's advisory adapter, at 0.2.0.
    """

    def __init__(self, target: Target) -> None:
        self._target = target

    @property
    def target(self) -> Target:
        return self._target

    @property
    def _program(self) -> Program:
        return self._target.program or "llama-server"

    async def observe(self) -> ObservedTarget:
        return ObservedTarget(name=self._target.name, key=self._target.key, notes=(NOTE,))

    async def install(self, row: Row, progress: Progress) -> Installed:  # noqa: ARG002 - the port's
        repo = row.artifact.repo if isinstance(row.artifact, HubArtifact) else row.model_id or row.name
        command = row.command or command_for(self._program, repo, row.quant, row.evidence.context)
        raise Refused(
            f"{self._target.name} cannot be driven from here: run {command}",
            code="no-api",
            hint=command,
            details={"target": self._target.name, "name": row.name, "command": command},
        )

    async def remove(self, name: str) -> Bytes:
        raise self._refusal("remove", name)

    async def digest(self, name: str, progress: Progress) -> tuple[str, str]:  # noqa: ARG002 - the port's
        raise self._refusal("read", name)

    async def clean_partials(self, names: frozenset[str]) -> Bytes:  # noqa: ARG002 - the port's
        return Bytes(0)

    async def close(self) -> None:
        return

    def _refusal(self, verb: str, name: str) -> Refused:
        return Refused(
            f"{self._target.name} cannot {verb} {name}: {self._program} has no interface for it",
            code="no-api",
            hint=f"{verb} it with {self._program} yourself",
            details={"target": self._target.name, "name": name},
        )
