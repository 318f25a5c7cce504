"""From a picture as people hold it to the maps of a trained model, in one call."""

import copy

import jaxtyping
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from lpa_core import plotting
from lpa_core.data.digits import digits_in_clutter
from lpa_core.data.image_set import normalise
from lpa_core.look import Look, look_at
from lpa_core.models.builders import small_attention_net, vgg
from lpa_core.models.classifier import attention_maps
from lpa_core.models.weights import load_weights, save_weights

PICTURES = digits_in_clutter(3, split="validation")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.fixture
def unchecked():
    """Without the shape checker of the tests, as users run: the package's own errors must speak."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(PICTURES.images[0].permute(1, 2, 0).numpy()).save(path)
    return path


def same(one: Look, other: Look) -> bool:
    return torch.equal(one.picture, other.picture) and all(
        torch.equal(a, b) for a, b in zip(one.maps, other.maps, strict=True)
    )


def test_it_is_what_the_model_gives_for_the_normalised_picture(photo):
    trained = load_weights("digits-pc")
    seen = look_at("digits-pc", photo)
    prepared = normalise(PICTURES.images[:1], trained.info.mean, trained.info.std)
    assert torch.equal(seen.picture, PICTURES.images[0])
    for one, other in zip(seen.maps, attention_maps(trained.model, prepared), strict=True):
        assert one.shape == (40, 40)
        assert torch.equal(one, other[0])
    assert torch.equal(seen.output.logits, trained.model(prepared))
    assert not seen.output.logits.requires_grad
    assert seen.prediction == trained.info.classes[int(PICTURES.labels[0])]
    assert sum(seen.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert list(seen.probabilities.values()) == sorted(seen.probabilities.values(), reverse=True)
    assert set(seen.probabilities) == set(trained.info.classes)


def test_models_and_pictures_come_in_many_forms(photo, tmp_path):
    trained = load_weights("digits-pc")
    info = trained.info
    about = {"classes": info.classes, "mean": info.mean, "std": info.std, "scores": {}, "provenance": {}}
    save_weights(tmp_path / "weights.safetensors", trained.model, size=info.size, **about)
    expected = look_at("digits-pc", photo)
    for model in (trained, tmp_path / "weights.safetensors", str(tmp_path)):
        assert same(look_at(model, photo), expected)
    for picture in (Image.open(photo), PICTURES.images[0], PICTURES.images[0].permute(1, 2, 0).numpy()):
        assert same(look_at(trained, picture), expected)
    bare = look_at(trained.model, photo, mean=info.mean, std=info.std)
    assert same(bare, expected)
    assert bare.classes == tuple("0123456789")
    assert look_at(trained.model, photo, mean=info.mean, std=info.std, classes="abcdefghij").prediction in "abcdefghij"


def test_the_picture_is_scaled_as_in_training_unless_told_otherwise():
    large = Image.fromarray(PICTURES.images[0].permute(1, 2, 0).numpy()).resize((160, 120))
    whole = look_at("digits-pc", large)
    assert whole.picture.shape == (3, 40, 56)  # all of it, to the next multiple of 8, where the maps' halvings end
    assert whole.photograph.shape == (3, 120, 160)
    assert [m.shape for m in whole.maps_on_photograph] == [(120, 160)] * 3
    assert look_at("digits-pc", large.rotate(90, expand=True)).picture.shape == (3, 56, 40)
    square = look_at("digits-pc", large, size=40)
    assert square.picture.shape == (3, 40, 40)
    assert torch.equal(square.photograph, whole.photograph[:, :, 20:140])  # what a square leaves of it
    seen = look_at("digits-pc", large, size=(60, 80))
    assert seen.picture.shape == (3, 60, 80)
    assert [m.shape for m in seen.maps] == [(60, 80)] * 3
    assert look_at(small_attention_net(), large, mean=MEAN, std=STD).picture.shape == (3, 120, 160)


def test_grey_models_and_other_precisions():
    model = small_attention_net(4, in_channels=1).double()
    seen = look_at(model, PICTURES.images[0], mean=(0.5,), std=(0.2,))
    assert seen.picture.shape == (1, 40, 40)
    assert len(seen.classes) == 4


def test_looking_leaves_the_model_as_it_was():
    model = small_attention_net().train()
    model.trunk.eval()
    modes, state = [m.training for m in model.modules()], copy.deepcopy(model.state_dict())
    look_at(model, PICTURES.images[0], mean=MEAN, std=STD)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_one_call_makes_the_figure(photo):
    axes = plotting.attention_figure(photo, "digits-pc")
    seen = look_at("digits-pc", photo)
    again = plotting.attention_figure(seen.picture, seen.output, classes=seen.classes)
    assert axes.shape == again.shape == (1, 4)
    assert axes[0, 0].get_title().startswith(f"{seen.prediction}\npredicted, ")
    for one, other in zip(axes[0], again[0], strict=True):
        assert one.get_title() == other.get_title()
        for a, b in zip(one.images, other.images, strict=True):
            assert (a.get_array() == b.get_array()).all()
    bare = plotting.attention_figure(PICTURES.images[0], small_attention_net(), size=24, mean=MEAN, std=STD)
    assert bare[0, 1].get_title() == "level 1\n24×24"
    for ax in (axes, again, bare):
        plt.close(ax[0, 0].figure)


def test_the_maps_lie_over_the_photograph_as_it_was_given(tmp_path):
    large = Image.fromarray(PICTURES.images[0].permute(1, 2, 0).numpy()).resize((360, 240))
    exif = large.getexif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to the right to see it upright
    path = tmp_path / "turned.jpg"
    large.save(path, exif=exif, quality=95)
    axes = plotting.attention_figure(path, "digits-pc")
    for ax in axes[0]:
        assert ax.images[0].get_array().shape[:2] == (360, 240)
    seen = look_at("digits-pc", path)
    drawn = axes[0, 1].images[1].get_array()
    assert torch.equal(torch.from_numpy(drawn.data), seen.maps_on_photograph[0])
    assert seen.output.attended[0].weights.shape[1:] == (64, 40)  # a level has positions as the picture is shaped
    huge = plotting.attention_figure(large.resize((3000, 2000)), "digits-pc")
    assert huge[0, 0].images[0].get_array().shape == (800, 1200, 3)  # more pixels do not show
    for each in (axes, huge):
        plt.close(each[0, 0].figure)


def test_a_photograph_is_looked_at_in_colour_by_a_grey_model():
    seen = look_at(small_attention_net(4, in_channels=1), PICTURES.images[0], mean=(0.5,), std=(0.2,))
    assert torch.equal(seen.photograph, PICTURES.images[0])


WRONG = {
    "weights": (lambda p: look_at("digits", p), FileNotFoundError, "neither shipped weights"),
    "model": (lambda p: look_at(torch.nn.ReLU(), p), TypeError, "model must be weights .* got ReLU"),
    "no mean": (lambda p: look_at(small_attention_net(), p), ValueError, r"mean and std must be given .*0\.485"),
    "two means": (lambda p: look_at("digits-pc", p, mean=MEAN, std=STD), ValueError, "come with the weights"),
    "two classes": (lambda p: look_at("digits-pc", p, classes="ab"), ValueError, "come with the weights"),
    "classes": (
        lambda p: look_at(small_attention_net(), p, classes="ab", mean=MEAN, std=STD),
        ValueError,
        "classes must name the 10 logits; got 2",
    ),
    "no level": (
        lambda p: look_at(vgg(width=0.05), p, mean=MEAN, std=STD),
        ValueError,
        "model must have levels to look at; combine='global'",
    ),
    "no picture": (lambda p: look_at("digits-pc", "nowhere.png"), FileNotFoundError, "there is no picture nowhere.png"),
    "size of an output": (
        lambda p: plotting.attention_figure(PICTURES.images[0], look_at("digits-pc", p).output, size=40),
        ValueError,
        "size is for a model that is still to look",
    ),
    "a file for an output": (
        lambda p: plotting.attention_figure(p, look_at("digits-pc", p).output),
        TypeError,
        "image must be a tensor where output is what model.attend gave; got",
    ),
}


@pytest.mark.parametrize(("call", "kind", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused(unchecked, photo, call, kind, message):
    with pytest.raises(kind, match=message):
        call(photo)
