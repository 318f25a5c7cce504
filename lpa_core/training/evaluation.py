"""Accuracy and loss of a model on a set of pictures."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._utils.device import device_of, pick_device, true_float32
from .._utils.modes import evaluating
from ..data.batches import Batches
from ..data.image_set import ImageSet
from ..metrics import box_masks, pointing_game
from ..models.classifier import AttentionClassifier
from .sets import check_labels


@torch.no_grad()
def evaluate(
    model: nn.Module, image_set: ImageSet, *, batch_size: int = 500, device: str | torch.device | None = None
) -> dict[str, Any]:
    """``{"accuracy", "loss", "n"}`` of ``model`` on ``image_set``: top-1, mean cross-entropy, number of pictures.

    In evaluation mode (each module's own mode is put back), and in float32 unless the caller is under ``autocast``.
    ``device`` moves the model there; by default it stays where it is.

    Raises: ValueError when the model has not one class per class of the set, or the set has two labels a picture.
    """
    check_labels(image_set)
    if device is not None:
        model.to(pick_device(device))
    device = device_of(model)
    batches = Batches(image_set, batch_size, shuffle=False, drop_last=False, device=device)
    totals = torch.zeros(2, device=device)
    with evaluating(model):
        for images, labels in batches:
            logits = model(images).float()
            if logits.shape[1] != len(image_set.classes):
                raise ValueError(
                    f"model has {logits.shape[1]} classes, {image_set.name} has {len(image_set.classes)}; "
                    f"evaluate it on the data it was trained for"
                )
            loss = F.cross_entropy(logits, labels, reduction="sum")
            totals += torch.stack([loss, (logits.argmax(dim=1) == labels).sum()])
    loss, correct = totals.tolist()
    return {"accuracy": correct / len(image_set), "loss": loss / len(image_set), "n": len(image_set)}


@torch.no_grad()
def final_scores(model: AttentionClassifier, image_set: ImageSet) -> dict[str, Any]:
    """``evaluate`` in float32 with all its bits, and the pointing game of each level's map where the place is known.

    The pointing game is there where the set has masks and boxes. A compiled model runs uncompiled: it was compiled
    for training's precision.
    """
    with true_float32(), torch.compiler.set_stance("force_eager"):
        scores = evaluate(model, image_set)
        if image_set.masks is None or image_set.boxes is None or not model.estimators:
            return scores
        parts: list[list[Tensor]] = []
        for start in range(0, len(image_set), 500):
            images = image_set.float_images(slice(start, start + 500)).to(device_of(model))
            parts.append([a.weights.to(image_set.images.device) for a in model.attend(images).attended])
    maps = [torch.cat(level) for level in zip(*parts, strict=True)]
    boxes = box_masks(image_set.boxes, (image_set.images.shape[2], image_set.images.shape[3]))
    scores["pointing_game"] = {
        where: [pointing_game(level, masks).nanmean().item() for level in maps]
        for where, masks in (("box", boxes), ("ink", image_set.masks))
    }
    return scores
