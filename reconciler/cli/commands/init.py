"""``init``: a first file, commented and fitted to this machine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from reconciler.cli.outcome import print_json
from reconciler.cli.views.hardware import machine_line
from reconciler.cli.wiring import Wiring, checked_machine
from reconciler.cli.writing import write_text
from reconciler.domain.units import Bytes
from reconciler.errors import UsageError
from reconciler.integrations.files.desired_file import FILE_NAME, read_desired
from reconciler.integrations.files.starter import starter_text


def write_starter(out: Path | None, *, force: bool, machine: str | None, as_json: bool) -> int:
    """Write the file; one that is there stays, without ``--force``."""
    path = out or Path(FILE_NAME)
    if path.is_dir():
        path /= FILE_NAME
    if path.exists() and not force:
        raise UsageError(
            f"{path} is there already", code="file-exists", hint="--force replaces it, --out names another"
        )
    wiring = Wiring()
    wiring = Wiring(machine=checked_machine(machine, wiring.clock))
    reading = wiring.probe.probe()
    text = starter_text(reading, catalogue=wiring.bundled, free_disk=_free(wiring.places.data))
    desired = read_desired(text, source=str(path.absolute()), environment=wiring.environment, thorough=True)
    write_text(path, text, what="the file", option="--out")
    if as_json:
        data = {"file": str(path), "name": desired.name, "slots": [slot.name for slot in desired.slots]}
        print_json(data, warnings=desired.notices)
        return 0
    sys.stdout.write(f"{path} is written, {machine_line(reading)}\n")
    sys.stderr.write("next: read it, then localmodels plan\n")
    return 0


def _free(folder: Path) -> Bytes | None:
    """Bytes free where models would go: at the nearest folder above that exists."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), None)
    try:
        return Bytes(shutil.disk_usage(there).free) if there is not None else None
    except OSError:
        return None
