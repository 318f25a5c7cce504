"""How fast pictures come: digits in clutter made, and batches cut, beside torchvision's usual way of cutting them."""

import time
from collections.abc import Callable, Iterable, Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks import Row
from lpa_core.data.batches import Batches
from lpa_core.data.digits import digits_in_clutter
from lpa_core.data.image_set import ImageSet

PICTURES, BATCH, REPEATS = 10_000, 128, 3
CROP, WORKERS = 4, 2


def noise(n: int = PICTURES) -> ImageSet:
    """Pictures of CIFAR's size, 32 x 32."""
    images = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(n) % 10
    return ImageSet("noise", "train", images, labels, tuple("0123456789"), (0.5,) * 3, (0.25,) * 3, "none")


class Transformed(Dataset[tuple[torch.Tensor, int]]):
    """The same pictures for a DataLoader: crop, flip and normalise one at a time with torchvision's transforms."""

    def __init__(self, pictures: ImageSet) -> None:
        from torchvision.transforms import v2

        self.pictures = pictures
        self.transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=CROP, padding_mode="reflect"),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(pictures.mean, pictures.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pictures.images[index]), int(self.pictures.labels[index])


def rate(work: Callable[[], int], repeats: int = REPEATS) -> int:
    """Pictures a second, the best of several times: what the machine can do when nothing else asks for it."""
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        best = max(best, work() / (time.perf_counter() - start))
    return round(best)


def count(batches: Iterable[list[torch.Tensor] | tuple[torch.Tensor, torch.Tensor]]) -> int:
    return sum(len(images) for images, _ in batches)


def run() -> Iterator[Row]:
    digits_in_clutter(1)  # the first call reads the digits and enlarges them
    made = rate(lambda: len(digits_in_clutter(PICTURES, split="train", seed=1)))
    yield Row("digits in clutter, made", made, "images/s", "40x40")
    made = rate(lambda: len(digits_in_clutter(PICTURES, split="train", seed=1, digits=2)))
    yield Row("digits in clutter, two digits, made", made, "images/s", "40x40")

    pictures = noise()
    for channels_last in (False, True):
        batches = Batches(pictures, BATCH, crop=CROP, flip=True, channels_last=channels_last)
        layout = "channels last" if channels_last else "channels first"
        yield Row(f"batches, crop and flip, {layout}", rate(lambda b=batches: count(b)), "images/s", f"32x32, {BATCH}")
    if torch.cuda.is_available():
        batches = Batches(pictures, BATCH, crop=CROP, flip=True, device="cuda", channels_last=True)

        def on_gpu() -> int:
            seen = count(batches)
            torch.cuda.synchronize()
            return seen

        yield Row("batches, crop and flip, GPU", rate(on_gpu), "images/s", f"32x32, {BATCH}")

    with torch.random.fork_rng():  # a DataLoader draws its seed from the global state
        loader = DataLoader(
            Transformed(pictures), BATCH, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True
        )
        count(loader)  # the workers start
        note = f"32x32, {BATCH}, {WORKERS} workers"
        yield Row("torch DataLoader with torchvision, crop and flip", rate(lambda: count(loader)), "images/s", note)
