"""robustness: sensitivity and FGSM on linear networks, where every number is known."""

import captum.metrics
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpa_core.metrics.likeness import spearman
from lpa_core.metrics.robustness import fgsm, fgsm_robustness, sensitivity
from lpa_core.models.builders import small_attention_net
from lpa_core.posthoc.methods import explain

N, SIZE = 6, 5
BOTH = {"saliency": {"method": "saliency"}, "product": {"method": "gradient_x_input"}}


def pictures() -> Tensor:
    return torch.randn(N, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def linear(classes: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, classes))


# Sensitivity ----------------------------------------------------------------------------------------------------------


def test_sensitivity_of_a_linear_network_by_hand():
    model, images = linear(), pictures()
    rows = {r.name: r for r in sensitivity(model, images, 1, methods=BOTH, radius=0.1, samples=3, seed=4)}
    assert list(rows) == ["saliency", "product", "random map", "centre prior"]
    assert [r.baseline for r in rows.values()] == [False, False, True, True]
    assert rows["saliency"].change.mean == 0  # its gradient does not move
    assert rows["centre prior"].change.mean == 0
    assert 0.3 < rows["random map"].change.mean < 1.5
    weight, draw, worst = model[1].weight[1].detach().view(3, SIZE, SIZE), torch.Generator().manual_seed(4), []
    for _ in range(3):
        noise = (2 * torch.rand(images.shape, generator=draw) - 1) * 0.1
        worst.append((weight * noise).sum(1).flatten(1).norm(dim=1) / (weight * images).sum(1).flatten(1).norm(dim=1))
    assert rows["product"].change.mean == pytest.approx(torch.stack(worst).amax(0).mean().item(), rel=1e-4)


def test_sensitivity_is_captums():
    torch.manual_seed(0)
    model, images = small_attention_net(4).eval(), torch.randn(3, 3, 16, 16)
    target = model(images).argmax(dim=1)
    rows = sensitivity(model, images, methods={"a": {"method": "saliency"}}, radius=0.3, samples=4, seed=2)
    draw = torch.Generator().manual_seed(2)

    def perturb(inputs: Tensor) -> Tensor:
        return inputs + (2 * torch.rand(images.shape, generator=draw) - 1) * 0.3

    def method(inputs: Tensor | tuple[Tensor]) -> Tensor | tuple[Tensor]:
        if isinstance(inputs, tuple):  # captum's way: a tuple for a tuple
            return (method(inputs[0]),)
        return explain(model, inputs, target, method="saliency")

    theirs = captum.metrics.sensitivity_max(
        method, images, perturb_func=perturb, n_perturb_samples=4, max_examples_per_batch=3
    )
    assert theirs.mean() > 0
    assert rows[0].change.mean == pytest.approx(theirs.mean().item(), rel=1e-4)


def test_more_noise_moves_a_map_more_and_intervals_follow_clusters():
    model, images = small_attention_net(4).eval(), torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    methods = {"cam": {"method": "grad_cam"}, "attention": {"method": "attention", "level": 0}}
    little, much = (
        sensitivity(model, images, methods=methods, radius=r, samples=2, clusters=torch.tensor([0, 0, 1, 1]))
        for r in (0.01, 0.5)
    )
    for a, b in zip(little[:2], much[:2], strict=True):
        assert 0 < a.change.mean < b.change.mean
        assert a.change.clusters == 2


def test_a_map_of_zeros_is_left_out_and_counted():
    images = pictures()
    images[0] = 0
    rows = sensitivity(linear(), images, 1, methods=BOTH, radius=0.1)
    assert rows[1].change.left_out == 1
    assert rows[1].change.n == N - 1


# FGSM -----------------------------------------------------------------------------------------------------------------


def test_fgsm_of_a_linear_network_by_hand():
    model, images, labels = linear(), pictures(), torch.tensor([0, 1] * 3)
    # The loss of two classes grows with the other logit minus the true one.
    towards = (model[1].weight[1 - labels] - model[1].weight[labels]).detach().view(N, 3, SIZE, SIZE).sign()
    torch.testing.assert_close(fgsm(model, images, labels, epsilon=0.25), images + 0.25 * towards)
    assert torch.equal(fgsm(model, images, labels, epsilon=0.0), images)


