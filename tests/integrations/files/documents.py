"""Documents for the tests of this folder: full ones, and what Hypothesis makes of them."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

FULL: dict[str, Any] = {
    "localModels": {
        "name": "workstation", "enabled": True,
        "pool": {"diskBudget": "120GB", "minFreeDisk": "20GB", "allowedOrgs": ["Qwen", "google"], "packagers": ["unsloth"],
                 "allowedFamilies": ["qwen3"], "allowedLicenses": ["apache-2.0"], "prune": "always", "keep": ["a:latest"],
                 "never": ["*-x*"], "allowGap": False},
        "slots": [{"name": "coder", "profile": "coding", "context": 32768, "capabilities": ["tools"], "count": 2,
                   "target": "local", "quants": ["Q6_K"], "minTokensPerSecond": 12.5, "maxSize": "20GB", "update": "hold",
                   "kvCache": "q8_0", "parallel": 4},
                  {"name": "pin", "model": "Qwen/Qwen3-8B-GGUF", "quant": "Q8_0", "revision": "main", "context": "max"}],
        "targets": [{"name": "local", "runtime": "ollama", "endpoint": "http://127.0.0.1:11434", "registry": "r:5000",
                     "insecure": True},
                    {"name": "files", "runtime": "store", "path": "models", "diskBudgetGb": 5},
                    {"name": "far", "runtime": "ollama", "endpoint": "http://big:1", "diskBudget": "5GB",
                     "hardware": {"override": {"platform": "nvidia", "vramGb": 24}}},
                    {"name": "farther", "runtime": "vllm", "endpoint": "http://big:2", "diskBudget": "5GB",
                     "hardware": {"platform": "cpu", "ramGb": 64}}],
        "adapters": [{"name": "sql-tools", "base": "pin", "source": {"hub": {"repo": "Qwen/sql", "revision": "v1"}},
                      "expect": {"rank": {"max": 64}, "alpha": 32, "targetModules": ["q_proj"], "peftType": "LORA",
                                 "dtype": "bf16", "sha256": {"adapter_model.safetensors": "0" * 64}},
                      "contract": {"manifest": "m.json", "id": "sha256:1", "requireInAdapter": True, "toolFormat": "native",
                                   "chatTemplate": {"sha256": "0" * 64}},
                      "gate": {"receipt": "r.json", "maxAge": "30d", "minimumTrials": 5, "onMissing": "warn"},
                      "serve": [{"target": "local", "as": "sql", "scale": 1.0}], "convert": {"outtype": "q8_0"},
                      "onBaseChange": "follow", "onMismatch": "warn", "absent": False, "allowPickle": False},
                     {"name": "notes", "base": "Qwen/Qwen3-8B-GGUF", "source": {"path": "adapters/notes"},
                      "expect": {"rank": 16}, "absent": True}],
        "fuses": {"maxEvictions": 5, "maxEvictShare": 0.5, "allowEmpty": False}, "approval": "manual",
        "refresh": {"interval": "24h", "jitterMs": 600000, "proposalThreshold": 5}, "interval": "5m",
        "hub": {"endpoint": "https://huggingface.co", "tokenFrom": {"env": "HF_TOKEN"}},
        "hardware": {"override": {"platform": "nvidia", "vramGb": 24, "bandwidthGbps": 1008, "gpuName": "A B", "gpuCount": 2}},
        "limits": {"downloadRate": "20MB", "concurrentDownloads": 4},
        "harnessFit": {"enabled": False, "topN": 3, "cadenceMs": 604_800_000, "cacheTtlMs": 2_592_000_000, "taskIds": ["a"]},
    }
}  # fmt: skip

LONG: dict[str, Any] = {
    "apiVersion": "localmodels.dev/v1alpha1", "kind": "LocalModels",
    "metadata": {"name": "node", "namespace": "x", "labels": {"a": "b"}, "annotations": {}},
    "spec": {key: value for key, value in FULL["localModels"].items() if key != "name"},
}  # fmt: skip

SEED: dict[str, Any] = {
    "localModels": {
        "pool": {"diskBudgetGb": 100}, "installer": {"backend": "ollama", "ollamaEndpoint": "http://localhost:11434"},
        "refresh": {"intervalMs": 3_600_000, "proposalThreshold": 250}, "harnessFit": {"enabled": False},
    }
}  # fmt: skip

KEYS = (
    "name", "pool", "diskBudget", "diskBudgetGb", "slots", "targets", "installer", "override", "platform", "vramGb", "env",
    "file", "interval", "intervalMs", "spec", "localModels", "adapters", "hardware", "disk_budget", "x", "alias", "model",
    "base", "source", "path", "hub", "serve", "rank", "sha256", "as",
)  # fmt: skip

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 100), st.sampled_from([3_600_000, 3_599_999, 10**20, -(10**20), 2**63]),
    st.floats(-1e6, 1e6, allow_nan=False), st.sampled_from([5.0, 0.0, 1e300]),
    st.sampled_from(
        ["", "a", "Qwen", "120GB", "0GB", "120", "1.5 TiB", "120GB\n", " 5GB", "24h", "1h30m", "1h ", "http://a:1", "http://a:0",
         "http://a:65536", "https://u:p@h", "http://", "http://[::1]:8", "ftp://a", "http://a/ b", "max", "llama-server", "ollama",
         "store", "vllm", "hold", "nvidia", "cpu", "tools", "coding", "auto", "*", "a b", "a\tb", "ü", "\u0661GB", "Q4_K_M",
         "localmodels.dev/v1alpha1", "LocalModels", "ollama-library", "x" * 64]
    ),
    st.text(max_size=6),
    st.just([]), st.just({}), st.just(["a"]), st.just([1]), st.just([{}]), st.just([{"name": "a"}]), st.just({"env": "A"}),
    st.just({"env": "A", "file": "b"}), st.just({"override": {"platform": "cpu"}}), st.just({"platform": "cpu"}),
    st.just({"override": {"platform": "cpu"}, "platform": "cpu"}), st.just([None]),
)  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        found += _places(inner, (*path, key))
    return found


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A valid document with up to three changes: a value replaced, an entry removed, a key added."""
    root = copy.deepcopy(draw(st.sampled_from([FULL, LONG, SEED])))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(_places(root)))
        outer = root
        for part in path[:-1]:
            outer = outer[part]
        here = outer[path[-1]] if path else root
        change = draw(st.sampled_from(["replace", "remove", "add"]))
        if change == "add" and isinstance(here, dict):
            here[draw(st.one_of(st.sampled_from(KEYS), st.text(max_size=4)))] = copy.deepcopy(draw(VALUES))
        elif change == "add" and isinstance(here, list):
            here.append(copy.deepcopy(draw(VALUES)))
        elif path and change == "remove":
            del outer[path[-1]]
        elif path:
            outer[path[-1]] = copy.deepcopy(draw(VALUES))
    return root
