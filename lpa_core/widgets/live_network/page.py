"""One file that holds a network and everything to look at pictures with it: drop a picture, see the maps."""

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from ..._utils.files import write_atomic
from ...data.pictures import Picture, read_picture
from ...look import Look, Model, look_at
from ...models.classifier import AttentionClassifier
from ...models.weights import Trained, load_weights
from ...plotting.grids import attention_figure
from ...plotting.style import ALPHA, SEQUENTIAL
from .packing import packed
from .steps import steps_of

FOLDER = Path(__file__).parent
SCRIPTS = ("numbers", "engine", "details", "runner", "views", "address", "pixels", "opened", "answer", "photograph")
COLOURS = 64  # of the scale of the maps
EXAMPLE_SIDE = 320  # of the pictures that a page brings along
STANDARD_SIZE = (224, 224)


@dataclass(frozen=True)
class LivePage:
    """A page with a network in it. Show it by making it the last expression of a cell, or ``save`` it."""

    html: str
    title: str

    def __repr__(self) -> str:
        return f"<LivePage {self.title!r}: {len(self.html) / 1e6:.1f} MB>"

    def _repr_html_(self) -> str:
        """The page in a frame of its own."""
        inside = html.escape(self.html)
        return f'<iframe title="{html.escape(self.title)}" srcdoc="{inside}" width="100%" height="900"></iframe>'

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the page to ``path``, whole or not at all. Raises: OSError where its folder cannot be written."""
        write_atomic(path, self.html.encode())
        return Path(path)


def live(
    model: Model,
    *,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | tuple[int, int] | None = None,
    title: str | None = None,
    pictures: Sequence[Picture] = (),
    half: bool = True,
) -> LivePage:
    """One HTML file in which ``model`` lives: it names pictures that are dropped on it and shows its maps over them.

    ``live("runs/mine").save("mine.html")``. The file needs no kernel, no server and no network, and sends nothing. It
    can hold networks of convolutions with pc, dp or uniform attention: ``small_attention_net``, ``attention_vgg``,
    ``attention_resnet164``, ``attend_to`` on a ResNet or a network of your own.

    Args:
        model: as in ``look_at``: weights by name, file or run folder, what ``load_weights`` gave, or a bare model.
        classes, mean, std: as in ``look_at``; they come with weights. ``classes`` are needed: a page names them.
        size: height and width of the pictures it is to see; None for those of its training, else 224.
        title: of the page.
        pictures: some to begin with (files, images, arrays); none for two photographs of scikit-learn's.
        half: numbers as float16, half the size; False for float32.

    Raises: as ``look_at``; ValueError naming every layer that a page cannot run, and where there are no classes.
    """
    network, info = _trained(model, classes, mean, std)
    shape = _shape(size, info["size"])
    examples = _examples(pictures)
    name = title or "A network that pays attention"
    seen = look_at(network, examples[0][0], size=shape, classes=info["classes"], mean=info["mean"], std=info["std"])
    data = described(network, **{**info, "size": shape}, half=half)
    data["pictures"] = bundled(pictures)
    still = f"{examples[0][1]}: taken for “{seen.prediction}”, with the maps of {len(seen.maps)} levels."
    page = (FOLDER / "page.html").read_text(encoding="utf8")
    text = page.format(
        title=html.escape(name),
        words=f"This network knows {len(info['classes'])} classes, from pictures of {shape[1]} × {shape[0]} pixels.",
        style=style(),
        still=_figure(seen),
        alt=html.escape(still),
        script=script(),
        network=network_script("mine", data),
        name='"mine"',
    )
    return LivePage(text, name)


def described(
    model: AttentionClassifier,
    *,
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    size: tuple[int, int],
    half: bool = True,
) -> dict[str, Any]:
    """A network as the scripts take it: steps, numbers, what its classes and its pictures are, colours of its maps."""
    if model.trunk.in_channels != 3:
        raise ValueError(f"model must take pictures of 3 channels for a page; it takes {model.trunk.in_channels}")
    steps, numbers = packed(steps_of(model, size), half=half)
    colours = mpl.colormaps[SEQUENTIAL](np.linspace(0, 1, COLOURS))[:, :3]
    return {
        "steps": steps,
        "numbers": numbers,
        "half": half,
        "classes": list(classes),
        "mean": list(mean),
        "std": list(std),
        "size": list(size),
        "colours": (255 * colours).round().astype(int).tolist(),
        "alpha": ALPHA,
    }


def network_script(name: str, data: dict[str, Any]) -> str:
    """The line of script that hands a network to the page under ``name``."""
    # "<" would let a class called "</script>" end the script.
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return f"lpaNetworks[{json.dumps(name)}] = {text};"


def bundled(pictures: Sequence[Picture] = ()) -> list[dict[str, str]]:
    """Pictures that come with a page, as its scripts take them; where none are given, two of scikit-learn's."""
    return [{"source": _jpeg(picture), "words": words} for picture, words in _examples(pictures)]


def script(names: Sequence[str] = SCRIPTS) -> str:
    """The scripts beside this file, in the order in which a page needs them."""
    return "\n".join(['"use strict";', *((FOLDER / f"{name}.js").read_text(encoding="utf8") for name in names)])


def style() -> str:
    return (FOLDER / "page.css").read_text(encoding="utf8")


def _trained(
    model: Model, classes: Sequence[str] | None, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[AttentionClassifier, dict[str, Any]]:
    if not isinstance(model, AttentionClassifier | Trained):
        model = load_weights(model)
    if isinstance(model, Trained):
        if classes is not None or mean is not None or std is not None:
            raise ValueError("classes, mean and std come with the weights; give them for a bare model only")
        network, info = model
        return network, {"classes": info.classes, "mean": info.mean, "std": info.std, "size": info.size}
    if classes is None:
        raise ValueError(f"classes must name the {model.num_classes} logits: a page says what it sees")
    if len(classes) != model.num_classes:
        raise ValueError(f"classes must name the {model.num_classes} logits; got {len(classes)}")
    if mean is None or std is None:
        raise ValueError("mean and std must be given for a model without weights to name them")
    return model, {"classes": tuple(classes), "mean": mean, "std": std, "size": None}


def _shape(asked: int | tuple[int, int] | None, trained: tuple[int, int] | None) -> tuple[int, int]:
    if asked is None:
        return trained or STANDARD_SIZE
    return (asked, asked) if isinstance(asked, int) else asked


def _examples(pictures: Sequence[Picture]) -> list[tuple[Image.Image, str]]:
    """Pictures no larger than a page needs, and what each is called."""
    if not pictures:
        from sklearn.datasets import load_sample_image

        named = {"A flower": load_sample_image("flower.jpg"), "A temple in China": load_sample_image("china.jpg")}
    else:
        files = [
            str(Path(p).stem) if isinstance(p, str | PathLike) else f"picture {n}" for n, p in enumerate(pictures, 1)
        ]
        named = dict(zip(files, pictures, strict=True))
    found = []
    for name, picture in named.items():
        image = Image.fromarray(read_picture(picture, channels=3).permute(1, 2, 0).numpy())
        image.thumbnail((EXAMPLE_SIDE * 2, EXAMPLE_SIDE))
        found.append((image, name))
    return found


def _jpeg(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _figure(seen: Look) -> str:
    """The picture and its maps, for readers without scripts."""
    from matplotlib.figure import Figure

    figure, file = Figure(), io.BytesIO()
    attention_figure(seen.picture, seen.output, classes=seen.classes, figure=figure)
    figure.savefig(file, format="png", dpi=80)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
