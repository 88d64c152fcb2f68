"""Where the real libraries are installed: what they write today is still read, and layouts are still what we say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any, Literal

import pytest

from reconciler.formats.gguf_adapter import AdapterTensor
from reconciler.formats.safetensors_header import SafetensorsHeader, read_safetensors
from reconciler.lora.adapter_config import read_adapter_config
from reconciler.lora.agreement import judge_agreement, judge_weights
from reconciler.lora.weights import AdapterFacts, facts_of
from tests.lora_files import PEFT

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_lora_fixtures.py"
LAYOUT_SCRIPT = SCRIPT.with_name("build_lora_layouts.py")
LIBRARIES = ("torch", "transformers", "peft", "safetensors")
MISSING = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
needs_libraries = pytest.mark.skipif(
    bool(MISSING),
    reason=f"not installed: {', '.join(MISSING)} (pip install torch peft); tests/lora/peft has what they wrote",
)


def read(
    folder: Path, name: str = "adapter_model.safetensors", form: Literal["safetensors", "mlx"] = "safetensors"
) -> AdapterFacts:
    raw = (folder / name).read_bytes()
    header = read_safetensors(raw, size=len(raw))
    assert isinstance(header, SafetensorsHeader)
    return facts_of([AdapterTensor(each.name, each.dtype, each.shape) for each in header.tensors], form)


@pytest.mark.filterwarnings("ignore")
@needs_libraries
def test_what_peft_writes_today_is_what_it_wrote(tmp_path: Path) -> None:
    loaded(SCRIPT).build(tmp_path / "made")
    for folder in sorted((tmp_path / "made").iterdir()):
        if (folder / "adapter_config.json").exists():
            found, stated = read(folder), read_adapter_config((folder / "adapter_config.json").read_bytes())
            assert (*judge_weights(found), *judge_agreement(found, stated)) == (), folder.name
            assert found == read(PEFT / folder.name), folder.name


@pytest.mark.filterwarnings("ignore")
@needs_libraries
def test_every_listed_layout_is_the_librarys() -> None:
    """What tests/lora/test_base_shapes.py compares every layout with is what the library builds today."""
    import transformers

    transformers.logging.set_verbosity_error()
    head, *recorded = json.loads((PEFT.parent / "layouts.json").read_text())
    assert head["transformers"]
    assert loaded(LAYOUT_SCRIPT).every() == recorded


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    importlib.util.find_spec("mlx_lm") is None,
    reason="not installed: mlx_lm (pip install 'mlx[cpu]' mlx-lm); tests/lora/mlx has what it wrote",
)
def test_what_mlx_writes_today_is_what_it_wrote(tmp_path: Path) -> None:
    loaded(SCRIPT.with_name("build_mlx_fixtures.py")).build(tmp_path / "made")
    for folder in sorted(each for each in (tmp_path / "made").iterdir() if each.is_dir()):
        found, written = (
            read(each, "adapters.safetensors", "mlx") for each in (folder, PEFT.parent / "mlx" / folder.name)
        )
        assert (found, judge_weights(found)) == (written, ()), folder.name
        stated = read_adapter_config((folder / "adapter_config.json").read_bytes())
        assert judge_agreement(found, stated) == (), folder.name


def loaded(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script
