from datetime import UTC, datetime

from reconciler.domain.hardware import Hardware, HardwareReading
from reconciler.domain.observation import Observation
from reconciler.domain.units import GIB, Bytes
from reconciler.integrations.catalog.bundled import load_bundled

NOW = datetime(2026, 12, 1, tzinfo=UTC)
MACHINE = Hardware(
    platform="cpu", ram_bytes=Bytes(16 * GIB), ram_bandwidth_gbps=50, ram_reserve_bytes=Bytes(2 * GIB), cpu_name="x",
    cpu_count=4, detected_at=NOW,
)  # fmt: skip


def test_an_observation_with_the_whole_catalogue_crosses_a_file():
    reading = HardwareReading(hardware=MACHINE)
    observation = Observation(now=NOW, hardware=reading, targets=(), catalogue=load_bundled())
    text = observation.model_dump_json()
    assert Observation.model_validate_json(text) == observation
    assert '"ollamaTag"' in text
