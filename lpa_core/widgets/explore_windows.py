"""An explorer of hard windows through training."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from ..data.image_set import ImageSet
from ..hard.windows import box_iou
from ..plotting.maps import pixels
from .choices import check_shown, picture_control
from .explorer import Explorer
from .frames import Control, Frame, Panel


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
    check_shown(shown, pictures)
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
            picture_control("Picture", pictures, shown, live=len(windows[0])),
        ],
        draw,
    )
