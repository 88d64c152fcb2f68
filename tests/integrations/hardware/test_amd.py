"""AMD by replay: sysfs, the compute driver's topology, rocm-smi, lspci."""

from __future__ import annotations

import pytest

from reconciler.integrations.hardware.amd import parse_rocm_smi
from reconciler.integrations.hardware.readings import ram_reserve
from tests.integrations.hardware.recorded import GIB, codes, detect, machine


def test_rx_7900_xtx_from_sysfs() -> None:
    reading = detect("amd_rx_7900_xtx_and_igpu")
    (device,) = reading.hardware.devices
    assert reading.source == reading.hardware.platform == "amd"
    assert device.name == "Radeon RX 7900 XTX"
    assert device.memory_bytes == 25753026560
    assert device.free_bytes == 25753026560 - 1153024000
    assert (device.bandwidth_gbps, device.confidence) == (960, "high")
    assert reading.warnings == ()


def test_graphics_inside_the_processor_is_not_a_second_card() -> None:
    hardware = detect("amd_rx_7900_xtx_and_igpu").hardware
    assert len(hardware.devices) == 1
    assert not hardware.is_unified


def test_plugs_of_a_card_are_not_cards() -> None:
    of = machine("amd_rx_7900_xtx_and_igpu")
    assert "card0-DP-1" in of.names("/sys/class/drm")
    assert len(detect(of).hardware.devices) == 1


def test_nvidia_laptop_with_amd_graphics_counts_the_card_only() -> None:
    hardware = detect("nvidia_laptop_rtx_4070").hardware
    assert [device.vendor for device in hardware.devices] == ["nvidia"]


def test_two_cards() -> None:
    assert detect("amd_2x_rx_7900_xtx").hardware.capacity_bytes == 2 * 25753026560


def test_strix_halo_with_a_small_carve_out_has_what_the_driver_may_borrow() -> None:
    hardware = detect("amd_strix_halo_gtt").hardware
    (device,) = hardware.devices
    assert device.memory_bytes == 67001024512
    assert device.unified
    assert device.bandwidth_gbps == hardware.ram_bandwidth_gbps == 256


def test_strix_halo_with_a_large_carve_out_has_the_carve_out_not_the_sum() -> None:
    (device,) = detect("amd_strix_halo_carve_out").hardware.devices
    assert device.memory_bytes == 96 * GIB


def test_borrowed_memory_is_never_all_of_the_ram() -> None:
    of = machine("amd_strix_halo_gtt")
    of.files["/sys/class/drm/card1/device/mem_info_gtt_total"] = [str(500 * GIB)]
    hardware = detect(of).hardware
    assert hardware.devices[0].memory_bytes == hardware.ram_bytes - ram_reserve(hardware.ram_bytes)


def test_tiny_desktop_graphics_alone_leave_a_cpu_machine() -> None:
    of = machine("amd_rx_7900_xtx_and_igpu")
    of.files = {path: text for path, text in of.files.items() if "card0" not in path and "nodes/1" not in path}
    assert detect(of).hardware.platform == "cpu"


def test_graphics_of_a_laptop_processor_run_at_the_rams_speed() -> None:
    of = machine("nvidia_laptop_rtx_4070")
    of.programs.clear()
    of.files = {path: text for path, text in of.files.items() if "card1" not in path}
    (device,) = detect(of).hardware.devices
    assert (device.name, device.unified, device.bandwidth_gbps) == ("Radeon 780M", True, 83)
    assert device.memory_bytes == 16432230400


def test_rocm_smi_answers_where_sysfs_does_not() -> None:
    hardware = detect("amd_rocm_smi_only").hardware
    assert [device.bandwidth_gbps for device in hardware.devices] == [5300, 5300]
    assert hardware.devices[0].memory_bytes == 206141652992


def test_unknown_card_is_named_by_lspci_and_guessed_low() -> None:
    reading = detect("amd_unknown_card")
    (device,) = reading.hardware.devices
    assert (device.name, device.bandwidth_gbps, device.confidence) == ("Radeon RX 9990 XT", 224, "low")
    assert codes(reading) == ["amd_unmapped_gpu"]


def test_memory_clock_and_bus_of_the_compute_driver_beat_the_name() -> None:
    of = machine("amd_unknown_card")
    node = "/sys/class/kfd/kfd/topology/nodes/1"
    of.files[f"{node}/properties"] = [
        "cpu_cores_count 0",
        "gfx_target_version 120001",
        "vendor_id 4098",
        "device_id 32767",
    ]
    of.files[f"{node}/mem_banks/0/properties"] = ["width 512", "mem_clk_max 1250"]
    reading = detect(of)
    (device,) = reading.hardware.devices
    assert (device.bandwidth_gbps, device.bandwidth_source) == (1280, "measured")
    assert reading.warnings == ()


def test_the_systems_own_list_names_a_card_we_do_not_know() -> None:
    of = machine("amd_unknown_card")
    of.files["/usr/share/libdrm/amdgpu.ids"] = ["# List", "1.0.0", "7FFF,\tC1,\tAMD Radeon RX 9070 XT"]
    (device,) = detect(of).hardware.devices
    assert device.name == "AMD Radeon RX 9070 XT"


@pytest.mark.parametrize("variable", ["ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"])
def test_visible_devices_by_index(variable: str) -> None:
    of = machine("amd_2x_rx_7900_xtx")
    of.environment[variable] = "1"
    assert len(detect(of).hardware.devices) == 1


def test_hip_counts_what_rocr_left() -> None:
    of = machine("amd_2x_rx_7900_xtx")
    of.environment.update(ROCR_VISIBLE_DEVICES="GPU-77aa000011112222", HIP_VISIBLE_DEVICES="0")
    assert len(detect(of).hardware.devices) == 1
    of.environment["HIP_VISIBLE_DEVICES"] = "1"
    assert codes(detect(of)) == ["amd_hidden", "nvidia_probe_failed"]


@pytest.mark.parametrize(
    "output", ["", "no json", "{", "[]", '{"card0": 3}', '{"card0": {"VRAM Total Memory (B)": "N/A"}}']
)
def test_rocm_smi_nonsense_is_no_card(output: str) -> None:
    assert parse_rocm_smi(output) == []
