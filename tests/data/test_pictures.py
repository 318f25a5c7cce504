"""One picture in every form that people hold it: the same pixels, and clear words where it is none."""

import io

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
        "array of floats": PIXELS / 255,
        "floats with transparency": (with_alpha / 255).astype(np.float32),
        "open file": io.BytesIO(file.read_bytes()),
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


def test_a_file_in_the_home_folder(file, monkeypatch):
    monkeypatch.setenv("HOME", str(file.parent))
    assert torch.equal(read_picture("~/picture.png"), TRUE)


def test_what_is_transparent_is_white(tmp_path):
    hidden = np.dstack([PIXELS, np.full((6, 9), 255, np.uint8)])
    hidden[:3, :, 3] = 0
    hidden[3, :, 3] = 128
    path = tmp_path / "hidden.png"
    Image.fromarray(hidden).save(path)
    for source in (path, hidden, hidden / 255, Image.fromarray(hidden)):
        got = read_picture(source)
        assert (got[:, :3] == 255).all()
        assert torch.equal(got[:, 4:], TRUE[:, 4:])
        assert (got[:, 3].float() - (TRUE[:, 3].float() * 128 + 255 * 127) / 255).abs().max() <= 1
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "palette.png", transparency=1)
    assert (read_picture(tmp_path / "palette.png") == 255).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 257], [25700, 65535]], np.uint16), [[0, 1], [100, 255]]),  # 16 bits, by what they can hold
        (np.array([[-10, 0], [10, 30]], np.int32), [[0, 64], [128, 255]]),  # 32 bits, by what is there
        (np.array([[0, 0.2], [0.4, 1]], np.float32), [[0, 51], [102, 255]]),
        (np.array([[0, 2], [4, 10]], np.float32), [[0, 51], [102, 255]]),
        (np.full((2, 2), 7, np.float32), [[0, 0], [0, 0]]),
    ],
)
def test_deep_pixels_are_scaled_by_their_range(values, expected, tmp_path):
    Image.fromarray(values).save(tmp_path / "deep.tif")
    assert read_picture(tmp_path / "deep.tif", channels=1)[0].tolist() == expected


def test_of_an_animated_picture_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert read_picture(tmp_path / "moving.gif")[:, 0, 0].tolist() == [255, 0, 0]


def test_a_telephone_picture_is_told_what_to_do(tmp_path):
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(
        ValueError, match=r"IMG_1.HEIC is a HEIC picture, .* save it as JPEG or PNG, or install pillow-h"
    ):
        read_picture(path)


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
        r"must be uint8 or floats in .*; got int64 \(6, 9, 3\)",
    ),
    "array": (lambda: PIXELS / 100, {}, ValueError, r"a picture of floats must be in \[0, 1\]; got 0 to 2.49: give"),
    "planes": (lambda: TRUE.numpy(), {}, ValueError, r"must be uint8 or floats .*; got uint8 \(3, 6, 9\)"),
    "no number": (lambda: Image.fromarray(np.full((4, 4), np.nan, "f4")), {}, ValueError, "are not all numbers: NaN"),
    "a folder": (lambda: ".", {}, ValueError, r"\. is a folder: give one picture of it, or .*'folder:\.'"),
    "an address": (lambda: "https://x.org/cat.jpg", {}, ValueError, "cat.jpg is an address: download the picture"),
    "one pixel": (lambda: TRUE[:, :1, :1], {}, ValueError, "a picture of 1x1 pixels leaves nothing .* be larger"),
    "a line": (lambda: Image.new("L", (2000, 10)), {}, ValueError, "of 2000x10 pixels .* of a more usual shape"),
    "too large": (lambda: Image.new("L", (16385, 400)), {}, ValueError, "of 16385x400 pixels .* must be smaller"),
    "kind": (lambda: [1, 2], {}, TypeError, "a picture must be a file, a PIL image, an array .* got list"),
    "size": (lambda: TRUE, {"size": 0}, ValueError, "size must be a whole number of at least 1; got 0"),
    "channels": (lambda: TRUE, {"channels": 4}, ValueError, r"channels must be 1 \(grey\) or 3 \(RGB\)"),
}


@pytest.mark.parametrize(("source", "options", "kind", "message"), WRONG.values(), ids=WRONG)
def test_what_is_no_picture_is_refused(unchecked, source, options, kind, message):
    with pytest.raises(kind, match=message):
        read_picture(source(), **options)
