"""Model files of a few kilobytes."""

from __future__ import annotations

from pathlib import Path


def make_gguf(path: Path) -> None:
    """A tiny model file with a real header."""
    import numpy as np
    from gguf import GGUFWriter

    path.parent.mkdir(parents=True)
    writer = GGUFWriter(str(path), "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_file_type(7)
    writer.add_tensor("token_embd.weight", np.zeros((128, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
