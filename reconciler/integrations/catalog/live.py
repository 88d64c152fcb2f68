"""The catalogue as it is known now: the snapshot, what the Hub said since, and what stands behind one pick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from reconciler.domain.catalog import Catalogue
from reconciler.domain.desired import DesiredState
from reconciler.domain.observation import Answer, HubNeed, RegistryNeed, Resolved, Unavailable
from reconciler.domain.units import show_duration
from reconciler.errors import OutsideError, Unreachable
from reconciler.integrations.catalog.hub_cache import HubCache
from reconciler.integrations.catalog.memory import Listed, Memory
from reconciler.integrations.catalog.outcome import Outcome, failure_notes, organisations
from reconciler.ports import Clock

if TYPE_CHECKING:  # a run that asks nobody loads neither the HTTP client nor what reads the Hub's answers
    from reconciler.integrations.catalog.discovery import Known
    from reconciler.integrations.catalog.hub import HubClient
    from reconciler.integrations.catalog.registry import RegistryClient

Freshness = Literal["offline", "cached", "refresh"]

_LIST_SHARE = 0.6
_AGAIN_AFTER = timedelta(minutes=5)


class LiveCatalog:
    """``ports.Catalog`` over the shipped snapshot, the Hub, a registry, and a cache on disk.

    ``candidates`` never raises for want of a network: what was heard before counts however old it is, then the
    snapshot, and a note says so with dates. After a refresh that nobody answered, ``cached`` does not ask again for
    five minutes (or as long as the Hub asked), so that a machine without a network does not wait at every plan.

    Args:
        bundled: the snapshot; may be called often.
        hub: the client, made when it is first needed; may raise ``OutsideError`` (a token that cannot be read).
        registry: as ``hub``.
        cache: of the Hub's answers.
        clock: dates and ages.
        endpoint: of the Hub, so that the cache is found without making a client.
        cached_seconds: longest time a refresh may take before a plan goes on without it.
        refresh_seconds: the same, when a refresh was asked for.
        resolve_seconds: longest time one resolve may take.
    """

    def __init__(
        self,
        *,
        bundled: Callable[[], Catalogue],
        hub: Callable[[], HubClient],
        registry: Callable[[], RegistryClient],
        cache: HubCache,
        clock: Clock,
        endpoint: str = "https://huggingface.co",
        cached_seconds: float = 10.0,
        refresh_seconds: float = 60.0,
        resolve_seconds: float = 60.0,
    ) -> None:
        self._bundled = bundled
        self._make_hub = hub
        self._make_registry = registry
        self._memory = Memory(cache, endpoint.rstrip("/"))
        self._clock = clock
        self._cached_seconds = cached_seconds
        self._refresh_seconds = refresh_seconds
        self._resolve_seconds = resolve_seconds
        self._hub: HubClient | None = None
        self._registry: RegistryClient | None = None
        self._known: Known | None = None

    async def candidates(self, desired: DesiredState, *, freshness: Freshness) -> Catalogue:
        """The models known, as ``ports.Catalog`` promises. Asks only about organisations that the file allows."""
        bundled = self._bundled()
        orgs = organisations(desired.pool)
        due = self._due(orgs, desired.refresh.interval_seconds, freshness)
        limit = self._refresh_seconds if freshness == "refresh" else self._cached_seconds
        outcome = await self._refresh(due, desired, bundled, limit) if due else Outcome()
        return self._merged(bundled, desired, orgs, outcome, freshness)

    async def resolve(self, need: HubNeed | RegistryNeed) -> Answer:
        """What stands behind one pick, asked now. Several at once are fine."""
        from reconciler.integrations.catalog.resolve import unavailable

        try:
            async with asyncio.timeout(self._resolve_seconds):
                return await self._resolve(need)
        except TimeoutError:
            error: OutsideError = Unreachable(f"no answer within {show_duration(self._resolve_seconds)}")
        except OutsideError as raised:
            error = raised
        return unavailable(need, error)

    async def _resolve(self, need: HubNeed | RegistryNeed) -> Resolved | Unavailable:
        from reconciler.integrations.catalog.discovery import Known
        from reconciler.integrations.catalog.resolve import resolve_hub

        if isinstance(need, RegistryNeed):
            self._registry = self._registry or self._make_registry()
            return Resolved(need=need, artifact=await self._registry.manifest(need))
        self._known = self._known or Known(self._bundled().models)
        return await resolve_hub(self._client(), need, self._known, today=self._clock.now().date())

    def _client(self) -> HubClient:
        self._hub = self._hub or self._make_hub()
        return self._hub

    def _due(self, orgs: Iterable[str], interval_seconds: float, freshness: Freshness) -> tuple[str, ...]:
        """Who is to be asked now: everybody, nobody, or those not heard of for the interval.

        What was heard, or failed, at a time that has not come yet says nothing: the clock was set back since.
        """
        if freshness == "offline":
            return ()
        if freshness == "refresh":
            return tuple(orgs)
        until = self._silent_until()
        if until is not None and self._clock.now() < until:
            return ()
        return tuple(
            org
            for org in orgs
            if (heard := self._memory.listed(org)) is None
            or heard.entry.is_ahead
            or heard.entry.age_seconds >= interval_seconds
        )

    def _silent_until(self) -> datetime | None:
        failed = self._memory.failed()
        if failed is None or failed.is_ahead or not isinstance(failed.value, int | float):
            return None
        latest = failed.stored_at + timedelta(hours=1)
        return min(latest, failed.stored_at + timedelta(seconds=failed.value))

    async def _refresh(
        self, orgs: tuple[str, ...], desired: DesiredState, bundled: Catalogue, limit_seconds: float
    ) -> Outcome:
        from reconciler.integrations.catalog.discovery import Known
        from reconciler.integrations.catalog.refresh import Refresh

        outcome = Outcome()
        try:
            client = self._client()
        except OutsideError as error:
            outcome.notes.append(error.message)
            return outcome
        questions = Refresh(client, self._memory, Known(bundled.models), desired.pool, outcome)
        try:
            async with asyncio.timeout(limit_seconds):
                await questions.run(orgs, list_seconds=limit_seconds * _LIST_SHARE)
        except TimeoutError:
            done = f"{len(outcome.answered)} of {len(orgs)} organisations answered"
            outcome.notes.append(f"the Hub took longer than {show_duration(limit_seconds)}: {done}")
        if len(outcome.answered) == len(orgs):
            self._memory.keep_failure(None)
        else:
            pause = outcome.retry_after_seconds or _AGAIN_AFTER.total_seconds()
            self._memory.keep_failure(pause)
        self._memory.cache.persist()
        return outcome

    def _merged(
        self, bundled: Catalogue, desired: DesiredState, orgs: tuple[str, ...], outcome: Outcome, freshness: Freshness
    ) -> Catalogue:
        heard = [listed for org in orgs if (listed := self._memory.listed(org)) is not None]
        notes = [*bundled.notes, *self._memory.cache.warnings, *outcome.notes, *failure_notes(outcome)]
        if orgs and not outcome.answered:
            notes += self._age_notes(heard, bundled, freshness, desired.refresh.interval_seconds)
            unheard = [org for org in orgs if self._memory.listed(org) is None]
            notes += [f"the Hub was never asked about {', '.join(unheard)}"] if heard and unheard else []
        if not heard:
            return replace(bundled, notes=tuple(notes))
        from reconciler.integrations.catalog.discovery import Known, finds, with_live

        known = Known(bundled.models)
        found = finds((repo for listed in heard for repo in listed.repos), known, desired.pool)
        newest = max(listed.entry.stored_at for listed in heard).date()
        return replace(
            bundled,
            models=with_live(known, found, self._memory.learnt(found), today=newest),
            generated_at=max(bundled.generated_at, newest),
            origin="live" if outcome.answered else "cached",
            notes=tuple(notes),
        )

    def _age_notes(
        self, heard: list[Listed], bundled: Catalogue, freshness: Freshness, interval_seconds: float
    ) -> Iterable[str]:
        """S4: what the answer rests on when the Hub was not heard now, with its date and age."""
        why = "offline" if freshness == "offline" else "the Hub was not reached"
        if not heard:
            yield f"{why}: the catalogue is the shipped snapshot of {bundled.generated_at.isoformat()}"
            return
        oldest = min(listed.entry.stored_at for listed in heard).astimezone(UTC)
        age = max(listed.entry.age_seconds for listed in heard)
        if freshness != "cached" or age >= interval_seconds:
            ago = show_duration(max(1.0, age))
            yield f"{why}: the catalogue is what the Hub said on {oldest.date().isoformat()}, {ago} ago"
