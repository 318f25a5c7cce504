"""One picture as a person holds it (a file, a PIL image, an array, a tensor), as the uint8 tensor for models.

Pillow is imported when a picture is first read.
"""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from .._utils.checks import MOST_PIXELS, height_and_width, is_whole

# A file, a PIL image, an array (h, w) or (h, w, 3), or a tensor (c, h, w): said in words, so that Pillow need not load.
Picture = Any

MOST_OBLONG = 50  # times as wide as high, or the other way round: beyond that, nothing is left to look at
_PHONE = (".heic", ".heif")  # what telephones write and Pillow does not read by itself


def read_picture(
    source: Picture, *, size: int | tuple[int, int] | None = None, channels: int = 3
) -> UInt8[Tensor, "c h w"]:
    """A picture as uint8 (c, h, w): upright, in colour or grey, and as large as asked.

    What is transparent becomes white. Of an animated picture the first frame is taken. Pixels of 16 bits are scaled
    from 0 to 65535; those of 32 bits or floating point from their least to their largest value, unless floats are in
    [0, 1].

    Args:
        source: a file (any kind that Pillow reads; "~" is your home), or one that is open in binary mode; a PIL image;
            an array (h, w), (h, w, 3) or (h, w, 4), uint8 or floating point in [0, 1]; a tensor (3, h, w) or (1, h, w),
            uint8 or floating point in [0, 1], as ``torchvision.transforms.functional.to_tensor`` gives it.
        size: height and width, or one number for both: the picture is scaled until it covers them, and its middle is
            cut out, as ``data.load("folder:PATH")`` does. None keeps its size.
        channels: 3 for RGB, 1 for grey.

    Raises: FileNotFoundError where there is no such file; ValueError on a file that is no picture, a folder or a URL,
        floats outside [0, 1], NaN, another shape, a ``size`` below 1, and a picture that is a single pixel high or
        wide, more than 50 times as wide as high (or high as wide) or more than 16,384 pixels a side; TypeError on
        another kind of source.
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
    tensor = tensor.float() if torch.is_floating_point(tensor) else tensor  # numpy has no bfloat16
    array: np.ndarray = tensor.permute(1, 2, 0).numpy()
    return array[..., 0] if array.shape[2] == 1 else array


def _image_of(array: np.ndarray) -> Any:
    from PIL import Image

    floats = np.issubdtype(array.dtype, np.floating)
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not (floats or array.dtype == np.uint8) or not shaped:
        raise ValueError(
            f"a picture that is an array must be uint8 or floats in [0, 1], and (h, w), (h, w, 3) or (h, w, 4); got "
            f"{array.dtype} {array.shape}"
        )
    if floats:
        if not ((array >= 0) & (array <= 1)).all():  # NaN is neither
            raise ValueError(
                f"a picture of floats must be in [0, 1]; got {float(array.min()):.3g} to {float(array.max()):.3g}: "
                f"give it as it was before it was normalised"
            )
        array = np.rint(255 * array.astype(np.float32)).astype(np.uint8)
    return Image.fromarray(array)


def _pixels(source: Picture, size: tuple[int, int] | None, mode: str) -> np.ndarray:
    """The pixels (h, w) or (h, w, 3) of a file or an image; the file is named where it cannot be read."""
    from PIL import Image

    if isinstance(source, Image.Image):
        return _upright(source, size, mode)
    if hasattr(source, "read"):
        name = str(getattr(source, "name", "the open file"))
    elif isinstance(source, str | PathLike):
        name = str(source)
        source = _file(name)
    else:
        raise TypeError(
            f"a picture must be a file, a PIL image, an array (h, w, 3) or a tensor (3, h, w); got "
            f"{type(source).__name__}"
        )
    try:
        with Image.open(source) as picture:
            return _upright(picture, size, mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if name.lower().endswith(_PHONE):
            raise ValueError(
                f"{name} is a HEIC picture, which Pillow does not read by itself: save it as JPEG or PNG, or install "
                f"pillow-heif and call its register_heif_opener()"
            ) from error
        raise ValueError(f"{name} cannot be read as a picture ({error}); repair it or take it out") from error


def _file(name: str) -> Path:
    """The file that a name stands for. Raises: FileNotFoundError or ValueError with what to do where it is none."""
    if "://" in name:
        raise ValueError(f"{name} is an address: download the picture, and give the file")
    path = Path(name).expanduser()
    if path.is_dir():
        raise ValueError(
            f"{name} is a folder: give one picture of it, or read them all with data.load('folder:{name}', ...)"
        )
    if not path.exists():
        raise FileNotFoundError(f"there is no picture {name}")
    return path


def _upright(picture: Any, size: tuple[int, int] | None, mode: str) -> np.ndarray:
    from PIL import Image, ImageOps

    _check_sides(picture.height, picture.width)
    upright = ImageOps.exif_transpose(picture)
    if upright.mode[0] in "FI":  # 32-bit floating point, 16 or 32-bit whole numbers
        upright = Image.fromarray(_eight_bits(np.asarray(upright), upright.mode))
    if upright.has_transparency_data:
        colours = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    upright = upright.convert("RGB").convert(mode)
    if size is not None and size != (upright.height, upright.width):
        upright = ImageOps.fit(upright, (size[1], size[0]), Image.Resampling.BICUBIC)
    return np.array(upright)


def _eight_bits(values: np.ndarray, mode: str) -> np.ndarray:
    """Pixels of more than 8 bits, scaled to 0 to 255."""
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("its pixels are not all numbers: NaN or infinite")
    if mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    elif mode == "F" and numbers.min() >= 0 and numbers.max() <= 1:
        low, high = 0.0, 1.0
    else:
        low, high = float(numbers.min()), float(numbers.max())
    scaled: np.ndarray = np.rint(255 * (numbers - low) / ((high - low) or 1)).astype(np.uint8)
    return scaled


def _check_sides(height: int, width: int) -> None:
    short, long = sorted((height, width))
    if short < 2 or long > MOST_PIXELS or long / short > MOST_OBLONG:
        why = "smaller" if long > MOST_PIXELS else "of a more usual shape" if short >= 2 else "larger"
        raise ValueError(f"a picture of {width}x{height} pixels leaves nothing to look at; it must be {why}")
