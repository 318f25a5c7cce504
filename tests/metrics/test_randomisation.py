"""Maps of randomised networks."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from lpa_core.metrics.baselines import centre_prior, random_maps
from lpa_core.metrics.likeness import similarity
from lpa_core.metrics.randomisation import parameter_layers, random_logit, randomisation_check, randomise
from lpa_core.models.builders import small_attention_net
from lpa_core.posthoc.methods import explain


def net(**options: object) -> nn.Module:
    torch.manual_seed(0)
    model = small_attention_net(4, **options).eval()
    for module in model.modules():  # as after training: norms that have seen something
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(0.1)
            module.weight.data.fill_(1.5)
    return model


def first_layer() -> str:
    """The first convolution, whatever it is called."""
    return next(name for name, module in net().named_modules() if isinstance(module, nn.Conv2d))


def pictures(n: int = 4) -> Tensor:
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_randomise_replaces_everything_from_the_generator_alone():
    model = net(compatibility="additive")
    model.estimators[0].u.data.mul_(3)
    state = torch.get_rng_state()
    once, again, other = (copy.deepcopy(model) for _ in range(3))
    randomise(once, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(77)
    mine = torch.get_rng_state()
    randomise(again, generator=torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), mine)
    torch.set_rng_state(state)
    randomise(other, generator=torch.Generator().manual_seed(6))
    for name, value in model.state_dict().items():
        if value.is_floating_point() and value.numel() > 1 and value.std() > 0:
            assert not torch.equal(once.state_dict()[name], value), name
        assert torch.equal(once.state_dict()[name], again.state_dict()[name]), name
    assert not torch.equal(once.get_submodule(first_layer()).weight, other.get_submodule(first_layer()).weight)
    norms = [module for module in once.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(norm.running_mean.abs().max() == 0 and (norm.weight == 1).all() for norm in norms)
    size = (once.estimators[0].u.square().mean() / model.estimators[0].u.square().mean()).sqrt().item()
    assert 0.5 < size < 2


def test_randomise_without_its_children():
    model = nn.Sequential(nn.Linear(3, 3))
    model.own = nn.Parameter(torch.tensor([3.0, 4.0, 0.0]))
    before = copy.deepcopy(model.state_dict())
    randomise(model, generator=torch.Generator().manual_seed(0), recurse=False)
    assert torch.equal(model[0].weight, before["0.weight"])
    assert not torch.equal(model.own, before["own"])
    randomise(model, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(model[0].weight, before["0.weight"])


def test_layers_are_listed_from_the_top_down_in_order_of_execution():
    class Reordered(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.idle, self.first = nn.Linear(3, 2), nn.Linear(1, 1), nn.Conv2d(3, 3, 1)
            self.second = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 1))
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, images):
            return self.fc(self.second(self.first(images)).mean((2, 3))) * self.scale

    model, images = Reordered(), pictures()
    assert parameter_layers(model, images) == ("idle", "", "fc", "second.1", "first")
    # The model's own parameter is a layer too, and its row does not stand for the whole model.
    rows = randomisation_check(model, images, 0, method="hirescam", mode="independent")
    assert [row.name for row in rows[:3]] == ["idle", "Reordered", "fc"]
    assert rows[1].spearman_absolute.mean == pytest.approx(1)
    assert rows[3].spearman_absolute.mean < 0.99


def test_layers_of_our_network():
    order = parameter_layers(net(), pictures())
    assert order[0] == "classifiers.0"
    assert order[-1] == first_layer()
    assert order.index("estimators.2") < order.index("estimators.0") < order.index(first_layer())
    assert len(order) == len(set(order))


@pytest.mark.parametrize("mode", ["cascading", "independent"])
def test_the_check_is_what_doing_it_by_hand_gives(mode):
    model, images, layers = net(), pictures(), ["classifiers", "trunk", first_layer()]
    trained = explain(model, images, 2, method="saliency")
    generator, changed, expected = torch.Generator().manual_seed(9), copy.deepcopy(model), []
    for name in layers:
        if mode == "independent":
            changed = copy.deepcopy(model)
        randomise(changed.get_submodule(name), generator=generator)
        expected.append(similarity(name, trained, explain(changed, images, 2, method="saliency"), seed=9))
    rows = randomisation_check(model, images, 2, method="saliency", mode=mode, layers=layers, seed=9)
    assert rows[:3] == tuple(expected)
    assert [row.name for row in rows[3:]] == ["random map", "centre prior"]
    assert [row.baseline for row in rows] == [False] * 3 + [True] * 2
    noise = random_maps(4, (16, 16), seed=9)
    assert rows[3] == similarity("random map", trained, noise, baseline=True, seed=9)
    assert rows[4] == similarity("centre prior", trained, centre_prior(4, (16, 16)), baseline=True, seed=9)
    assert all(abs(row.spearman.mean) < 0.9 for row in rows)


def test_the_empty_name_randomises_the_whole_network_at_once():
    model, images = net(), pictures()
    changed = copy.deepcopy(model)
    randomise(changed, generator=torch.Generator().manual_seed(2))
    expected = similarity(
        "AttentionClassifier",
        explain(model, images, 2, method="hirescam"),
        explain(changed, images, 2, method="hirescam"),
        seed=2,
    )
    rows = randomisation_check(model, images, 2, method="hirescam", layers=[""], seed=2)
    assert rows[0] == expected
    assert [row.name for row in rows[1:]] == ["random map", "centre prior"]


def test_the_class_explained_stays_that_of_the_trained_network():
    model, images = net(), pictures(8)
    predicted = model(images).argmax(dim=1)
    options = {"method": "hirescam", "layers": ["trunk"], "seed": 1}
    assert randomisation_check(model, images, **options) == randomisation_check(model, images, predicted, **options)
    other = randomisation_check(model, images, (predicted + 1) % 4, **options)
    assert other != randomisation_check(model, images, **options)


def test_a_layer_may_be_given_as_a_module():
    model, images = net(), pictures()
    options = {"method": "hirescam", "layers": ["trunk"]}
    by_name = randomisation_check(model, images, 1, layer=first_layer(), **options)
    assert randomisation_check(model, images, 1, layer=model.get_submodule(first_layer()), **options) == by_name
    assert by_name != randomisation_check(model, images, 1, **options)


def test_all_layers_by_default_and_idle_ones_change_nothing():
    model, images = net(), pictures()
    rows = randomisation_check(model, images, method="attention", mode="independent", level=0)
    names = [row.name for row in rows[:-2]]
    assert names == list(parameter_layers(model, images))
    by_name = {row.name: row.spearman.mean for row in rows}
    assert by_name["classifiers.0"] == pytest.approx(1)  # after the map: the trained map cannot see it
    assert by_name["estimators.0.project_global.3"] > 0.999  # pc with softmax: g cancels
    assert by_name["estimators.0"] < 0.9
    cascade = randomisation_check(model, images, method="attention", level=0)
    assert cascade[len(names) - 1].name == first_layer()
    assert abs(cascade[len(names) - 1].spearman.mean) < 0.9


def test_a_trained_map_is_checked_without_a_class():
    model, images = net(), pictures()
    options = {"method": "attention", "layers": ["trunk"], "level": 1}
    assert randomisation_check(model, images, 1, **options) == randomisation_check(model, images, **options)


def test_constant_maps_are_left_out_and_counted():
    rows = randomisation_check(net(compatibility="uniform"), pictures(), method="attention", layers=["trunk"])
    assert rows[0].spearman.left_out == 4
    assert math.isnan(rows[0].spearman.mean)


def test_the_model_and_the_random_state_are_left_alone():
    model, images = net().train(), pictures()
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    randomisation_check(model, images, method="grad_cam", layers=["trunk", "classifiers"])
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert all(m.training for m in model.modules())
    assert torch.equal(torch.get_rng_state(), rng)


def test_a_compiled_model_can_be_checked():
    # Not our own network: the shape checks that the tests turn on do not compile.
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 4)]
    model, images = nn.Sequential(*layers).eval(), pictures()
    options = {"method": "saliency", "layers": ["0"]}
    expected = randomisation_check(model, images, 0, **options)
    model.compile(backend="eager")
    model(images)
    assert randomisation_check(model, images, 0, **options) == expected


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "both"}, "mode must be one of 'cascading', 'independent'; got 'both'"),
        ({"layers": ["trunk", "layer4"]}, "layers must be modules with parameters, classifiers.*; got layer4"),
        ({"layers": ["prepare.0.1"]}, "got prepare.0.1"),
        ({"method": "lime"}, "method must be one of occlusion.*; got 'lime'"),
        ({"targets": 4}, "below the model's 4 classes"),
        ({"images": torch.full((2, 3, 16, 16), torch.nan)}, "images must be finite"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        randomisation_check(**{"model": net(), "images": pictures(), "method": "saliency", **arguments})


def test_the_map_of_another_class_is_told_from_a_map_that_is_the_same_for_all():
    def same(model, images, targets):
        return images.abs().sum(dim=1)

    torch.manual_seed(0)
    model = small_attention_net(4).eval()
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    row, *baselines = random_logit(model, images, method=same)
    assert row.spearman.mean == pytest.approx(1.0)
    assert [one.name for one in baselines] == ["random map", "centre prior"]
    row, *_ = random_logit(model, images, [0, 1, 2], method="hirescam")
    assert row.spearman.mean < 0.999
    with pytest.raises(ValueError, match="method must explain a class; attention gives one map for all"):
        random_logit(model, images, method="attention")
