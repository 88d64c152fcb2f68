"""Intel by replay."""

from __future__ import annotations

from tests.integrations.hardware.recorded import GIB, codes, detect, machine


def test_arc_b580_beside_the_processors_graphics() -> None:
    reading = detect("intel_arc_b580")
    (device,) = reading.hardware.devices
    assert reading.source == reading.hardware.platform == "intel"
    assert (device.name, device.memory_bytes, device.bandwidth_gbps) == ("Intel Arc B580", 12 * GIB, 456)
    assert reading.warnings == ()


def test_what_the_driver_says_of_memory_is_believed_first() -> None:
    of = machine("intel_arc_b580")
    of.files["/sys/class/drm/card1/device/tile0/physical_vram_size_bytes"] = ["0x2fa000000"]
    (device,) = detect(of).hardware.devices
    assert device.memory_bytes == 0x2FA000000
    assert device.confidence == "high"


def test_a_smaller_window_tells_the_smaller_variant() -> None:
    assert detect("intel_arc_a770_8gb").hardware.capacity_bytes == 8 * GIB


def test_a_closed_window_leaves_the_table() -> None:
    of = machine("intel_arc_a770_8gb")
    of.files["/sys/class/drm/card0/device/resource"] = ["0x0000004000000000 0x000000400fffffff 0x000000000014220c"]
    assert detect(of).hardware.capacity_bytes == 16 * GIB


def test_unknown_arc_is_named_by_lspci_and_guessed_low() -> None:
    of = machine("intel_arc_b580")
    of.files["/sys/class/drm/card1/device/device"] = ["0xe21f"]
    of.programs["lspci -mm -nn"] = [
        '03:00.0 "VGA compatible controller [0300]" "Intel Corporation [8086]" "Battlemage G31 [Arc B990] [e21f]" "" ""'
    ]
    reading = detect(of)
    (device,) = reading.hardware.devices
    assert (device.name, device.memory_bytes, device.confidence) == ("Intel Arc B990", 12 * GIB, "low")
    assert 0 < device.bandwidth_gbps <= 112
    assert codes(reading) == ["intel_unmapped_gpu"]


def test_only_processor_graphics_is_a_cpu_machine() -> None:
    assert detect("intel_igpu_only").hardware.platform == "cpu"


def test_affinity_mask_hides_the_card() -> None:
    of = machine("intel_arc_b580")
    of.environment["ZE_AFFINITY_MASK"] = "3"
    assert detect(of).hardware.devices == ()
