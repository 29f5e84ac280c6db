"""What a vision transformer's name says of the sizes of image that it takes. Knows no torch."""

from __future__ import annotations

import re

# Architectures that are built for one size of image: torchvision's, and timm's best-known families (preflight tries the rest).
ONE_SIZE = ("vit_", "maxvit_", "timm/vit_", "timm/deit", "timm/beit", "timm/eva", "timm/swin")
# Those whose first layer is one projection of each patch.
PATCHED = ("vit_", "timm/vit_", "timm/deit", "timm/beit", "timm/eva")

# timm's plain vision transformers interpolate their positional embeddings; those with relative positions do not.
_INTERPOLATES = re.compile(r"timm/(?:vit|deit3?)_(?!s?relpos)[a-z0-9_]*?patch(\d+)_")


def resizable_patch(arch: str) -> int | None:
    """The side in pixels of the patches of a vision transformer that takes several sizes of image, multiples of it; else None."""
    found = _INTERPOLATES.match(arch)
    return int(found.group(1)) if found else None


def takes_one_size(arch: str) -> bool:
    """Whether the network can be given images of no other size than that which it was built for."""
    return arch.startswith(ONE_SIZE) and resizable_patch(arch) is None
