"""Whatever the tools print: a machine comes back, with a bandwidth, a capacity and no exception."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.domain.hardware import HardwareReading
from tests.integrations.hardware.recorded import RECORDINGS, RecordedMachine, bare, detect, machine

NAMES = sorted(path.stem for path in RECORDINGS.glob("*.json"))
noise = st.text(max_size=200) | st.sampled_from(
    [
        "",
        "0",
        "-1",
        "0x",
        "max",
        "[N/A]",
        "NaN",
        "inf",
        "9" * 40,
        "{}",
        "[]",
        '{"card0": []}',
        "é\0\n,,,",
        "a, b",
        "1e999",
    ]
)


def assert_sane(reading: HardwareReading) -> None:
    hardware = reading.hardware
    assert hardware.capacity_bytes > 0
    assert hardware.ram_bandwidth_gbps > 0
    assert all(0 < device.bandwidth_gbps < 1e5 for device in hardware.devices)
    assert all(device.memory_bytes > 0 for device in hardware.devices)
    assert HardwareReading.model_validate_json(reading.model_dump_json()) == reading


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(NAMES), st.data())
def test_one_answer_replaced_by_anything(name: str, data: Any) -> None:
    of = machine(name)
    answers = [("program", key) for key in sorted(of.programs)] + [("file", key) for key in sorted(of.files)]
    kind, key = data.draw(st.sampled_from(answers))
    text = data.draw(noise)
    if kind == "program":
        of.programs[key] = text
    else:
        of.files[key] = [text]
    assert_sane(detect(of))


@settings(deadline=None)
@given(
    st.sampled_from(["linux", "macos", "windows", "other"]),
    noise,
    st.dictionaries(st.just("CUDA_VISIBLE_DEVICES"), noise),
)
def test_every_program_prints_the_same_nonsense(system: str, text: str, environment: dict[str, str]) -> None:
    class Chatterbox(RecordedMachine):
        def run(self, argv: Any) -> str:
            return text

        def read(self, path: str) -> str:
            return text

    assert_sane(detect(Chatterbox({"system": system, "environment": environment})))


@settings(deadline=None)
@given(st.text(max_size=60), st.integers(min_value=1, max_value=2**20))
def test_any_card_name_has_a_bandwidth(name: str, mebibytes: int) -> None:
    query = "nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits"
    assert_sane(detect(bare(programs={query: f"{name}, {mebibytes}"})))


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_processor_name_has_a_bandwidth(name: str) -> None:
    assert_sane(detect(bare(system="other", cpu=name)))


def test_every_recording_is_sane_and_detected_without_a_guess() -> None:
    for name in NAMES:
        reading = detect(name)
        assert_sane(reading)
        assert reading.hardware.confidence != "low" or name in {
            "amd_unknown_card",
            "cpu_cgroup_v1_container",
            "cpu_cgroup_v2_container",
        }, name
