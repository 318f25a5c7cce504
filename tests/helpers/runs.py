"""A finished run and records that hang together. For tests only."""

import copy
import json

from recorded.runs import digest

from lpa_core.training.config import TrainConfig
from lpa_core.training.run import train

CONFIG = TrainConfig(
    data="digits", model={"builder": "small_attention_net"}, epochs=2, batch_size=32, lr=0.05, limit=64, seed=3
)


def tiny_run(folder, **options):
    """A real run of a second on 64 digits in clutter, in ``folder``."""
    command = "python -m lpa_core train --data digits --limit 64 --quiet --root /somewhere --out /else/where"
    return train(CONFIG, folder, device="cpu", progress=False, command=command, **options)


def varied(values, *, name=None, seed=None, accuracy=None, model=None, **config):
    """A record like ``values`` of another name, seed, test accuracy or config, consistent with itself."""
    new = copy.deepcopy(values)
    new["name"] = name or new["name"]
    new["config"] |= config
    new["config"]["model"] |= model or {}
    if seed is not None:
        new["seed"] = new["config"]["seed"] = seed
    if accuracy is not None:
        new["results"]["test"]["accuracy"] = accuracy
    new["digest"] = digest(new)
    return json.loads(json.dumps(new))
