"""lpa_core: trainable visual attention after "Learn to Pay Attention" (Jetley et al., ICLR 2018).

The names below are the public ones. Importing this package imports torch and nothing heavier: what lives in other rooms
(data, training, figures) is loaded when it is first asked for.
"""

import importlib
from typing import Any

from .attention import (
    Attended,
    AttentionEstimator,
    additive_scores,
    attend,
    dot_scores,
    parametrised_scores,
    uniform_scores,
)
from .models import (
    BUILDERS,
    AttentionClassifier,
    AttentionOutput,
    Features,
    Trunk,
    attend_to,
    attention_maps,
    attention_resnet164,
    attention_vgg,
    build,
    node_shapes,
    photo_attention_net,
    resnet164,
    small_attention_net,
    vgg,
    vgg_gap,
    vgg_pan,
)

__version__ = "0.1.0"

# Loaded on first use: public name -> the room it lives in.
_LATER = {
    name: room
    for room, names in {
        "data": ("Batches", "ImageSet", "digits_in_clutter", "load", "normalise", "read_picture"),
        "metrics": (
            "best_level",
            "box_masks",
            "cluster_interval",
            "energy_in_mask",
            "enlarge",
            "iou",
            "pointing_game",
            "score_maps",
        ),
        "look": ("Look", "look_at"),
        "models": ("Trained", "available", "load_weights", "save_weights"),
        "posthoc": ("explain",),
        "training": ("PRESETS", "TrainConfig", "evaluate", "preset", "train"),
        "plotting": ("attention_figure", "map_grid", "overlay"),
        "widgets": ("live", "maps_explorer", "quiz", "swap_explorer", "temperature_explorer", "window_explorer"),
    }.items()
    for name in names
}

__all__ = [
    "BUILDERS",
    "Attended",
    "AttentionClassifier",
    "AttentionEstimator",
    "AttentionOutput",
    "Features",
    "Trunk",
    "additive_scores",
    "attend",
    "attend_to",
    "attention_maps",
    "attention_resnet164",
    "attention_vgg",
    "build",
    "dot_scores",
    "node_shapes",
    "parametrised_scores",
    "photo_attention_net",
    "resnet164",
    "small_attention_net",
    "uniform_scores",
    "vgg",
    "vgg_gap",
    "vgg_pan",
    *_LATER,
]


def __getattr__(name: str) -> Any:
    """Load what lives upstairs. Kept afterwards, so the second use is a plain look-up."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
