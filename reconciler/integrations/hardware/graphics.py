"""Graphics cards as Linux lists them in ``/sys/class/drm``, whoever made them."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass

from reconciler.errors import OutsideError
from reconciler.integrations.hardware.edges import FileTree, Shell, read_or_none

DRM = "/sys/class/drm"
AMDGPU_IDS = "/usr/share/libdrm/amdgpu.ids"
_CARD = re.compile(r"card(\d{1,4})")
"""Not ``card0-DP-1``: those are the card's plugs, and counting them is how one GPU became six elsewhere."""
_PCI_CLASS = re.compile(r"\[(?:03|12)\d\d\]")
_LSPCI_ID = re.compile(r"\[([0-9a-f]{4})\]\"?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GraphicsCard:
    """One card, by its PCI numbers: lower-case hexadecimal without ``0x``."""

    number: int
    vendor: str
    device: str
    revision: str

    @property
    def path(self) -> str:
        """Its folder of attributes."""
        return f"{DRM}/card{self.number}/device"


def graphics_cards(files: FileTree) -> tuple[GraphicsCard, ...]:
    """Every card with PCI numbers, in the order of their numbers; empty where there is no sysfs."""
    numbers = sorted(int(match[1]) for name in files.names(DRM) if (match := _CARD.fullmatch(name)))
    cards = []
    for number in numbers:
        vendor, device, revision = (
            (read_or_none(files, f"{DRM}/card{number}/device/{name}") or "").lower().removeprefix("0x")
            for name in ("vendor", "device", "revision")
        )
        if re.fullmatch(r"[0-9a-f]{4}", vendor) and re.fullmatch(r"[0-9a-f]{4}", device):
            cards.append(GraphicsCard(number, vendor, device, revision))
    return tuple(cards)


def libdrm_name(files: FileTree, card: GraphicsCard) -> str | None:
    """The product's name from the system's own list of AMD cards, which knows those sold after our table was made."""
    for line in (read_or_none(files, AMDGPU_IDS) or "").splitlines():
        fields = [field.strip() for field in line.split(",", 2)]
        if len(fields) == 3 and (fields[0].lower(), fields[1].lower()) == (card.device, card.revision):
            return fields[2]
    return None


def lspci_names(shell: Shell) -> dict[str, str]:
    """Product names by ``vendor:device``, from ``lspci -mm -nn``; empty where it cannot be asked.

    The name in brackets is the product's: ``DG2 [Arc A770]`` gives ``Arc A770``.
    """
    names: dict[str, str] = {}
    output = ""
    with contextlib.suppress(OutsideError):
        output = shell.run(["lspci", "-mm", "-nn"])
    for line in output.splitlines():
        quoted = re.findall(r'"([^"]*)"', line)
        if len(quoted) < 3 or not _PCI_CLASS.search(quoted[0]):
            continue
        vendor, device = (_LSPCI_ID.search(text) for text in quoted[1:3])
        if vendor and device:
            product = quoted[2][: device.start()].strip()
            bracketed = re.search(r"\[([^\]]+)\]", product)
            names[f"{vendor[1]}:{device[1]}".lower()] = bracketed[1] if bracketed else product
    return names
