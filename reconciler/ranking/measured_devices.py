"""Which kind of machine a measured point names, how many devices it has, and how sure that is.

People write device names by hand. What no pattern knows is estimated by its nearest kin, and said to be unsure: low
confidence, the widest interval.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from reconciler.domain.hardware import Device, Platform
from reconciler.domain.units import GIB, Bytes
from reconciler.formats.measured_file import MeasuredPoint

Vendor = Literal["nvidia", "amd", "intel", "apple", "other"]

_MOST_DEVICES = 64
_GRAPHICS_GBPS = 150.0
"""A device nobody knows with at least this bandwidth is a graphics card, not a board or a phone."""
_OLD_CAPABILITY = "6.1"
"""Of what is before compute capability 7: all of it is one backend."""

_CARD = r"\brtx\b|\bgtx|geforce|quadro|radeon|\brx ?\d{3,4}|\barc\b"
_PHONE = re.compile(
    r"snapdragon|adreno|qualcomm|\bgalaxy\b|\bpixel\b|exynos|dimensity|mediatek|\bmali\b|\brk3\d{3}|rockchip|"
    r"orange ?pi|\btensor g\d|kirin|oneplus|xiaomi|redmi|\boppo\b|android|helio|amlogic"
)
_POCKET_APPLE = re.compile(r"iphone|ipad|\bapple (a\d|tv|watch|vision)|\ba1\d (pro|bionic)")
_FOREIGN = re.compile(
    r"ascend|\batlas ?\d|moore ?threads|\bmtt\b|biren|iluvatar|\bdcu\b|cambricon|kunlun|metax|gaudi|habana|\btpu\b|"
    r"tenstorrent|wormhole|hailo|hexagon|groq"
)
_PLATFORMS: tuple[tuple[Platform, re.Pattern[str]], ...] = (
    ("macos", re.compile(r"^apple\b|\bm[1-9] (pro|max|ultra)\b|\bi?mac(book| ?mini| studio| pro)?\b|^m[1-9]\b")),
    ("intel", re.compile(r"\barc\b|iris|intel\(r\) graphics|uhd graphics|battlemage|\b[ab](310|380|5[78]0|7[57]0)\b")),
    ("amd", re.compile(r"radeon|\brx ?\d{3,4}|instinct|\bmi\d{2,3}|strix|ryzen ai|\bvega\b|\b\d80m\b|\b8060s\b")),
    ("nvidia", re.compile(
        r"nvidia|\brtx\b|\bgtx|geforce|quadro|tesla|jetson|dgx|\btitan\b|\bg[bh]\d{2,3}\b|\b[ahbvlt][1-9]\d{0,2}s?\b|"
        r"\b[kmp](10|20|40|60|80|100|102|104|106)[mx]?\b|\bp[46]\b|\bmx ?\d{3}\b|\bgt ?\d{3,4}\b"
    )),
)  # fmt: skip
_PROCESSOR = re.compile(
    r"epyc|xeon|threadripper|core\(tm\)|\bcore (i\d|ultra)|\bi[3579]-\d|ryzen|altra|graviton|cortex|neoverse|"
    r"raspberry|\bn\d{2,3}\b|celeron|pentium"
)
_OLD_CUDA = re.compile(
    r"gtx ?(7|8|9|10)\d{2}|gtx titan|titan (x|z|black)|tesla [kmp]\d|\b[kmp](10|20|40|60|80|100|102|104|106)[mx]?\b|"
    r"\bp[46]\b|quadro [kmp]\d|\bgt ?(7\d0|10[13]0)\b|\bmx ?(1[135]0|2[35]0|3[35]0)\b|jetson (nano|tx)"
)
"""Source: NVIDIA's list of compute capabilities, those of Kepler, Maxwell and Pascal."""
_BACKENDS: tuple[tuple[str, Platform], ...] = (
    ("cuda", "nvidia"), ("rocm", "amd"), ("hip", "amd"), ("metal", "macos"), ("mlx", "macos"), ("sycl", "intel"),
)  # fmt: skip
_FOREIGN_BACKENDS = ("cann", "musa")
_PORTABLE_BACKENDS: tuple[tuple[str, Platform], ...] = (("vulkan", "amd"), ("opencl", "cpu"))
"""They tell nothing about the device: of those without a known name, what most people run them on."""

_VENDORS: dict[Platform, Vendor] = {
    "nvidia": "nvidia", "amd": "amd", "intel": "intel", "macos": "apple", "cpu": "other",
}  # fmt: skip

