import pytest
import torch
from tiny import tiny_config, tiny_sets

from lpa_core._utils.seeding import own_random_state
from lpa_core.training.checkpoint import RunFolder
from lpa_core.training.context import Context
from lpa_core.training.processes import Ranks
from lpa_core.training.sets import Sets
from lpa_core.training.state import State, restore, snapshot

CPU = torch.device("cpu")
CONTEXT = Context(
    tiny_config(), Sets(*tiny_sets()), CPU, folder=RunFolder(None), ranks=Ranks(), info={"config": {}, "data": {}}
)


def state(channels):
    model = torch.nn.Linear(channels, 2)
    return State(model, model, torch.optim.SGD(model.parameters(), lr=0.1), torch.zeros(2))


def test_a_state_that_does_not_fit_the_code_is_refused():
    with own_random_state(CPU, 0):
        saved = snapshot(CONTEXT, state(2))
        restore(CONTEXT, state(2), saved)
        with pytest.raises(ValueError, match=r"does not fit this version of the code: .*size mismatch"):
            restore(CONTEXT, state(3), saved)
        del saved["optimiser"]
        with pytest.raises(ValueError, match="does not fit this version of the code: 'optimiser'"):
            restore(CONTEXT, state(2), saved)
