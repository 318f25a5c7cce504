"""The explorers of the book: maps by picture, level and method; the softmax's temperature; g swapped; windows.

Each is a function that returns an ``Explorer``: show it as the last expression of a cell for plain HTML that works
without a kernel, or call its ``live()`` for widgets that compute.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from .attention import attend
from .classifier import AttentionClassifier
from .data import ImageSet
from .explorer import Control, Explorer, Frame, Panel, number
from .hard import box_iou
from .plotting import pixels
from .quizzes import Question, Quiz, quiz
from .trunks import evaluating

__all__ = [
    "Control",
    "Explorer",
    "Frame",
    "Panel",
    "Question",
    "Quiz",
    "maps_explorer",
    "quiz",
    "swap_explorer",
    "temperature_explorer",
    "window_explorer",
]

Maps = Callable[[Float[Tensor, "1 c h w"]], Mapping[str, Sequence[Float[Tensor, "1 _ _"]]]]


def maps_explorer(
    pictures: ImageSet,
    maps: Maps,
    *,
    shown: int = 4,
    level: int | None = None,
    title: str = "Where does it look? Choose a picture, a level and a method",
) -> Explorer:
    """Picture × level × method: the picture beside its map, coloured from 0 to its largest value.

    ``maps`` takes one picture, normalised and as a batch of one, and returns method -> its maps, shallow to deep; every
    method must give as many. The plain face holds the first ``shown`` pictures, the live one all of them and computes
    them when they are chosen. ``level`` (from 1) is shown first; the deepest by default.

    Raises: ValueError when ``shown`` or ``level`` are out of range or the methods differ in their number of levels.
    """
    _check_shown(shown, pictures)
    known: dict[int, Mapping[str, Sequence[Tensor]]] = {}

    def of(place: int) -> Mapping[str, Sequence[Tensor]]:
        if place not in known:
            known[place] = maps(pictures.float_images([place]))
        return known[place]

    levels = {name: [tuple(map.shape[-2:]) for map in found] for name, found in of(0).items()}
    numbers = {len(sizes) for sizes in levels.values()}
    if len(numbers) != 1 or 0 in numbers:
        raise ValueError(f"maps must give as many levels for every method; got {levels or 'no method'}")
    (count,) = numbers
    if level is not None and not 1 <= level <= count:
        raise ValueError(f"level must be from 1 to {count}; got {level}")

    def draw(place: int, at: int, method: str) -> Frame:
        image, box = pictures.images[place], _box(pictures, place)
        map = of(place)[method][at][0].detach()
        height, width = map.shape
        name = pictures.classes[int(pictures.labels[place])] if pictures.labels.ndim == 1 else "this picture"
        row, column = divmod(int(map.argmax()), width)
        signed = bool(map.min() < 0)
        size = float(map.abs().max() if signed else map.max()) or 1.0
        what = f"{method}, level {at + 1}, {height}×{width} positions"
        text = f"{what}. Largest value {number(float(map.max()))}, {_place(row, column, height, width)}"
        if not signed and float(map.sum()) > 0:
            mean = float(map.max() / map.mean())
            text += f", {mean:.1f} times the mean of the map"
        if box is not None:
            top, left, bottom, right = box.reshape(-1, 4)[0].tolist()
            y, x = (row + 0.5) * image.shape[1] / height, (column + 0.5) * image.shape[2] / width
            inside = top <= y < bottom and left <= x < right
            text += f", {'inside' if inside else 'outside'} the frame"
        return Frame(
            [
                Panel(pixels(image, boxes=box), f"Picture {place + 1}, of class {name}.", f"picture: {name}"),
                Panel(
                    pixels(image, map, boxes=box),
                    f"Map of {what}, over picture {place + 1} in grey: brightest {_place(row, column, height, width)}.",
                    f"{method}, {height}×{width}",
                    (-size, size) if signed else (0.0, size),
                ),
            ],
            f"{text}.",
        )

    return Explorer(
        title,
        [
            _pictures("Picture", pictures, shown),
            Control(
                label="Level",
                options={f"{i + 1} of {count}": i for i in range(count)},
                start=f"{level or count} of {count}",
                slider=True,
            ),
            Control(label="Method", options={name: name for name in levels}),
        ],
        draw,
    )


def temperature_explorer(
    image: UInt8[Tensor, "c h w"],
    scores: Float[Tensor, "_ _"],
    *,
    start: float = 0.25,
    box: Int[Tensor, "*k 4"] | None = None,
    title: str = "The temperature of the softmax",
) -> Explorer:
    r"""What dividing the scores by a temperature does: a_i = exp(c_i / T) / sum_j exp(c_j / T), T from 1/16 to 16.

    ``scores`` (h, w) are those of one picture at one level. Beside the weights at the chosen T stand those at T = 1.
    "As good as k positions" is exp(entropy): n for uniform weights, 1 for a single position. The live face has finer
    steps.

    Raises: ValueError unless ``scores`` is finite and (h, w), or when ``start`` is no power of two in that range.
    """
    if scores.ndim != 2 or not bool(scores.isfinite().all()):
        raise ValueError(f"scores must be finite and (h, w); got {tuple(scores.shape)} from {scores.min():.3g}")
    powers = {_fraction(power): 2.0**power for power in range(-4, 5)}
    if start not in powers.values():
        raise ValueError(f"start must be one of {', '.join(powers)}; got {start}")
    scores = scores.detach()
    n = scores.numel()

    def weights(temperature: float) -> Tensor:
        return attend(scores[None, None], scores[None] / temperature).weights[0]

    def panel(temperature: float) -> Panel:
        a = weights(temperature)
        row, column = divmod(int(a.argmax()), a.shape[1])
        return Panel(
            pixels(image, a, boxes=box),
            f"Attention weights at temperature {temperature:.3g}: the heaviest of {n} positions, "
            f"{_place(row, column, *a.shape)}, holds {100 * float(a.max()):.1f} percent of the weight.",
            f"weights at T = {temperature:.3g}",
            (0.0, float(a.max())),
        )

    def draw(temperature: float) -> Frame:
        a = weights(temperature)
        entropy = -(a * a.clamp(min=1e-30).log()).sum()
        text = f"T = {temperature:.3g}: the heaviest position holds {100 * float(a.max()):.1f} % of the weight"
        alike = f"equal weights on {float(entropy.exp()):.0f} of the {n} positions"
        text += f" (uniform: {100 / n:.2g} %). It is spread as widely as {alike}."
        shown = Panel(pixels(image, boxes=box), "The picture that is looked at.", "picture")
        return Frame([shown, panel(1.0), panel(temperature)], text)

    fine = {f"{2 ** (power / 4):.2g}": 2 ** (power / 4) for power in range(-16, 17)} | powers
    return Explorer(
        title,
        [
            Control(
                label="Temperature T",
                options=powers,
                start=next(name for name, value in powers.items() if value == start),
                slider=True,
                live=dict(sorted(fine.items(), key=lambda item: item[1])),
            )
        ],
        draw,
    )


def swap_explorer(
    models: Mapping[str, AttentionClassifier],
    pictures: ImageSet,
    *,
    level: int = 2,
    shown: int = 4,
    title: str = "Swap the global vector",
) -> Explorer:
    """A picture's maps at one level, with g taken from another picture, for one model or several side by side.

    "Weight moved" is half the sum of absolute differences between the map with the picture's own g and the one shown:
    the share of the weight that lies elsewhere, in [0, 1]. ``level`` counts from 1. The plain face holds ``shown``
    pictures, the live one all.

    Raises: ValueError without models, on a ``level`` that a model lacks or a model without g, or when ``shown`` is out
        of range.
    """
    _check_shown(shown, pictures)
    if not models:
        raise ValueError("models must hold at least one model; got none")
    for name, model in models.items():
        if not 1 <= level <= len(model.estimators):
            raise ValueError(f"level must be from 1 to {len(model.estimators)} for {name}; got {level}")
        if not model.trunk.has_global:
            raise ValueError(f"{name} has no global vector to swap: build it with a global path")

    def weights(model: AttentionClassifier, place: int, donor: int) -> Tensor:
        with evaluating(model), torch.no_grad():
            local = model.trunk(pictures.float_images([place])).local[level - 1]
            g = model.trunk(pictures.float_images([donor])).g
            return model.estimators[level - 1](local, g).weights[0]

    def draw(place: int, donor: int) -> Frame:
        own = donor == place
        panels = [
            Panel(pixels(pictures.images[place]), f"Picture {place + 1}, which is looked at.", f"picture {place + 1}"),
            Panel(pixels(pictures.images[donor]), f"Picture {donor + 1}, which gives g.", f"g of picture {donor + 1}"),
        ]
        said = []
        for name, model in models.items():
            a, before = weights(model, place, donor), weights(model, place, place)
            moved = 0.5 * float((a - before).abs().sum())
            row, column = divmod(int(a.argmax()), a.shape[1])
            what = f"Map of {name} at level {level} over picture {place + 1}, with the g of picture {donor + 1}"
            panels.append(
                Panel(
                    pixels(pictures.images[place], a),
                    f"{what}: brightest {_place(row, column, *a.shape)}, {100 * moved:.0f} % of the weight moved.",
                    name,
                    (0.0, float(a.max())),
                )
            )
            said.append(f"{name} {100 * moved:.0f} %")
        whose = "its own g, so nothing moves" if own else f"the g of picture {donor + 1}"
        return Frame(panels, f"Picture {place + 1} with {whose}. Weight moved: {', '.join(said)}.")

    other = min(2, shown)
    return Explorer(
        title,
        [
            _pictures("Picture", pictures, shown, named=False),
            _pictures("Global vector from", pictures, shown, named=False, start=other),
        ],
        draw,
    )


def window_explorer(
    pictures: ImageSet,
    steps: Sequence[int],
    windows: Sequence[Int[Tensor, "n 4"]],
    *,
    shown: int = 4,
    title: str = "The hard window through training",
) -> Explorer:
    """Where a hard model looks while it learns: one window a picture, ``windows[i]`` after ``steps[i]`` steps.

    Windows are top, left, bottom, right in pixels, half-open; ``windows[i]`` holds one for each of the first pictures.
    Nothing is computed here but the IoU with the pictures' own boxes. The last record is shown first.

    Raises: ValueError when steps and windows differ in number, ``steps`` do not rise, ``pictures`` have no boxes, or
        ``shown`` is more than there are windows.
    """
    _check_shown(shown, pictures)
    if len(steps) != len(windows) or not steps or list(steps) != sorted(set(steps)):
        raise ValueError(f"steps must rise, one for each of {len(windows)} windows; got {list(steps)}")
    if pictures.boxes is None:
        raise ValueError("pictures must have boxes, to say how far a window covers them")
    if any(window.ndim != 2 or window.shape[1] != 4 or len(window) < shown for window in windows):
        raise ValueError(f"windows must be ({shown} or more, 4) at every step; got {[tuple(w.shape) for w in windows]}")

    def draw(step: int, place: int) -> Frame:
        window, box = windows[step][place], pictures.boxes[place]  # type: ignore[index]
        iou = float(box_iou(window[None].long(), box[None])[0])
        top, left, bottom, right = window.tolist()
        image = pictures.images[place]
        outside = image // 4
        outside[:, top:bottom, left:right] = image[:, top:bottom, left:right]
        name = pictures.classes[int(pictures.labels[place])]
        after = f"after {steps[step]:,} steps"
        return Frame(
            [
                Panel(
                    pixels(image, boxes=box), f"Picture {place + 1}: a frame marks the digit {name}.", f"digit {name}"
                ),
                Panel(
                    pixels(outside, boxes=torch.stack([window.to(box.dtype), box])),
                    f"The same picture {after}, dark outside the window at rows {top} to {bottom - 1}, columns {left} "
                    f"to {right - 1}; its overlap with the frame is {iou:.2f}.",
                    after,
                ),
            ],
            f"{after[0].upper()}{after[1:]} the window and the frame overlap by {iou:.2f} (IoU).",
        )

    return Explorer(
        title,
        [
            Control(
                label="Steps of training",
                options={f"{step:,}": place for place, step in enumerate(steps)},
                start=f"{steps[-1]:,}",
                slider=True,
            ),
            _pictures("Picture", pictures, shown, live=len(windows[0])),
        ],
        draw,
    )


# Inside ---------------------------------------------------------------------------------------------------------------


def _check_shown(shown: int, pictures: ImageSet) -> None:
    if not 1 <= shown <= len(pictures):
        raise ValueError(f"shown must be from 1 to the {len(pictures)} pictures there are; got {shown}")


def _pictures(
    label: str, pictures: ImageSet, shown: int, *, named: bool = True, start: int = 1, live: int | None = None
) -> Control:
    def options(n: int) -> dict[str, int]:
        if not named or pictures.labels.ndim != 1:
            return {f"{i + 1}": i for i in range(n)}
        return {f"{i + 1}: {pictures.classes[int(label)]}": i for i, label in enumerate(pictures.labels[:n])}

    some: dict[str, Any] = options(shown)
    return Control(label=label, options=some, start=list(some)[start - 1], live=options(live or len(pictures)))


def _box(pictures: ImageSet, place: int) -> Tensor | None:
    return None if pictures.boxes is None else pictures.boxes[place]


def _place(row: int, column: int, height: int, width: int) -> str:
    """Where a position lies, in words."""
    vertical = ("top", "middle", "bottom")[min(2, 3 * row // height)]
    horizontal = ("left", "middle", "right")[min(2, 3 * column // width)]
    words = [word for word in (vertical, horizontal) if word != "middle"]
    return f"at the {' '.join(words)}" if words else "in the middle"


def _fraction(power: int) -> str:
    return f"{2**power}" if power >= 0 else f"1/{2**-power}"
