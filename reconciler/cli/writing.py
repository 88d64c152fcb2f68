"""Writing a file that a person asked for."""

from __future__ import annotations

from pathlib import Path

from reconciler.errors import ReconcilerError


def write_text(path: Path, text: str, *, what: str, option: str) -> None:
    """Write it whole or not at all.

    Raises:
        ReconcilerError: code ``file-unwritable``.
    """
    from reconciler.integrations.files.edit import write_atomically

    try:
        write_atomically(path, text)
    except (ReconcilerError, OSError) as error:
        reason = getattr(error, "message", None) or getattr(error, "strerror", None) or str(error)
        raise ReconcilerError(
            f"{what} cannot be saved: {reason}", code="file-unwritable", hint=f"choose another {option}"
        ) from error
