"""What tests of Ollama share: a clock that does not wait, a row, a runtime over a double, progress written down."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from reconciler.domain.artifact import HubArtifact, RegistryArtifact
from reconciler.domain.desired import Target
from reconciler.domain.plan import Action, Reason, Row
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.ollama import Ollama
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_model import Packed, packed, tiny_gguf

LIBRARY = "registry.ollama.ai"


class QuickClock:
    """Real time, but a sleep only moves it on; ``slept`` lists what was asked for."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._ahead = timedelta()
        self._slept_seconds = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def elapsed(self) -> float:
        return time.monotonic() + self._slept_seconds

    def jump(self, seconds: float) -> None:
        """Somebody, or a time server, sets it; no time passes."""
        self._ahead += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._slept_seconds += seconds
        self._ahead += timedelta(seconds=seconds)
        await asyncio.sleep(0)


class Heard:
    """Progress, as it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, str]] = []

    def __call__(self, done: int, total: int, note: str = "") -> None:
        self.calls.append((done, total, note))

    @property
    def done(self) -> list[int]:
        return [done for done, _, _ in self.calls]

    @property
    def notes(self) -> list[str]:
        return [note for _, _, note in self.calls]


def install_row(
    name: str, artifact: HubArtifact | RegistryArtifact | None, action: Action = Action.INSTALL, **more: Any
) -> Row:
    return Row(
        address="slot/one[0]", action=action, reason=Reason.MISSING, target="local", target_key="ollama|double",
        name=name, artifact=artifact, **more,
    )  # fmt: skip


def library_row(name: str, model: Packed, action: Action = Action.INSTALL) -> Row:
    """A row for ``model:tag`` of the default library."""
    model_name, _, tag = name.partition(":")
    return install_row(name, model.registry_artifact(LIBRARY, "library", model_name, tag or "latest"), action)


def small(seed: int = 0, size: int = 200_000, **more: Any) -> Packed:
    return packed(tiny_gguf(size, seed=seed), **more)


def runtime_on(
    double: OllamaDouble, *, directories: list[Path] | None = None, clock: QuickClock | None = None, **more: Any
) -> Ollama:
    """A runtime over a double; without ``directories`` it knows only what the API tells."""
    clock = clock or QuickClock()
    target = Target(name="local", runtime="ollama", endpoint=double.url)
    return Ollama(
        target, http=lambda: Http(clock=clock), clock=clock, directories=directories or [], environ={}, **more
    )
