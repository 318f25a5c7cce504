"""Hard attention: one window, chosen; REINFORCE, relaxations of the choice, several glimpses, and the experiment."""

from .experiment import HardRun, record, train_hard
from .glimpses import GlimpseOutput, RecurrentAttention, patch_boxes
from .kinds import KINDS, HardConfig, Look, build_model, look, loss_of
from .model import CropPolicy, HardAttention, HardOutput, window_classifier
from .reinforce import Choice, choose, reinforce_loss
from .relaxations import expected_corner, gumbel_softmax, mix_windows, straight_through, transformer_crop
from .scoring import cost, score
from .windows import box_iou, crop, grid, heaviest_window, saliency, window_boxes

__all__ = [
    "KINDS",
    "Choice",
    "CropPolicy",
    "GlimpseOutput",
    "HardAttention",
    "HardConfig",
    "HardOutput",
    "HardRun",
    "Look",
    "RecurrentAttention",
    "box_iou",
    "build_model",
    "choose",
    "cost",
    "crop",
    "expected_corner",
    "grid",
    "gumbel_softmax",
    "heaviest_window",
    "look",
    "loss_of",
    "mix_windows",
    "patch_boxes",
    "record",
    "reinforce_loss",
    "saliency",
    "score",
    "straight_through",
    "train_hard",
    "transformer_crop",
    "window_boxes",
    "window_classifier",
]
