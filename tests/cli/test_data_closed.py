"""A data directory that may not be read is told of; nothing that reads it as an extra fails by it."""

from __future__ import annotations

import pytest

from reconciler.cli.wiring import Wiring
from reconciler.domain.adapter import ADAPTER_STORE
from reconciler.errors import OutsideError
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.adapter_store import LocalAdapterStore
from tests.closed import closed, open_folder
from tests.fakes import FixedClock


def no_http() -> Http:
    raise AssertionError("nothing is fetched here")


def test_what_was_added_to_the_catalogue_is_left_out_with_a_note() -> None:
    with open_folder() as here:
        data = here / "data"
        data.mkdir()
        wiring = Wiring(environment={"LOCALMODELS_DATA_DIR": str(data)})
        with closed(data):
            (note,) = wiring.bundled.notes
    assert note == f"the observations that were added cannot be read: {data}/benchmarks.json: Permission denied"


def test_nothing_is_said_where_nothing_was_added(tmp_path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert Wiring(environment={"LOCALMODELS_DATA_DIR": str(folder)}).bundled.notes == ()


@pytest.mark.parametrize("shut", ["data", f"data/{ADAPTER_STORE}"])
async def test_the_adapter_store_says_what_it_may_not_do(shut) -> None:
    with open_folder() as here:
        (here / "data" / ADAPTER_STORE / ("0" * 64)).mkdir(parents=True)
        keeper = LocalAdapterStore(here / "data" / ADAPTER_STORE, http=no_http, clock=FixedClock())
        with closed(here / shut):
            for asked in (keeper.held, keeper.sweep):
                with pytest.raises(OutsideError) as raised:
                    await asked()
                assert "Permission denied" in raised.value.message
            assert await keeper.made("0" * 64) == ()
            assert await keeper.recall("0" * 64) is None
