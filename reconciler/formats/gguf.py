"""Reading GGUF headers: the names other parts use.

``read_header`` on a prefix, ``NeedMore`` until it is long enough, then ``architecture_of`` and ``capabilities_of``;
``read_tensors`` and ``weights_of`` for the exact parameter count.
"""

from __future__ import annotations

from reconciler.formats.gguf_architecture import architecture_of, capabilities_of
from reconciler.formats.gguf_container import HEADER_LIMIT_BYTES, PREFIX_BYTES, NeedMore
from reconciler.formats.gguf_header import GgufHeader, read_header
from reconciler.formats.gguf_tensors import TensorEntry, Weights, read_table, read_tensors, weights_of

__all__ = [
    "HEADER_LIMIT_BYTES",
    "PREFIX_BYTES",
    "GgufHeader",
    "NeedMore",
    "TensorEntry",
    "Weights",
    "architecture_of",
    "capabilities_of",
    "read_header",
    "read_table",
    "read_tensors",
    "weights_of",
]
