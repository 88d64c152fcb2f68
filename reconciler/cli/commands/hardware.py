"""``hardware``: the machine that models would run on."""

from __future__ import annotations

import sys

from reconciler.cli.outcome import print_json
from reconciler.cli.views.hardware import hardware_text
from reconciler.cli.wiring import Wiring, checked_machine


def show_hardware(*, machine: str | None, fresh: bool, as_json: bool) -> int:
    """Print the machine; ``--hardware FILE`` takes the JSON form back."""
    wiring = Wiring()
    wiring = Wiring(machine=checked_machine(machine, wiring.clock))
    if fresh and machine is None:
        wiring.detector.invalidate()
    reading = wiring.probe.probe()
    if as_json:
        warnings = [warning.message for warning in reading.warnings]
        print_json(reading.model_dump(mode="json", by_alias=True), warnings=warnings)
    else:
        sys.stdout.write(hardware_text(reading) + "\n")
    return 0
