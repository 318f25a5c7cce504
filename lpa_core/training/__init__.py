"""Training: a config, the loop, a run that can be killed and continued, many runs."""

from .config import Schedule, TrainConfig
from .evaluation import evaluate
from .loop import State, cutmix, fit, learning_rate, one_cycle, update_average
from .presets import PRESETS, preset
from .run import Run, train
from .sets import Sets, load_sets
from .sweeps import SWEEPS, VARIANTS, Job, Swept, combined, named, sweep
from .watch import TimeUp

__all__ = [
    "PRESETS",
    "SWEEPS",
    "VARIANTS",
    "Job",
    "Run",
    "Schedule",
    "Sets",
    "State",
    "Swept",
    "TimeUp",
    "TrainConfig",
    "combined",
    "cutmix",
    "evaluate",
    "fit",
    "learning_rate",
    "load_sets",
    "named",
    "one_cycle",
    "preset",
    "sweep",
    "train",
    "update_average",
]
