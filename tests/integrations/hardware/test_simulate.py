"""Machines that are described instead of detected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.desired import HardwareOverride
from reconciler.domain.hardware import Hardware, HardwareReading
from reconciler.domain.units import Bytes
from reconciler.errors import UsageError
from reconciler.integrations.hardware.devices import bundled_table
from reconciler.integrations.hardware.override import from_override
from reconciler.integrations.hardware.simulate import known_names, parse_machine
from tests.integrations.hardware.recorded import GIB, NOW, detect


@pytest.mark.parametrize(
    ("text", "platform", "cards", "capacity_gib", "gbps"),
    [
        ("rtx-4090", "nvidia", 1, 24, 1008),
        ("RTX 4090", "nvidia", 1, 24, 1008),
        ("2x rtx-3090", "nvidia", 2, 48, 936),
        ("2x-rtx-3090", "nvidia", 2, 48, 936),
        ("8x h100", "nvidia", 8, 640, 3350),
        ("h100-80gb", "nvidia", 1, 80, 3350),
        ("a100-40gb", "nvidia", 1, 40, 1555),
        ("rtx-3080", "nvidia", 1, 10, 760),
        ("rtx-3080-12gb", "nvidia", 1, 12, 912.4),
        ("rtx-4060-ti-16gb", "nvidia", 1, 16, 288),
        ("rtx-4070-laptop", "nvidia", 1, 8, 256),
        ("rx-7900-xtx", "amd", 1, 24, 960),
        ("mi300x", "amd", 1, 192, 5300),
        ("arc-b580", "intel", 1, 12, 456),
        ("m3-max-36gb", "macos", 1, 24, 300),
        ("m3-max-64gb", "macos", 1, 48, 400),
        ("apple m3 max 30-core 96gb", "macos", 1, 72, 300),
        ("m4-max-128gb", "macos", 1, 96, 546),
        ("strix-halo-128gb", "amd", 1, 96, 256),
        ("ryzen-ai-max+-395-128gb", "amd", 1, 96, 256),
        ("dgx-spark", "nvidia", 1, 120, 273),
        ("gb10", "nvidia", 1, 120, 273),
        ("jetson-orin-nx-16gb", "nvidia", 1, 13.6, 102.4),
    ],
)
def test_short_names(text: str, platform: str, cards: int, capacity_gib: float, gbps: float) -> None:
    reading = parse_machine(text, now=NOW)
    hardware = reading.hardware
    assert reading.source == "simulated"
    assert hardware.platform == platform
    assert len(hardware.devices) == cards
    assert hardware.capacity_bytes / GIB == pytest.approx(capacity_gib, abs=0.01)
    assert hardware.devices[0].bandwidth_gbps == gbps
    assert hardware.detected_at == NOW


@pytest.mark.parametrize(
    ("text", "ram_gib", "gbps"),
    [
        ("cpu-16gb", 16, 51.2),
        ("cpu-8gb", 8, 51.2),
        ("epyc-9554-256gb", 256, 460),
        ("ryzen-9-7950x-64gb", 64, 83),
        ("i7-13700k-32gb", 32, 76),
        ("xeon-platinum-8480-512gb", 512, 307),
        ("raspberry-pi-5-8gb", 8, 17),
    ],
)
def test_processors(text: str, ram_gib: float, gbps: float) -> None:
    hardware = parse_machine(text, now=NOW).hardware
    assert (hardware.platform, hardware.devices) == ("cpu", ())
    assert (hardware.ram_gib, hardware.ram_bandwidth_gbps) == (ram_gib, gbps)
    assert 0 < hardware.capacity_bytes < hardware.ram_bytes


@pytest.mark.parametrize("text", ["rtx-4090+64gb", "rtx-4090 + 64 GB", "64gb+rtx-4090"])
def test_ram_is_added_with_plus(text: str) -> None:
    hardware = parse_machine(text, now=NOW).hardware
    assert (hardware.ram_gib, hardware.vram_gib) == (64, 24)


def test_unlike_cards_add_up() -> None:
    hardware = parse_machine("rtx-4090+rtx-3090+128gb", now=NOW).hardware
    assert [device.bandwidth_gbps for device in hardware.devices] == [936, 1008]
    assert (hardware.vram_gib, hardware.ram_gib) == (48, 128)


def test_simulation_is_the_same_wherever_it_runs() -> None:
    assert parse_machine("rtx-4090", now=NOW) == parse_machine("rtx-4090", now=NOW)
    assert parse_machine("rtx-4090", now=NOW).hardware.ram_gib == 32


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("rtx-4900", "rtx-4090"),
        ("rtx-409", "rtx-4090"),
        ("m9-max-36gb", "m4-max-36gb"),
        ("m3-max", "m3-max-36gb"),
        ("cpu", "cpu-16gb"),
        ("rtx-4090-48gb", "24 GB"),
        ("2x m3-max-36gb", "m3-max-36gb"),
        ("rtx-4090+m3-max-36gb", "rtx-4090"),
        ("0x rtx-4090", "rtx-4090"),
        ("strix-halo", "128gb"),
        ("", "rtx-4090"),
        ("+", "rtx-4090"),
        ("64gb", "cpu-16gb"),
        ("-----", "cpu-16gb"),
    ],
)
def test_unknown_names_say_the_nearest(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_machine(text, now=NOW)
    assert hint in (caught.value.hint or "")


@given(st.text(max_size=60) | st.from_regex(r"([0-9]{1,4}x )?[a-z0-9 +-]{0,30}(-[0-9]{1,6}gb)?", fullmatch=True))
def test_any_text_is_a_machine_or_a_usage_error(text: str) -> None:
    hardware = machine_or_refusal(text)
    if isinstance(hardware, UsageError):
        assert hardware.hint or "cannot be read" in hardware.message
    else:
        assert hardware.capacity_bytes > 0
        assert hardware.ram_bandwidth_gbps > 0


def test_every_name_we_suggest_is_one_we_know() -> None:
    for name in known_names(bundled_table()):
        answer = machine_or_refusal(name)
        assert not isinstance(answer, UsageError) or "how much memory" in answer.message, name


def machine_or_refusal(text: str) -> Hardware | UsageError:
    try:
        return parse_machine(text, now=NOW).hardware
    except UsageError as error:
        return error


def written(folder: Path, document: Any) -> str:
    path = folder / "machine.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return str(path)


def test_file_with_a_reading_comes_back_whole(tmp_path: Path) -> None:
    seen = detect("nvidia_2x_rtx_3090")
    again = parse_machine(written(tmp_path, seen.model_dump_json()), now=NOW)
    assert again.hardware == seen.hardware
    assert again.source == "simulated"


def test_file_with_the_envelope_of_hardware_json(tmp_path: Path) -> None:
    seen = detect("amd_strix_halo_gtt")
    document = {"schemaVersion": 1, "ok": True, "data": json.loads(seen.model_dump_json()), "warnings": []}
    assert parse_machine(written(tmp_path, document), now=NOW).hardware == seen.hardware


def test_file_with_hardware_alone(tmp_path: Path) -> None:
    seen = detect("intel_arc_b580").hardware
    assert parse_machine(written(tmp_path, seen.model_dump_json()), now=NOW).hardware == seen


@pytest.mark.parametrize(
    "wrap",
    [
        lambda keys: keys,
        lambda keys: {"override": keys},
        lambda keys: {"localModels": {"hardware": {"override": keys}}},
    ],
)
def test_file_with_the_keys_of_the_yaml(tmp_path: Path, wrap: Any) -> None:
    keys = {"platform": "nvidia", "vramGb": 24, "bandwidthGbps": 1008, "ramGb": 64, "gpuCount": 2}
    hardware = parse_machine(written(tmp_path, wrap(keys)), now=NOW).hardware
    assert (hardware.vram_gib, hardware.ram_gib, len(hardware.devices)) == (48, 64, 2)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not a machine"),
        ({}, "platform"),
        ({"platform": "amiga", "vramGb": 24}, "platform"),
        ({"platform": "nvidia"}, "how much memory"),
        ({"platform": "nvidia", "vramGB": 24}, "vramGb"),
        ({"platform": "nvidia", "vram": 24}, "unit"),
        ({"platform": "nvidia", "vramGb": -1}, "negative"),
        ({"platform": "nvidia", "vramGb": 24, "vram": "24GB"}, "same thing"),
        ({"platform": "nvidia", "vramGb": 24, "gpuCount": 0}, "gpuCount"),
        ({"platform": "nvidia", "vramGb": 24, "bandwidthGbps": "fast"}, "bandwidthGbps"),
        ({"hardware": {"platform": "nvidia"}}, "Field required"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path: Path, document: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_machine(written(tmp_path, document), now=NOW)


def test_missing_file() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        parse_machine("nosuch/machine.json", now=NOW)


def test_override_without_bandwidth_is_looked_up_by_name() -> None:
    override = HardwareOverride(platform="nvidia", vram_bytes=Bytes(24 * GIB), gpu_name="RTX 4090")
    reading = from_override(override, NOW)
    assert reading.hardware.devices[0].bandwidth_gbps == 1008
    assert reading.warnings == ()


def test_override_that_names_nothing_is_assumed_low_with_a_warning() -> None:
    reading = from_override(HardwareOverride(platform="nvidia", vram_bytes=Bytes(24 * GIB)), NOW)
    assert reading.hardware.devices[0].bandwidth_gbps == 300
    assert [warning.code for warning in reading.warnings] == ["override_bandwidth_assumed"]


def test_override_of_a_mac_is_unified_and_verbatim() -> None:
    override = HardwareOverride(platform="macos", vram_bytes=Bytes(36 * GIB), bandwidth_gbps=300.0)
    hardware = from_override(override, NOW).hardware
    assert hardware.is_unified
    assert hardware.vram_bytes == hardware.ram_bytes == 36 * GIB
    assert hardware.os == "macos"


def test_override_of_a_cpu_machine_has_no_devices() -> None:
    override = HardwareOverride(platform="cpu", vram_bytes=Bytes(0), ram_bytes=Bytes(32 * GIB), bandwidth_gbps=80.0)
    hardware = from_override(override, NOW).hardware
    assert (hardware.devices, hardware.ram_bandwidth_gbps, hardware.ram_gib) == ((), 80, 32)


def test_reading_is_valid_by_its_own_schema() -> None:
    reading = parse_machine("2x rtx-3090+128gb", now=NOW)
    assert HardwareReading.model_validate_json(reading.model_dump_json()) == reading


def test_override_without_memory_takes_what_the_card_is_sold_with() -> None:
    override = HardwareOverride(platform="nvidia", vram_bytes=Bytes(0), gpu_name="RTX 4090", gpu_count=2)
    assert from_override(override, NOW).hardware.vram_gib == 48


def test_override_of_a_mac_by_its_ram_takes_metals_share() -> None:
    override = HardwareOverride(
        platform="macos", vram_bytes=Bytes(0), ram_bytes=Bytes(36 * GIB), gpu_name="Apple M3 Max"
    )
    hardware = from_override(override, NOW).hardware
    assert (hardware.vram_gib, hardware.ram_gib, hardware.devices[0].bandwidth_gbps) == (24, 36, 300)


def test_a_bandwidth_that_no_machine_has_is_refused_with_the_bound(tmp_path: Path) -> None:
    document = {"platform": "nvidia", "vramGb": 24, "bandwidthGbps": 1_008_000_000_000, "ramGb": 64}
    with pytest.raises(UsageError, match="at most"):
        parse_machine(written(tmp_path, document), now=NOW)


def test_a_reading_with_a_bandwidth_that_no_machine_has_is_refused_too(tmp_path: Path) -> None:
    document = json.loads(parse_machine("rtx-4090", now=NOW).model_dump_json())
    hardware = document["hardware"]
    device = next(iter(hardware["devices"]))
    device[next(key for key in device if key.lower().replace("_", "") == "bandwidthgbps")] = 1e12
    with pytest.raises(UsageError, match="at most 1,000,000 GB/s"):
        parse_machine(written(tmp_path, document), now=NOW)
