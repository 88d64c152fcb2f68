"""Apple silicon by replay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler.errors import Refused
from reconciler.integrations.hardware.devices import bundled_table
from reconciler.integrations.hardware.macos import parse_displays, parse_sysctl, probe_macos
from reconciler.integrations.hardware.readings import metal_limit
from tests.integrations.hardware.recorded import GIB, codes, detect, machine

DISPLAYS = "system_profiler SPDisplaysDataType -json"
SYSCTL = "sysctl -n hw.memsize hw.model machdep.cpu.brand_string"

SEED = {
    "Apple M1": 68, "Apple M1 Pro": 200, "Apple M1 Max": 400, "Apple M1 Ultra": 800,
    "Apple M2": 100, "Apple M2 Pro": 200, "Apple M2 Max": 400, "Apple M2 Ultra": 800,
    "Apple M3": 100, "Apple M3 Pro": 150, "Apple M3 Max": 400, "Apple M3 Ultra": 819,
    "Apple M4": 120, "Apple M4 Pro": 273, "Apple M4 Max": 546,
}  # fmt: skip


def mac(chip: str, gib: int, cores: int | None = None) -> Any:
    of = machine("macos_m4_16gb")
    entry = {"sppci_model": chip, **({"sppci_cores": str(cores)} if cores else {})}
    of.programs[DISPLAYS] = json.dumps({"SPDisplaysDataType": [entry]})
    of.programs[SYSCTL] = [str(gib * GIB), "Mac99,1", chip]
    return of


def test_m3_max_with_30_cores_has_300() -> None:
    reading = detect("macos_m3_max_30_core")
    (device,) = reading.hardware.devices
    assert reading.source == "macos"
    assert (device.name, device.bandwidth_gbps, device.unified) == ("Apple M3 Max", 300, True)
    assert reading.hardware.ram_bytes == 36 * GIB
    assert device.memory_bytes == 24 * GIB
    assert reading.hardware.cpu_name == "Apple M3 Max"
    assert reading.warnings == ()


def test_m3_max_with_40_cores_has_400() -> None:
    hardware = detect("macos_m3_max_40_core").hardware
    assert hardware.devices[0].bandwidth_gbps == hardware.ram_bandwidth_gbps == 400
    assert hardware.capacity_bytes == 48 * GIB


@pytest.mark.parametrize(("gib", "gbps"), [(36, 300), (96, 300), (48, 400), (64, 400), (128, 400), (100, 400)])
def test_m3_max_that_hides_its_cores_is_told_by_its_memory(gib: int, gbps: float) -> None:
    assert detect(mac("Apple M3 Max", gib)).hardware.devices[0].bandwidth_gbps == gbps


@pytest.mark.parametrize(("cores", "gbps"), [(32, 410), (40, 546)])
def test_m4_max_bins(cores: int, gbps: float) -> None:
    assert detect(mac("Apple M4 Max", 64, cores)).hardware.devices[0].bandwidth_gbps == gbps


@pytest.mark.parametrize("chip", SEED)
def test_every_chip_of_the_origins_table_gives_its_value(chip: str) -> None:
    reading = detect(mac(chip, 512))
    assert reading.hardware.devices[0].bandwidth_gbps == SEED[chip]
    assert reading.warnings == ()


def test_unmapped_chip_gives_100_and_one_warning() -> None:
    reading = detect(mac("Apple M9 Ultra", 64, 80))
    (device,) = reading.hardware.devices
    assert (device.bandwidth_gbps, device.confidence) == (100, "low")
    assert codes(reading) == ["macos_unmapped_chip"]


def test_intel_gpu_raises_unsupported_macos_gpu() -> None:
    of = machine("macos_intel")
    with pytest.raises(Refused, match="unsupported macOS GPU"):
        probe_macos(of, bundled_table())


@pytest.mark.parametrize("size", ["", "lots", "0", "-5", "nan", "inf"])
def test_non_numeric_memsize_raises_and_names_it(size: str) -> None:
    with pytest.raises(Refused, match=r"hw\.memsize"):
        parse_sysctl(f"{size}\nMac15,10\nApple M3 Max\n")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"SPDisplaysDataType": 5}'])
def test_bad_json_raises(text: str) -> None:
    with pytest.raises(Refused, match="JSON"):
        parse_displays(text)


def test_chip_is_the_first_apple_entry_else_the_first() -> None:
    entries = [{"_name": "Radeon"}, {"_name": "odd", "sppci_model": "Apple M2", "sppci_cores": "10"}]
    assert parse_displays(json.dumps({"SPDisplaysDataType": entries})) == ("Apple M2", 10)
    assert parse_displays(json.dumps({"SPDisplaysDataType": entries[:1]})) == ("Radeon", None)
    assert parse_displays("{}") == ("", None)


def test_cpu_name_is_the_brand_else_the_model_else_apple_silicon() -> None:
    assert parse_sysctl("1024\nMac15,10\nApple M3 Max").cpu_name == "Apple M3 Max"
    assert parse_sysctl("1024\n\nMac15,10\n").cpu_name == "Mac15,10"
    assert parse_sysctl("1024\n").cpu_name == "Apple Silicon"


def test_metal_takes_two_thirds_up_to_36_gib_and_three_quarters_above() -> None:
    assert metal_limit(36 * GIB) == 24 * GIB
    assert metal_limit(128 * GIB) == 96 * GIB
    assert metal_limit(16 * GIB) < 16 * GIB


def test_an_operators_wired_limit_is_believed_but_not_beyond_the_memory() -> None:
    assert detect("macos_m4_max_wired_limit").hardware.capacity_bytes == 112 * GIB
    assert metal_limit(16 * GIB, 999_999) == 16 * GIB
    assert metal_limit(36 * GIB, 0) == 24 * GIB
