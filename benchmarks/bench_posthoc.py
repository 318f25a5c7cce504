"""What a map costs: every method of ``explain`` on 64 pictures of 40x40, two threads, and the checks of maps.

Targets: all gradient methods but integrated gradients together within 2 s, integrated gradients within 8 s.
"""

import contextlib
import random
import statistics
import time
from collections.abc import Callable, Iterator

import torch

from benchmarks import Row
from lpa_core.metrics.insertion_deletion import curve
from lpa_core.metrics.interventions import compare_interventions as interventions
from lpa_core.metrics.randomisation import randomisation_check
from lpa_core.models.builders import small_attention_net, vgg_gap
from lpa_core.posthoc import METHODS, explain

PICTURES, SIDE, THREADS, REPEATS = 64, 40, 2, 3
SLOW = ("occlusion", "integrated_gradients", "smooth_grad", "score_cam")  # many passes for each picture


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median of ``repeats`` runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 2]


def run() -> Iterator[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            yield from _rows()
    finally:
        torch.set_num_threads(threads)


def _peers(images: torch.Tensor) -> Iterator[Row]:
    """Grad-CAM of the same layer and classes by other libraries, those that are installed, in turns with ours.

    Processor time on one thread: on a busy machine the clock on the wall measures the others.
    """
    model = small_attention_net().eval()
    layer, classes = model.trunk.stages[2], model(images).argmax(dim=1)
    works: dict[str, Callable[[], object]] = {
        "lpa_core": lambda: explain(model, images, classes, layer="trunk.stages.2")
    }
    with contextlib.suppress(ImportError):
        from captum.attr import LayerGradCam

        captums = LayerGradCam(model, layer)
        works["captum"] = lambda: captums.attribute(images, target=classes, relu_attributions=True)
    with contextlib.suppress(ImportError):
        from torchcam.methods import GradCAM

        torchcams = GradCAM(model, target_layer=layer)
        works["torch-cam"] = lambda: torchcams(classes.tolist(), model(images))
    with contextlib.suppress(ImportError):
        from pytorch_grad_cam import GradCAM as OtherGradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        other = OtherGradCAM(model=model, target_layers=[layer])
        wanted = [ClassifierOutputTarget(int(k)) for k in classes]
        works["pytorch-grad-cam"] = lambda: other(input_tensor=images, targets=wanted)
    torch.set_num_threads(1)
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(31):
        for name in random.Random(turn).sample(list(works), len(works)):
            start = time.process_time()
            works[name]()
            times[name].append(time.process_time() - start)
    for name, took in times.items():
        about = f"{PICTURES} pictures of {SIDE}x{SIDE}, processor time on one thread, median of 31 in random turns"
        yield Row(f"Grad-CAM by {name}", round(statistics.median(took), 4), "s", about)


def _rows() -> Iterator[Row]:
    model, gap = small_attention_net(), vgg_gap(10, width=1 / 16)
    images = torch.randn(PICTURES, 3, SIDE, SIDE)
    explain(model, images[:1])  # imports captum and sets things up
    together = 0.0
    for name in METHODS:
        network = gap if name == "cam" else model  # CAM needs global average pooling
        took = seconds(lambda n=network, m=name: explain(n, images, method=m), 1 if name in SLOW else REPEATS)
        together += took if name not in (*SLOW, "attention") else 0.0
        yield Row(f"explain, {name}", round(took, 3), "s", f"{PICTURES} pictures of {SIDE}x{SIDE}, {THREADS} threads")
    yield Row("explain, gradient methods and CAMs", round(together, 3), "s", "all of one pass; at most 2")
    for stride in (8, 4):
        took = seconds(lambda s=stride: explain(model, images[:1], method="occlusion", window=8, stride=s))
        yield Row(f"occlusion, stride {stride}", round(took, 3), "s", "1 picture, windows of 8 in one batched pass")
    yield from _peers(images)
    torch.set_num_threads(THREADS)
    maps, labels = explain(model, images), torch.zeros(PICTURES, dtype=torch.long)
    checks: dict[str, Callable[[], object]] = {
        "deletion curve, 20 steps": lambda: curve(model, images, maps, kind="deletion"),
        "interventions, 3 levels": lambda: interventions(model, images, labels),
        "randomisation, saliency, 3 layers": lambda: randomisation_check(
            model, images, method="saliency", layers=["classifiers", "estimators", "trunk"]
        ),
    }
    for name, work in checks.items():
        yield Row(name, round(seconds(work, 1), 3), "s", f"{PICTURES} pictures")
