from __future__ import annotations

import pytest

from reconciler.domain.desired import Target
from reconciler.errors import Refused
from reconciler.integrations.runtimes.advisory import Advisory
from tests.doubles.ollama_rig import Heard, install_row, small

PROGRAMS = {"lms": "lms get", "vllm": "vllm serve", "llama-server": "llama-server -hf"}


@pytest.fixture(params=sorted(PROGRAMS))
def advisory(request):
    return Advisory(Target(name="desk", runtime="advisory", program=request.param))


async def test_install_is_refused_with_the_command(advisory):
    row = install_row("m", small().hub_artifact("org/it's mine"), quant="Q4_K_M")
    with pytest.raises(Refused) as raised:
        await advisory.install(row, Heard())
    error, program = raised.value, PROGRAMS[advisory.target.program]
    assert error.code == "no-api"
    assert error.hint.startswith(program)
    assert "'\\''" in error.hint
    assert error.hint in error.message
    assert error.details["target"] == "desk"


async def test_the_rows_own_command_is_the_one_that_is_told(advisory):
    row = install_row("m", None, command="lms get chosen/by-the-plan", model_id="o/m")
    with pytest.raises(Refused) as raised:
        await advisory.install(row, Heard())
    assert raised.value.hint == "lms get chosen/by-the-plan"


async def test_evict_and_inspect_are_refused(advisory):
    for attempt in (advisory.remove("m"), advisory.digest("m", Heard())):
        with pytest.raises(Refused) as raised:
            await attempt
        assert raised.value.code == "no-api"
        assert raised.value.details == {"target": "desk", "name": "m"}


async def test_list_is_empty_and_says_that_this_means_nothing(advisory):
    seen = await advisory.observe()
    assert seen.installed == ()
    assert any("not known" in note for note in seen.notes)
    assert seen.key == advisory.target.key
    assert await advisory.clean_partials(frozenset()) == 0
    await advisory.close()
