"""What is said of a model that a machine does not hold."""

from __future__ import annotations

from reconciler.domain.desired import Slot
from reconciler.domain.hardware import Hardware, HardwareReading
from reconciler.domain.plan import Row
from reconciler.planning.make_plan import make_plan
from tests.builders import catalogue, desired, hardware, model, observation, record

NAME = "acme/bear-70b-instruct"


def nearest(slot: Slot, machine: Hardware, *, size_gb: float) -> str:
    known = catalogue(model(NAME, size_gb=size_gb, params=70_000_000_000, context=131_072), scores={NAME: 60})
    seen = observation(known, hardware=HardwareReading(hardware=machine))
    (row,) = make_plan(desired(slot), seen, record()).unfilled
    assert isinstance(row, Row)
    return row.evidence.nearest or ""


def two(machine: Hardware) -> Hardware:
    return machine.model_copy(update={"devices": (*machine.devices, *machine.devices)})


def test_it_says_what_is_missing_and_where_it_would_fit() -> None:
    said = nearest(Slot(name="chat", context=131_072), hardware(), size_gb=20)
    assert said.startswith(f"{NAME} at Q4_K_M: needs 3")
    assert " at 131072 tokens, 25.8 GB usable: " in said
    assert " missing; fits at " in said


def test_weights_that_are_too_much_alone_are_named() -> None:
    assert nearest(Slot(name="chat"), hardware(), size_gb=40).endswith(" missing; its weights alone take 40.0 GB")


def test_what_fits_at_no_context_says_so() -> None:
    assert nearest(Slot(name="chat"), hardware(), size_gb=25.5).endswith(" missing; fits at no context")


def test_on_several_devices_their_number_and_the_price_of_the_split_are_named() -> None:
    said = nearest(Slot(name="chat"), two(hardware()), size_gb=51)
    assert " GB of it because no layer is divided between devices), 51.5 GB usable on 2 devices: " in said
