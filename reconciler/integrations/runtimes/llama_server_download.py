"""One download by a router, followed to its end: its events where they come, its list in any case.

The router says "success" before it has asked anybody, and "finished" also when there was nothing to fetch; so nothing
but the list is believed, and here it is only known when to look at it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.formats.gguf_names import parse
from reconciler.integrations.runtimes.llama_server_api import Event, FileProgress, LlamaServerApi
from reconciler.ports import Clock, Progress


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a download may stand still.

    The router itself tries three times, with 2 and 4 s between.
    """

    idle_seconds: float = 120.0
    poll_seconds: float = 1.0
    monotonic: Callable[[], float] = time.monotonic


class Download:
    """Begins a download, or joins the one that runs, and waits until the router no longer lists it as running.

    Args:
        api: of the router.
        name: as it lists the model.
        artifact: what should come: every file with its size.
        pinned: the file asks for this very revision, so that another is not to be installed, rather than wrong.
        progress: told the bytes of all files together, never more than the artifact has.
        clock: sleeps between looks.
        patience: when to give up.
    """

    def __init__(
        self,
        api: LlamaServerApi,
        name: str,
        artifact: HubArtifact,
        progress: Progress,
        *,
        pinned: bool = False,
        clock: Clock,
        patience: Patience,
    ) -> None:
        self._api, self._name, self._artifact = api, name, artifact
        self._pinned = pinned
        self._progress, self._clock, self._patience = progress, clock, patience
        self._sizes = {file.path: file.bytes for file in artifact.files}
        self._files: dict[str, FileProgress] = {}
        self._told = -1
        self._moved_at = patience.monotonic()
        self._wrong: OutsideError | None = None
        self._news = asyncio.Event()
        self._listening = asyncio.Event()

    async def to_the_end(self) -> None:
        """Until the router is done with it, one way or another.

        Raises:
            Unreachable: it does not answer, or no byte came for the idle time: the router goes on alone, and the next
                call joins it. Corrupt: it fetches another file than planned, and was stopped. Refused: the same, where
                a revision is asked for that is not the head.
        """
        listener = asyncio.create_task(self._listen())
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._listening.wait(), self._patience.poll_seconds)
            await self._api.download(self._name)
            await self._until_it_ends()
        except (asyncio.CancelledError, OutsideError) as error:
            if self._wrong is not None or isinstance(error, asyncio.CancelledError):
                await asyncio.shield(self._stop())
            raise
        finally:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener

    def failure(self, target: str) -> OutsideError:
        """Why there is nothing: the router does not say, so what it did tells the two apart."""
        if any(file.done for file in self._files.values()):
            return Unreachable(
                f"{target} broke off the download of {self._name}; what has arrived is kept there for resuming",
                code="connection-lost",
                hint="its log says why; is its disk full?",
            )
        return Refused(
            f"{target} ended the download of {self._name} without having begun it, and does not say why",
            code="not-found",
            hint=f"can the router reach {self._artifact.endpoint} (HF_ENDPOINT), with a token (HF_TOKEN) where one is"
            " needed? Its log says more",
        )

    async def _stop(self) -> None:
        with suppress(OutsideError):
            await self._api.unload(self._name)

    async def _until_it_ends(self) -> None:
        self._moved_at = self._patience.monotonic()
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._patience.poll_seconds)
            self._news.clear()
            if self._wrong is not None:
                raise self._wrong
            if not await self._is_running():
                return
            if self._patience.monotonic() - self._moved_at > self._patience.idle_seconds:
                raise Unreachable(
                    f"no byte of {self._name} came for {self._patience.idle_seconds:g} s",
                    code="timed-out",
                    hint="the router goes on by itself; apply again to join it",
                )

    async def _is_running(self) -> bool:
        listed = await self._api.models()
        return any(item.name == self._name and not item.is_there for item in listed)

    async def _listen(self) -> None:
        """Hear events as long as they come; without them the list is asked every now and then."""
        while True:
            with suppress(OutsideError):
                async with aclosing(self._api.events(idle_timeout_seconds=self._patience.idle_seconds)) as events:
                    async for event in events:
                        self._listening.set()
                        self._hear(event)
            await self._clock.sleep(self._patience.poll_seconds)

    def _hear(self, event: Event) -> None:
        if event.model != self._name:
            return
        for file in event.files:
            self._note(file)
        if event.kind in ("download_finished", "download_failed"):
            self._news.set()

    def _note(self, file: FileProgress) -> None:
        before = self._files.get(file.path)
        if before is None and (wrong := self._not_planned(file)):
            self._wrong = wrong
            self._news.set()
        if before is None or file.done > before.done:
            self._moved_at = self._patience.monotonic()
        self._files[file.path] = file
        total = self._artifact.bytes
        done = min(total, sum(one.done for one in self._files.values()))
        if done > self._told:
            self._told = done
            self._progress(Bytes(done), total)

    def _not_planned(self, file: FileProgress) -> OutsideError | None:
        """A file of the model that is not in the plan, or has another size: stopped before it has cost its bytes."""
        if parse(file.path).role != "model":
            return None
        expected = self._sizes.get(file.path)
        if expected == file.total and file.repo == self._artifact.repo:
            return None
        if self._pinned and file.commit != self._artifact.commit:
            return not_the_head(self._name, self._artifact)
        found = f"{file.path} of {file.total} bytes" if expected is None else f"{file.total} bytes of {file.path}"
        return Corrupt(
            f"the router fetches {found} for {self._name}, which is not what was planned; it was stopped",
            hint="the repository offers other content now, or two of its files end in the same quant: plan again",
            details={"wanted": dict(self._sizes), "commit": file.commit},
        )


def not_the_head(name: str, artifact: HubArtifact) -> Refused:
    """A router takes no revision: it is asked for a name, and fetches what the repository holds now."""
    return Refused(
        f"revision {artifact.commit[:12]} of {name} is not what the head of {artifact.repo} holds, and a llama-server"
        " fetches nothing else; what came was not kept",
        code="not-installable",
        hint="put the slot on a store, which fetches any revision; or take `revision` out of the slot",
    )
