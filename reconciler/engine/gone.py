"""Whether what a target does not list is really not there.

A list can be cut short, be old or lie, and what is dropped from the record on such a word is nobody's from then on. So
the target is asked once more, by name: another question, of another part of it. What does not belong here: what
follows.
"""

from __future__ import annotations

from reconciler.engine.world import unheard
from reconciler.errors import Corrupt, Refused, Unreachable
from reconciler.ports import Runtime


async def prove_gone(runtime: Runtime | None, name: str, target: str) -> None:
    """Nothing, where the target knows no such model; a target that cannot tell is believed.

    Raises:
        Unreachable: it answers for the name that it does not list, or does not answer: nothing is known.
    """
    if runtime is None:
        return
    try:
        await runtime.digest(name, unheard)
    except (Refused, Corrupt):
        return
    raise Unreachable(
        f"{target} does not list {name} and answers for it all the same: its list is not whole",
        code="target-unknown",
        hint="nothing was dropped from the record; run again, and look at the target if this stays",
    )


async def is_gone(runtime: Runtime | None, name: str, target: str) -> bool:
    """The same as an answer; what cannot be told is not gone."""
    try:
        await prove_gone(runtime, name, target)
    except Unreachable:
        return False
    return True
