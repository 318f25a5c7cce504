"""Picture in, maps out: where a trained model looks, in one call and for pictures as people hold them."""

from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from ._utils.modes import evaluating
from .data.image_set import normalise
from .data.pictures import Picture, read_picture
from .models.classifier import AttentionClassifier, AttentionOutput, enlarged
from .models.weights import Trained, load_weights

Model = AttentionClassifier | Trained | str | PathLike[str]


class Look(NamedTuple):
    """What a model made of one picture.

    * ``picture``: as the model took it, before it was normalised.
    * ``photograph``: the same part of the picture as it was given, upright, in its own size and colours.
    * ``maps``: the attention weights of every level, shallow to deep, enlarged to the picture, as
      ``models.attention_maps`` gives them.
    * ``output``: logits, attended vectors, weights in their own sizes and g: a batch of one, on the CPU as all this.
    * ``classes``: the names of the classes; their numbers where the model has no names.
    """

    picture: UInt8[Tensor, "c h w"]
    maps: tuple[Float[Tensor, "h w"], ...]
    output: AttentionOutput
    classes: tuple[str, ...]
    photograph: UInt8[Tensor, "3 H W"]

    @property
    def maps_on_photograph(self) -> tuple[Float[Tensor, "H W"], ...]:
        """The weights of every level, shallow to deep, enlarged to ``photograph``."""
        height, width = self.photograph.shape[1:]
        return tuple(m[0].cpu() for m in enlarged(self.output.attended, (height, width)))

    @property
    def probabilities(self) -> dict[str, float]:
        """Class to probability (softmax of the logits), the most probable first."""
        values, order = self.output.logits[0].float().softmax(dim=0).sort(descending=True, stable=True)
        return {self.classes[i]: p for i, p in zip(order.tolist(), values.tolist(), strict=True)}

    @property
    def prediction(self) -> str:
        """The most probable class."""
        return next(iter(self.probabilities))


class Prepared(NamedTuple):
    """A model and a picture as it takes it, as ``Look`` has them; ``images`` is normalised, on the model's device."""

    model: AttentionClassifier
    picture: UInt8[Tensor, "c h w"]
    images: Float[Tensor, "1 c h w"]
    classes: tuple[str, ...]
    photograph: UInt8[Tensor, "3 H W"]


def look_at(
    model: Model,
    picture: Picture,
    *,
    size: int | tuple[int, int] | None = None,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Look:
    """Show a model one picture, and see what it takes it for and where it looks, at every level.

    ``look_at("digits-pc", "photo.jpg").maps``. Runs in eval mode without gradients and leaves the model as it was.

    Args:
        model: the name of shipped weights, a ``.safetensors`` file, a run folder, what ``load_weights`` gave, or any
            model of ``lpa_core.models``.
        picture: a file, a PIL image, an array or a tensor, not normalised; see ``read_picture``.
        size: height and width that the picture is scaled and cut to. None: the whole picture, of any aspect ratio, its
            shorter side scaled to that of the pictures in training where the weights say it (a network of tokens takes
            no other size, and the middle is cut out), else the picture's own size.
        classes, mean, std: the names of the classes, and what pictures in [0, 1] were normalised with in training. They
            come with weights, and ``mean`` and ``std`` with networks of timm; else they must be given.

    Raises: as ``load_weights`` and ``read_picture``; TypeError on a ``model`` of another kind; ValueError where
        ``mean`` and ``std`` are missing or given twice, ``classes`` do not number the logits, or there are no levels.
    """
    ready = prepare(model, picture, size=size, classes=classes, mean=mean, std=std)
    network = ready.model
    if not network.estimators:
        raise ValueError(f"model must have levels to look at; combine={network.combine!r} classifies from g alone")
    with torch.no_grad(), evaluating(network):
        output = network.attend(ready.images).to(ready.picture.device)
    maps = enlarged(output.attended, (ready.picture.shape[1], ready.picture.shape[2]))
    return Look(ready.picture, tuple(m[0] for m in maps), output, ready.classes, ready.photograph)


def prepare(
    model: Model,
    picture: Picture,
    *,
    size: int | tuple[int, int] | None = None,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Prepared:
    """A model and a picture as they meet: everything that ``look_at`` does before the model looks.

    For what looks in another way, such as ``posthoc.explain``. Arguments as in ``look_at``.

    Raises: as ``look_at``, but for a model without levels, which is fine here.
    """
    if not isinstance(model, AttentionClassifier | Trained):
        if not isinstance(model, str | PathLike):
            raise TypeError(
                f"model must be weights (a name, a file, a run folder), what load_weights gave, or an "
                f"AttentionClassifier; got {type(model).__name__}"
            )
        model = load_weights(model)
    trained_size = None
    if isinstance(model, Trained):
        if mean is not None or std is not None or classes is not None:
            raise ValueError("classes, mean and std come with the weights; give them for a bare model only")
        model, info = model
        classes, mean, std, trained_size = info.classes, info.mean, info.std, info.size
    elif mean is None and std is None and model.mean is not None:
        mean, std = model.mean, model.std
    if mean is None or std is None:
        raise ValueError(
            "mean and std must be given for a model without weights to name them: what its pictures were normalised "
            "with, (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225) for torchvision's pretrained networks"
        )
    if classes is not None and len(classes) != model.num_classes:
        raise ValueError(f"classes must name the {model.num_classes} logits; got {len(classes)}")
    whole = read_picture(picture)
    if trained_size is not None and size is None and getattr(model.trunk, "has_tokens", False):
        size = trained_size
    pixels = read_picture(whole, size=size, channels=model.trunk.in_channels)
    if size is None and trained_size is not None:
        pixels = _scaled(pixels, _whole_size(whole, trained_size))
    example = next(model.parameters())
    images = normalise(pixels[None], mean, std).to(example.device, example.dtype)
    names = tuple(map(str, range(model.num_classes) if classes is None else classes))
    photograph = whole if size is None else _middle(whole, pixels.shape[1] / pixels.shape[2])
    return Prepared(model, pixels, images, names, photograph)


def _whole_size(picture: Tensor, trained: tuple[int, int]) -> tuple[int, int]:
    """Height and width for the whole picture: its shorter side becomes that of training, its aspect ratio stays.

    The longer side is a multiple of the largest power of two that divides the shorter (at most a quarter of it), so
    that the positions of maps that were halved several times still cover the picture evenly.
    """
    shorter, (height, width) = min(trained), picture.shape[1:]
    step = 1
    while shorter % (2 * step) == 0 and 8 * step <= shorter and step < 32:
        step *= 2
    longer = max(shorter, step * round(shorter * max(height, width) / min(height, width) / step))
    return (shorter, longer) if height <= width else (longer, shorter)


def _scaled(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """The whole picture at ``size``, as bicubic as ``read_picture`` makes it, a little stretched where it must be."""
    if picture.shape[1:] == size:
        return picture
    larger = functional.interpolate(picture[None].float(), size, mode="bicubic", antialias=True)[0]
    return larger.round().clamp(0, 255).to(torch.uint8)


def _middle(picture: Tensor, aspect: float) -> Tensor:
    """The largest part around the middle that has this height / width, as ``read_picture`` cuts it out."""
    height, width = picture.shape[1:]
    high, wide = min(height, round(width * aspect)), min(width, round(height / aspect))
    top, left = (height - high) // 2, (width - wide) // 2
    return picture[:, top : top + high, left : left + wide]
