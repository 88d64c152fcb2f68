"""A machine as a person reads it."""

from __future__ import annotations

from reconciler.cli.views.door import view
from reconciler.cli.views.table import columns, paint
from reconciler.domain.hardware import Device, Hardware, HardwareReading, HardwareWarning
from reconciler.domain.units import show_bytes

_SOURCES = {"override": "as the file describes it", "simulated": "simulated", "cache": "seen within the day"}


@view
def machine_line(reading: HardwareReading) -> str:
    """The machine in one line: what models run on, and how much of it one may fill."""
    machine = reading.hardware
    return f"on {machine_name(reading)}: {show_bytes(machine.capacity_bytes)} usable for one model ({_how(reading)})"


@view
def machine_name(reading: HardwareReading) -> str:
    """What models run on."""
    machine = reading.hardware
    return _grouped(machine.devices) or f"{machine.cpu_name}, {machine.cpu_count} processors"


@view
def elsewhere_line(reading: HardwareReading, *, observed: bool) -> str:
    """Which machine a plan is for, where it is not the one it was made on.

    Args:
        reading: the machine.
        observed: it comes from a saved observation.
    """
    if reading.source != "simulated" and not observed:
        return ""
    machine = reading.hardware
    names = _grouped(machine.devices) or machine.cpu_name
    which = "a simulated" if reading.source == "simulated" else "the observed"
    return f"for {which} machine: {names}, {show_bytes(machine.capacity_bytes)} usable"


def _how(reading: HardwareReading) -> str:
    return _SOURCES.get(reading.source, "detected")


def _grouped(devices: tuple[Device, ...]) -> str:
    names = [device.name for device in devices]
    unique = list(dict.fromkeys(names))
    return ", ".join(f"{count} x {name}" if (count := names.count(name)) > 1 else name for name in unique)


@view
def hardware_text(reading: HardwareReading) -> str:
    """Everything detection knows, with how sure it is."""
    machine = reading.hardware
    rows = [
        ["platform", machine.platform],
        *(row for device in machine.devices for row in _device(device)),
        ["memory", _memory(machine)],
        ["processor", f"{machine.cpu_name}, {machine.cpu_count} usable ({machine.os}, {machine.arch})"],
        ["one model may fill", show_bytes(machine.capacity_bytes)],
        ["confidence", machine.confidence],
        ["known from", f"{_how(reading)}, {machine.detected_at:%Y-%m-%d}"],
    ]
    lines = columns(rows, indent="")
    return "\n".join([*lines, *(_warning(one) for one in reading.warnings if not _is_absence(one))])


def _device(device: Device) -> list[list[str]]:
    shared = ", shared with the processor" if device.unified else ""
    free = f", {show_bytes(device.free_bytes)} free" if device.free_bytes is not None else ""
    speed = f"{device.bandwidth_gbps:.0f} GB/s ({device.bandwidth_source}, {device.confidence} confidence)"
    return [["device", device.name], ["", f"{show_bytes(device.memory_bytes)}{shared}{free}"], ["", speed]]


def _memory(machine: Hardware) -> str:
    free = f", {show_bytes(machine.ram_free_bytes)} free" if machine.ram_free_bytes is not None else ""
    reserve = f", {show_bytes(machine.ram_reserve_bytes)} kept for the system" if machine.ram_reserve_bytes else ""
    return f"{show_bytes(machine.ram_bytes)}{free}{reserve}, {machine.ram_bandwidth_gbps:.0f} GB/s"


def _is_absence(warning: HardwareWarning) -> bool:
    """A machine without the program has no such card: nothing a person could mend."""
    return warning.cause == "nvidia-smi is not installed"


def _warning(warning: HardwareWarning) -> str:
    cause = f": {warning.cause}" if warning.cause else ""
    return paint(
        f"warning: {warning.message.removesuffix('.') if cause else warning.message}{cause} ({warning.code})", "yellow"
    )
