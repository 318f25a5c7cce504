"""Maps that know nothing, and what chance gives them."""

import math

import jaxtyping
import pytest
import torch

from lpa_core.metrics.baselines import blurred_brightness, centre_prior, edge_maps, random_maps, uniform_maps
from lpa_core.metrics.localisation import pointing_game

NAN = float("nan")


@pytest.fixture
def unchecked():
    """Turn the run-time shape checker off, as it is for users, so that the package's own messages are seen."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def test_random_maps_are_reproducible_and_leave_the_global_state_alone() -> None:
    state = torch.random.get_rng_state()
    first = random_maps(4, (3, 5), seed=7)
    assert torch.equal(state, torch.random.get_rng_state())
    assert first.shape == (4, 3, 5)
    assert torch.equal(first, random_maps(4, (3, 5), seed=7))
    assert not torch.equal(first, random_maps(4, (3, 5), seed=8))
    assert len(first.unique()) == first.numel()


def test_random_maps_score_chance_and_smooth_ones_are_smooth() -> None:
    masks = torch.zeros(4000, 8, 8, dtype=torch.bool)
    masks[:, 2:6, 2:4] = True  # an eighth of the picture
    assert pointing_game(random_maps(4000, (8, 8), seed=0), masks).mean().item() == pytest.approx(1 / 8, abs=0.02)
    white, smooth = random_maps(100, (32, 32), seed=0), random_maps(100, (32, 32), seed=0, sigma=2.0)

    def step(maps: torch.Tensor) -> float:
        inner = maps[:, 6:-6, 6:-6]  # where the blur sees no border
        return (inner.diff(dim=2).std() / inner.std()).item()

    assert step(white) == pytest.approx(2**0.5, rel=0.02)  # neighbours independent
    # Noise blurred by a Gaussian has correlation exp(-d^2 / 4 sigma^2) at distance d.
    assert step(smooth) == pytest.approx((2 - 2 * math.exp(-1 / 16)) ** 0.5, rel=0.05)
    assert smooth.min() >= 0
    assert smooth.max() <= 1


def test_centre_prior_is_the_gaussian_it_says() -> None:
    maps = centre_prior(2, (4, 3), sigma=0.5)
    assert maps.shape == (2, 4, 3)
    assert maps[0, 1, 1].item() == pytest.approx(math.exp(-0.5 * (0.125 / 0.5) ** 2))
    assert maps[0, 0, 2].item() == pytest.approx(math.exp(-0.5 * ((0.375 / 0.5) ** 2 + (1 / 3 / 0.5) ** 2)))
    torch.testing.assert_close(maps, maps.flip(1).flip(2))
    maps[0] = 0  # its own memory: writing to one map leaves the other
    assert maps[1].min() > 0


def test_uniform_maps_sum_to_one() -> None:
    torch.testing.assert_close(uniform_maps(3, (4, 5)), torch.full((3, 4, 5), 1 / 20))


def test_blurred_brightness_by_hand() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(blurred_brightness(images, sigma=0.0), torch.full((1, 2, 2), 0.4))
    # One bright pixel far from the border becomes the normalised Gaussian, cut at three sigma.
    dot = torch.zeros(1, 1, 21, 21)
    dot[0, 0, 10, 10] = 1
    offset = torch.arange(-6, 7) / 2.0
    kernel = torch.exp(-0.5 * offset**2)
    kernel = kernel / kernel.sum()
    expected = torch.zeros(21, 21)
    expected[4:17, 4:17] = kernel[:, None] * kernel
    torch.testing.assert_close(blurred_brightness(dot, sigma=2.0)[0], expected)


def test_blurred_brightness_darkens_no_frame() -> None:
    torch.testing.assert_close(blurred_brightness(torch.full((1, 3, 6, 6), 0.7), sigma=4.0), torch.full((1, 6, 6), 0.7))


def test_blurred_brightness_same_for_uint8_and_float() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    torch.testing.assert_close(
        blurred_brightness(images, sigma=1.0), blurred_brightness(images.float() / 255, sigma=1.0)
    )


@pytest.mark.usefixtures("unchecked")
def test_baselines_refuse_bad_input() -> None:
    with pytest.raises(ValueError, match=r"n must be at least 0.*n=-1"):
        uniform_maps(-1, (2, 2))
    with pytest.raises(ValueError, match=r"size=\(0, 2\)"):
        random_maps(1, (0, 2), seed=0)
    with pytest.raises(ValueError, match="sigma must be at least 0; got -1"):
        random_maps(1, (2, 2), seed=0, sigma=-1)
    with pytest.raises(ValueError, match="sigma must be above 0; got 0"):
        centre_prior(1, (2, 2), sigma=0)
    with pytest.raises(ValueError, match=r"images must be \(b, c, h, w\)"):
        blurred_brightness(torch.rand(3, 4, 4), sigma=1)
    for wrong in (torch.full((1, 3, 4, 4), -0.1), torch.full((1, 3, 4, 4), NAN), torch.ones(1, 3, 4, 4).long()):
        with pytest.raises(ValueError, match="before normalisation"):
            blurred_brightness(wrong, sigma=1)


def test_edge_maps_by_hand() -> None:
    # An upright edge from black to white: the central difference is 1/2 on both sides of it, and 0 elsewhere.
    upright = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 3, 5, 4)
    torch.testing.assert_close(edge_maps(upright, sigma=0.0)[0], torch.tensor([[0, 0.5, 0.5, 0]]).repeat(5, 1))
    lying = upright.mT
    torch.testing.assert_close(edge_maps(lying, sigma=0.0), edge_maps(upright, sigma=0.0).mT)
    # The corner of a white quarter: both slopes are (1 * 1/4 + 1 * 1/2 + 0 * 1/4) / 2 at the corner pixel itself.
    corner = torch.zeros(1, 1, 6, 6)
    corner[..., 3:, 3:] = 1
    assert edge_maps(corner, sigma=0.0)[0, 3, 3].item() == pytest.approx(math.hypot(3 / 8, 3 / 8))


def test_edge_maps_average_the_colours_and_take_bytes() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    maps = edge_maps(images, sigma=1.0)
    torch.testing.assert_close(maps, edge_maps(images.float() / 255, sigma=1.0))
    grey = (images.float() / 255).mean(dim=1, keepdim=True)
    torch.testing.assert_close(maps, edge_maps(grey, sigma=1.0))
    assert 0 <= float(maps.min()) <= float(maps.max()) <= math.sqrt(0.5)


def test_edge_maps_see_no_frame_and_no_brightness() -> None:
    assert edge_maps(torch.full((1, 3, 6, 6), 0.7), sigma=2.0).abs().max() < 1e-6
    images = 0.5 * torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(edge_maps(images + 0.4, sigma=1.0), edge_maps(images, sigma=1.0))


def test_edge_maps_are_blurred_afterwards() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[..., 4:] = 1
    sharp, soft = edge_maps(image, sigma=0.0), edge_maps(image, sigma=2.0)
    assert soft.max() < sharp.max()
    assert soft[0, :, 0].min() > 0 == sharp[0, :, 0].max()  # the edge's mass has reached the border


def test_edge_maps_refuse_what_is_no_picture() -> None:
    with pytest.raises(ValueError, match="uint8, or float in"):
        edge_maps(torch.full((1, 3, 4, 4), 1.5))
    with pytest.raises(ValueError, match="sigma"):
        edge_maps(torch.rand(1, 3, 4, 4), sigma=-1.0)
