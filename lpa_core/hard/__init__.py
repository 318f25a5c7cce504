"""Hard attention: one window, chosen; REINFORCE, relaxations of the choice, several glimpses, and the experiment."""

from .experiment import HardRun, record, train_hard
from .glimpses import GlimpseOutput, RecurrentAttention, patch_boxes
from .kinds import KINDS, HardConfig, HardKind, build_model, look, loss_of
from .model import CropPolicy, HardAttention, HardOutput, window_classifier
from .reinforce import Choice, choose, reinforce_loss
from .relaxations import expected_corner, gumbel_softmax, mix_windows, straight_through, transformer_crop
from .scoring import cost, score
from .seen import Seen, loss_and_rewards
from .windows import box_iou, crop, every_window, grid, heaviest_window, window_boxes, window_saliency

__all__ = [
    "KINDS",
    "Choice",
    "CropPolicy",
    "GlimpseOutput",
    "HardAttention",
    "HardConfig",
    "HardKind",
    "HardOutput",
    "HardRun",
    "RecurrentAttention",
    "Seen",
    "box_iou",
    "build_model",
    "choose",
    "cost",
    "crop",
    "every_window",
    "expected_corner",
    "grid",
    "gumbel_softmax",
    "heaviest_window",
    "look",
    "loss_and_rewards",
    "loss_of",
    "mix_windows",
    "patch_boxes",
    "record",
    "reinforce_loss",
    "score",
    "straight_through",
    "train_hard",
    "transformer_crop",
    "window_boxes",
    "window_classifier",
    "window_saliency",
]
