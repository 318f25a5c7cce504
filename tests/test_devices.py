"""Pictures follow the model to its device, and what is made of them comes back to theirs: with a pretended GPU."""

import matplotlib as mpl
import pytest
import torch
from pretend_gpu import OnGPU, gpu
from torch.utils._pytree import tree_leaves

from lpa_core import data, hard, look_at, metrics, models, plotting, posthoc, training, widgets
from lpa_core.hard.kinds import HardConfig, build_model

mpl.use("Agg")
pytestmark = pytest.mark.usefixtures("one_thread")
DIGITS = data.digits_in_clutter(3, split="test")
IMAGES, LABELS = DIGITS.float_images(), DIGITS.labels
PC, GAP = {"method": "attention", "level": 0}, {"builder": "vgg_gap", "width": 0.02, "num_classes": 10}


def network(kind, device):
    if kind == "gap":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = models.build(GAP).eval().to(device)
            model.trunk.any_memory_format = False
            return model
    model = models.load_weights("digits-pc", device=device).model
    model.trunk.any_memory_format = False  # one layout on both: another rounds otherwise, and FGSM takes the signs
    return model


def maps(images):
    return torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(0)).to(images.device)


# Everything public that takes a model and pictures, and what a part of its result is.
CALLS = {
    **{
        f"explain, {method}": lambda net, x, method=method: posthoc.explain(net, x, method=method)
        for method in posthoc.METHODS
    },
    "explain, given classes": lambda net, x: posthoc.explain(net, x, LABELS, method="grad_cam"),
    "attention_maps": lambda net, x: models.attention_maps(net, x),
    "map_layers": lambda net, x: posthoc.map_layers(net, x),
    "curve": lambda net, x: metrics.curve(net, x, maps(IMAGES), kind="deletion", steps=3),
    "compare_curves": lambda net, x: metrics.compare_curves(net, x, {"a": maps(x)}, steps=3),
    "compare_interventions": lambda net, x: metrics.compare_interventions(net, x, LABELS),
    "randomisation_check": lambda net, x: metrics.randomisation_check(net, x, layers=["classifiers"], **PC),
    "parameter_layers": lambda net, x: metrics.parameter_layers(net, x),
    "sensitivity": lambda net, x: metrics.sensitivity(net, x, methods={"a": PC}, radius=0.1, samples=1),
    "fgsm": lambda net, x: metrics.fgsm(net, x, LABELS, epsilon=0.1),
    "fgsm_robustness": lambda net, x: metrics.fgsm_robustness(net, x, LABELS, methods={"a": PC}, epsilons=[0.1]),
    "evaluate": lambda net, x: training.evaluate(net, DIGITS),
    "look_at": lambda net, x: look_at(net, DIGITS.images[0], mean=DIGITS.mean, std=DIGITS.std),
    "swap_explorer": lambda net, x: widgets.swap_explorer({"a": net}, DIGITS, shown=2).frames[0].text,
}


def values(result):
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)], [
        leaf for leaf in tree_leaves(result) if not isinstance(leaf, torch.Tensor)
    ]


@pytest.mark.parametrize("name", CALLS)
def test_a_model_on_a_gpu_answers_for_pictures_anywhere_as_on_a_cpu(name):
    kind = "gap" if name == "explain, cam" else "pc"
    expected, others = values(CALLS[name](network(kind, "cpu"), IMAGES))
    with gpu():
        net = network(kind, "cuda")
        assert all(p.is_cuda for p in net.parameters())
        for images in (IMAGES, IMAGES.to("cuda")):
            found, rest = values(CALLS[name](net, images))
            back = images.device if name not in ("evaluate", "look_at", "swap_explorer") else torch.device("cpu")
            assert {part.device for part in found} <= {back}
            assert all(torch.allclose(a.cpu(), b, atol=1e-6) for a, b in zip(found, expected, strict=True))
            assert rest == pytest.approx(others, nan_ok=True) if name != "map_layers" else rest == others
        assert all(p.is_cuda and p.grad is None for p in net.parameters())


@pytest.mark.parametrize("kind", ["hard", "random", "gumbel", "straight_through", "transformer", "glimpses"])
def test_hard_attention_looks_and_learns_on_a_gpu(kind):
    config = HardConfig(kind=kind, options={"hidden": 8} if kind == "glimpses" else {"channels": 4})
    with torch.random.fork_rng(), gpu():
        torch.manual_seed(0)
        net, images, labels = build_model(config, 10).to("cuda"), IMAGES.to("cuda"), LABELS.to("cuda")
        seen = hard.look(net, images, config, torch.Generator().manual_seed(0))
        loss, reward = hard.loss_of(seen, labels, config)
        loss.backward()
        assert {part.device.type for part in (loss, reward, seen.logits)} == {"cuda"}
        assert all(p.grad.is_cuda for p in net.parameters() if p.grad is not None)
        scores = hard.score(net, DIGITS, config)
    assert scores.keys() >= {"accuracy"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_figures_and_scores_of_what_a_gpu_gives(dtype):
    with gpu(), torch.no_grad():
        net, images = network("pc", "cuda"), IMAGES.to("cuda")
        with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
            output = net.attend(images)
        assert output.logits.dtype == dtype
        assert {a.weights.dtype for a in output.attended} == {torch.float32}
        low = [a.weights.to(dtype) for a in output.attended]
        figure = mpl.figure.Figure()
        plotting.attention_figure(IMAGES[0].to("cuda"), output, mean=DIGITS.mean, std=DIGITS.std, figure=figure)
        plotting.map_grid(DIGITS.images.to("cuda"), low, boxes=DIGITS.boxes.to("cuda"), figure=mpl.figure.Figure())
        plotting.overlay(figure.add_subplot(), DIGITS.images[0].to("cuda"), low[0][0])
        plotting.show_image(figure.add_subplot(), DIGITS.images[0].to("cuda"), box=DIGITS.boxes[0].to("cuda"))
        for level in low:
            for masks in (DIGITS.masks, DIGITS.masks.to("cuda")):
                assert metrics.score_maps(level, masks).pointing.is_cuda
        rows = metrics.compare_maps({"a": low[0]}, DIGITS.masks, DIGITS.sources, images=DIGITS.images.to("cuda"))
        assert len(rows) == 6


# --- the double itself ------------------------------------------------------------------------------------------------


def test_the_pretended_gpu_refuses_what_a_gpu_refuses():
    here = torch.ones(2)
    with gpu() as waits:
        there = here.to("cuda")
        assert (there.device, there.is_cuda, type(there + 1), (there + here.sum()).is_cuda) == (
            torch.device("cuda", 0),
            True,
            OnGPU,
            True,
        )
        for mixed in (lambda: there + here, lambda: torch.cat([there, here]), lambda: here[there.long()]):
            with pytest.raises(RuntimeError, match=r"at least two devices|index from"):
                mixed()
        with pytest.raises(TypeError, match="can't convert cuda:0"):
            there.numpy()
        with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
            torch.rand(2, device="cuda", generator=torch.Generator())
        waits.clear()
        there.add_(1)
        assert waits.total() == 0
        assert (there.sum().item(), len(there[there > 0]), torch.zeros(2, device="cuda").tolist()) == (4, 2, [0, 0])
        assert waits.total() == 3
    assert not isinstance(torch.ones(2), OnGPU)
