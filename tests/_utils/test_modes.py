import pytest
import torch
from torch import nn

from lpa_core._utils.modes import evaluating, undisturbed


class Frozen(nn.Linear):
    """Stays in eval mode whatever it is told."""

    def train(self, mode=True):
        return super().train(False)


class Folding(nn.Module):
    """Folds its factor into its weight for eval and out of it for training, as low-rank adapters do."""

    def __init__(self):
        super().__init__()
        self.weight, self.folded = nn.Parameter(torch.ones(2)), False

    def train(self, mode=True):
        if self.folded == mode:
            self.weight.data *= 0.5 if mode else 2.0
            self.folded = not mode
        return super().train(mode)


@pytest.mark.parametrize("way", [evaluating, undisturbed])
def test_every_module_is_in_the_mode_that_it_was_in(way):
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), Frozen(2, 2)), Folding(), Frozen(2, 2))
    net.train()
    net[1][0].eval()
    net[3].training = True  # as no call of train() would leave it
    before = [module.training for module in net.modules()]
    assert before == [True, True, True, False, False, True, True]
    with pytest.raises(KeyError), way(net):  # noqa: PT012
        assert not any(module.training for module in net.modules())
        assert net[2].weight.tolist() == [2.0, 2.0]
        raise KeyError
    assert [module.training for module in net.modules()] == before
    assert net[2].weight.tolist() == [1.0, 1.0]
