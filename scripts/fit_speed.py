"""Fits the constants of ``reconciler/ranking/decode.py`` to measured decode speeds, and reports how well they hold.

Usage: ``python scripts/fit_speed.py MEASURED.json MODELS.json``

Counted rows: no spill, a known bandwidth, at least 0.5 B weights, not marked suspect (each exclusion is printed). CPU
rows carry no bandwidth; those of one known machine (Ryzen 7 7840HS, dual-channel DDR5-5600: 89.6 GB/s, computed) are
used for the CPU's constants and are not counted in the figures. A row timed with its prompt (``tps_def`` 3) is
modelled as decode plus a first part, ``WALL`` tokens' worth of time.

Five folds by (device, model) with a fixed order, and leave-one-device-out. Plain Python: a pattern search on the logs
of the constants, the loss a mean absolute log error.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
import zlib
from pathlib import Path

from reconciler.domain.catalog import Architecture, Attention
from reconciler.ranking.decode import typical_layers
from reconciler.ranking.kv_cache import ELEMENT_BYTES, kv_shape
from reconciler.ranking.quants import bits_per_weight, normalise

CPU_BANDWIDTH = {"AMD Ryzen 7 7840HS": 89.6}
START = {
    "e.nvidia": 0.70,
    "e.old_cuda": 0.45,
    "e.amd": 0.60,
    "e.macos": 0.70,
    "e.intel": 0.40,
    "e.cpu": 0.60,
    "t.nvidia": 20e-6,
    "t.old_cuda": 40e-6,
    "t.amd": 40e-6,
    "t.macos": 60e-6,
    "t.intel": 100e-6,
    "t.cpu": 60e-6,
    "moe_bytes": 1.3,
    "moe_layers": 2.0,
    "wall": 6.0,
}


def platform(row: dict) -> str:
    name = row["hardware"]
    if row["hw_class"] == "CPU_ONLY" and "Radeon" not in name:
        return "cpu"
    if name.startswith("Apple"):
        return "macos"
    if "Intel" in name:
        return "intel"
    if "GTX 10" in name:
        return "old_cuda"
    return "amd" if "AMD" in name or "Radeon" in name or name.startswith("RX") else "nvidia"


def words(name: str) -> str:
    tail = name.lower().rsplit("/", 1)[-1]
    tail = re.sub(
        r"[-_](gguf|mlx.*|awq.*|q\d.*|iq\d.*|ud.*|bf16|fp16|nvfp4.*|fp8.*|instruct|it|chat|ollama|qat)\b", "", tail
    )
    return re.sub(r"[^a-z0-9.]", "", tail)


def architectures(path: str) -> dict[str, dict]:
    found: dict[str, dict] = {}
    for model in json.loads(Path(path).read_text()):
        found.setdefault(words(model["id"]), model)
        found.setdefault(model["id"].lower(), model)
        if model["ollama"]:
            found.setdefault(words(model["ollama"]["name"]), model)
    return found


def architecture(model: dict) -> Architecture:
    stated = model["attention"] or {}
    layers = stated.get("layers") or {}
    attention = Attention(
        kind=stated["kind"], full_layers=layers.get("full_attention"),
        window_layers=layers.get("sliding_attention", layers.get("chunked_attention")),
        window=stated.get("window") or stated.get("attention_chunk_size"),
        global_every=stated.get("global_every") or stated.get("attn_layer_period"),
        kv_lora_rank=stated.get("kv_lora_rank"), qk_rope_head_dim=stated.get("qk_rope_head_dim"),
        v_head_dim=stated.get("v_head_dim"), global_head_dim=stated.get("global_head_dim"),
        global_kv_heads=stated.get("num_global_key_value_heads"),
        kv_shared_layers=stated.get("num_kv_shared_layers") or 0,
    ) if stated else None  # fmt: skip
    return Architecture(
        model["architecture"], model["n_layers"], model["hidden_size"], model["n_heads"], model["n_kv_heads"],
        model["head_dim"], model["vocab_size"], attention=attention,
    )  # fmt: skip


def quant_bits(row: dict) -> float:
    text = re.sub(r"\(.*", "", row["quant"] or "Q4_K_M").strip()
    text = {"Q4_K_XL": "UD-Q4_K_XL", "MLX": "MLX-4bit", "FP16": "F16"}.get(text, text)
    known = normalise(text)
    if known.known:
        return known.bits_per_weight
    nominal = row["bytes_per_weight_nominal"]
    return nominal * 8 if nominal else bits_per_weight("Q4_K_M")


def point(row: dict, models: dict[str, dict]) -> dict:
    source = str(row["params_src"] or "")
    model = models.get(source.removeprefix("catalogue:").lower()) or models.get(words(row["model"])) or {}
    weights, active = row["params_b"] * 1e9, (row["active_params_b"] or row["params_b"]) * 1e9
    size = math.sqrt(weights * active)
    layers = model.get("n_layers") or typical_layers(size)
    depth = round((row["prompt_tokens"] or 0) + (row["gen_tokens"] or 256) / 2)
    cache = ELEMENT_BYTES["q8_0"] if row["kv_dtype"] in ("q8_0", "fp8", "fp8_e4m3") else ELEMENT_BYTES["f16"]
    shape = kv_shape(architecture(model)) if model else None
    kv = shape.elements(depth) * cache + shape.state_bytes if shape else 2 * layers * 8 * 128 * cache * depth
    return {
        "row": row,
        "platform": platform(row),
        "layers": layers,
        "moe": bool(row["moe"]),
        "tps": row["decode_tps"],
        "bytes": active * quant_bits(row) / 8 + kv,
        "bw": row["bw_gbps"] or CPU_BANDWIDTH.get(row["hardware"]),
        "wall": (row["gen_tokens"] or 256) if row["tps_def"] == 3 else None,
        "fold": zlib.crc32(f"{row['hardware']}|{words(row['model'])}".encode()) % 5,
    }


def why_excluded(row: dict) -> str | None:
    if row["likely_spill"]:
        return "spill"
    if row["suspect"]:
        return f"suspect: {row['suspect']}"
    if row["bw_gbps"] is None and row["hardware"] not in CPU_BANDWIDTH:
        return "no bandwidth"
    return None


def predict(p: dict, c: dict[str, float]) -> float:
    moe_bytes, moe_layers = (c["moe_bytes"], c["moe_layers"]) if p["moe"] else (1.0, 1.0)
    seconds = p["bytes"] * moe_bytes / (p["bw"] * 1e9 * c[f"e.{p['platform']}"])
    seconds += p["layers"] * c[f"t.{p['platform']}"] * moe_layers
    if p["wall"]:
        seconds *= 1 + c["wall"] / p["wall"]
    return 1 / seconds


def loss(points: list[dict], c: dict[str, float]) -> float:
    total = sum(abs(math.log(predict(p, c) / p["tps"])) for p in points) / len(points)
    # A weak pull to the start keeps constants with few rows (Intel, CPU) from running away; efficiency stays below 0.95.
    pull = sum(math.log(c[name] / START[name]) ** 2 for name in c)
    over = sum(max(0.0, c[name] - 0.95) for name in c if name.startswith("e."))
    return total + 0.0005 * pull + over


def fit(points: list[dict]) -> dict[str, float]:
    constants, step = dict(START), 0.25
    best = loss(points, constants)
    while step > 0.01:
        improved = False
        for name in list(constants):
            for factor in (math.exp(step), math.exp(-step)):
                trial = constants | {name: constants[name] * factor}
                value = loss(points, trial)
                if value < best - 1e-6:
                    constants, best, improved = trial, value, True
        if not improved:
            step /= 2
    return constants


def groups(p: dict) -> list[str]:
    return ["all", "moe" if p["moe"] else "dense", *(["under_2b"] if p["row"]["params_b"] < 2 else []), p["platform"]]


def report(title: str, scored: list[tuple[dict, float]]) -> None:
    print(f"\n{title}\n  group      n   MdAPE   bias   p10   p90  (predicted over measured)")
    table: dict[str, list[float]] = {}
    for p, predicted in scored:
        if p["row"]["bw_gbps"] is not None:
            for group in groups(p):
                table.setdefault(group, []).append(predicted / p["tps"])
    for group, ratios in sorted(table.items()):
        error = statistics.median(abs(r - 1) for r in ratios)
        ratios.sort()
        p10, p90 = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
        print(f"  {group:9s} {len(ratios):3d} {error:7.3f} {statistics.median(ratios):6.3f} {p10:5.2f} {p90:5.2f}")


def main() -> None:
    measured = json.loads(Path(sys.argv[1]).read_text())
    rows = [dict(zip(measured["columns"], row, strict=True)) for row in measured["rows"]]
    models = architectures(sys.argv[2])
    points = []
    for row in rows:
        reason = why_excluded(row)
        if reason:
            print(f"excluded {row['id']}: {reason}")
        else:
            points.append(point(row, models))
    constants = fit(points)
    print(
        f"\nrows {len(points)}, constants {len(constants)}, architecture found for",
        sum(1 for p in points if words(p["row"]["model"]) in models),
    )
    for name, value in constants.items():
        print(f"  {name:12s} {value:.4g}")
    report("fitted on the same rows", [(p, predict(p, constants)) for p in points])
    held = []
    for fold in range(5):
        without = fit([p for p in points if p["fold"] != fold])
        held += [(p, predict(p, without)) for p in points if p["fold"] == fold]
    report("five folds by (device, model)", held)
    held_in_folds = held
    devices = sorted({p["row"]["hardware"] for p in points})
    held = []
    for device in devices:
        without = fit([p for p in points if p["row"]["hardware"] != device])
        held += [(p, predict(p, without)) for p in points if p["row"]["hardware"] == device]
    report("leave one device out", held)
    for group, width in (
        ("dense", 1.2),
        ("dense", 1.25),
        ("dense", 1.3),
        ("moe", 1.35),
        ("moe", 1.4),
        ("moe", 1.5),
        ("under_2b", 1.3),
        ("under_2b", 1.4),
    ):
        inside = [
            1 / width <= p["tps"] / predicted <= width
            for p, predicted in held_in_folds
            if group in groups(p) and p["row"]["bw_gbps"]
        ]
        print(f"interval x/÷ {width}: {group} covered {sum(inside) / len(inside):.2f}")
    if "--worst" in sys.argv:
        for p, predicted in sorted(
            ((p, predict(p, constants)) for p in points), key=lambda x: -abs(math.log(x[1] / x[0]["tps"]))
        )[:50]:
            row = p["row"]
            print(
                f"{predicted / p['tps']:.2f} {p['tps']} {row['hardware']} {row['model']} {row['quant']} {row['engine']} {row['params_b']} {row['active_params_b']} L{p['layers']} def{row['tps_def']} prompt {row['prompt_tokens']} gen {row['gen_tokens']}"
            )


if __name__ == "__main__":
    main()
