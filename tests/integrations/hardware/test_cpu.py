"""Processors, memory, containers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.integrations.hardware.limits import Limits, usable_cpus
from reconciler.integrations.hardware.processors import memory_bandwidth, shared_bandwidth
from reconciler.integrations.hardware.readings import ram_reserve
from tests.integrations.hardware.recorded import GIB, bare, codes, detect, machine


def test_ryzen_9_7950x_with_64_gib() -> None:
    reading = detect(bare(system="other"))
    hardware = reading.hardware
    assert (hardware.platform, hardware.ram_bandwidth_gbps, hardware.ram_bytes) == ("cpu", 83, 64 * GIB)
    assert hardware.vram_bytes == 0
    assert reading.warnings == ()


@pytest.mark.parametrize(
    ("brand", "gbps"),
    [
        ("AMD EPYC 9654 96-Core Processor", 460),
        ("AMD EPYC 7763 64-Core Processor", 200),
        ("Intel(R) Xeon(R) Platinum 8480+", 307),
        ("Intel(R) Xeon(R) Platinum 8592+", 307),
        ("Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", 200),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 120),
        ("Intel(R) Core(TM) i9-14900K", 90),
        ("Intel(R) Core(TM) i7-13700K", 76),
        ("12th Gen Intel(R) Core(TM) i5-12400", 76),
        ("AMD Ryzen 9 9950X 16-Core Processor", 90),
        ("AMD Ryzen 9 7950X 16-Core Processor", 83),
        ("AMD Ryzen 5 5600X 6-Core Processor", 51),
        ("Intel(R) Core(TM) i7-11700K @ 3.60GHz", 51),
        ("Intel(R) Core(TM) i9-10900K CPU @ 3.70GHz", 45),
        ("Apple M3 Max", 100),
    ],
)
def test_every_family_of_the_origins_table(brand: str, gbps: float) -> None:
    assert memory_bandwidth(brand) == (gbps, True, "medium")


@pytest.mark.parametrize(
    ("brand", "gbps"),
    [
        ("AMD Ryzen 7 9700X 8-Core Processor", 89.6),
        ("Intel(R) Core(TM) Ultra 7 258V", 136.5),
        ("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", 256),
        ("AMD Ryzen Threadripper PRO 7995WX 96-Cores", 332.8),
        ("Intel(R) N100", 25.6),
        ("Raspberry Pi 5 Model B Rev 1.0", 17),
        ("AMD Ryzen 7 8845HS w/ Radeon 780M Graphics", 83.2),
    ],
)
def test_families_beyond_the_origins_table(brand: str, gbps: float) -> None:
    assert memory_bandwidth(brand).gbps == gbps


def test_unknown_family_gives_40_and_a_warning() -> None:
    reading = detect(bare(system="other", cpu="Zhaoxin KX-7000"))
    assert reading.hardware.ram_bandwidth_gbps == 40
    assert reading.hardware.confidence == "low"
    assert codes(reading) == ["cpu_unmapped_family"]


def test_no_brand_at_all_is_an_unknown_cpu() -> None:
    assert detect(bare(system="other", cpu="  ")).hardware.cpu_name == "unknown CPU"


def test_board_without_a_brand_string_is_known_by_its_device_tree() -> None:
    hardware = detect("cpu_raspberry_pi_5").hardware
    assert hardware.cpu_name == "Raspberry Pi 5 Model B Rev 1.0"
    assert hardware.ram_bandwidth_gbps == 17


def test_cgroup_2_limits_memory_and_processors() -> None:
    hardware = detect("cpu_cgroup_v2_container").hardware
    assert hardware.ram_bytes == 8 * GIB
    assert hardware.cpu_count == 3
    assert hardware.ram_free_bytes == 7 * GIB


def test_cgroup_2_limit_of_a_parent_holds() -> None:
    hardware = detect("cpu_cgroup_v2_slice").hardware
    assert hardware.ram_bytes == 12 * GIB
    assert hardware.cpu_count == 32


def test_cgroup_1_limits_memory_and_processors() -> None:
    hardware = detect("cpu_cgroup_v1_container").hardware
    assert hardware.ram_bytes == 4 * GIB
    assert hardware.cpu_count == 2
    assert hardware.ram_free_bytes == 3 * GIB


def test_cgroup_1_without_limits() -> None:
    hardware = detect("cpu_cgroup_v1_unlimited").hardware
    assert hardware.ram_bytes == 31 * GIB
    assert hardware.cpu_count == 12


def test_a_slice_of_a_server_does_not_have_the_servers_bandwidth() -> None:
    hardware = detect("cpu_cgroup_v2_container").hardware
    assert hardware.ram_bandwidth_gbps == 45
    assert hardware.confidence == "low"
    assert shared_bandwidth(memory_bandwidth("AMD EPYC 9654"), 64).gbps == 460


def test_a_cgroup_limit_bounds_unified_memory_too() -> None:
    of = machine("nvidia_gb10")
    of.files["/proc/self/cgroup"] = ["0::/"]
    of.files["/sys/fs/cgroup/memory.max"] = [str(16 * GIB)]
    assert detect(of).hardware.capacity_bytes == 16 * GIB - ram_reserve(16 * GIB)


@given(st.integers(min_value=1, max_value=2**45))
def test_the_reserve_leaves_most_of_the_memory(ram: int) -> None:
    reserve = ram_reserve(ram)
    assert 0 <= reserve <= max(ram // 4, GIB)
    assert reserve <= 8 * GIB
    assert reserve < ram


@given(st.integers(min_value=1, max_value=512), st.floats(min_value=0.01, max_value=1000))
def test_usable_processors_are_at_least_one_and_never_more_than_there_are(count: int, quota: float) -> None:
    assert 1 <= usable_cpus(count, Limits(cpus=quota)) <= count
