"""The floor of a quant that no table has: judged by the file's own bytes, and never assumed."""

from __future__ import annotations

from dataclasses import replace

from reconciler.domain.catalog import CatalogModel
from reconciler.domain.desired import Slot
from reconciler.domain.hardware import HardwareReading
from reconciler.domain.plan import Overrides
from reconciler.planning.eligible import Considered, consider
from reconciler.planning.scene import Scene
from tests.builders import catalogue, desired, hardware, model, observation, observed, record

SLOT = Slot(name="chat")


def considered(one: CatalogModel, slot: Slot = SLOT) -> Considered:
    seen = observation(
        catalogue(one, scores={one.id: 60}), observed(), hardware=HardwareReading(hardware=hardware(vram_gib=24))
    )
    scene = Scene(desired(slot), seen, record(), Overrides())
    return consider(scene, slot, scene.desired.targets[0])


def only_rejection(one: CatalogModel, slot: Slot = SLOT) -> tuple[str, str]:
    found = considered(one, slot)
    assert not found.options
    (rejected,) = found.rejected
    return rejected.reason, rejected.message


def test_two_bits_under_a_name_nobody_knows_are_below_the_floor() -> None:
    reason, message = only_rejection(model(quants=("Q2_NEW",), size_gb=2.7, params=8_000_000_000))
    assert reason == "quant-below-floor"
    assert message == "Q2_NEW has 2.7 bits per weight, below 4.25"


def test_the_smallest_known_quants_are_below_the_floor() -> None:
    assert only_rejection(model(quants=("Q2_K_S",), size_gb=3))[0] == "quant-below-floor"


def test_a_name_nobody_knows_on_a_file_of_enough_bits_is_eligible_at_the_quality_of_its_bits() -> None:
    six, five = (considered(model(quants=("NEW",), size_gb=size)).options[0] for size in (6.5, 5.0))
    assert 0.95 < five.assessment.quality.quant_factor < six.assessment.quality.quant_factor < 1


def test_nothing_is_assumed_of_a_quant_where_the_weights_are_not_counted() -> None:
    uncounted = replace(model(quants=("NEW",)), params=None, gguf_weights=None)
    assert only_rejection(uncounted)[0] == "quant-not-known"
    assert considered(uncounted, Slot(name="chat", quants=("NEW",))).options
