"""Made-up GGUF files of real architectures, and the buffers that a real llama-server says it allocates for them.

The files have every tensor of their architecture in their table and no content: they are sparse, so that a model of
any size costs no disk. Before it loads, llama-server plans the whole load (``--fit``) and logs each size without
touching memory; that pass is what is read here, so even the largest model needs neither RAM nor time.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from tests.e2e.rig import free_port

MIB = 2**20
F32, F16 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16
Shapes = dict[str, tuple[int, ...]]
_SECONDS = 60


@dataclass(frozen=True)
class MadeUp:
    """One architecture with its keys (without the prefix) and the shapes of its tensors, innermost dimension first."""

    name: str
    keys: Mapping[str, int | float | list[int] | list[bool]]
    tensors: Shapes
    vocab: int = 512

    def write(self, path: Path, weights: gguf.GGMLQuantizationType = F16) -> Path:
        """The file: header, tensor table, and a hole as large as the weights."""
        writer = gguf.GGUFWriter(path, self.name)
        _write_keys(writer, self)
        _write_vocabulary(writer, self.vocab)
        size = 0
        for name, shape in self.tensors.items():
            kind = weights if len(shape) > 1 and shape[0] % 32 == 0 and "ssm_conv1d" not in name else F32
            block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
            nbytes = int(np.prod(shape)) // block * block_bytes
            writer.add_tensor_info(name, shape[::-1], np.dtype(np.float32), nbytes, raw_dtype=kind)
            size += writer.ggml_pad(nbytes, 32)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        at = path.stat().st_size
        with path.open("r+b") as file:
            file.truncate(writer.ggml_pad(at, 32) + size)
        return path


def _write_keys(writer: gguf.GGUFWriter, made: MadeUp) -> None:
    for key, value in made.keys.items():
        name = f"{made.name}.{key}"
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        else:
            writer.add_uint32(name, value)


def _write_vocabulary(writer: gguf.GGUFWriter, count: int) -> None:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [f"t{number}" for number in range(count - len(tokens))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * count)
    writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * (count - 259)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


@dataclass(frozen=True)
class Buffers:
    """What the server logs, in bytes."""

    kv: float
    """``llama_kv_cache: size``, all caches of the model together."""
    state: float
    """``llama_memory_recurrent: size``."""
    compute: float
    output: float
    weights: float
    cells: tuple[int, ...]
    log: str


_SIZE = re.compile(r"llama_kv_cache: size = +([\d.]+) MiB \( *(\d+) cells")
_STATE = re.compile(r"llama_memory_recurrent: size = +([\d.]+) MiB")
_COMPUTE = re.compile(r"sched_reserve: +\S+ compute buffer size = +([\d.]+) MiB")
_OUTPUT = re.compile(r"output buffer size = +([\d.]+) MiB")
_WEIGHTS = re.compile(r"load_tensors: .* model buffer size = +([\d.]+) MiB")
_FAILURES = ("failed to", "error loading", "exiting due")
_ENDS = ("reserve took", *_FAILURES)


def planned_buffers(server: str, model: Path, *flags: str) -> Buffers:
    """The sizes of the pass that plans the load, as llama-server logs them before it loads.

    Args:
        server: command of a llama-server.
        model: a GGUF file, which may be sparse.
        flags: further words of the command line.
    """
    with _started(server, model, *flags) as process:
        return _read(_log_until(process, _ENDS))


def loaded_buffers(server: str, model: Path, *flags: str) -> tuple[Buffers, int]:
    """The sizes of the load itself, and what the process then has in memory (``VmRSS``)."""
    with _started(server, model, "-fit", "off", *flags, warm=True) as process:
        log = _log_until(process, ("server is listening", "all slots are idle", *_FAILURES))
        return _read(log), _resident_bytes(process.pid)


@contextmanager
def _started(server: str, model: Path, *flags: str, warm: bool = False) -> Iterator[subprocess.Popen[str]]:
    words = [server, "-m", str(model), "--port", str(free_port()), "-v", *(() if warm else ("--no-warmup",)), *flags]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as it:
        watchdog = threading.Timer(_SECONDS, it.kill)
        watchdog.start()
        try:
            yield it
        finally:
            watchdog.cancel()
            it.kill()


def _log_until(process: subprocess.Popen[str], ends: tuple[str, ...]) -> str:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if any(end in line for end in ends):
            break
    return "".join(lines)


def _resident_bytes(pid: int) -> int:
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def _read(log: str) -> Buffers:
    assert _COMPUTE.search(log), f"llama-server did not plan the load:\n{log[-3000:]}"
    sizes = _SIZE.findall(log)

    def added(found: Iterable[str]) -> float:
        return sum(float(each) for each in found) * MIB

    return Buffers(
        kv=added(size for size, _ in sizes),
        state=added(_STATE.findall(log)),
        compute=added(_COMPUTE.findall(log)),
        output=added(_OUTPUT.findall(log)),
        weights=added(_WEIGHTS.findall(log)),
        cells=tuple(int(cells) for _, cells in sizes),
        log=log,
    )


# The architectures.


def _layers(count: int, of: Callable[[int], Shapes]) -> Shapes:
    return {f"blk.{layer}.{name}": shape for layer in range(count) for name, shape in of(layer).items()}


def _attention(hidden: int, heads: int, kv: int, head: int, *, norms: bool = False, value: int | None = None) -> Shapes:
    shapes: Shapes = {
        "attn_norm.weight": (hidden,),
        "attn_q.weight": (hidden, heads * head),
        "attn_k.weight": (hidden, kv * head),
        "attn_v.weight": (hidden, kv * (value or head)),
        "attn_output.weight": (heads * (value or head), hidden),
    }
    if norms:
        shapes |= {"attn_q_norm.weight": (head,), "attn_k_norm.weight": (head,)}
    return shapes


def _feed_forward(hidden: int, width: int) -> Shapes:
    return {
        "ffn_norm.weight": (hidden,),
        "ffn_gate.weight": (hidden, width),
        "ffn_up.weight": (hidden, width),
        "ffn_down.weight": (width, hidden),
    }


def _experts(hidden: int, width: int, count: int) -> Shapes:
    return {
        "ffn_norm.weight": (hidden,),
        "ffn_gate_inp.weight": (hidden, count),
        "ffn_gate_exps.weight": (hidden, width, count),
        "ffn_up_exps.weight": (hidden, width, count),
        "ffn_down_exps.weight": (width, hidden, count),
    }


def _ends(hidden: int, vocab: int, *, tied: bool = False, norm: str = "output_norm.weight") -> Shapes:
    shapes: Shapes = {"token_embd.weight": (hidden, vocab), norm: (hidden,)}
    return shapes if tied else shapes | {"output.weight": (hidden, vocab)}


def _keys(
    layers: int, hidden: int, width: int, heads: int, kv: int | list[int], head: int, **more: object
) -> dict[str, object]:
    """The keys every decoder has; further ones by their name, ``__`` for a dot."""
    return {
        "context_length": 131072,
        "block_count": layers,
        "embedding_length": hidden,
        "feed_forward_length": width,
        "attention.head_count": heads,
        "attention.head_count_kv": kv,
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": head,
        **{key.replace("__", "."): value for key, value in more.items()},
    }


def dense(name="llama", layers=2, hidden=256, width=512, heads=4, kv=2, head=64, vocab=512, tied=False) -> MadeUp:
    """llama, qwen2 or qwen3."""
    biases: Shapes = {"attn_q.bias": (heads * head,), "attn_k.bias": (kv * head,), "attn_v.bias": (kv * head,)}

    def of(_: int) -> Shapes:
        shapes = _attention(hidden, heads, kv, head, norms=name == "qwen3") | _feed_forward(hidden, width)
        return shapes | biases if name == "qwen2" else shapes

    return MadeUp(
        name,
        _keys(layers, hidden, width, heads, kv, head),
        _ends(hidden, vocab, tied=tied) | _layers(layers, of),
        vocab,
    )


def mixture(layers=2, hidden=256, width=128, heads=4, kv=2, head=64, experts=8, used=2, vocab=512) -> MadeUp:
    """qwen3moe."""
    keys = _keys(layers, hidden, width, heads, kv, head, expert_count=experts, expert_used_count=used)
    keys["expert_feed_forward_length"] = width
    return MadeUp(
        "qwen3moe",
        keys,
        _ends(hidden, vocab)
        | _layers(layers, lambda _: _attention(hidden, heads, kv, head, norms=True) | _experts(hidden, width, experts)),
        vocab,
    )


def gemma(name="gemma3", layers=6, hidden=256, width=512, heads=4, kv=2, head=64, window=512, vocab=512) -> MadeUp:
    """gemma2 (a window in every other layer) or gemma3 (in five of six)."""
    posts: Shapes = {"post_attention_norm.weight": (hidden,), "post_ffw_norm.weight": (hidden,)}
    keys = _keys(layers, hidden, width, heads, kv, head, attention__sliding_window=window)
    return MadeUp(
        name,
        keys,
        _ends(hidden, vocab, tied=True)
        | _layers(
            layers,
            lambda _: (
                _attention(hidden, heads, kv, head, norms=name == "gemma3") | _feed_forward(hidden, width) | posts
            ),
        ),
        vocab,
    )


def gemma4(
    layers=12, hidden=256, width=512, heads=4, kv=2, wide=1, head=64, full=128, shared=6, window=512, vocab=512
) -> MadeUp:
    """Another head size and number in full layers, and last layers that read the cache of earlier ones."""
    is_window = [layer % 6 != 5 for layer in range(layers)]
    by_layer = [kv if each else wide for each in is_window]
    per_layer = 256
    keys = _keys(
        layers, hidden, width, heads, by_layer, full,
        attention__sliding_window=window, attention__sliding_window_pattern=is_window,
        attention__shared_kv_layers=shared, attention__key_length_swa=head, attention__value_length_swa=head,
        embedding_length_per_layer_input=per_layer, rope__dimension_count_swa=head,
    )  # fmt: skip

    def of(layer: int) -> Shapes:
        size = head if is_window[layer] else full
        shapes = _attention(hidden, heads, by_layer[layer], size, norms=True) | _feed_forward(hidden, width)
        return shapes | {
            "post_attention_norm.weight": (hidden,), "post_ffw_norm.weight": (hidden,),
            "inp_gate.weight": (hidden, per_layer), "proj.weight": (per_layer, hidden), "post_norm.weight": (hidden,),
        }  # fmt: skip

    ends: Shapes = {
        "rope_freqs.weight": (full // 2,), "per_layer_token_embd.weight": (per_layer * layers, vocab),
        "per_layer_model_proj.weight": (hidden, per_layer * layers), "per_layer_proj_norm.weight": (per_layer,),
    }  # fmt: skip
    return MadeUp("gemma4", keys, _ends(hidden, vocab, tied=True) | ends | _layers(layers, of), vocab)


def gpt_oss(
    layers=4, hidden=256, width=256, heads=4, kv=2, head=64, experts=8, used=2, window=128, vocab=512
) -> MadeUp:
    """A mixture whose every other layer has a window."""

    def of(_: int) -> Shapes:
        shapes = _attention(hidden, heads, kv, head) | _experts(hidden, width, experts)
        del shapes["ffn_norm.weight"]
        return shapes | {
            "post_attention_norm.weight": (hidden,), "attn_sinks.weight": (heads,), "attn_output.bias": (hidden,),
            "attn_q.bias": (heads * head,), "attn_k.bias": (kv * head,), "attn_v.bias": (kv * head,),
            "ffn_gate_inp.bias": (experts,), "ffn_gate_exps.bias": (width, experts),
            "ffn_up_exps.bias": (width, experts), "ffn_down_exps.bias": (hidden, experts),
        }  # fmt: skip

    keys = _keys(
        layers, hidden, width, heads, kv, head, expert_count=experts, expert_used_count=used,
        expert_feed_forward_length=width, attention__sliding_window=window,
    )  # fmt: skip
    return MadeUp("gpt-oss", keys, _ends(hidden, vocab) | _layers(layers, of), vocab)


def deepseek(
    layers=3,
    hidden=256,
    width=512,
    heads=4,
    rank=128,
    rope=64,
    nope=64,
    value=64,
    experts=4,
    used=2,
    expert_width=128,
    vocab=512,
) -> MadeUp:
    """Latent attention: one compressed row per token and layer, keys only."""
    q_rank = 96

    def of(layer: int) -> Shapes:
        shapes: Shapes = {
            "attn_norm.weight": (hidden,), "attn_q_a_norm.weight": (q_rank,), "attn_kv_a_norm.weight": (rank,),
            "attn_q_a.weight": (hidden, q_rank), "attn_q_b.weight": (q_rank, heads * (nope + rope)),
            "attn_kv_a_mqa.weight": (hidden, rank + rope), "attn_k_b.weight": (nope, rank, heads),
            "attn_v_b.weight": (rank, value, heads), "attn_output.weight": (heads * value, hidden),
        }  # fmt: skip
        if layer == 0:
            return shapes | _feed_forward(hidden, width)
        shared: Shapes = {
            "ffn_gate_shexp.weight": (hidden, expert_width), "ffn_up_shexp.weight": (hidden, expert_width),
            "ffn_down_shexp.weight": (expert_width, hidden), "exp_probs_b.bias": (experts,),
        }  # fmt: skip
        return shapes | _experts(hidden, expert_width, experts) | shared

    keys = _keys(
        layers, hidden, width, heads, 1, rank + rope, leading_dense_block_count=1, expert_count=experts,
        expert_used_count=used, expert_shared_count=1, expert_feed_forward_length=expert_width,
        attention__q_lora_rank=q_rank, attention__kv_lora_rank=rank, attention__key_length_mla=nope + rope,
        attention__value_length_mla=value, expert_gating_func=2, expert_weights_scale=2.5,
    )  # fmt: skip
    keys |= {"attention.value_length": rank, "rope.dimension_count": rope}
    return MadeUp("deepseek2", keys, _ends(hidden, vocab) | _layers(layers, of), vocab)


def qwen35(
    layers=4, hidden=256, width=512, heads=4, kv=2, head=64, state=64, key_heads=2, value_heads=4, vocab=512
) -> MadeUp:
    """One layer in four attends, the others keep a linear state."""
    inner, conv = state * value_heads, 2 * state * key_heads + state * value_heads

    def of(layer: int) -> Shapes:
        post: Shapes = {"post_attention_norm.weight": (hidden,)}
        mixing = _feed_forward(hidden, width)
        del mixing["ffn_norm.weight"]
        if layer % 4 == 3:
            attention = _attention(hidden, heads, kv, head, norms=True)
            return attention | post | mixing | {"attn_q.weight": (hidden, heads * head * 2)}
        return post | mixing | {
            "attn_norm.weight": (hidden,), "attn_qkv.weight": (hidden, conv), "attn_gate.weight": (hidden, inner),
            "ssm_conv1d.weight": (4, conv), "ssm_dt.bias": (value_heads,), "ssm_a": (value_heads,),
            "ssm_beta.weight": (hidden, value_heads), "ssm_alpha.weight": (hidden, value_heads),
            "ssm_norm.weight": (state,), "ssm_out.weight": (inner, hidden),
        }  # fmt: skip

    keys = _keys(
        layers, hidden, width, heads, kv, head, full_attention_interval=4, ssm__conv_kernel=4, ssm__inner_size=inner,
        ssm__state_size=state, ssm__time_step_rank=value_heads, ssm__group_count=key_heads,
        rope__dimension_sections=[8, 8, 8, 0],
    )  # fmt: skip
    return MadeUp("qwen35", keys, _ends(hidden, vocab) | _layers(layers, of), vocab)


def _mamba2(hidden: int, inner: int, state: int, groups: int, heads: int) -> Shapes:
    conv = inner + 2 * groups * state
    return {
        "ssm_in.weight": (hidden, inner + conv + heads), "ssm_conv1d.weight": (4, conv), "ssm_conv1d.bias": (conv,),
        "ssm_dt.bias": (heads,), "ssm_a": (1, heads), "ssm_d": (1, heads),
        "ssm_norm.weight": (inner // groups, groups), "ssm_out.weight": (inner, hidden),
    }  # fmt: skip


_SSM = ("ssm__conv_kernel", "ssm__inner_size", "ssm__state_size", "ssm__time_step_rank", "ssm__group_count")


def falcon_h1(
    layers=2, hidden=256, width=512, heads=4, kv=2, head=64, inner=512, state=64, groups=1, ssm_heads=8, vocab=512
) -> MadeUp:
    """Every layer attends and keeps a state."""
    keys = _keys(
        layers, hidden, width, heads, kv, head, **dict(zip(_SSM, (4, inner, state, ssm_heads, groups), strict=True))
    )
    return MadeUp(
        "falcon-h1",
        keys,
        _ends(hidden, vocab)
        | _layers(
            layers,
            lambda _: (
                _attention(hidden, heads, kv, head)
                | _mamba2(hidden, inner, state, groups, ssm_heads)
                | {
                    name.removesuffix(".weight") if "norm" in name else name: shape
                    for name, shape in _feed_forward(hidden, width).items()
                }
            ),
        ),
        vocab,
    )


def granite_hybrid(
    layers=4,
    hidden=256,
    width=512,
    heads=4,
    kv=2,
    head=64,
    inner=512,
    state=64,
    groups=1,
    ssm_heads=8,
    every=4,
    vocab=512,
) -> MadeUp:
    """Some layers attend, the others keep a state; the heads by layer say which."""
    by_layer = [kv if layer % every == every - 1 else 0 for layer in range(layers)]
    keys = _keys(
        layers, hidden, width, heads, by_layer, head, **dict(zip(_SSM, (4, inner, state, ssm_heads, groups), strict=True)),
        logit_scale=1.0, residual_scale=1.0, embedding_scale=1.0, attention__scale=0.1,
    )  # fmt: skip

    def of(layer: int) -> Shapes:
        if by_layer[layer]:
            return _attention(hidden, heads, kv, head) | _feed_forward(hidden, width)
        norm: Shapes = {"attn_norm.weight": (hidden,)}
        return norm | _mamba2(hidden, inner, state, groups, ssm_heads) | _feed_forward(hidden, width)

    return MadeUp("granitehybrid", keys, _ends(hidden, vocab) | _layers(layers, of), vocab)


def lfm2(layers=4, hidden=256, width=512, heads=4, kv=2, vocab=512) -> MadeUp:
    """Short convolutions with some attention between."""
    head = hidden // heads
    by_layer = [kv if layer % 2 else 0 for layer in range(layers)]
    keys = _keys(layers, hidden, width, heads, by_layer, head, shortconv__l_cache=3)

    def of(layer: int) -> Shapes:
        if by_layer[layer]:
            return _attention(hidden, heads, kv, head, norms=True) | _feed_forward(hidden, width)
        return _feed_forward(hidden, width) | {
            "attn_norm.weight": (hidden,), "shortconv.conv.weight": (3, hidden),
            "shortconv.in_proj.weight": (hidden, 3 * hidden), "shortconv.out_proj.weight": (hidden, hidden),
        }  # fmt: skip

    return MadeUp(
        "lfm2", keys, _ends(hidden, vocab, tied=True, norm="token_embd_norm.weight") | _layers(layers, of), vocab
    )


def mamba2(layers=3, hidden=256, inner=512, state=64, groups=1, ssm_heads=8, vocab=512) -> MadeUp:
    """No attention at all."""
    ssm = dict(zip(_SSM, (4, inner, state, ssm_heads, groups), strict=True))
    keys = {key: value for key, value in _keys(layers, hidden, 0, 0, 0, 0, **ssm).items() if "attention." not in key}
    keys["attention.layer_norm_rms_epsilon"] = 1e-5
    norm: Shapes = {"attn_norm.weight": (hidden,)}
    shapes = _layers(layers, lambda _: norm | _mamba2(hidden, inner, state, groups, ssm_heads))
    return MadeUp("mamba2", keys, _ends(hidden, vocab) | shapes, vocab)


def nemotron_h(
    pattern="M-*-M-M-", hidden=256, width=512, heads=4, kv=2, head=64, inner=512, state=64, vocab=512
) -> MadeUp:
    """Layers that keep a state (M), attend (*) or are feed-forward alone (-): heads and widths by layer say which."""
    groups, ssm_heads = 1, 8
    keys = _keys(
        len(pattern), hidden, width, heads, [kv if kind == "*" else 0 for kind in pattern], head,
        **dict(zip(_SSM, (4, inner, state, ssm_heads, groups), strict=True)),
    )  # fmt: skip
    keys |= {
        "feed_forward_length": [width if kind == "-" else 0 for kind in pattern],
        "attention.layer_norm_epsilon": 1e-5,
    }

    def of(layer: int) -> Shapes:
        norm: Shapes = {"attn_norm.weight": (hidden,)}
        if pattern[layer] == "M":
            return norm | _mamba2(hidden, inner, state, groups, ssm_heads)
        if pattern[layer] == "*":
            return _attention(hidden, heads, kv, head)
        return norm | {"ffn_up.weight": (hidden, width), "ffn_down.weight": (width, hidden)}

    return MadeUp("nemotron_h", keys, _ends(hidden, vocab) | _layers(len(pattern), of), vocab)


def glm4_moe(
    layers=4, hidden=256, width=512, heads=4, kv=2, head=64, experts=8, used=2, expert_width=128, vocab=512
) -> MadeUp:
    """The last layer predicts a further token: it is not used, but has a cache."""

    def of(layer: int) -> Shapes:
        shapes = _attention(hidden, heads, kv, head) | {"post_attention_norm.weight": (hidden,)}
        shared: Shapes = {
            "ffn_gate_shexp.weight": (hidden, expert_width), "ffn_up_shexp.weight": (hidden, expert_width),
            "ffn_down_shexp.weight": (expert_width, hidden), "exp_probs_b.bias": (experts,),
        }  # fmt: skip
        mixing = _experts(hidden, expert_width, experts) | shared if layer else _feed_forward(hidden, width)
        del mixing["ffn_norm.weight"]
        prediction: Shapes = {
            "nextn.eh_proj.weight": (2 * hidden, hidden), "nextn.enorm.weight": (hidden,),
            "nextn.hnorm.weight": (hidden,),
        }  # fmt: skip
        return shapes | mixing | (prediction if layer == layers - 1 else {})

    keys = _keys(
        layers, hidden, width, heads, kv, head, expert_count=experts, expert_used_count=used, expert_shared_count=1,
        expert_feed_forward_length=expert_width, leading_dense_block_count=1, nextn_predict_layers=1,
    )  # fmt: skip
    return MadeUp("glm4moe", keys, _ends(hidden, vocab) | _layers(layers, of), vocab)


def llama4(layers=4, hidden=256, width=512, heads=4, kv=2, head=64, experts=4, vocab=512) -> MadeUp:
    """Three layers in four keep a chunk of 8192 tokens."""

    def of(_: int) -> Shapes:
        shared: Shapes = {
            "ffn_gate_shexp.weight": (hidden, width), "ffn_up_shexp.weight": (hidden, width),
            "ffn_down_shexp.weight": (width, hidden),
        }  # fmt: skip
        return _attention(hidden, heads, kv, head) | _experts(hidden, width, experts) | shared

    keys = _keys(
        layers, hidden, width, heads, kv, head, expert_count=experts, expert_used_count=1,
        expert_feed_forward_length=width, interleave_moe_layer_step=1,
    )  # fmt: skip
    return MadeUp("llama4", keys, _ends(hidden, vocab) | _layers(layers, of), vocab)


def gemma3n(layers=30, hidden=256, width=512, heads=4, kv=2, head=64, window=512, vocab=512) -> MadeUp:
    """Only the first 20 layers have a cache, which no key says; four rows of the model go side by side."""
    rows, low, per_layer = 4, 64, 256
    extra: Shapes = {
        "post_attention_norm.weight": (hidden,), "post_ffw_norm.weight": (hidden,), "inp_gate.weight": (hidden, per_layer),
        "proj.weight": (per_layer, hidden), "post_norm.weight": (hidden,), "altup_correct_coef.weight": (rows, rows),
        "altup_correct_scale.weight": (hidden,), "altup_predict_coef.weight": (rows, rows * rows),
        "altup_router.weight": (hidden, rows), "altup_router_norm.weight": (hidden,), "laurel_l.weight": (hidden, low),
        "laurel_r.weight": (low, hidden), "laurel_post_norm.weight": (hidden,),
    }  # fmt: skip
    ends: Shapes = {
        "altup_proj.weight": (hidden, hidden, rows - 1), "altup_unembd_proj.weight": (hidden, hidden, rows - 1),
        "per_layer_token_embd.weight": (per_layer * layers, vocab), "per_layer_proj_norm.weight": (per_layer,),
        "per_layer_model_proj.weight": (hidden, per_layer * layers),
    }  # fmt: skip
    shapes = _layers(
        layers, lambda _: _attention(hidden, heads, kv, head, norms=True) | _feed_forward(hidden, width) | extra
    )
    keys = _keys(
        layers, hidden, width, heads, kv, head, attention__sliding_window=window,
        embedding_length_per_layer_input=per_layer,
    )  # fmt: skip
    return MadeUp("gemma3n", keys, _ends(hidden, vocab, tied=True) | ends | shapes, vocab)


def jamba(layers=8, hidden=256, width=512, heads=4, kv=2, head=64, inner=512, state=16, rank=16, vocab=512) -> MadeUp:
    """Attention in one layer of eight, Mamba-1 in the others."""
    by_layer = [kv if layer % 8 == 4 else 0 for layer in range(layers)]
    keys = _keys(
        layers, hidden, width, heads, by_layer, head, **dict(zip(_SSM[:4], (4, inner, state, rank), strict=True)),
    )  # fmt: skip

    def of(layer: int) -> Shapes:
        if by_layer[layer]:
            return _attention(hidden, heads, kv, head) | _feed_forward(hidden, width)
        return _feed_forward(hidden, width) | {
            "attn_norm.weight": (hidden,), "ssm_in.weight": (hidden, 2 * inner), "ssm_conv1d.weight": (4, inner),
            "ssm_conv1d.bias": (inner,), "ssm_x.weight": (inner, rank + 2 * state), "ssm_dt_norm.weight": (rank,),
            "ssm_dt.weight": (rank, inner), "ssm_dt.bias": (inner,), "ssm_b_norm.weight": (state,),
            "ssm_c_norm.weight": (state,), "ssm_a": (state, inner), "ssm_d": (inner,),
            "ssm_out.weight": (inner, hidden),
        }  # fmt: skip

    return MadeUp("jamba", keys, _ends(hidden, vocab) | _layers(layers, of), vocab)
