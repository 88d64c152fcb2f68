"""The dispatcher: paths, fallbacks, override, cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.domain.desired import HardwareOverride
from reconciler.domain.hardware import HardwareReading
from reconciler.domain.units import Bytes
from reconciler.integrations.hardware.detector import Detector, local_detector
from tests.integrations.hardware.recorded import (
    GIB,
    NOW,
    RecordedMachine,
    StillClock,
    bare,
    codes,
    detect,
    detector,
    machine,
)


def test_override_is_returned_verbatim_and_starts_nothing() -> None:
    of = machine("nvidia_rtx_4090")
    override = HardwareOverride(
        platform="nvidia", vram_bytes=Bytes(24 * GIB), bandwidth_gbps=1008.0, gpu_name="my card"
    )
    reading = detector(of).probe(override)
    (device,) = reading.hardware.devices
    assert reading.source == "override"
    assert (device.memory_bytes, device.bandwidth_gbps, device.name) == (24 * GIB, 1008, "my card")
    assert (reading.hardware.ram_bytes, reading.hardware.cpu_name) == (24 * GIB, "override")
    assert reading.hardware.detected_at == NOW
    assert (reading.warnings, of.runs) == ((), [])


def test_darwin_path() -> None:
    assert detect("macos_m4_16gb").source == "macos"


def test_linux_path() -> None:
    assert detect("nvidia_rtx_4090").source == "nvidia"


def test_darwin_failure_gives_cpu_and_macos_probe_failed_with_cause() -> None:
    reading = detect("macos_intel")
    assert reading.source == reading.hardware.platform == "cpu"
    assert codes(reading) == ["macos_probe_failed"]
    assert reading.warnings[0].message == "MACOS probe failed; falling back to CPU profile."
    assert "unsupported macOS GPU" in (reading.warnings[0].cause or "")


def test_missing_nvidia_smi_gives_cpu_and_nvidia_probe_failed() -> None:
    reading = detect("cpu_ryzen_7950x")
    assert reading.source == "cpu"
    assert codes(reading) == ["nvidia_probe_failed"]
    assert reading.warnings[0].cause == "nvidia-smi is not installed"


def test_fallback_carries_the_cpu_probes_own_warnings() -> None:
    reading = detect(bare(cpu="Zhaoxin KX-7000"))
    assert codes(reading) == ["nvidia_probe_failed", "cpu_unmapped_family"]


def test_unknown_os_goes_to_cpu_directly() -> None:
    of = bare(system="other")
    assert codes(detect(of)) == []
    assert of.runs == []


def test_driver_mismatch_is_told_with_what_the_program_said() -> None:
    reading = detect("nvidia_driver_mismatch")
    assert codes(reading) == ["nvidia_probe_failed"]
    assert "version mismatch" in (reading.warnings[0].cause or "")


def test_second_call_within_the_day_starts_nothing() -> None:
    of, clock = machine("nvidia_rtx_4090"), StillClock()
    probe = detector(of, clock=clock)
    first = probe.probe()
    started = len(of.runs)
    clock.advance(hours=23)
    again = probe.probe()
    assert len(of.runs) == started
    assert again.source == first.source == "nvidia"
    assert again.hardware.detected_at == NOW


def test_after_a_day_it_looks_again() -> None:
    of, clock = machine("nvidia_rtx_4090"), StillClock()
    probe = detector(of, clock=clock)
    probe.probe()
    started = len(of.runs)
    clock.advance(hours=24)
    probe.probe()
    assert len(of.runs) == 2 * started


def test_invalidate_probes_again(tmp_path: Path) -> None:
    of = machine("nvidia_rtx_4090")
    probe = detector(of, cache_path=tmp_path / "hardware.json")
    probe.probe()
    started = len(of.runs)
    probe.invalidate()
    probe.probe()
    assert len(of.runs) == 2 * started


def test_cache_seconds_zero_disables_the_cache(tmp_path: Path) -> None:
    of = machine("nvidia_rtx_4090")
    probe = detector(of, cache_seconds=0, cache_path=tmp_path / "hardware.json")
    probe.probe()
    started = len(of.runs)
    probe.probe()
    assert len(of.runs) == 2 * started
    assert not (tmp_path / "hardware.json").exists()


def test_reading_round_trips_with_its_instant() -> None:
    reading = detect("nvidia_2x_rtx_3090")
    again = HardwareReading.model_validate_json(reading.model_dump_json())
    assert again == reading
    assert again.hardware.detected_at == NOW


def test_cache_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "hardware.json"
    first = detect("nvidia_rtx_4090", cache_path=path)
    of = machine("nvidia_rtx_4090")
    assert detect(of, cache_path=path) == first
    assert of.runs == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"formatVersion": 1}', '{"formatVersion": 99}', "\x00\xff"])
def test_corrupt_cache_is_ignored_and_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hardware.json"
    path.write_text(text, encoding="utf-8")
    of = machine("nvidia_rtx_4090")
    assert detect(of, cache_path=path).source == "nvidia"
    assert of.runs
    assert json.loads(path.read_text(encoding="utf-8"))["formatVersion"] == 1


def test_cache_with_a_damaged_reading_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "hardware.json"
    detect("nvidia_rtx_4090", cache_path=path)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["reading"]["hardware"]["devices"] = "none"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert len(detect("nvidia_rtx_4090", cache_path=path).hardware.devices) == 1


def test_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert detect("nvidia_rtx_4090", cache_path=blocked / "hardware.json").source == "nvidia"


def test_cache_of_another_machine_or_other_visible_devices_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "hardware.json"
    detect("nvidia_2x_rtx_3090", cache_path=path)
    hidden = machine("nvidia_2x_rtx_3090")
    hidden.environment["CUDA_VISIBLE_DEVICES"] = "0"
    assert len(detect(hidden, cache_path=path).hardware.devices) == 1
    other = machine("amd_2x_rx_7900_xtx")
    assert detect(other, cache_path=path).source == "amd"


def test_cache_from_a_wrong_clock_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "hardware.json"
    late = StillClock()
    late.advance(days=400)
    detect("nvidia_rtx_4090", cache_path=path, clock=late)
    of = machine("nvidia_rtx_4090")
    detect(of, cache_path=path)
    assert of.runs


@pytest.mark.parametrize("name", ["nvidia_driver_mismatch", "hangs"])
def test_a_passing_failure_is_kept_for_a_minute_only(name: str) -> None:
    if name == "hangs":
        of = machine("nvidia_rtx_4090")
        of.programs = {command: {"hangs": True} for command in of.programs}
    else:
        of = machine(name)
    clock = StillClock()
    probe = detector(of, clock=clock)
    assert codes(probe.probe()) == ["nvidia_probe_failed"]
    of.programs = machine("nvidia_2x_rtx_3090").programs
    clock.advance(seconds=59)
    assert probe.probe().source == "cpu"
    clock.advance(seconds=2)
    assert probe.probe().source == "nvidia"


def test_a_machine_without_any_gpu_is_kept_all_day() -> None:
    of, clock = machine("cpu_ryzen_7950x"), StillClock()
    probe = detector(of, clock=clock)
    probe.probe()
    started = len(of.runs)
    clock.advance(hours=12)
    probe.probe()
    assert len(of.runs) == started


def test_kept_reading_has_todays_free_ram_and_no_stale_free_memory() -> None:
    of, clock = machine("nvidia_rtx_4090"), StillClock()
    probe = detector(of, clock=clock)
    probe.probe()
    of.document["ramFreeBytes"] = 3 * GIB
    clock.advance(seconds=30)
    assert probe.probe().hardware.devices[0].free_bytes is not None
    clock.advance(minutes=5)
    hardware = probe.probe().hardware
    assert hardware.ram_free_bytes == 3 * GIB
    assert hardware.devices[0].free_bytes is None


def test_the_vendor_with_most_memory_is_used_and_the_other_named() -> None:
    of = machine("amd_rx_7900_xtx_and_igpu")
    of.programs = {"nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits": ["NVIDIA L4, 23034"]}
    reading = detect(of)
    assert [device.name for device in reading.hardware.devices] == ["Radeon RX 7900 XTX"]
    assert codes(reading) == ["other_accelerator_ignored"]


class _Broken(RecordedMachine):
    def memory(self) -> Any:
        raise RuntimeError("no memory for you")

    def processors(self) -> Any:
        raise RuntimeError("no processors either")


def test_at_worst_a_small_cpu_machine_is_assumed() -> None:
    reading = detect(_Broken({}))
    assert reading.hardware.platform == "cpu"
    assert reading.hardware.usable_ram_bytes > 0
    assert codes(reading) == ["detection_failed"]


def test_unreadable_memory_is_a_warning() -> None:
    class Forgetful(RecordedMachine):
        def memory(self) -> Any:
            raise OSError("no /proc")

    assert "ram_unknown" in codes(detect(Forgetful({"cpu": "AMD EPYC 9554"})))


def test_local_detector_reads_this_machine(tmp_path: Path) -> None:
    """The one-shot of the origin: build for this machine, run once."""
    probe = local_detector(tmp_path, StillClock(), {})
    assert isinstance(probe, Detector)
    hardware = probe.probe().hardware
    assert hardware.ram_bytes > 0
    assert hardware.cpu_count >= 1
    assert hardware.capacity_bytes > 0
    assert (tmp_path / "hardware.json").exists()
