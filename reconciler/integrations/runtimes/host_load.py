"""Whether this host has other work to do, so that what is measured now is slower than it could be."""

from __future__ import annotations

import psutil

BUSY_SHARE = 0.5
"""Of the processors, wanted by other work during the last minute."""


def busy_note(load: float | None = None, processors: int | None = None) -> tuple[str, ...]:
    """One sentence where the host is busy; nothing where it is not, or does not tell.

    Args:
        load: runnable processes, averaged over a minute; None: as the system says now.
        processors: None: those of this host.

    >>> busy_note(3.2, 4)
    ('this machine had other work (load 3.2 on 4 processors): measure again when it is quiet',)
    >>> busy_note(1.0, 4)
    ()
    """
    try:
        load = psutil.getloadavg()[0] if load is None else load
    except OSError:
        return ()
    processors = processors or psutil.cpu_count() or 1
    if load <= BUSY_SHARE * processors:
        return ()
    words = f"load {load:.1f} on {processors} processors"
    return (f"this machine had other work ({words}): measure again when it is quiet",)
