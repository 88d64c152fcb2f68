"""NVIDIA by replay: nvidia-smi, NVML, laptops, MIG, unified memory, hidden devices."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.errors import OutsideError
from reconciler.integrations.hardware.devices import bundled_table
from reconciler.integrations.hardware.nvidia import parse_query, probe_nvidia, with_slices
from reconciler.integrations.hardware.readings import Surroundings, ram_reserve
from tests.integrations.hardware.recorded import GIB, bare, codes, detect, machine

PLAIN = "nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits"

SEED = {
    "NVIDIA GeForce RTX 4090": (24564, 1008),
    "NVIDIA GeForce RTX 4080 SUPER": (16376, 736),
    "NVIDIA GeForce RTX 4080": (16376, 716),
    "NVIDIA GeForce RTX 4070 Ti SUPER": (16376, 672),
    "NVIDIA GeForce RTX 4070 Ti": (12282, 504),
    "NVIDIA GeForce RTX 4070 SUPER": (12282, 504),
    "NVIDIA GeForce RTX 4070": (12282, 504),
    "NVIDIA GeForce RTX 4060 Ti": (8188, 288),
    "NVIDIA GeForce RTX 4060": (8188, 272),
    "NVIDIA GeForce RTX 3090 Ti": (24564, 1008),
    "NVIDIA GeForce RTX 3090": (24576, 936),
    "NVIDIA GeForce RTX 3080 Ti": (12288, 912),
    "NVIDIA GeForce RTX 3080": (10240, 760),
    "NVIDIA GeForce RTX 3070 Ti": (8192, 608),
    "NVIDIA GeForce RTX 3070": (8192, 448),
    "NVIDIA GeForce RTX 3060 Ti": (8192, 448),
    "NVIDIA GeForce RTX 3060": (12288, 360),
    "NVIDIA L40S": (46068, 864),
    "NVIDIA L40": (46068, 864),
    "NVIDIA L4": (23034, 300),
    "NVIDIA A100-PCIE-40GB": (40960, 1555),
    "NVIDIA A100-SXM4-40GB": (40960, 1555),
    "NVIDIA A100-PCIE-80GB": (81920, 1935),
    "NVIDIA A100-SXM4-80GB": (81920, 2039),
    "NVIDIA H100 PCIe": (81559, 2000),
    "NVIDIA H100 80GB HBM3": (81559, 3350),
}


def one_card(name: str, mebibytes: int | str, **more: Any) -> Any:
    return bare(programs={PLAIN: [f"{name}, {mebibytes}"]}, **more)


def around(of: Any) -> Surroundings:
    return Surroundings(of, of, of.environment, bundled_table(), 64 * GIB, 80.0)


def test_fixture_4090_is_24_gib_at_1008() -> None:
    reading = detect("nvidia_rtx_4090")
    (device,) = reading.hardware.devices
    assert reading.source == reading.hardware.platform == "nvidia"
    assert device.memory_bytes == 24564 * 2**20
    assert device.free_bytes == 23310 * 2**20
    assert (device.bandwidth_gbps, device.confidence, device.compute_capability) == (1008, "high", "8.9")
    assert reading.warnings == ()


@pytest.mark.parametrize("name", SEED)
def test_every_name_of_the_origins_table_gives_its_value(name: str) -> None:
    mebibytes, gbps = SEED[name]
    reading = detect(one_card(name, mebibytes))
    assert reading.hardware.devices[0].bandwidth_gbps == gbps
    assert reading.hardware.devices[0].confidence == "high"
    assert reading.warnings == ()


def test_several_gpus_are_all_used_largest_first() -> None:
    hardware = detect("nvidia_2x_rtx_3090").hardware
    assert [device.bandwidth_gbps for device in hardware.devices] == [936, 936]
    assert hardware.capacity_bytes == 2 * 24576 * 2**20
    assert [device.free_bytes for device in hardware.devices] == [24253 * 2**20, 20110 * 2**20]


def test_a_small_card_for_the_screen_is_not_pooled() -> None:
    reading = detect("nvidia_rtx_4090_and_gt_1030")
    assert [device.name for device in reading.hardware.devices] == ["NVIDIA GeForce RTX 4090"]
    assert codes(reading) == ["small_accelerator_ignored"]


def test_unmapped_gpu_gives_300_and_a_warning() -> None:
    reading = detect(one_card("NVIDIA GeForce RTX 9090", 49152))
    (device,) = reading.hardware.devices
    assert (device.bandwidth_gbps, device.bandwidth_source, device.confidence) == (300, "assumed", "low")
    assert codes(reading) == ["nvidia_unmapped_gpu"]


def test_missing_binary_raises_in_the_probe() -> None:
    with pytest.raises(OutsideError, match="not installed"):
        probe_nvidia(around(bare()), None)


@pytest.mark.parametrize("output", ["", "\n\n", "  \n", "garbage", ",,,,", ", 24564"])
def test_empty_output_raises_in_the_probe(output: str) -> None:
    with pytest.raises(OutsideError, match="no GPUs"):
        probe_nvidia(around(bare(programs={PLAIN: output})), None)


def test_laptop_gpu_does_not_inherit_desktop_bandwidth() -> None:
    (device,) = detect("nvidia_laptop_rtx_4070").hardware.devices
    assert device.bandwidth_gbps == 256
    assert device.memory_bytes == 8188 * 2**20


@pytest.mark.parametrize(
    ("name", "mebibytes", "desktop"),
    [
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16376, 1008),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", 16384, 760),
        ("NVIDIA GeForce RTX 3080 Ti Laptop GPU", 16384, 912),
        ("NVIDIA GeForce RTX 2080 SUPER with Max-Q Design", 8192, 496),
        ("NVIDIA RTX A5000 Laptop GPU", 16384, 768),
        ("NVIDIA GeForce RTX 5090 Laptop GPU", 24463, 1790),
        ("NVIDIA GeForce RTX 6090 Laptop GPU", 32768, 300),
    ],
)
def test_laptop_and_max_q_names_stay_below_the_desktop_card(name: str, mebibytes: int, desktop: float) -> None:
    (device,) = detect(one_card(name, mebibytes)).hardware.devices
    assert 0 < device.bandwidth_gbps < desktop


@pytest.mark.parametrize(
    ("name", "mebibytes", "gbps"),
    [
        ("NVIDIA GeForce RTX 3080", 12288, 912.4),
        ("NVIDIA GeForce RTX 3080", 10240, 760),
        ("NVIDIA GeForce RTX 4060 Ti", 16380, 288),
        ("NVIDIA GeForce RTX 3060", 8192, 240),
        ("NVIDIA GeForce RTX 3050", 6144, 168),
        ("NVIDIA GeForce RTX 3050", 8192, 224),
    ],
)
def test_memory_size_tells_variants_of_one_name_apart(name: str, mebibytes: int, gbps: float) -> None:
    (device,) = detect(one_card(name, mebibytes)).hardware.devices
    assert device.bandwidth_gbps == gbps


@pytest.mark.parametrize(
    ("name", "mebibytes", "gbps"),
    [
        ("NVIDIA GeForce RTX 5090", 32607, 1790),
        ("NVIDIA H200", 143771, 4890),
        ("NVIDIA RTX 6000 Ada Generation", 49140, 960),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97887, 1790),
        ("Tesla T4", 15360, 320),
        ("Tesla V100-SXM2-32GB", 32768, 898),
        ("NVIDIA A10", 23028, 600.2),
        ("NVIDIA A10G", 23028, 600.2),
        ("NVIDIA B200", 183359, 8000),
        ("Quadro RTX 8000", 49152, 672),
    ],
)
def test_cards_beyond_the_origins_table(name: str, mebibytes: int, gbps: float) -> None:
    reading = detect(one_card(name, mebibytes))
    assert reading.hardware.devices[0].bandwidth_gbps == gbps
    assert reading.warnings == ()


def test_gb10_without_a_memory_figure_uses_the_ram_less_its_reserve() -> None:
    hardware = detect("nvidia_gb10").hardware
    (device,) = hardware.devices
    assert device.unified
    assert device.memory_bytes == hardware.ram_bytes - ram_reserve(hardware.ram_bytes)
    assert device.bandwidth_gbps == hardware.ram_bandwidth_gbps == 273
    assert hardware.arch == "arm64"


def test_jetson_is_known_by_its_board() -> None:
    (device,) = detect("nvidia_jetson_agx_orin").hardware.devices
    assert device.unified
    assert device.bandwidth_gbps == 204.8


def test_jetson_without_nvidia_smi_is_known_by_its_device_tree() -> None:
    board = machine("nvidia_jetson_agx_orin")
    board.programs.clear()
    (device,) = detect(board).hardware.devices
    assert device.name == "Jetson AGX Orin Developer Kit"
    assert device.bandwidth_gbps == 204.8


def test_discrete_card_without_a_memory_figure_takes_the_tables() -> None:
    reading = detect(one_card("NVIDIA GeForce RTX 4090", "[N/A]"))
    assert reading.hardware.devices[0].memory_bytes == 24 * GIB
    assert codes(reading) == ["nvidia_memory_unknown"]


def test_unknown_card_without_a_memory_figure_is_left_out() -> None:
    reading = detect(one_card("NVIDIA Graphics Device", "[N/A]"))
    assert reading.hardware.devices == ()
    assert "nvidia_memory_unknown" in codes(reading)


def test_one_odd_field_does_not_hide_the_neighbour() -> None:
    of = bare(programs={PLAIN: ["NVIDIA Thing, [Unknown Error]", "NVIDIA L4, 23034"]})
    assert [device.name for device in detect(of).hardware.devices] == ["NVIDIA L4"]


def test_mig_counts_the_largest_slice_not_the_card() -> None:
    reading = detect("nvidia_h100_mig")
    (device,) = reading.hardware.devices
    assert device.memory_bytes == 40 * GIB
    assert device.bandwidth_gbps == pytest.approx(3350 / 2, rel=0.01)
    assert codes(reading) == ["nvidia_mig"]


def test_mig_slice_can_be_chosen_by_its_uuid() -> None:
    of = machine("nvidia_h100_mig")
    of.environment["CUDA_VISIBLE_DEVICES"] = "MIG-0c2d3b7e-8d4e-5d1d-8c1f-000000000001"
    assert detect(of).hardware.devices[0].memory_bytes == 10 * GIB


def test_mig_without_a_slice_is_left_out() -> None:
    of = machine("nvidia_h100_mig")
    del of.programs["nvidia-smi -L"]
    reading = detect(of)
    assert reading.hardware.devices == ()
    assert "nvidia_mig" in codes(reading)


def test_slices_are_not_guessed_when_the_listing_names_other_cards() -> None:
    cards = parse_query("0, GPU-1, NVIDIA H100 80GB HBM3, 81559, 81000, 9.0, Enabled")
    assert with_slices(cards, "GPU 0: a\nGPU 1: b\n") == cards


def test_old_driver_that_refuses_new_fields_is_asked_the_old_question() -> None:
    (device,) = detect("nvidia_old_driver").hardware.devices
    assert (device.name, device.bandwidth_gbps) == ("GeForce RTX 2080 Ti", 616)


def test_wsl2_finds_nvidia_smi_where_windows_puts_it() -> None:
    (device,) = detect("nvidia_wsl2").hardware.devices
    assert device.bandwidth_gbps == 912.4


def test_windows_by_replay() -> None:
    hardware = detect("windows_rtx_4080").hardware
    assert hardware.os == "windows"
    assert hardware.devices[0].bandwidth_gbps == 736


@pytest.mark.parametrize(("listed", "free"), [("1", [20110]), ("1,0", [24253, 20110]), ("0,9,1", [24253])])
def test_cuda_visible_devices_by_index(listed: str, free: list[int]) -> None:
    of = machine("nvidia_2x_rtx_3090")
    of.environment["CUDA_VISIBLE_DEVICES"] = listed
    seen = sorted((device.free_bytes or 0) // 2**20 for device in detect(of).hardware.devices)
    assert seen == sorted(free)


def test_cuda_visible_devices_by_uuid() -> None:
    of = machine("nvidia_2x_rtx_3090")
    of.environment["CUDA_VISIBLE_DEVICES"] = "GPU-8d1b22c4"
    assert [device.free_bytes for device in detect(of).hardware.devices] == [20110 * 2**20]


@pytest.mark.parametrize("listed", ["", "-1", "none", "GPU-nosuch"])
def test_cuda_visible_devices_may_hide_everything(listed: str) -> None:
    of = machine("nvidia_2x_rtx_3090")
    of.environment["CUDA_VISIBLE_DEVICES"] = listed
    reading = detect(of)
    assert reading.hardware.platform == "cpu"
    assert codes(reading) == ["nvidia_hidden"]


def test_counting_unlike_gpus_without_a_fixed_order_is_warned_about() -> None:
    of = machine("nvidia_rtx_4090_and_gt_1030")
    of.environment["CUDA_VISIBLE_DEVICES"] = "1"
    assert codes(detect(of)) == ["nvidia_visible_order"]
    of.environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    assert codes(detect(of)) == []


class RecordedNvml:
    """A driver library that answers from a table; what is not in it is refused, as NVML refuses."""

    def __init__(self, *cards: dict[str, Any]) -> None:
        self.cards = cards
        self.was_shut_down = False

    def nvmlInit(self) -> None: ...

    def nvmlShutdown(self) -> None:
        self.was_shut_down = True

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        return self.cards[index]

    def nvmlDeviceGetName(self, card: dict[str, Any]) -> Any:
        return card["name"]

    def nvmlDeviceGetUUID(self, card: dict[str, Any]) -> Any:
        return card["uuid"]

    def nvmlDeviceGetMemoryInfo(self, card: dict[str, Any]) -> Any:
        return SimpleNamespace(total=card["total"], free=card["free"])

    def nvmlDeviceGetCudaComputeCapability(self, card: dict[str, Any]) -> Any:
        return card["capability"]

    def nvmlDeviceGetMaxClockInfo(self, card: dict[str, Any], kind: int) -> int:
        return int(card["clock"]) if kind == 2 else 1

    def nvmlDeviceGetMemoryBusWidth(self, card: dict[str, Any]) -> int:
        return int(card["bus"])

    def nvmlDeviceGetMigMode(self, card: dict[str, Any]) -> Any:
        return [card["mig"], card["mig"]]

    def nvmlDeviceGetMaxMigDeviceCount(self, card: dict[str, Any]) -> int:
        return len(card["slices"])

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: dict[str, Any], index: int) -> Any:
        return card["slices"][index]


def nvml_card(name: str, gib: float, clock: int, bus: int, **more: Any) -> dict[str, Any]:
    base = {"name": name, "uuid": "GPU-1", "total": round(gib * GIB), "free": GIB, "capability": (8, 9), "mig": 0}
    return {**base, "clock": clock, "bus": bus, **more}


def test_nvml_comes_first_and_no_program_is_started_for_nvidia() -> None:
    library = RecordedNvml(nvml_card("NVIDIA GeForce RTX 4090", 24, 10501, 384))
    of = bare()
    reading = detect(of, nvml=lambda: library)
    (device,) = reading.hardware.devices
    assert (device.bandwidth_gbps, device.bandwidth_source, device.compute_capability) == (1008, "table", "8.9")
    assert of.runs == []
    assert library.was_shut_down


def test_measured_clock_and_bus_beat_the_name() -> None:
    library = RecordedNvml(nvml_card("NVIDIA GeForce RTX 3080 Laptop GPU", 16, 5001, 256))
    (device,) = detect(bare(), nvml=lambda: library).hardware.devices
    assert (device.bandwidth_gbps, device.bandwidth_source, device.confidence) == (320.1, "measured", "high")


def test_unknown_name_with_measured_bandwidth_needs_no_warning() -> None:
    library = RecordedNvml(nvml_card("NVIDIA GeForce RTX 9090", 48, 16001, 512))
    reading = detect(bare(), nvml=lambda: library)
    assert reading.hardware.devices[0].bandwidth_gbps == pytest.approx(2048.1)
    assert reading.warnings == ()


def test_nvml_names_may_be_bytes() -> None:
    library = RecordedNvml({**nvml_card("", 24, 0, 0), "name": b"NVIDIA L4", "uuid": b"GPU-2"})
    assert detect(bare(), nvml=lambda: library).hardware.devices[0].bandwidth_gbps == 300


def test_nvml_that_refuses_memory_is_unified() -> None:
    refusing = nvml_card("NVIDIA GB10", 1, 0, 0)
    del refusing["total"], refusing["bus"]
    (device,) = detect(bare(), nvml=lambda: RecordedNvml(refusing)).hardware.devices
    assert device.unified
    assert device.bandwidth_gbps == 273


def test_nvml_mig_slices() -> None:
    parts = [{"name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "uuid": "MIG-1", "total": 10 * GIB, "free": 9 * GIB}]
    library = RecordedNvml(nvml_card("NVIDIA H100 80GB HBM3", 80, 2619, 5120, mig=1, slices=[*parts, {}]))
    reading = detect(bare(), nvml=lambda: library)
    (device,) = reading.hardware.devices
    assert (device.memory_bytes, device.free_bytes) == (10 * GIB, 9 * GIB)
    assert device.bandwidth_gbps == pytest.approx(3350 / 8, abs=0.1)
    assert codes(reading) == ["nvidia_mig"]


def test_broken_nvml_leaves_the_question_to_nvidia_smi() -> None:
    def broken() -> Any:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    assert detect("nvidia_rtx_4090", nvml=broken).hardware.devices[0].bandwidth_gbps == 1008


def test_nvml_without_cards_leaves_the_question_to_nvidia_smi() -> None:
    assert detect("nvidia_rtx_4090", nvml=RecordedNvml).hardware.devices[0].bandwidth_gbps == 1008
