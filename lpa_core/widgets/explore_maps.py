"""An explorer of maps: picture, level, method."""

from collections.abc import Callable, Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from ..data.image_set import ImageSet
from ..plotting.maps import pixels
from .choices import box_of, check_shown, in_words, picture_control
from .explorer import Explorer
from .frames import Control, Frame, Panel, number

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
    check_shown(shown, pictures)
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
        image, box = pictures.images[place], box_of(pictures, place)
        map = of(place)[method][at][0].detach()
        height, width = map.shape
        name = pictures.classes[int(pictures.labels[place])] if pictures.labels.ndim == 1 else "this picture"
        row, column = divmod(int(map.argmax()), width)
        signed = bool(map.min() < 0)
        size = float(map.abs().max() if signed else map.max()) or 1.0
        what = f"{method}, level {at + 1}, {height}×{width} positions"
        text = f"{what}. Largest value {number(float(map.max()))}, {in_words(row, column, height, width)}"
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
                    f"Map of {what}, over picture {place + 1} in grey: "
                    f"brightest {in_words(row, column, height, width)}.",
                    f"{method}, {height}×{width}",
                    (-size, size) if signed else (0.0, size),
                ),
            ],
            f"{text}.",
        )

    return Explorer(
        title,
        [
            picture_control("Picture", pictures, shown),
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
