"""What every test of adapters in the engine begins with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.lora.adapting import Room, room


@pytest.fixture
def here(tmp_path: Path) -> Room:
    return room(tmp_path)
