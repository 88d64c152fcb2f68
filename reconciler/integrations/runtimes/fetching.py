"""How we fetch files ourselves, below a folder of this host: as whom, how fast, and what must stay free."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.domain.desired import Limits
from reconciler.integrations.runtimes.download import STALL_SECONDS, Download
from reconciler.integrations.runtimes.partials import Partial, disk_errors, ensure_room
from reconciler.integrations.runtimes.rate_limit import RateLimit
from reconciler.integrations.runtimes.store_files import disk_space
from reconciler.ports import Clock

if TYPE_CHECKING:
    from reconciler.integrations.http import Http


class Fetching:
    """What every download below one folder has in common; one may be used for several at once.

    Args:
        root: of the folder; it need not exist yet.
        clock: sleeps between tries.
        token: for the Hub; sent to the origin of ``hub_endpoint`` only.
        hub_endpoint: base URL.
        limits: connections per download and bytes a second.
        reserve_bytes: of a disk of so many bytes, what is never used (``pool.minFreeDisk``).
        rate: shared between downloads of one host; None makes one of ``limits``.
        idle_timeout_seconds: a connection without a byte for so long is given up and tried again.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock,
        token: str | None,
        hub_endpoint: str,
        limits: Limits,
        reserve_bytes: Callable[[int], int],
        rate: RateLimit | None,
        idle_timeout_seconds: float = STALL_SECONDS,
    ) -> None:
        self._root = root
        self._clock = clock
        self._token = (token or "").strip() or None
        self._hub_endpoint = hub_endpoint
        self._connections = limits.concurrent_downloads
        self._rate = rate if rate is not None else RateLimit(limits.download_rate, clock)
        self._reserve_of = reserve_bytes
        self._idle_timeout_seconds = idle_timeout_seconds

    async def fetch(self, partial: Partial, http: Http, moved: Callable[[int], None]) -> None:
        """Bring a partial to its full, verified content; raises as ``Download.run``.

        Args:
            partial: open, locked.
            http: the door to the network; it stays open.
            moved: told the bytes in place after every write.
        """
        download = Download(
            partial,
            http,
            clock=self._clock,
            token=self._token,
            token_origin=self._hub_endpoint,
            connections=self._connections,
            rate=self._rate,
            reserve_bytes=self._reserve_bytes(),
            moved=moved,
            idle_timeout_seconds=self._idle_timeout_seconds,
        )
        await download.run()

    def ensure_room(self, folder: Path, needed: int) -> None:
        """Refuse to begin where ``needed`` more bytes in ``folder`` would use what must stay free.

        Raises:
            OutOfSpace: they would.
        """
        ensure_room(folder, needed, self._reserve_bytes())

    def _reserve_bytes(self) -> int:
        with disk_errors(self._root):
            return self._reserve_of(disk_space(self._root).total_bytes)