_SEVERAL = (
    re.compile(r"(?<!\w)(\d{1,2})\s?[x×*]\s?(?=[a-z])"),
    re.compile(r"[\s(][x×*]\s?(\d{1,2})\)?$"),
)
_COUNTS = {"dual": 2, "twin": 2, "triple": 3, "quad": 4}
# (memory in GB, bandwidth in GB/s) of one card of which people use several: to tell one card's figures from their sum.
# Source: the makers' published figures.
_CARDS: tuple[tuple[str, float, float], ...] = (
    ("3090 ti", 24, 1008), ("3090", 24, 936), ("4090", 24, 1008), ("5090", 32, 1792), ("3060", 12, 360),
    ("4060 ti", 16, 288), ("5060 ti", 16, 448), ("3080", 10, 760), ("5070 ti", 16, 896), ("5080", 16, 960),
    ("4080", 16, 717), ("2080 ti", 11, 616), ("1080 ti", 11, 484), ("a6000", 48, 768), ("6000 ada", 48, 960),
    ("pro 6000", 96, 1792), ("a100", 80, 2039), ("h100", 80, 3350), ("h200", 141, 4800), ("l40s", 48, 864),
    ("l4", 24, 300), ("t4", 16, 320), ("v100", 32, 900), ("p100", 16, 732), ("p40", 24, 347), ("m40", 24, 288),
    ("7900 xtx", 24, 960), ("7900 xt", 20, 800), ("9070", 16, 640), ("mi50", 32, 1024), ("mi300x", 192, 5300),
    ("b580", 12, 456), ("gb10", 128, 273),
    ("2080", 8, 448), ("3070", 8, 448), ("4060", 8, 272), ("4070", 12, 504), ("5070", 12, 672), ("6900 xt", 16, 512),
    ("6800 xt", 16, 512),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a point ran."""

    platform: Platform
    sure: bool
    """The name, or a backend that only one platform has, says so."""
    devices: int = 1

    @property
    def vendor(self) -> Vendor:
        return _VENDORS[self.platform] if self.sure else "other"


def place_of(point: MeasuredPoint) -> Place:
    """Where the point ran, by the device's name, else by the backend; and on how many of them."""
    platform, sure = _platform(point)
    devices = 1 if platform == "cpu" else devices_of(point.hardware)
    return Place(platform, sure and devices == 1 and " + " not in point.hardware, devices)


def _platform(point: MeasuredPoint) -> tuple[Platform, bool]:
    """With whether that is sure. Phones are estimated as what runs on their processors; accelerators of other makers
    as those whose kernels reach the least of the bandwidth.
    """
    name, backend = point.hardware.lower(), (point.backend or "").lower()
    on_processor = point.hw_class == "CPU_ONLY" and backend == "cpu"
    if not re.search(_CARD, name):
        if _PHONE.search(name):
            return "cpu", False
        if _POCKET_APPLE.search(name):
            return "macos", False
        if _FOREIGN.search(name) or backend in _FOREIGN_BACKENDS:
            return "intel", False
    for platform, pattern in _PLATFORMS:
        if pattern.search(name) and not on_processor:
            return platform, True
    if point.hw_class == "CPU_ONLY" or backend == "cpu":
        return "cpu", True
    return _by_backend(point, name, backend)


def _by_backend(point: MeasuredPoint, name: str, backend: str) -> tuple[Platform, bool]:
    for word, platform in _BACKENDS:
        if word in backend:
            return platform, True
    if _PROCESSOR.search(name) and not backend:
        return "cpu", True
    for word, platform in _PORTABLE_BACKENDS:
        if word in backend:
            return platform, False
    return "nvidia" if (point.bw_gbps or 0) >= _GRAPHICS_GBPS else "cpu", False


def devices_of(name: str) -> int:
    """How many devices a name speaks of.

    >>> devices_of("2x RTX 3090"), devices_of("Dual RTX 3090"), devices_of("RTX 3090 (x2)"), devices_of("RTX 3090")
    (2, 2, 2, 1)
    """
    lowered = name.lower()
    for pattern in _SEVERAL:
        found = pattern.search(lowered)
        if found:
            return min(_MOST_DEVICES, max(1, int(found[1])))
    return next((count for word, count in _COUNTS.items() if re.search(rf"\b{word}\b", lowered)), 1)


def devices(point: MeasuredPoint, place: Place, *, unified: bool) -> tuple[Device, ...]:
    """The accelerators of a point, each with its share of the memory.

    Where there are several, the memory that a point gives is taken as their sum and the bandwidth as one's, unless the
    name is of a card whose own figures say otherwise: submitters add up the one, and look up the other.
    """
    if place.platform == "cpu":
        return ()
    memory, bandwidth = point.mem_gb or 0.0, point.bw_gbps or 0.0
    if place.devices > 1:
        memory, bandwidth = _of_one(point.hardware.lower(), place.devices, memory, bandwidth)
    old = place.platform == "nvidia" and _OLD_CUDA.search(point.hardware.lower()) is not None
    one = Device(
        name=point.hardware,
        vendor=place.vendor,
        memory_bytes=Bytes(round(memory * GIB)),
        bandwidth_gbps=bandwidth,
        unified=unified,
        confidence="high" if place.sure else "low",
        compute_capability=_OLD_CAPABILITY if old else None,
    )
    return (one,) * place.devices


def _of_one(name: str, devices: int, memory: float, bandwidth: float) -> tuple[float, float]:
    card = next((card for card in _CARDS if re.search(rf"\b{card[0]}\b", name)), None)
    if card is None:
        return memory / devices, bandwidth
    _, usual_memory, usual_bandwidth = card
    return _nearest(memory, devices, usual_memory), _nearest(bandwidth, devices, usual_bandwidth)


def _nearest(stated: float, devices: int, usual: float) -> float:
    """What is stated, or its share, whichever is nearer to what one usually has."""
    if stated <= 0:
        return stated
    share = stated / devices
    return share if max(share, usual) / min(share, usual) < max(stated, usual) / min(stated, usual) else stated