def test_fgsm_in_pixels_is_clipped_to_possible_pictures():
    model, labels = linear(), torch.tensor([0, 1] * 3)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
    m, s = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))
    pixels = torch.rand(N, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    attacked = fgsm(model, (pixels - m) / s, labels, epsilon=0.1, mean=mean, std=std) * s + m
    towards = (model[1].weight[1 - labels] - model[1].weight[labels]).detach().view(N, 3, SIZE, SIZE).sign()
    torch.testing.assert_close(attacked, (pixels + 0.1 * towards).clamp(0, 1), rtol=0, atol=1e-6)
    assert (attacked == 0).any() or attacked.min() < 1e-6


def test_fgsm_raises_the_loss_and_leaves_the_model_alone():
    torch.manual_seed(0)
    model, images, labels = small_attention_net(4), torch.randn(70, 3, 16, 16), torch.randint(4, (70,))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    attacked = fgsm(model, images, labels, epsilon=0.01)
    assert all(m.training for m in model.modules())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert all(p.grad is None for p in model.parameters())
    assert not attacked.requires_grad
    model.eval()
    before, after = (F.cross_entropy(model(x), labels, reduction="none") for x in (images, attacked))
    assert (after > before).double().mean() > 0.95


def test_robustness_by_hand_and_at_epsilon_0():
    model, images = linear(3), pictures()
    labels = model(images).argmax(dim=1)
    none, some, much = fgsm_robustness(model, images, labels, methods=BOTH, epsilons=(0.0, 0.05, 3.0), seed=3)
    assert none.accuracy.mean == none.noise_accuracy.mean == 1
    assert none.stability["product"].mean == pytest.approx(1)
    assert list(none.stability) == ["saliency", "product", "random map", "centre prior"]
    assert none.stability["centre prior"].mean == pytest.approx(1)
    assert abs(none.stability["random map"].mean) < 0.35
    assert much.accuracy.mean == 0
    assert much.noise_accuracy.mean > 0  # random directions do less harm
    attacked = fgsm(model, images, labels, epsilon=0.05)
    assert some.accuracy.mean == pytest.approx((model(attacked).argmax(1) == labels).double().mean().item())
    maps = [explain(model, x, labels, method="gradient_x_input") for x in (images, attacked)]
    assert some.stability["product"].mean == pytest.approx(spearman(*maps).mean().item())
    assert some.stability["saliency"].mean == pytest.approx(1)
    assert much.stability["product"].mean < some.stability["product"].mean < 1


def test_trained_maps_stand_beside_class_specific_ones():
    model, images = small_attention_net(4).eval(), torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    methods = {"cam": {"method": "hirescam"}, "attention": {"method": "attention", "level": 1}}
    (row,) = fgsm_robustness(model, images, torch.zeros(4, dtype=torch.long), methods=methods, epsilons=(0.05,))
    attacked = fgsm(model, images, torch.zeros(4, dtype=torch.long), epsilon=0.05)
    before, after = (explain(model, x, method="attention", level=1) for x in (images, attacked))
    assert row.stability["attention"].mean == pytest.approx(spearman(before, after).mean().item())
    rows = sensitivity(model, images, 0, methods=methods, radius=0.1, samples=1)
    assert rows == sensitivity(model, images, [0] * 4, methods=methods, radius=0.1, samples=1)


def test_the_noise_control_moves_as_far_and_stays_a_picture():
    seen: list[Tensor] = []
    model, images = linear(), pictures().clamp(-1, 1)
    labels = torch.zeros(N, dtype=torch.long)
    handle = model.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].detach()))
    fgsm_robustness(model, images, labels, methods=BOTH, epsilons=(0.2,), mean=(0.5,) * 3, std=(0.5,) * 3)
    handle.remove()
    steps = [(x - images).abs().amax().item() for x in seen if x.shape == images.shape]
    assert max(steps) == pytest.approx(0.4, abs=1e-6)  # 0.2 of a pixel's range is 0.4 in units of the images
    assert all(x.abs().max() <= 1 for x in seen)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (sensitivity, {"radius": 0.0}, "radius must be above 0 .* got radius=0.0, samples=8"),
        (sensitivity, {"samples": 0}, "samples=0"),
        (sensitivity, {"methods": {}}, "at least one map"),
        (sensitivity, {"methods": {"a": {}}}, r"methods\['a'\] must name a method and no targets; got {}"),
        (
            sensitivity,
            {"methods": {"centre prior": {"method": "saliency"}}},
            "names of the baselines; got centre prior",
        ),
        (sensitivity, {"methods": {"a": {"method": "lime"}}}, "method must be one of"),
        (fgsm_robustness, {"epsilons": ()}, "at least one number"),
        (fgsm_robustness, {"epsilons": (-0.1,)}, "epsilon must be at least 0; got -0.1"),
        (fgsm_robustness, {"mean": (0.5, 0.5, 0.5)}, "given together"),
        (fgsm_robustness, {"mean": (0.5,), "std": (0.5,)}, "mean must have one number for each of 3 channels; got 1"),
        (fgsm_robustness, {"labels": torch.full((N,), 2)}, "below the model's 2 classes; got 2"),
    ],
)
def test_bad_arguments(function, arguments, message):
    common = {"model": linear(), "images": pictures(), "methods": BOTH}
    own = {"radius": 0.1} if function is sensitivity else {"epsilons": (0.1,), "labels": torch.zeros(N).long()}
    with pytest.raises(ValueError, match=message):
        function(**{**common, **own, **arguments})
