from __future__ import annotations

import pytest

from reconciler.domain.desired import Target
from reconciler.domain.observation import UnknownTarget
from reconciler.errors import Unreachable
from reconciler.integrations.runtimes.null import Null
from tests.doubles.ollama_rig import Heard, install_row


@pytest.fixture
def null():
    return Null(Target(name="nowhere"))


async def test_the_null_runtime_refuses_everything_naming_the_model(null):
    for attempt in (null.install(install_row("m", None), Heard()), null.remove("m"), null.digest("m", Heard())):
        with pytest.raises(Unreachable) as raised:
            await attempt
        assert raised.value.details == {"target": "nowhere", "name": "m"}


async def test_changed_listing_the_null_runtime_is_unknown_where_the_origin_raised(null):
    """Observing never raises here; what cannot be read is unknown, and nothing is pruned on its word."""
    assert isinstance(await null.observe(), UnknownTarget)


async def test_the_null_runtime_has_no_partials_to_clean(null):
    with pytest.raises(Unreachable):
        await null.clean_partials(frozenset())
    await null.close()
