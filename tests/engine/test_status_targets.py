"""What ``status`` calls a target: a vLLM that is asked is one; what takes commands alone is not said to be empty."""

from __future__ import annotations

from datetime import timedelta

import pytest
from syrupy.assertion import SnapshotAssertion

from reconciler.cli.views.status import status_text
from reconciler.domain.adapter import ServedAdapter
from reconciler.domain.desired import Target
from reconciler.domain.observation import Installed, ObservedTarget
from reconciler.domain.units import Bytes
from reconciler.engine.reconcile import reconcile
from reconciler.engine.status import status
from tests.builders import target
from tests.engine.worlds import ALPHA, BETA, OPTIONS, fakes, pin
from tests.fakes import FakeRuntime
from tests.planning.adapter_world import recorded

GPU = Target(name="gpu", runtime="advisory", program="vllm", endpoint="http://127.0.0.1:8000", is_asked=True)
HAND = Target(name="hand", runtime="advisory", program="vllm")
OLLAMA = Target(name="desk", runtime="ollama", endpoint="http://127.0.0.1:11434")
BASE = "acme/alpha-1b"


class Versioned(FakeRuntime):
    async def observe(self) -> ObservedTarget:
        seen = await super().observe()
        assert isinstance(seen, ObservedTarget)
        return seen.model_copy(update={"version": "0.18.0"})


def serving(*names: str) -> FakeRuntime:
    here = Versioned(GPU)
    here.put(Installed(name=BASE, bytes=Bytes(0), repo=BASE, quant="BF16", resident=True))
    here.adapters = {name: ServedAdapter(name=name, base=BASE, path=f"/{name}") for name in names}
    return here


async def test_a_vllm_that_answers_is_called_one_and_says_what_it_serves(snapshot: SnapshotAssertion) -> None:
    here = fakes(targets=(GPU, HAND, OLLAMA))
    here.runtimes[GPU.key] = serving("sql", "notes")
    found = await status(here.world, OPTIONS)
    assert [(one.name, one.runtime, one.serves) for one in found.targets] == [
        ("gpu", "vllm", BASE),
        ("hand", "advisory", None),
        ("desk", "ollama", None),
    ]
    shown = [status_text(found, now=here.clock.now())]
    here.runtimes[GPU.key] = serving()
    shown.append(status_text(await status(here.world, OPTIONS), now=here.clock.now()).splitlines()[2])
    assert "\n\n-----\n\n".join(shown) == snapshot


async def test_one_that_does_not_answer_is_still_called_what_it_is() -> None:
    here = fakes(targets=(GPU,))
    here.runtime(GPU.key).unknown = "connection refused"
    found = await status(here.world, OPTIONS)
    (gpu,) = found.targets
    assert (gpu.runtime, gpu.serves, gpu.state) == ("vllm", None, "unknown")
    assert "gpu (vllm http://127.0.0.1:8000): unknown" in status_text(found, now=here.clock.now())


async def test_one_that_left_the_file_is_called_by_its_key() -> None:
    two = (target(), target("other", path="/other"))
    here = fakes(pin("a", ALPHA, target="local"), pin("b", BETA, target="other"), targets=two)
    await reconcile(here.world, OPTIONS)
    here.edit(pin("a", ALPHA), targets=two[:1])
    assert [one.runtime for one in (await status(here.world, OPTIONS)).targets] == ["store", "store"]


@pytest.mark.parametrize(
    ("installed", "attached", "expected"),
    [
        (None, None, "nothing applied yet"), (7200, None, "last install 2h ago"), (None, 3600, "last attach 1h ago"),
        (7200, 3600, "last attach 1h ago"), (3600, 7200, "last install 1h ago"), (3600, 3600, "last install 1h ago"),
    ],
)  # fmt: skip
async def test_the_last_that_was_applied_may_be_an_adapter(
    installed: int | None, attached: int | None, expected: str
) -> None:
    here = fakes(targets=(GPU,))
    here.runtimes[GPU.key] = serving()
    now = here.clock.now()
    found = (await status(here.world, OPTIONS)).model_copy(
        update={
            "last_applied_at": None if installed is None else now - timedelta(seconds=installed),
            "last_attached_at": None if attached is None else now - timedelta(seconds=attached),
        }
    )
    assert status_text(found, now=now).endswith(f"{expected}.")


async def test_the_record_tells_when_an_adapter_was_attached() -> None:
    here = fakes(targets=(GPU,))
    here.runtimes[GPU.key] = serving()
    mine = recorded(target_key=GPU.key)
    await here.store.save(here.record.model_copy(update={"generation": 1, "adapters": (mine,)}))
    assert (await status(here.world, OPTIONS)).last_attached_at == mine.attached_at
