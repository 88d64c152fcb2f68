"""Which machine it is, and which measurements stay."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.measurement import Run, Timing, machine_key, newest
from reconciler.domain.units import MIB, Bytes
from tests.builders import hardware
from tests.measurements import measured


def test_a_machine_stays_itself_whatever_it_does() -> None:
    here = hardware()
    busy = here.model_copy(
        update={
            "ram_free_bytes": Bytes(1), "ram_bytes": Bytes(here.ram_bytes - 5 * MIB), "ram_bandwidth_gbps": 1.0,
            "detected_at": here.detected_at + timedelta(days=9),
            "devices": tuple(one.model_copy(update={"free_bytes": Bytes(7)}) for one in here.devices),
        }
    )  # fmt: skip
    assert machine_key(here) == machine_key(busy)


def test_other_hardware_is_another_machine() -> None:
    here = hardware()
    others = [
        hardware(ram_gib=32), hardware(vram_gib=0), hardware(vram_gib=16), here.model_copy(update={"cpu_name": "B"}),
        here.model_copy(update={"devices": here.devices * 2}),
    ]  # fmt: skip
    assert len({machine_key(one) for one in (here, *others)}) == 6


@given(st.permutations([measured(f"m{number % 4}", hours=number) for number in range(8)]))
def test_which_ones_stay_does_not_depend_on_their_order(given_ones: list[object]) -> None:
    kept = newest(given_ones, at_most=3)  # type: ignore[arg-type]
    assert [one.model_id for one in kept] == ["acme/m1", "acme/m2", "acme/m3"]
    assert newest(kept) == kept


def test_a_runtime_that_does_not_time_the_prompt_has_no_prompt_speed() -> None:
    untimed = Run(prompt_tokens=10, prompt_seconds=0, generated_tokens=20, seconds=2)
    found = Timing(runtime="x", context=1, runs=(untimed,))
    assert (found.prompt_speed, found.first_token_ms, found.speeds) == (None, None, (10.0,))
