"""Conversion of peft adapters: what it is found by, told and given, and what of it is believed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from reconciler.engine.lora.adapter_facts import read_gguf_table
from reconciler.errors import Refused, Unreachable
from reconciler.formats.gguf_adapter import gguf_adapter
from reconciler.integrations.files.adapter_files import LocalAdapterFiles
from reconciler.integrations.lora_converter import LlamaCppConverter
from reconciler.ports import AdapterConverter
from tests.doubles.lora_converter import installed
from tests.lora_files import PEFT, TINY, config, folder, pairs

SECRET = "hf_do_not_tell"


@pytest.fixture
def base(tmp_path: Path) -> str:
    (tmp_path / "base").mkdir()
    document = TINY | {"architectures": ["LlamaForCausalLM"], "rms_norm_eps": 1e-6, "max_position_embeddings": 64}
    (tmp_path / "base" / "config.json").write_text(json.dumps(document))
    return str(tmp_path / "base")


def converter(llama_cpp: Path, *, seconds: float = 60.0, **environ: str) -> LlamaCppConverter:
    around = {"PATH": os.environ["PATH"], "LLAMA_CPP_DIR": str(llama_cpp), "HF_TOKEN": SECRET, "AWS_SECRET": SECRET}
    return LlamaCppConverter(around | environ, timeout_seconds=seconds)


def read(path: Path):
    header, tensors, size = read_gguf_table(str(path), LocalAdapterFiles({}))
    return gguf_adapter(header, tensors, size=size)


@pytest.fixture(params=["double", "real"])
def llama_cpp(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of llama.cpp: the double's, and the real one where somebody names it."""
    if request.param == "double":
        return installed(tmp_path / "llama.cpp").parent
    real = os.environ.get("LOCALMODELS_TEST_LLAMA_CPP_DIR")
    if not real:
        pytest.skip("no real converter: LOCALMODELS_TEST_LLAMA_CPP_DIR is not set (see docs/testing.md)")
    return Path(real)


