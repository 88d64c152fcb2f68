"""Times the models of an Ollama server by what it says of its own answers.

Read against Ollama 0.33.0-rc2. Durations are nanoseconds of the server's own clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reconciler.domain.desired import Target
from reconciler.domain.measurement import PROMPT, SHORTEST_RUN, Run, Timing, Trial
from reconciler.domain.observation import Installed
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.integrations.runtimes.host_load import other_load
from reconciler.integrations.runtimes.ollama_api import DEFAULT_ENDPOINT, Loaded, OllamaApi
from reconciler.integrations.runtimes.ollama_look import key
from reconciler.integrations.runtimes.ollama_use import busy
from reconciler.integrations.runtimes.server import Server
from reconciler.ports import Clock

if TYPE_CHECKING:
    from reconciler.integrations.http import Http

_NANO = 1e9
_BETWEEN_LOOKS_SECONDS = 0.5
_UNLOAD_SECONDS = 10.0
_FOREVER_SECONDS = 365 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class _Job:
    """One model being measured."""

    name: str
    trial: Trial
    before: Loaded | None
    """How it was loaded; None: it was not."""
    keep_seconds: float
    until: float
    """By ``Clock.elapsed``."""

    @property
    def context(self) -> int:
        """Another one would load the model again."""
        return (self.before.context if self.before else None) or self.trial.context


class OllamaMeter:
    """The ``Meter`` port over one Ollama server.

    A model that is loaded and idle is measured as it is loaded, and stays so for as long as it had left. What is in
    use, or would have to make room, is left alone.
    """

    def __init__(self, target: Target, *, http: Http, clock: Clock) -> None:
        self._http = http
        self._api = OllamaApi(Server(target.endpoint or DEFAULT_ENDPOINT, http=lambda: http))
        self._clock = clock

    async def close(self) -> None:
        await self._http.close()

    async def obstacle(self, model: Installed, ram: Bytes) -> str | None:  # noqa: ARG002 - Ollama sees to it
        """Something is in use, or another model is loaded: both would be slower, and one might be pushed out."""
        loaded = await self._api.loaded()
        if not loaded:
            return None
        await self._clock.sleep(_BETWEEN_LOOKS_SECONDS)
        again = await self._api.loaded()
        in_use = busy(loaded, again, self._clock.now())
        for item in again:
            if item in in_use:
                return f"{item.name} is in use now"
            if key(item.name) != key(model.name):
                return f"{item.name} is loaded beside it; when nobody needs it: ollama stop {item.name}"
        return None

    async def measure(self, model: Installed, trial: Trial) -> Timing:
        before = await self._state(model.name)
        until = self._clock.elapsed() + trial.max_seconds
        try:
            return await self._measured(_Job(model.name, trial, before, self._keep_seconds(before, trial), until))
        except Unreachable as error:
            raise (_too_slow(model, trial) if error.code == "timed-out" else error) from error
        except Refused as error:
            if "does not support" in error.message:  # an embedding model: it is fine, and writes no text
                raise Refused(error.message, code="not-measurable") from error
            raise
        finally:
            if before is None:
                await asyncio.shield(self._unload(model.name))

    async def _measured(self, job: _Job) -> Timing:
        version, load = await self._api.version(), await other_load()
        loading = await self._ask(job)
        state = await self._state(job.name)
        runs = await self._runs(job)
        return Timing(
            runtime="ollama",
            runtime_version=version,
            context=(state.context if state else None) or job.context,
            runs=runs,
            load_seconds=_seconds(loading, "load_duration") if job.before is None else None,
            loaded_bytes=Bytes(state.size) if state and state.size else None,
            on_accelerator=_share(state),
            other_load=load,
        )

    async def _runs(self, job: _Job) -> tuple[Run, ...]:
        """As many as were asked for, or as the time allows; at least one."""
        runs: list[Run] = []
        for number in range(1, job.trial.runs + 1):
            if runs and self._seconds_left(job) < 1.5 * (runs[-1].seconds + runs[-1].prompt_seconds):
                break
            try:
                answer = await self._ask(job, prompt=f"{number}. {PROMPT}", num_predict=job.trial.generate_tokens)
            except Unreachable as error:
                if runs and error.code == "timed-out":
                    break
                raise
            runs.append(_run(answer, job.name))
        return tuple(runs)

    async def _ask(self, job: _Job, *, prompt: str = "", **options: int) -> Mapping[str, Any]:
        """Load, or answer. The prompt goes in raw, and begins otherwise each time: one that is cached is not read."""
        return await self._api.generate(
            job.name,
            timeout_seconds=max(0.01, self._seconds_left(job)),
            keep_alive=round(job.keep_seconds),
            options={"num_ctx": job.context, "temperature": 0, "seed": 1, **options},
            **({"prompt": prompt, "raw": True} if prompt else {}),
        )

    def _seconds_left(self, job: _Job) -> float:
        return job.until - self._clock.elapsed()

    def _keep_seconds(self, before: Loaded | None, trial: Trial) -> float:
        """How long it stays loaded: as it would have; else until we are done. -1 is for ever."""
        if before is None:
            return trial.max_seconds
        left = (before.expires_at - self._clock.now()).total_seconds() if before.expires_at else trial.max_seconds
        return -1.0 if left > _FOREVER_SECONDS else max(1.0, left)

    async def _state(self, name: str) -> Loaded | None:
        return next((item for item in await self._api.loaded() if key(item.name) == key(name)), None)

    async def _unload(self, name: str) -> None:
        """Best effort, and only what we loaded; it expires by itself otherwise. Waits until it is gone."""
        with suppress(OutsideError):
            await self._api.generate(name, timeout_seconds=_UNLOAD_SECONDS, keep_alive=0)
            for _ in range(20):
                if await self._state(name) is None:
                    return
                await self._clock.sleep(_BETWEEN_LOOKS_SECONDS)


def _run(answer: Mapping[str, Any], name: str) -> Run:
    """What one answer says of itself.

    Raises:
        Corrupt: it says nothing, or too little to tell a speed.
    """
    count, seconds = _count(answer, "eval_count"), _seconds(answer, "eval_duration")
    if count < SHORTEST_RUN or seconds <= 0:
        raise Corrupt(f"{name} answered with {count} tokens: too few to tell its speed", code="not-measurable")
    return Run(
        prompt_tokens=_count(answer, "prompt_eval_count"),
        prompt_seconds=_seconds(answer, "prompt_eval_duration"),
        generated_tokens=count,
        seconds=seconds,
    )


def _count(answer: Mapping[str, Any], key: str) -> int:
    value = answer.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _seconds(answer: Mapping[str, Any], key: str) -> float:
    return _count(answer, key) / _NANO


def _share(state: Loaded | None) -> float | None:
    if state is None or not state.size or state.size_vram is None:
        return None
    return min(1.0, state.size_vram / state.size)


def _too_slow(model: Installed, trial: Trial) -> Unreachable:
    return Unreachable(
        f"{model.name} was not done within {trial.max_seconds:g} s",
        code="timed-out",
        hint="give it longer with --max-time",
    )
