"""What a map is worth: where it points, what it changes, whether it depends on the network at all."""

from .baselines import blur, blurred_brightness, centre_prior, edge_maps, random_maps, uniform_maps
from .confidence import ConfidenceChange, ConfidenceRow, compare_confidence, confidence_change
from .grid import grid_pointing_game
from .insertion_deletion import Curve, CurveRow, compare_curves, curve, pixel_ranks, replacement, with_baselines
from .intervals import Interval, cluster_interval
from .interventions import Change, Intervention, compare_interventions, intervened
from .likeness import Similarity, compare_with_baselines, similarity, spearman, ssim
from .localisation import (
    MapScores,
    box_masks,
    energy_in_mask,
    enlarge,
    iou,
    pointing_game,
    relevance_rank_accuracy,
    score_maps,
)
from .randomisation import parameter_layers, random_logit, randomisation_check, randomise
from .road import remove_and_debias
from .robustness import FGSMRow, SensitivityRow, fgsm, fgsm_robustness, sensitivity
from .tables import Row, best_level, by_layer, compare_maps

__all__ = [
    "Change",
    "ConfidenceChange",
    "ConfidenceRow",
    "Curve",
    "CurveRow",
    "FGSMRow",
    "Interval",
    "Intervention",
    "MapScores",
    "Row",
    "SensitivityRow",
    "Similarity",
    "best_level",
    "blur",
    "blurred_brightness",
    "box_masks",
    "by_layer",
    "centre_prior",
    "cluster_interval",
    "compare_confidence",
    "compare_curves",
    "compare_interventions",
    "compare_maps",
    "compare_with_baselines",
    "confidence_change",
    "curve",
    "edge_maps",
    "energy_in_mask",
    "enlarge",
    "fgsm",
    "fgsm_robustness",
    "grid_pointing_game",
    "intervened",
    "iou",
    "parameter_layers",
    "pixel_ranks",
    "pointing_game",
    "random_logit",
    "random_maps",
    "randomisation_check",
    "randomise",
    "relevance_rank_accuracy",
    "remove_and_debias",
    "replacement",
    "score_maps",
    "sensitivity",
    "similarity",
    "spearman",
    "ssim",
    "uniform_maps",
    "with_baselines",
]
