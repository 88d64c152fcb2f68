"""What the peers estimate for measured points: whichllm and llmfit on the very same rows as ours.

    python scripts/score_peers.py MEASURED.json --whichllm PYTHON --llmfit PROGRAM

prints one JSON object; ``build_estimates.py`` uses the functions. Everybody gets the row's own weights, quant and
bandwidth. llmfit gets its own catalogue's dimensions wherever its catalogue knows the model. whichllm takes the size of a
listed file, or makes one up where a publisher lists none: it is asked both ways, and ``build_estimates.py`` takes what is
kinder to it, group by group.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from score_peers_llmfit import VERSION, Catalogue, estimate

from reconciler.cli.commands.score import read_points
from reconciler.domain.units import GIB
from reconciler.formats.measured_file import MeasuredPoint
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.ranking.measured import subjects
from reconciler.ranking.quants import normalise
from reconciler.ranking.scoring_memory import allocated, is_counted_for_memory

HERE = Path(__file__).resolve().parent
ALIASES = {"Q4_K_XL": "UD-Q4_K_XL", "Q8_K_XL": "UD-Q8_K_XL", "MLX": "MLX-4bit", "FP16": "F16", "4bit": "MLX-4bit",
           "8bit": "MLX-8bit"}  # fmt: skip
NOT_GGUF = re.compile(r"mlx|awq|gptq|nvfp4|fp8|int\d|\dbit", re.IGNORECASE)
ARCHITECTURES = (("gemma-3n", None), ("gemma-3", "gemma3"), ("gemma-2", "gemma2"), ("gpt-oss", "gpt_oss"),
                 ("command-r7b", "cohere2"), ("command-a", "cohere2"))  # fmt: skip
"""Architectures whose windows whichllm models, by the names of their models."""


def quant_of(point: MeasuredPoint) -> str:
    """The row's quant as the peers spell it; Q4_K_M, which is what people run, where the row does not say."""
    stated = re.sub(r"\(.*", "", point.quant or "Q4_K_M").strip().split(" ")[0]
    name = ALIASES.get(stated, stated)
    known = normalise(name)
    return known.canonical if known.known else name


def vendor_of(hardware: str) -> str:
    words = (("apple", r"apple"), ("intel", r"intel"), ("amd", r"amd|radeon|^rx"), ("other", r"qualcomm|snapdragon"))
    found = (vendor for vendor, pattern in words if re.search(pattern, hardware.lower()))
    return next(found, "nvidia")


def facts(point: MeasuredPoint) -> dict[str, Any]:
    """What a peer is told about one row."""
    quant = quant_of(point)
    known = normalise(quant)
    gguf = not NOT_GGUF.search(quant)
    name = point.model.lower()
    return {
        "id": point.id,
        "hardware": point.hardware,
        "vendor": vendor_of(point.hardware),
        "bandwidth_gbps": point.bw_gbps,
        "memory_gb": point.mem_gb,
        "memory_bytes": round(point.mem_gb * GIB) if point.mem_gb else None,
        "model": point.model,
        "architecture": next((key for word, key in ARCHITECTURES if word in name), None),
        "params": round(point.params_b * 1e9),
        "active": round(point.active_params_b * 1e9) if point.active_params_b else None,
        "moe": point.moe,
        "quant": quant,
        "gguf": gguf,
        "file_bytes": None,
        "listed_bytes": round(point.params_b * 1e9 * known.bits_per_weight / 8) if gguf and known.known else None,
        "context": point.ctx_alloc,
        "kv_dtype": point.kv_dtype,
    }


def whichllm_estimates(rows: list[dict[str, Any]], python: str) -> dict[str, Any]:
    """``{version, rows: {id: {speed, low, high, memory, kv, activation}}}``; memory in bytes."""
    script = str(HERE / "score_peers_whichllm.py")
    done = subprocess.run([python, script], input=json.dumps(rows), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"whichllm's environment {python} does not answer: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout)


def llmfit_catalogue(program: str) -> Catalogue:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    if said != VERSION:
        sys.exit(f"llmfit is {said}; its formula stands here for {VERSION}: read fit.rs again before comparing")
    done = subprocess.run([program, "--json", "list"], capture_output=True, text=True, check=True)
    return Catalogue(json.loads(done.stdout))


def llmfit_estimates(
    rows: list[dict[str, Any]], points: dict[str, MeasuredPoint], catalogue: Catalogue
) -> dict[str, Any]:
    """``{version, known, rows: {id: {speed, memory, kv}}}``; memory in its own GB."""
    found = {}
    for row in rows:
        source = (points[row["id"]].params_src or "").removeprefix("catalogue:")
        found[row["id"]] = catalogue.find(row["model"], source if "/" in source else "")
    return {
        "version": VERSION,
        "known": sum(1 for entry in found.values() if entry),
        "rows": {row["id"]: estimate(row, found[row["id"]]) for row in rows},
    }


def peer_estimates(points: tuple[MeasuredPoint, ...], whichllm: str, llmfit: str) -> dict[str, Any]:
    """Both peers on the points that have a bandwidth; where a peak counts, with the allocated context that ours takes."""
    counted = {point.id: point for point in points if point.bw_gbps is not None}
    known = subjects(counted.values(), load_bundled())
    contexts = {it.point.id: allocated(it)[0] for it in known if is_counted_for_memory(it.point)}
    rows = [facts(point) | ({"context": contexts[id_]} if id_ in contexts else {}) for id_, point in counted.items()]
    listed = [row | {"file_bytes": row["listed_bytes"]} for row in rows]
    return {
        "whichllm": whichllm_estimates(rows, whichllm),
        "whichllm, listed files": whichllm_estimates(listed, whichllm),
        "llmfit": llmfit_estimates(rows, counted, llmfit_catalogue(llmfit)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What whichllm and llmfit estimate for measured points.")
    parser.add_argument("measured")
    parser.add_argument("--whichllm", required=True, metavar="PYTHON", help="the Python of whichllm's environment")
    parser.add_argument("--llmfit", required=True, metavar="PROGRAM")
    given = parser.parse_args()
    json.dump(peer_estimates(read_points(given.measured), given.whichllm, given.llmfit), sys.stdout)


if __name__ == "__main__":
    main()
