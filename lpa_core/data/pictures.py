"""One picture as a person holds it (a file, a PIL image, an array, a tensor), as the uint8 tensor for models.

Pillow is imported when a picture is first read.
"""

from os import PathLike
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from .._utils.checks import height_and_width, is_whole

# A file, a PIL image, an array (h, w) or (h, w, 3), or a tensor (c, h, w): said in words, so that Pillow need not load.
Picture = Any


def read_picture(
    source: Picture, *, size: int | tuple[int, int] | None = None, channels: int = 3
) -> UInt8[Tensor, "c h w"]:
    """A picture as uint8 (c, h, w): upright, in colour or grey, and as large as asked.

    Args:
        source: a file; a PIL image; a uint8 array (h, w) or (h, w, 3); a tensor (3, h, w) or (1, h, w), uint8 or
            floating point in [0, 1], as ``torchvision.transforms.functional.to_tensor`` gives it.
        size: height and width, or one number for both: the picture is scaled until it covers them, and its middle is
            cut out, as ``data.load("folder:PATH")`` does. None keeps its size.
        channels: 3 for RGB, 1 for grey.

    Raises: FileNotFoundError where there is no such file; ValueError on a file that is no picture, pixels of more than
        8 bits, floats outside [0, 1], NaN, another shape or a ``size`` below 1; TypeError on another kind of source.
    """
    if not is_whole(channels) or channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB): a picture has no {channels!r}")
    shape = None if size is None else height_and_width(size)
    if isinstance(source, Tensor):
        source = _array_of(source)
    if isinstance(source, np.ndarray):
        source = _image_of(source)
    array = _pixels(source, shape, "L" if channels == 1 else "RGB")
    return torch.from_numpy(array).view(*array.shape[:2], channels).permute(2, 0, 1).contiguous()


def _array_of(tensor: Tensor) -> np.ndarray:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        raise ValueError(
            f"a picture that is a tensor must be (3, h, w), or (1, h, w) for grey; got {tuple(tensor.shape)}"
        )
    tensor = tensor.detach().cpu()
    if torch.is_floating_point(tensor):
        if not ((tensor >= 0) & (tensor <= 1)).all():  # NaN is neither
            raise ValueError(
                f"a picture of floats must be in [0, 1]; got {float(tensor.min()):.3g} to {float(tensor.max()):.3g}: "
                f"give it as it was before it was normalised"
            )
        tensor = (255 * tensor.float()).round().to(torch.uint8)
    array: np.ndarray = tensor.permute(1, 2, 0).numpy()
    return array[..., 0] if array.shape[2] == 1 else array


def _image_of(array: np.ndarray) -> Any:
    from PIL import Image

    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ValueError(
            f"a picture that is an array must be uint8 and (h, w) or (h, w, 3); got {array.dtype} {array.shape}"
        )
    return Image.fromarray(array)


def _pixels(source: Picture, size: tuple[int, int] | None, mode: str) -> np.ndarray:
    """The pixels (h, w) or (h, w, 3) of a file or an image; the file is named where it cannot be read."""
    from PIL import Image

    if isinstance(source, Image.Image):
        return _upright(source, size, mode)
    if not isinstance(source, str | PathLike):
        raise TypeError(
            f"a picture must be a file, a PIL image, an array (h, w, 3) or a tensor (3, h, w); got "
            f"{type(source).__name__}"
        )
    try:
        with Image.open(source) as picture:
            return _upright(picture, size, mode)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no picture {source}") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{source} cannot be read as a picture ({error}); repair it or take it out") from error


def _upright(picture: Any, size: tuple[int, int] | None, mode: str) -> np.ndarray:
    from PIL import Image, ImageOps

    if picture.mode[0] in "FI":  # 32-bit floating point (perhaps NaN), 16 or 32-bit whole numbers
        raise ValueError(f"its pixels are of mode {picture.mode!r}, not of 8 bits")
    upright = ImageOps.exif_transpose(picture).convert("RGB").convert(mode)
    if size is not None and size != (upright.height, upright.width):
        upright = ImageOps.fit(upright, (size[1], size[0]), Image.Resampling.BICUBIC)
    return np.array(upright)
