"""``validate``: every problem of the file, offline."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from reconciler.cli.outcome import print_json
from reconciler.integrations.files.desired_file import find_file, read_content, read_desired


def validate_file(file: Path | None, *, as_json: bool) -> int:
    """Say what the file declares, or raise with everything that is wrong in it."""
    path = find_file(file, os.environ, Path.cwd()).absolute()
    desired = read_desired(read_content(path), source=str(path), environment=os.environ, thorough=True)
    if as_json:
        slots = [slot.name for slot in desired.slots]
        targets = [target.name for target in desired.targets]
        data = {"file": str(path), "name": desired.name, "slots": slots, "targets": targets}
        print_json(data, warnings=desired.notices)
        return 0
    words = f"{len(desired.slots)} slots, {len(desired.targets)} targets"
    sys.stdout.write("\n".join([f"{path} is valid: {desired.name}, {words}", *_notices(desired.notices)]) + "\n")
    return 0


def _notices(notices: tuple[str, ...]) -> list[str]:
    return [f"note: {notice}" for notice in notices]
