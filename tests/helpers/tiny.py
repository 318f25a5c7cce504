"""Picture sets and recipes so small that training takes a second. For tests only."""

import torch

from lpa_core.data.image_set import ImageSet
from lpa_core.training.config import TrainConfig

CLASSES = ("left", "right", "none")


def tiny_set(split="train", *, n=32, size=16, channels=3, seed=0):
    """Noise with a bright half: class 0 left, 1 right, 2 neither. The masks and boxes are that half."""
    chance = torch.Generator().manual_seed(seed + {"train": 0, "validation": 1, "test": 2}[split])
    images = torch.randint(0, 128, (n, channels, size, size), dtype=torch.uint8, generator=chance)
    labels = torch.arange(n) % 3
    masks = torch.zeros(n, size, size, dtype=torch.bool)
    masks[labels == 0, :, : size // 2] = True
    masks[labels == 1, :, size // 2 :] = True
    images += 100 * masks[:, None].to(torch.uint8)
    boxes = torch.tensor([0, 0, size, size]).repeat(n, 1)
    boxes[labels == 0, 3] = boxes[labels == 1, 1] = size // 2
    return ImageSet(
        name="tiny",
        split=split,
        images=images,
        labels=labels,
        classes=CLASSES,
        mean=(0.4,) * channels,
        std=(0.3,) * channels,
        checksum=f"{split} {n} {size} {channels} {seed}",
        masks=masks,
        boxes=boxes,
    )


def tiny_sets(**options):
    return tiny_set(**options), tiny_set("validation", **options), tiny_set("test", **options)


def tiny_config(**changes):
    """Dropout, crops, flips, CutMix and an average: everything that draws random numbers or has a state."""
    values = {
        "data": "tiny",
        "model": {"builder": "attention_vgg", "width": 0.02, "levels": 2},
        "epochs": 2,
        "batch_size": 8,
        "lr": 0.05,
        "label_smoothing": 0.1,
        "ema": 0.9,
        "crop": 2,
        "flip": True,
        "cutmix": 0.5,
        "seed": 5,
    }
    return TrainConfig(**{**values, **changes})
