import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import tiny_config, tiny_set

from lpa_core import models
from lpa_core._utils.seeding import own_random_state
from lpa_core.data.batches import Batches
from lpa_core.models.weights import load_weights
from lpa_core.training.loop import cross_entropy, cutmix, decay_groups, learning_rate, update_average
from lpa_core.training.processes import Ranks, joined

pytestmark = pytest.mark.usefixtures("one_thread")
REPOSITORY = Path(__file__).parents[2]
CONFIG = {"model": {"builder": "small_attention_net"}, "epochs": 2, "crop": 2, "cutmix": 0.5}  # no dropout

TRAIN = """
import sys
sys.path[:0] = ["tests/helpers", "tests/training"]
import torch
torch.set_num_threads(1)
from lpa_core.training import train
from tiny import tiny_config, tiny_sets
from test_processes import CONFIG
run = train(tiny_config(**CONFIG), sys.argv[1], sets=tiny_sets(), device="cpu", progress=True, checkpoint_seconds=1e-9,
            resume=True)
"""


def torchrun(folder, script):
    file = folder / "script.py"
    file.write_text(script)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(file)]
    done = subprocess.run(
        [*launch, str(folder / "run")], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def accumulated(config):
    """One process that takes each batch in two halves; the buffers are those that the first half leaves."""
    device = torch.device("cpu")
    with own_random_state(device, config.seed):
        model = models.build({**config.model, "num_classes": 3, "in_channels": 3})
    model.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model)
    optimiser = torch.optim.SGD(decay_groups(model, config), lr=config.lr, momentum=0.9, nesterov=True)
    options = {"seed": config.seed, "crop": config.crop, "flip": config.flip, "channels_last": True}
    halves = [Batches(tiny_set(), config.batch_size, part=(i, 2), **options) for i in range(2)]
    losses = []
    model.train()
    for epoch in range(config.epochs):
        for batch, pair in enumerate(zip(*(half.epoch(epoch) for half in halves), strict=True)):
            step = epoch * len(halves[0]) + batch
            optimiser.param_groups[0]["lr"] = optimiser.param_groups[1]["lr"] = learning_rate(config, step, 4)
            optimiser.zero_grad()
            for i, (images, labels) in enumerate(pair):
                buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
                images, wanted = cutmix(images, labels, config, step)
                loss = cross_entropy(model(images), wanted, config) / 2
                loss.backward()
                losses.append(loss.item())
                if i:
                    for name, buffer in model.named_buffers():
                        buffer.copy_(buffers[name])
            optimiser.step()
            update_average(average, model, config.ema, step)
    return average, losses


def test_two_ranks_equal_one_process_that_accumulates(tmp_path):
    done = torchrun(tmp_path, TRAIN)
    assert done.stderr.count("8/8") >= 1
    found, expected = load_weights(tmp_path / "run").model.state_dict(), accumulated(tiny_config(**CONFIG))
    for name, tensor in expected[0].state_dict().items():
        assert torch.allclose(found[name].double(), tensor.double(), rtol=0, atol=1e-6), name
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    for epoch, entry in enumerate(history):  # the metrics are of both ranks' pictures
        assert entry["train_loss"] == pytest.approx(sum(expected[1][8 * epoch : 8 * epoch + 8]) / 4, abs=1e-6)
        assert (entry["train_accuracy"] * 32) % 1 == 0


def test_the_parts_of_a_batch_are_the_batch():
    whole = Batches(tiny_set(), 8, seed=1, crop=2, flip=True)
    parts = [Batches(tiny_set(), 8, seed=1, crop=2, flip=True, part=(i, 4)) for i in range(4)]
    for (images, labels), *pieces in zip(whole.epoch(3), *(p.epoch(3) for p in parts), strict=True):
        assert torch.equal(torch.cat([piece[0] for piece in pieces]), images)
        assert torch.equal(torch.cat([piece[1] for piece in pieces]), labels)
        assert {len(piece[1]) for piece in pieces} == {2}
    for options in ({"part": (0, 3)}, {"part": (0, 2), "drop_last": False}):
        with pytest.raises(ValueError, match="batch_size must be full batches of"):
            Batches(tiny_set(), 8, **options)


def test_alone_there_is_nothing_to_join():
    with joined(torch.device("cpu")) as ranks:
        assert ranks == Ranks(0, 1)
        value = torch.ones(2)
        assert ranks.shared(value) is value
        assert ranks.summed(value) is value
    assert not torch.distributed.is_initialized()
    assert len((REPOSITORY / "lpa_core" / "training" / "processes.py").read_text().splitlines()) < 50
