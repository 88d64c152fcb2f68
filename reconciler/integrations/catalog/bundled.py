"""The catalogue that ships in the package: one file, read at every start, never asked of anybody."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

from reconciler.domain.catalog import Catalogue
from reconciler.formats.catalog_json import catalogue_from_json

SNAPSHOT = Path(__file__).with_name("snapshot.json")


def load_bundled(path: Path | None = None, *, today: date | None = None) -> Catalogue:
    """The bundled catalogue. Never raises: any flaw gives an empty one that says why.

    Args:
        path: another snapshot in the same format; None for the one that ships.
        today: UTC date an empty fallback carries; None asks the clock.

    Returns:
        Origin ``bundled``, or ``fallback`` without models and with one note naming the reason.
    """
    source = path or SNAPSHOT
    try:
        return catalogue_from_json(source.read_bytes())
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        note = f"the bundled catalogue {source.name} is not usable ({reason}); no model is known from it"
        return Catalogue((), (), today or datetime.now(UTC).date(), "fallback", (note,))
