"""One verified download into a ``store``, and how many seconds it took: ``python scripts/bench_store.py URL …``.

Usage: ``bench_store.py ENDPOINT REPOSITORY COMMIT FILE BYTES SHA256 FOLDER``; run by ``bench.py``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from reconciler.domain.artifact import ArtifactFile, HubArtifact
from reconciler.domain.desired import Limits, Target
from reconciler.domain.plan import Action, Reason, Row
from reconciler.domain.units import Bytes
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.store import Store


async def main(endpoint: str, repo: str, commit: str, path: str, size: str, sha256: str, folder: str) -> None:
    clock = SystemClock()
    target = Target(name="store", path=f"{folder}/models")
    store = Store(
        target,
        http=lambda: Http(clock=clock),
        clock=clock,
        token=None,
        hub_endpoint=endpoint,
        limits=Limits(),
        cache_directory=Path(folder) / "cache",
    )
    file = ArtifactFile(path=path, bytes=Bytes(int(size)), sha256=sha256)
    row = Row(
        address="slot/chat[0]",
        action=Action.INSTALL,
        reason=Reason.MISSING,
        target="store",
        target_key=target.key,
        name=f"{repo}/{path}",
        artifact=HubArtifact(endpoint=endpoint, repo=repo, commit=commit, files=(file,)),
    )
    begun = time.perf_counter()
    await store.install(row, lambda *_: None)
    print(time.perf_counter() - begun)
    await store.close()


asyncio.run(main(*sys.argv[1:]))
