"""One picture in every form that people hold it: the same pixels, and clear words where it is none."""

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from lpa_core.data.pictures import read_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
TRUE = torch.from_numpy(PIXELS).permute(2, 0, 1)


@pytest.fixture
def unchecked():
    """Without the shape checker of the tests, as users run: the package's own errors must speak."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(PIXELS).save(path)
    return path


def forms(file):
    image = Image.fromarray(PIXELS)
    with_alpha = np.dstack([PIXELS, np.full((6, 9), 255, np.uint8)])
    return {
        "path": file,
        "string": str(file),
        "PIL": image,
        "PIL with transparency": image.convert("RGBA"),
        "array": PIXELS,
        "array with transparency": with_alpha,
        "tensor": TRUE,
        "floats": to_tensor(image),
        "half precision": to_tensor(image).bfloat16().float(),
    }


def test_every_form_gives_the_same_pixels(file):
    for name, source in forms(file).items():
        got = read_picture(source)
        assert got.dtype is torch.uint8
        assert got.is_contiguous()
        tolerance = 1 if name == "half precision" else 0
        assert (got.int() - TRUE.int()).abs().max() <= tolerance, name


def test_every_form_can_be_grey(file):
    grey = torch.from_numpy(np.array(Image.fromarray(PIXELS).convert("L")))[None]
    for source in (file, Image.fromarray(PIXELS), PIXELS, TRUE):
        assert torch.equal(read_picture(source, channels=1), grey)
    for source in (grey, grey[0].numpy(), Image.fromarray(grey[0].numpy())):
        assert torch.equal(read_picture(source, channels=1), grey)
        assert torch.equal(read_picture(source), grey.expand(3, -1, -1))


def test_a_size_scales_and_cuts_the_middle_out(file):
    assert read_picture(file, size=6).shape == (3, 6, 6)
    assert read_picture(file, size=(4, 12)).shape == (3, 4, 12)
    stripes = torch.zeros(3, 4, 12, dtype=torch.uint8)
    stripes[:, :, 4:8] = 200
    assert torch.equal(read_picture(stripes, size=4), stripes[:, :, 4:8])
    assert torch.equal(read_picture(stripes, size=(4, 12)), stripes)  # nothing is resampled


def test_a_photograph_on_its_side_is_turned_upright(tmp_path):
    path = tmp_path / "turned.jpg"
    image = Image.fromarray(PIXELS)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to the right to see it upright
    image.save(path, exif=exif, quality=100, subsampling=0)
    assert read_picture(path).shape == (3, 9, 6)
    assert (read_picture(path).int() - TRUE.rot90(-1, (1, 2)).int()).abs().float().mean() < 8


def test_the_source_stays_as_it_was():
    tensor, array = TRUE.clone(), PIXELS.copy()
    read_picture(tensor).zero_()
    read_picture(array).zero_()
    assert torch.equal(tensor, TRUE)
    assert np.array_equal(array, PIXELS)


WRONG = {
    "no file": (lambda: "nowhere.png", {}, FileNotFoundError, "there is no picture nowhere.png"),
    "no picture": (lambda: __file__, {}, ValueError, r"test_pictures.py cannot be read as a picture \("),
    "a batch": (
        lambda: TRUE[None],
        {},
        ValueError,
        r"must be \(3, h, w\), or \(1, h, w\) for grey; got \(1, 3, 6, 9\)",
    ),
    "last": (lambda: TRUE.permute(1, 2, 0), {}, ValueError, r"must be \(3, h, w\), .* got \(6, 9, 3\)"),
    "normalised": (lambda: TRUE / 100 - 1, {}, ValueError, r"must be in \[0, 1\]; got -1 to 1\.\d+: give it as it was"),
    "NaN": (lambda: TRUE * float("nan"), {}, ValueError, r"must be in \[0, 1\]; got nan"),
    "integers": (
        lambda: TRUE.long(),
        {},
        ValueError,
        r"must be uint8 and \(h, w\) or \(h, w, 3\); got int64 \(6, 9, 3\)",
    ),
    "array": (lambda: PIXELS / 255, {}, ValueError, r"must be uint8 and .*; got float64 \(6, 9, 3\)"),
    "planes": (lambda: TRUE.numpy(), {}, ValueError, r"must be uint8 and .*; got uint8 \(3, 6, 9\)"),
    "deep": (lambda: Image.new("I;16", (4, 4)), {}, ValueError, "its pixels are of mode 'I;16', not of 8 bits"),
    "kind": (lambda: [1, 2], {}, TypeError, "a picture must be a file, a PIL image, an array .* got list"),
    "size": (lambda: TRUE, {"size": 0}, ValueError, "size must be a whole number of at least 1; got 0"),
    "channels": (lambda: TRUE, {"channels": 4}, ValueError, r"channels must be 1 \(grey\) or 3 \(RGB\)"),
}


@pytest.mark.parametrize(("source", "options", "kind", "message"), WRONG.values(), ids=WRONG)
def test_what_is_no_picture_is_refused(unchecked, source, options, kind, message):
    with pytest.raises(kind, match=message):
        read_picture(source(), **options)
