"""Tiny ImageNet in the layout of its archive, with three classes of painted pictures. For tests only."""

import numpy as np
from PIL import Image

WNIDS = ("n02", "n01", "n03")


def write_tiny_imagenet(root, *, train=10, test=2):
    """``train`` pictures of each class to train on and ``test`` to test on, under ``root``; the darkest are n02."""
    folder = root / "tiny-imagenet-200"
    rng = np.random.default_rng(0)

    def picture(path, brightness):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(rng.integers(0, 40, (64, 64, 3)) + brightness, 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(path, quality=95)

    for number, wnid in enumerate(WNIDS):
        lines = []
        for i in range(train):
            picture(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 60 * number)
            lines.append(f"{wnid}_{i}.JPEG\t{i}\t2\t{i + 20}\t63\n")
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("".join(lines))
    lines = []
    for i in range(3 * test):
        picture(folder / "val" / "images" / f"val_{i}.JPEG", 60 * (i % 3))
        lines.append(f"val_{i}.JPEG\t{WNIDS[i % 3]}\t0\t1\t9\t3\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    (folder / "words.txt").write_text("n01\tcat, felid\nn02\tcrane, bird\nn03\tcrane, machine\n")
    return root
