"""An explorer of training: the maps of a few pictures after each epoch, of several networks side by side."""

from collections.abc import Mapping, Sequence

from ..data.image_set import ImageSet
from ..metrics import box_masks, energy_in_mask
from ..models.classifier import AttentionOutput
from ..plotting.maps import pixels
from .choices import box_of, check_shown, in_words, picture_control
from .explorer import Explorer
from .frames import Control, Frame, Panel


def epochs_explorer(
    pictures: ImageSet,
    networks: Mapping[str, Sequence[AttentionOutput]],
    *,
    moments: Sequence[str] | None = None,
    level: int | None = None,
    shown: int = 3,
    start: int | None = None,
    title: str = "Watch the maps form: choose a picture, move through the epochs",
) -> Explorer:
    """Picture × epoch: the picture, and for each network its map at one level and its answer at that epoch.

    ``networks`` holds for each name what ``model.attend`` gave for all ``pictures`` at each moment of its training.
    ``moments`` names these; by default "0" (before training), "1", "2" and so on. The maps of one choice share a scale,
    from 0 to the largest weight among them, so that equal weights look dark beside a map with a peak. Where the set
    knows where the object is, the sentence says how much of the weight lies in its frame. ``level`` counts from 1, by
    default the deepest; ``start`` is the moment shown first, counted from 0, by default the first.

    Raises: ValueError without networks, when they differ in their numbers of moments, pictures or levels or do not fit
        ``pictures`` or ``moments``, or when ``level``, ``shown`` or ``start`` are out of range.
    """
    check_shown(shown, pictures)
    known = {name: list(outputs) for name, outputs in networks.items()}
    counts = {name: len(outputs) for name, outputs in known.items()}
    if not known or 0 in counts.values() or len(set(counts.values())) != 1:
        raise ValueError(f"networks must have equally many moments, at least one; got {counts or 'no network'}")
    (count,) = set(counts.values())
    names = [f"{moment}" for moment in range(count)] if moments is None else list(moments)
    if len(names) != count or len(set(names)) != count:
        raise ValueError(f"moments must be {count} different names, one an output; got {names}")
    levels = {len(output.attended) for outputs in known.values() for output in outputs}
    sizes = {len(output.logits) for outputs in known.values() for output in outputs}
    if len(levels) != 1 or 0 in levels:
        raise ValueError(f"networks must have maps at equally many levels; got {sorted(levels)}")
    if sizes != {len(pictures)}:
        raise ValueError(f"networks must have looked at the {len(pictures)} pictures; got outputs of {sorted(sizes)}")
    (deepest,) = levels
    at = deepest if level is None else level
    if not 1 <= at <= deepest:
        raise ValueError(f"level must be from 1 to {deepest}; got {level}")
    if start is not None and not 0 <= start < count:
        raise ValueError(f"start must be from 0 to {count - 1}; got {start}")

    def draw(place: int, moment: int) -> Frame:
        image, box = pictures.images[place], box_of(pictures, place)
        outputs = {name: outputs[moment] for name, outputs in known.items()}
        maps = {name: output.attended[at - 1].weights[place].detach().cpu() for name, output in outputs.items()}
        top = max(float(map.max()) for map in maps.values())
        truth = pictures.classes[int(pictures.labels[place])]
        panels = [Panel(pixels(image, boxes=box), f"Picture {place + 1}, of class {truth}.", f"picture: {truth}")]
        said = []
        for name, map in maps.items():
            probability, best = outputs[name].logits[place].detach().float().softmax(dim=0).max(dim=0)
            answer = f"{pictures.classes[int(best)]} ({100 * float(probability):.0f} %)"
            row, column = divmod(int(map.argmax()), map.shape[1])
            flat = float(map.max()) <= 1.001 * float(map.min())
            where = "equal everywhere" if flat else f"heaviest {in_words(row, column, *map.shape)}"
            panels.append(
                Panel(
                    pixels(image, map, boxes=box, scale=(0.0, top)),
                    f"Weights of {name} at moment {names[moment]} over picture {place + 1} in grey: {where}.",
                    f"{name}: {answer}",
                    (0.0, top),
                )
            )
            said.append(f"{name} answers {answer}")
            if box is not None:
                inside = box_masks(box.reshape(-1, 4), (image.shape[1], image.shape[2])).any(dim=0)
                share = float(energy_in_mask(map[None], inside[None]))
                said[-1] += f" with {100 * share:.0f} % of its weight in the frame"
        return Frame(panels, f"Epoch {names[moment]}: {'; '.join(said)}.")

    return Explorer(
        title,
        [
            picture_control("Picture", pictures, shown),
            Control(
                label="Epoch",
                options={name: i for i, name in enumerate(names)},
                start=None if start is None else names[start],
                slider=True,
            ),
        ],
        draw,
    )
