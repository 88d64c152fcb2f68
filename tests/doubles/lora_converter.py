"""llama.cpp's converter of peft adapters as the real one behaves (b10605), for Llamas, without torch.

Run as a script it is the program; ``installed`` puts it somewhere as llama.cpp's folder.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

logger = logging.getLogger("lora-to-gguf")
TENSORS = {
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate",
    "up_proj": "ffn_up", "down_proj": "ffn_down",
}  # fmt: skip
_PART = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.\w+\.(\w+)\.lora_([AB])\.weight")


def installed(folder: Path, *, before: str = "") -> Path:
    """This program as ``convert_lora_to_gguf.py`` in a folder of llama.cpp, with its own line of Python to run first."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "convert_lora_to_gguf.py"
    source = Path(__file__).read_text(encoding="utf-8")
    first = f"import sys\nsys.path[:0] = {sys.path!r}\n{before}\n"
    head, _, rest = source.partition("from __future__ import annotations\n")
    script.write_text(f"#!{sys.executable}\n{head}from __future__ import annotations\n{first}{rest}", encoding="utf-8")
    script.chmod(0o755)
    return script


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--outfile", type=Path)
    parser.add_argument("--outtype", choices=["f32", "f16", "bf16", "q8_0", "auto"], default="f32")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--base-model-id")
    parser.add_argument("--trust-remote-code", action="store_true")
    parser.add_argument("lora_path", type=Path)
    return parser.parse_args()


def main() -> None:
    """Convert, or end with 1 as the real one does."""
    logging.basicConfig(level=logging.INFO)
    given = arguments()
    config = json.loads((given.lora_path / "adapter_config.json").read_text())
    if given.base is None:
        logger.error("Failed to load base model config: no such repository")
        sys.exit(1)
    json.loads((given.base / "config.json").read_text())
    writer = gguf.GGUFWriter(given.outfile, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(config["lora_alpha"]))
    for name, tensor in load_file(given.lora_path / "adapter_model.safetensors").items():
        part = _PART.fullmatch(name)
        if part is None:
            logger.error("Unexpected name '%s': Not a lora_A or lora_B tensor", name)
            sys.exit(1)
        kind = np.float16 if given.outtype in ("f16", "auto") else np.float32
        writer.add_tensor(f"blk.{part[1]}.{TENSORS[part[2]]}.weight.lora_{part[3].lower()}", tensor.astype(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    logger.info("Model successfully exported to %s", given.outfile)


if __name__ == "__main__":
    assert os.environ.get("HF_TOKEN") is None, "a token has no business here"
    main()
