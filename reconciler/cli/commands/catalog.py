"""``catalog``: what models are known; ``catalog refresh``: ask the Hub, or add observations of one's own."""

from __future__ import annotations

import sys
from pathlib import Path

from reconciler.cli.benchmarks import added_observations, keep_observations, refuse_future, strangers
from reconciler.cli.outcome import print_json
from reconciler.cli.running import run_to_end
from reconciler.cli.streams import one_line
from reconciler.cli.views.catalog import catalogue_text, refresh_text
from reconciler.cli.wiring import Wiring
from reconciler.domain.catalog import Catalogue
from reconciler.domain.catalogue_description import describe
from reconciler.domain.desired import DesiredState
from reconciler.engine.world import Freshness
from reconciler.errors import UsageError


def show_catalogue(file: Path | None, *, as_json: bool) -> int:
    """Print what the catalogue holds and how old it is. Asks nobody."""
    wiring = Wiring(file=file)
    found = run_to_end(_catalogue(wiring, "offline"))
    return _show(wiring, found, as_json=as_json)


def refresh_catalogue(file: Path | None, *, benchmarks: str | None, offline: bool, as_json: bool) -> int:
    """Bring in what is new, then say what that was; with ``--json`` the whole catalogue."""
    wiring = Wiring(file=file)
    if offline and benchmarks is None:
        raise UsageError("a refresh asks the Hub, and --offline forbids it", hint="leave out one of them")
    before = run_to_end(_catalogue(Wiring(file=file), "offline"))
    if benchmarks is not None:
        run_to_end(_add(wiring, benchmarks, before, offline=offline))
        offline = True
    after = run_to_end(_catalogue(wiring, "offline" if offline else "refresh"))
    return _show(wiring, after, as_json=as_json, before=before)


async def _add(wiring: Wiring, source: str, catalogue: Catalogue, *, offline: bool) -> None:
    from reconciler.integrations.catalog.benchmarks_file import read_benchmarks

    if offline and source.startswith(("http://", "https://")):
        raise UsageError("--offline, and the observations are at a URL", hint="give a file")
    http = wiring.http()
    try:
        new = await read_benchmarks(source, http=http)
    finally:
        await http.close()
    refuse_future(new, wiring.clock.now().date())
    before = added_observations(wiring.places.data)
    total = keep_observations(wiring.places.data, before, new)
    read = "1 observation" if len(new) == 1 else f"{len(new)} observations"
    sys.stderr.write(f"{read} read, {total - len(before)} of them new; {total} of yours are kept\n")
    if unknown := strangers(new, catalogue.models):
        shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        sys.stderr.write(
            f"warning: the catalogue does not know {shown}: what was observed of that counts nothing yet\n"
        )


async def _catalogue(wiring: Wiring, freshness: Freshness) -> Catalogue:
    desired = await wiring.desired_if_any() or DesiredState()
    try:
        return await wiring.catalog(desired).candidates(desired, freshness=freshness)
    finally:
        await wiring.close()


def _show(wiring: Wiring, catalogue: Catalogue, *, as_json: bool, before: Catalogue | None = None) -> int:
    today = wiring.clock.now().date()
    description = describe(catalogue, today)
    added = len(added_observations(wiring.places.data))
    if as_json:
        data = {**description.model_dump(mode="json", by_alias=True), "addedObservations": added}
        print_json(data, warnings=description.notes)
    else:
        if before is None:
            text = catalogue_text(description, added=added)
        else:
            text = refresh_text(describe(before, today), description, added=added)
        sys.stdout.write(text + "\n")
        sys.stderr.write("".join(one_line(f"note: {note}") + "\n" for note in description.notes))
    return 0
