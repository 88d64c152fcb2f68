"""Asking the Hub what is new, within bounds: what comes back goes into the memory, what fails becomes a note.

At most 40 requests: lists first (two orders per organisation, 24 in all), then files, header and publisher's card of
models the catalogue does not have, then exact files of known ones, most downloaded first. What did not fit comes next
time, because what was learnt is remembered by commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from reconciler.domain.desired import Pool
from reconciler.domain.units import show_duration
from reconciler.errors import OutsideError, Refused, Unreachable
from reconciler.integrations.catalog.discovery import Find, HeaderFacts, Known, finds, smallest_file
from reconciler.integrations.catalog.hub_wire import HubFile, HubRepo
from reconciler.integrations.catalog.memory import Memory
from reconciler.integrations.catalog.outcome import Outcome

if TYPE_CHECKING:
    from reconciler.integrations.catalog.hub import HubClient

MOST_REQUESTS = 40
MOST_LIST_REQUESTS = 24
LISTED_PER_ORDER = 50
_REPOSITORIES_PER_NEW_MODEL = 3
_AT_ONCE = 4
_SPARE_REQUESTS = 5
_SILENCES = 2
"""Requests without any answer after which the Hub counts as gone for this round."""
_ORDERS = ("downloads", "trendingScore")
_EXPAND = (
    "cardData", "createdAt", "disabled", "downloads", "gated", "gguf", "lastModified", "likes", "pipeline_tag", "sha",
    "tags",
)  # fmt: skip


class Refresh:
    """One round of questions.

    Args:
        client: asks.
        memory: keeps what is told.
        known: the catalogue as it is shipped.
        pool: whom to ask about, and whom to trust.
        outcome: filled while it runs.
        most_requests: bound of the whole round; a header deeper than 64 KiB, or a long list, counts as several.
    """

    def __init__(
        self,
        client: HubClient,
        memory: Memory,
        known: Known,
        pool: Pool,
        outcome: Outcome,
        *,
        most_requests: int = MOST_REQUESTS,
    ) -> None:
        self._client = client
        self._memory = memory
        self._known = known
        self._pool = pool
        self._outcome = outcome
        self._most = client.requests + most_requests
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._silent = 0
        self._gone: str | None = None
        """Nobody answered at all: why. Nobody else is asked then."""

    async def run(self, orgs: Sequence[str], *, list_seconds: float) -> None:
        """Ask about these organisations, those heard of longest ago first. Raises nothing outside.

        Args:
            orgs: whose lists are due.
            list_seconds: longest time for the lists, so that one that hangs leaves time to learn from the others.
        """
        waiting = sorted(orgs, key=self._heard)
        orders = _ORDERS if len(waiting) * len(_ORDERS) <= MOST_LIST_REQUESTS else _ORDERS[:1]
        now, later = waiting[:MOST_LIST_REQUESTS], waiting[MOST_LIST_REQUESTS:]
        if later:
            self._outcome.notes.append(f"not asked this time, but next: {', '.join(later)}")
        try:
            async with asyncio.timeout(list_seconds):
                await asyncio.gather(*(self._list(org, orders) for org in now))
        except TimeoutError:
            silent = ", ".join(org for org in now if org not in self._outcome.answered)
            self._outcome.notes.append(f"the Hub took longer than {show_duration(list_seconds)} to list {silent}")
        listed = [heard for org in orgs if (heard := self._memory.listed(org)) is not None]
        found = finds((repo for heard in listed for repo in heard.repos), self._known, self._pool)
        await self._learn(found)

    def _heard(self, org: str) -> float:
        listed = self._memory.listed(org)
        return -listed.entry.age_seconds if listed else float("-inf")

    async def _list(self, org: str, orders: Sequence[str]) -> None:
        repos: dict[str, HubRepo] = {}
        for order in orders:
            try:
                async with self._gate:
                    if not self._may_ask(org):
                        break
                    listing = await self._client.list_models(
                        author=org, filters=("gguf",), sort=order, limit=LISTED_PER_ORDER, expand=_EXPAND
                    )
            except OutsideError as error:
                self._failed(org, error)
                continue
            repos |= {repo.id: repo for repo in listing.repos if repo.organisation == org}
            self._memory.keep_list(org, repos.values())
            self._outcome.answered.add(org)
            self._outcome.notes += [f"{org}: {note}" for note in listing.notes]

    async def _learn(self, found: Sequence[Find]) -> None:
        new: dict[str, list[Find]] = {}
        for find in found:
            if find.known is None:
                new.setdefault(find.model_id, []).append(find)
        await asyncio.gather(*(self._learn_new(model_id, group) for model_id, group in new.items()))
        known = [find for find in found if find.known is not None and self._memory.tree(find.repo) is None]
        await asyncio.gather(*(self._quietly(find.repo.id, partial(self._tree, find.repo)) for find in known))

    async def _learn_new(self, model_id: str, group: Sequence[Find]) -> None:
        """Files of its best repositories, dimensions from one header, the publisher's own card."""
        ordered = sorted(group, key=lambda find: (not find.is_own, -find.repo.downloads, find.repo.id))
        for find in ordered[:_REPOSITORIES_PER_NEW_MODEL]:
            await self._quietly(find.repo.id, partial(self._tree, find.repo))
        held = [find for find in ordered if self._memory.tree(find.repo)]
        readable = [find.repo for find in held if self._client.has_token or not find.repo.gated]
        if readable and not any(self._memory.header(repo) for repo in readable):
            await self._quietly(readable[0].id, partial(self._header, readable[0]))
        if held and not any(find.is_own for find in held) and self._memory.base(model_id) is None:
            await self._quietly(model_id, partial(self._base, model_id))

    async def _tree(self, repo: HubRepo) -> None:
        if self._memory.tree(repo) is None:
            tree = await self._client.tree(repo.id, repo.commit or "main")
            self._memory.keep_tree(repo, tree.files)

    async def _header(self, repo: HubRepo) -> None:
        file = smallest_file(self._memory.tree(repo) or ())
        if file is not None:
            self._memory.keep_header(repo, await header_facts(self._client, repo, file))

    async def _base(self, model_id: str) -> None:
        self._memory.keep_base(model_id, await self._client.model(model_id))

    async def _quietly(self, what: str, question: Callable[[], Awaitable[None]]) -> None:
        """Ask, when it may still be asked. A failure is a note and costs nobody else."""
        try:
            async with self._gate:
                if self._may_ask(what):
                    await question()
        except OutsideError as error:
            self._failed(what, error)

    def _may_ask(self, what: str) -> bool:
        if self._gone is not None:
            self._outcome.failures[self._gone].append(what)
            return False
        left = self._client.requests_left
        if left is not None and left < _SPARE_REQUESTS and self._outcome.retry_after_seconds is None:
            self._failed(what, Unreachable("the Hub's rate limit is nearly spent", retry_after_seconds=300.0))
        return self._outcome.retry_after_seconds is None and self._client.requests < self._most

    def _failed(self, what: str, error: OutsideError) -> None:
        self._outcome.failures.setdefault(error.message, []).append(what)
        if isinstance(error, Unreachable) and "status" not in error.details and not self._client.answers:
            self._silent += 1
            self._gone = error.message if self._silent >= _SILENCES else None
        if isinstance(error, Unreachable) and (error.retry_after_seconds or error.code == "rate-limited"):
            self._outcome.retry_after_seconds = error.retry_after_seconds or 60.0


async def header_facts(client: HubClient, repo: HubRepo, file: HubFile) -> HeaderFacts:
    """What the header of one file says; read whole only where the Hub itself tells nothing of the chat template."""
    revision = repo.commit or "main"
    told = repo.weights is not None and bool(repo.capabilities)
    if not told:
        try:
            return HeaderFacts.of(await client.gguf_header(repo.id, revision, file, dimensions_only=False))
        except Refused:
            raise
        except OutsideError:
            pass
    return HeaderFacts.of(await client.gguf_header(repo.id, revision, file, dimensions_only=True))
