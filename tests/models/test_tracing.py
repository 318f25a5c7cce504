"""Reading a network by the names of its modules, and taking the part that leads to some of them."""

import copy
import pickle
import re

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lpa_core.models.tracing import first_channels, input_side, node_shapes, part_of, trial_run


class Net(nn.Module):
    """Two blocks, an in-place ReLU after the first, a classifier."""

    def __init__(self, *, between: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.between = between or nn.Identity()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 4, 3, stride=2), nn.ReLU()), nn.Conv2d(4, 6, 1)])
        self.unused = nn.Linear(3, 3)
        self.classifier = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.act(self.norm(self.stem(x))))
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean((2, 3)))


class FunctionalDropout(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = functional.dropout(self.stem(x), training=self.training)
        return self.blocks[0](x)


class Choosing(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.blocks[0](x if x.sum() > 0 else -x)


class Changing(Net):
    """What the second block gives depends on how often the network ran."""

    def forward(self, x: Tensor) -> Tensor:
        self.count = getattr(self, "count", 0) + 1
        return self.blocks[0](self.stem(x) * self.count)


class Twice(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.act(self.stem(x))))


def made(kind: type[Net] = Net, **options: object) -> Net:
    torch.manual_seed(0)
    return kind(**options).eval()


def pictures() -> Tensor:
    return torch.randn(3, 2, 12, 12, generator=torch.Generator().manual_seed(0))


def test_node_shapes_lists_what_every_module_gives_in_running_order():
    assert node_shapes(made(), input_size=12) == {
        "stem": (4, 12, 12),
        "norm": (4, 12, 12),
        "act": (4, 12, 12),
        "between": (4, 12, 12),
        "blocks.0.0": (4, 5, 5),
        "blocks.0.1": (4, 5, 5),
        "blocks.0": (4, 5, 5),
        "blocks.1": (6, 5, 5),
        "classifier": (5,),
    }


def test_the_trial_run_counts_calls_and_leaves_nothing_behind():
    network = made(Twice).train()
    network.norm.eval()
    modes, state = [m.training for m in network.modules()], copy.deepcopy(network.state_dict())
    table = trial_run(network, 12)
    assert table["act"].calls == 2
    assert table["stem"].calls == 1
    assert table[""].shape == (4, 12, 12)
    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(m._forward_hooks for m in network.modules())


def test_the_trial_run_keeps_what_a_later_step_overwrites():
    network = made()
    kept = {"norm": torch.empty(0)}
    trial_run(network, 12, keep=kept)
    assert kept["norm"].min() < 0  # the in-place ReLU comes after


def test_a_failing_trial_run_is_named_and_leaves_no_hook():
    network = made()
    with pytest.raises(ValueError, match=r"Net must run on a picture of noise, \(2, 1, 1\), .* give input_size"):
        trial_run(network, 1)
    assert not any(m._forward_hooks for m in network.modules())


def test_a_fault_in_the_user_s_forward_is_shown_where_it_is():
    class Faulty(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.stem(x).misspelt

    first = re.escape("Faulty must run on a picture of noise, (2, 12, 12), to show its modules; it raised ")
    place = r"AttributeError in test_tracing\.py, line \d+: 'Tensor' object has no attribute 'misspelt'\. If"
    with pytest.raises(ValueError, match=first + place):
        trial_run(made(Faulty), 12)


def test_the_picture_s_size_and_channels_come_from_the_model():
    network = made()
    assert first_channels(network) == 2
    assert first_channels(nn.Linear(2, 2)) == 3
    assert input_side(network) == 224
    assert input_side(network, 12) == 12
    network.image_size = 20
    assert input_side(network) == 20
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match="input_size must be a whole number of at least 1; got 0"):
            input_side(network, 0)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    "wanted", [["blocks.0"], ["stem", "blocks.1"], ["norm", "blocks.0.0"], ["act", "blocks.0", "act"]]
)
def test_the_part_gives_what_the_model_gives_there(wanted):
    network = made()
    true = {name: torch.empty(0) for name in wanted}
    handles = [
        module.register_forward_hook(lambda _m, _i, output, name=name: true.update({name: output.clone()}))
        for name, module in network.named_modules()
        if name in wanted
    ]
    network(pictures())
    for handle in handles:
        handle.remove()
    got = part_of(network, wanted, 12)(pictures())
    assert set(got) == set(wanted)
    for name in wanted:
        torch.testing.assert_close(got[name], true[name])
    assert wanted != ["norm", "blocks.0.0"] or got["norm"].min() < 0  # cloned before the in-place ReLU


def test_the_part_is_a_copy_that_holds_only_what_it_uses():
    network = made()
    part = part_of(network, ["blocks.0"], 12)
    names = {name for name, _ in part.named_parameters()}
    assert names == {f"{m}.{p}" for m in ("stem", "norm", "blocks.0.0") for p in ("weight", "bias")}
    with torch.no_grad():
        part.stem.weight.zero_()
    assert network.stem.weight.abs().max() > 0


def test_the_part_can_be_copied_and_pickled():
    part = part_of(made(), ["stem", "blocks.0"], 12)
    for twin in (copy.deepcopy(part), pickle.loads(pickle.dumps(part))):
        assert all(
            torch.equal(one, other)
            for one, other in zip(twin(pictures()).values(), part(pictures()).values(), strict=True)
        )
        assert list(twin.state_dict()) == list(part.state_dict())


def test_blocks_stay_the_modules_they_were():
    part = part_of(made(), ["blocks.0"], 12)
    assert isinstance(part.get_submodule("blocks.0"), nn.Sequential)
    seen = []
    part.get_submodule("blocks.0").register_forward_hook(lambda *_: seen.append(True))
    part(pictures())
    assert seen == [True]


def test_a_step_inside_a_block_may_do_what_tracing_cannot_follow():
    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = functional.dropout(x, 0.5, training=self.training)
            return x if x.sum() > 0 else x - 1

    network = made(between=Inner())
    part = part_of(network, ["blocks.1"], 12)
    logits = network.classifier(part.eval()(pictures())["blocks.1"].mean((2, 3)))
    torch.testing.assert_close(logits, network(pictures()))
    assert not torch.equal(part.train()(pictures())["blocks.1"], part.eval()(pictures())["blocks.1"])


def test_a_part_that_stays_in_eval_mode_may_take_another_way_in_train_mode():
    network = made(FunctionalDropout)
    part = part_of(network, ["blocks.0"], 12, train_too=False).eval()
    expected = []
    network.blocks[0].register_forward_hook(lambda _m, _i, output: expected.append(output))
    network(pictures())
    torch.testing.assert_close(part(pictures())["blocks.0"], expected[0])


WRONG = {
    "way depends on the mode": (
        FunctionalDropout,
        r"same way .* in train and eval mode; .* FunctionalDropout depends on .* hold it and run whole \(blocks\)",
    ),
    "way depends on the data": (
        Choosing,
        r"traceable by torch.fx down to its nodes blocks.0; Choosing raised TraceError",
    ),
    "another answer": (Changing, r"nodes must give the same in a part .*; blocks.0 of Changing do not"),
}


@pytest.mark.parametrize(("kind", "message"), WRONG.values(), ids=WRONG)
def test_a_network_whose_part_would_be_something_else_is_refused(kind, message):
    network = made(kind).train()
    network.norm.eval()
    modes = [m.training for m in network.modules()]
    with pytest.raises(ValueError, match=message):
        part_of(network, ["blocks.0"], 12)
    assert [m.training for m in network.modules()] == modes
