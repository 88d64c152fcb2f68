from __future__ import annotations

from reconciler.integrations.runtimes.host_load import other_load


async def test_it_is_a_share() -> None:
    assert 0 <= await other_load() <= 1
