"""Observations from outside: a file or URL in our format, and the origin's two live sources."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

from reconciler.domain.catalog import BenchmarkObservation
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.formats.flaws import Flawed
from reconciler.formats.foreign_json import read_json
from reconciler.formats.observation_file import parse_observations
from reconciler.formats.origin_sources import OriginSource, SourceAnswer, failed
from reconciler.integrations.http import Http

SIZE_LIMIT_BYTES = 64 * 2**20
_HINT = "docs/benchmarks-format.md describes the format"


async def read_benchmarks(source: str, *, http: Http) -> tuple[BenchmarkObservation, ...]:
    """Every observation of a file or an ``http(s)`` URL in our format; all of it, or an error.

    Raises:
        Unreachable: the URL did not answer, or says "later".
        Refused: no such file or page, larger than 64 MiB, not JSON, or not in our format;
            ``details['problems']`` then holds every flaw (the first 20) with its row.
    """
    is_url = source.startswith(("http://", "https://"))
    raw = await _fetched(source, http) if is_url else await asyncio.to_thread(_file_bytes, Path(source))
    if len(raw) > SIZE_LIMIT_BYTES:
        raise Refused(f"{source} is larger than 64 MiB", code="benchmarks-invalid", hint="split it into several files")
    parsed = parse_observations(_json(source, raw))
    if isinstance(parsed, Flawed):
        raise Refused(f"{source}: {parsed.summary}", code="benchmarks-invalid", hint=_HINT, details=parsed.details)
    return parsed


async def ask_origin_source(source: OriginSource, *, http: Http, today: date) -> SourceAnswer:
    """What one of the origin's sources says now. Never raises for an answer: failures are coded warnings."""
    try:
        reply = await http.request("GET", source.url, follow_redirects=True)
    except OutsideError as error:
        return failed(source.name, "fetch_failed", error.message, today)
    if not reply.ok:
        return failed(source.name, "fetch_failed", f"HTTP {reply.status}", today)
    try:
        payload = reply.json()
    except Corrupt as error:
        return failed(source.name, "parse_failed", error.message, today)
    return source.parse(payload, today)


async def _fetched(url: str, http: Http) -> bytes:
    reply = await http.request("GET", url, timeout_seconds=60, follow_redirects=True)
    if reply.ok:
        return reply.body
    problem = Unreachable if reply.status >= 500 or reply.status == 429 else Refused
    raise problem(f"{url.partition('?')[0]} answered HTTP {reply.status}", details={"status": reply.status})


def _file_bytes(path: Path) -> bytes:
    try:
        with path.expanduser().open("rb") as file:
            return file.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Refused(
            f"{path} cannot be read: {reason}", code="file-unreadable", hint="give a file or a URL"
        ) from error


def _json(source: str, raw: bytes) -> Any:
    try:
        return read_json(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{source} is not JSON: {error}", code="benchmarks-invalid", hint=_HINT) from error
