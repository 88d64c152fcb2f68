"""Asking a person, where there is one."""

from __future__ import annotations

import asyncio
import sys

from reconciler.errors import UsageError


async def agreed(question: str, *, yes: bool, as_json: bool) -> bool:
    """Yes at once with ``--yes``; else what a person at the terminal answers.

    Raises:
        UsageError: code ``confirmation-needed``: nobody is there to be asked.
    """
    if yes:
        return True
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "nobody can be asked here", code="confirmation-needed", hint="give --yes, or apply a saved plan"
        )
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = await asyncio.to_thread(sys.stdin.readline)
    return answer.strip().lower() in ("y", "yes")