@pytest.mark.parametrize("adapter", ["plain", "all-linear", "rank-pattern"])
async def test_what_peft_saved_becomes_an_adapter_of_the_same_pairs(llama_cpp, tmp_path, base, adapter):
    out = tmp_path / "out.gguf"
    made: AdapterConverter = converter(llama_cpp)
    await made.convert(str(PEFT / adapter), base, "f16", str(out))
    found = read(out)
    stated = json.loads((PEFT / adapter / "adapter_config.json").read_text())
    assert (found.architecture, found.adapter_type, found.alpha) == ("llama", "lora", stated["lora_alpha"])
    names = {tensor.name for tensor in found.tensors}
    assert {name for name in names if name.endswith("lora_a")} == {
        name.replace("lora_b", "lora_a") for name in names if name.endswith("lora_b")
    }
    assert {tensor.dtype for tensor in found.tensors} == {"F16"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [], "no draft is left"


async def test_what_it_cannot_map_is_its_own_clear_no(llama_cpp, tmp_path, base):
    with pytest.raises(Refused, match="Unexpected name") as raised:
        await converter(llama_cpp).convert(str(PEFT / "saved-head"), base, "f16", str(tmp_path / "out.gguf"))
    assert raised.value.code == "conversion-failed"
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(("adapter", "lost"), [("rslora", "rsLoRA"), ("dora", "DoRA"), ("alpha-pattern", "alpha_")])
async def test_what_it_would_lose_without_a_word_is_refused_before(llama_cpp, tmp_path, base, adapter, lost):
    with pytest.raises(Refused, match=lost) as raised:
        await converter(llama_cpp).convert(str(PEFT / adapter), base, "f16", str(tmp_path / "out.gguf"))
    assert raised.value.code == "conversion-failed"


async def test_a_pickle_is_never_given_to_it(tmp_path, base):
    ran = tmp_path / "ran"
    llama_cpp = installed(tmp_path / "llama.cpp", before=f"open({str(ran)!r}, 'w')").parent
    adapter = folder(tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(Refused, match=r"adapter_model\.safetensors"):
        await converter(llama_cpp).convert(str(adapter), base, "f16", str(tmp_path / "out.gguf"))
    assert not ran.exists()


async def test_it_sees_no_secret_and_no_network_where_the_base_is_here(tmp_path, base):
    told = tmp_path / "told.json"
    tell = f"import json, os; json.dump([dict(os.environ), sys.argv], open({str(told)!r}, 'w'))"
    llama_cpp = installed(tmp_path / "llama.cpp", before=tell).parent
    around = {"HTTPS_PROXY": f"http://me:{SECRET}@proxy", "LOCALMODELS_ANYTHING": SECRET}
    await converter(llama_cpp, **around).convert(str(PEFT / "plain"), base, "q8_0", str(tmp_path / "o.gguf"))
    environ, words = json.loads(told.read_text())
    assert SECRET not in json.dumps(environ)
    assert environ["HF_HUB_OFFLINE"] == environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"
    assert words[1:] == ["--base", base, "--outtype", "q8_0", "--outfile", "adapter.gguf", str(PEFT / "plain")]


async def test_a_base_of_the_hub_is_named_and_nothing_else_is(tmp_path):
    told = tmp_path / "told.json"
    tell = f"import json, os; json.dump([dict(os.environ), sys.argv], open({str(told)!r}, 'w'))"
    there = converter(installed(tmp_path / "llama.cpp", before=tell).parent)
    with pytest.raises(Refused, match="no such repository"):
        await there.convert(str(PEFT / "plain"), "acme/tiny-llama", "f16", str(tmp_path / "out.gguf"))
    environ, words = json.loads(told.read_text())
    assert words[1:3] == ["--base-model-id", "acme/tiny-llama"]
    assert "HF_HUB_OFFLINE" not in environ
    for nonsense in ("--trust-remote-code", str(tmp_path / "nowhere"), "../base", "a b/c"):
        with pytest.raises(Refused, match="neither a folder"):
            await there.convert(str(PEFT / "plain"), nonsense, "f16", str(tmp_path / "out.gguf"))


async def test_a_base_that_the_adapter_names_may_be_a_folder(llama_cpp, tmp_path, base):
    """Trainers write where they read it; the converter itself takes every such name for one of the Hub."""
    adapter = folder(tmp_path / "adapter", document=config(base_model_name_or_path=base))
    await converter(llama_cpp).convert(str(adapter), None, "f32", str(tmp_path / "out.gguf"))
    assert {tensor.dtype for tensor in read(tmp_path / "out.gguf").tensors} == {"F32"}


async def test_without_a_hub_it_says_which_file_of_the_base_is_missing_and_how_to_give_it(tmp_path):
    does = "print('Check your internet connection or see how to run the library in offline mode'); sys.exit(1)"
    there = converter(installed(tmp_path / "llama.cpp", before=does).parent)
    with pytest.raises(Refused, match=r"the config\.json of the base acme/tiny-llama could not be had") as raised:
        await there.convert(str(PEFT / "plain"), "acme/tiny-llama", "f16", str(tmp_path / "out.gguf"))
    assert raised.value.code == "conversion-failed"
    assert "folder of this host" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("sys.exit(3)", "ended with 3"),
        ("sys.exit(0)", "no whole adapter"),
        ("open('adapter.gguf', 'wb').write(b'GGUF'); sys.exit(0)", "no whole adapter"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with -9"),
    ],
)
async def test_only_a_whole_adapter_gets_the_name(tmp_path, base, does, says):
    out = tmp_path / "out.gguf"
    with pytest.raises(Refused, match=re.escape(says)) as raised:
        await converter(installed(tmp_path / "llama.cpp", before=does).parent).convert(
            str(PEFT / "plain"), base, "f16", str(out)
        )
    assert raised.value.code == "conversion-failed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "llama.cpp"]


async def test_half_a_pair_is_no_adapter(tmp_path, base):
    tensors = pairs("q_proj")
    half = {name: tensor for name, tensor in tensors.items() if "layers.1" not in name or "lora_A" in name}
    adapter = folder(tmp_path / "adapter", {name: np.ascontiguousarray(one) for name, one in half.items()}, config())
    with pytest.raises(Refused, match="a pair of it is missing"):
        await converter(installed(tmp_path / "llama.cpp").parent).convert(
            str(adapter), base, "f16", str(tmp_path / "o")
        )


@pytest.mark.parametrize("end", ["late", "cancelled"])
async def test_it_ends_with_us_and_all_it_started(tmp_path, base, end):
    started = tmp_path / "started"
    hang = (
        "import subprocess, time; child = subprocess.Popen(['sleep', '60']); "
        f"f = open({str(started)!r}, 'w'); f.write(str(child.pid)); f.close(); time.sleep(60)"
    )
    llama_cpp = installed(tmp_path / "llama.cpp", before=hang).parent
    task = asyncio.create_task(
        converter(llama_cpp, seconds=4 if end == "late" else 60).convert(
            str(PEFT / "plain"), base, "f16", str(tmp_path / "o")
        )
    )
    for _ in range(500):
        if started.exists() and started.read_text():
            break
        await asyncio.sleep(0.02)
    if end == "cancelled":
        task.cancel()
    with pytest.raises(asyncio.CancelledError if end == "cancelled" else Unreachable):
        await task
    child = Path(f"/proc/{started.read_text()}/stat")
    for _ in range(100):
        if not child.exists() or child.read_text().split()[2] == "Z":
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("what it started still runs")
    assert not list(tmp_path.glob(".converting-*"))


async def test_without_one_the_way_to_one_is_told(tmp_path):
    for environ in ({"PATH": str(tmp_path)}, {"LLAMA_CPP_DIR": str(tmp_path)}, {"LOCALMODELS_LORA_CONVERTER": "/none"}):
        with pytest.raises(Refused) as raised:
            await LlamaCppConverter(environ).identity()
        assert raised.value.code == "no-converter"
        assert "LLAMA_CPP_DIR" in (raised.value.hint or "")


async def test_one_that_cannot_be_started_is_none(tmp_path, base):
    script = installed(tmp_path / "llama.cpp")
    script.write_text("#!/nowhere/python\n")
    with pytest.raises(Refused) as raised:
        await converter(script.parent).convert(str(PEFT / "plain"), base, "f16", str(tmp_path / "out.gguf"))
    assert raised.value.code == "no-converter"


async def test_where_nothing_can_be_written_nothing_is_run(tmp_path, base):
    with pytest.raises(Refused, match="No such file") as raised:
        await converter(installed(tmp_path / "llama.cpp").parent).convert(
            str(PEFT / "plain"), base, "f16", str(tmp_path / "nowhere" / "out.gguf")
        )
    assert raised.value.code == "not-writable"


async def test_what_cannot_be_put_in_place_is_no_full_disk(tmp_path, base):
    taken = tmp_path / "out.gguf"
    taken.mkdir()
    with pytest.raises(Refused, match="Is a directory") as raised:
        await converter(installed(tmp_path / "llama.cpp").parent).convert(str(PEFT / "plain"), base, "f16", str(taken))
    assert raised.value.code == "not-writable"
    assert not list(tmp_path.glob(".converting-*"))


async def test_it_is_another_one_when_a_file_it_imports_changes(tmp_path):
    script = installed(tmp_path / "llama.cpp")
    by_folder, by_name = converter(script.parent), LlamaCppConverter({"LOCALMODELS_LORA_CONVERTER": str(script)})
    by_path = LlamaCppConverter({"PATH": str(script.parent)})
    first = await by_folder.identity()
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert first == await by_name.identity() == await by_path.identity()
    moved = shutil.copytree(script.parent, tmp_path / "elsewhere")
    assert await converter(moved).identity() == first, "where it stands does not matter"
    (script.parent / "conversion").mkdir()
    (script.parent / "conversion" / "llama.py").write_text("1")
    assert await by_folder.identity() != first


async def test_the_environment_beside_it_is_taken_first(tmp_path, base):
    script = installed(tmp_path / "llama.cpp")
    python = script.parent / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho ERROR: of the venv; exit 7\n")
    python.chmod(0o755)
    with pytest.raises(Refused, match="ended with 7: ERROR: of the venv"):
        await converter(script.parent).convert(str(PEFT / "plain"), base, "f16", str(tmp_path / "out.gguf"))


async def test_what_is_no_converter_is_none_before_anything_depends_on_it():
    with pytest.raises(Refused) as raised:
        await LlamaCppConverter({"LOCALMODELS_LORA_CONVERTER": "/etc/passwd"}).identity()
    assert raised.value.code == "no-converter"
    assert "/etc/passwd is not llama.cpp's convert_lora_to_gguf.py" in raised.value.message


@pytest.mark.parametrize("starts", ["by itself", "in an environment", "by the path"])
async def test_what_its_python_cannot_import_is_said_before_it_is_run(tmp_path, starts):
    python = sys.executable
    script = installed(tmp_path / "llama.cpp")
    (script.parent / "conversion").mkdir()
    (script.parent / "conversion" / "base.py").write_text("import torch\n    from transformers import AutoConfig\n")
    lean = tmp_path / "bin" / "python3"
    lean.parent.mkdir()
    answer = '["torch"]'
    lean.write_text(f"#!/bin/sh\necho '{answer}'\n")
    lean.chmod(0o755)
    if starts == "by itself":
        script.write_text(script.read_text().replace(f"#!{python}", "#!/usr/bin/env python3", 1))
    elif starts == "in an environment":
        venv = script.parent / ".venv" / "bin"
        venv.mkdir(parents=True)
        lean.rename(venv / "python")
    else:
        script.chmod(0o644)
    around = {"PATH": str(lean.parent), "LLAMA_CPP_DIR": str(script.parent)}
    with pytest.raises(Refused) as raised:
        await LlamaCppConverter(around).identity()
    assert raised.value.code == "no-converter"
    assert raised.value.message.endswith(f"the Python of {script} has no torch")


async def test_what_nobody_can_tell_of_its_python_forbids_nothing(tmp_path):
    script = installed(tmp_path / "llama.cpp")
    script.write_text(script.read_text().replace(f"#!{sys.executable}", "#!/nowhere/python3", 1))
    assert await converter(script.parent).identity()
