"""Photographs to look at that come with packages: no download, each with its source, its licence and its credit.

The files lie inside scikit-image (the extra ``photo``) and scikit-learn; nothing of them is copied into this package.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple


class Photograph(NamedTuple):
    """A photograph that is installed with another package.

    * ``name``: what it is called here. ``title``: what it shows.
    * ``package``, ``file``: the package that holds it, and where in that package.
    * ``licence``, ``credit``, ``source``: as that package states them.
    """

    name: str
    title: str
    package: str
    file: str
    licence: str
    credit: str
    source: str

    @property
    def path(self) -> Path:
        """The file on this computer, for ``read_picture``, ``look_at`` and whatever else takes a picture.

        Raises: ImportError where the package is not installed; FileNotFoundError where it lacks the file.
        """
        place = find_spec(self.package)
        if place is None or place.origin is None:
            raise ImportError(
                f"the photograph {self.name!r} comes with {_PIP[self.package]}, which is not installed: "
                f"pip install {_PIP[self.package]} (or this package's extra: pip install 'lpa-core[photo]')"
            )
        path = Path(place.origin).parent / self.file
        if not path.is_file():
            raise FileNotFoundError(f"{_PIP[self.package]} is installed without {self.file}: install it again")
        return path


_PIP = {"skimage": "scikit-image", "sklearn": "scikit-learn"}
_ALL = (
    Photograph(
        "chelsea",
        "Chelsea, a cat",
        "skimage",
        "data/chelsea.png",
        "CC0 1.0",
        "Stéfan van der Walt",
        "https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data.chelsea",
    ),
    Photograph(
        "coffee",
        "A cup of coffee",
        "skimage",
        "data/coffee.png",
        "CC0 1.0",
        "Rachel Michetti, courtesy of Pikolo Espresso Bar",
        "https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data.coffee",
    ),
    Photograph(
        "astronaut",
        "Eileen Collins, an astronaut",
        "skimage",
        "data/astronaut.png",
        "public domain",
        "NASA",
        "https://flic.kr/p/r9qvLn",
    ),
    Photograph(
        "rocket",
        "Launch of DSCOVR on a Falcon 9",
        "skimage",
        "data/rocket.jpg",
        "public domain",
        "SpaceX",
        "https://www.flickr.com/photos/spacexphotos/16511594820/in/photostream/",
    ),
    Photograph(
        "hubble",
        "Hubble eXtreme Deep Field",
        "skimage",
        "data/hubble_deep_field.jpg",
        "public domain",
        "NASA",
        "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
    ),
    Photograph(
        "china",
        "A temple in China",
        "sklearn",
        "datasets/images/china.jpg",
        "CC BY 2.0",
        "danielbuechele",
        "https://www.flickr.com/photos/danielbuechele/6061409035/sizes/z/in/photostream/",
    ),
    Photograph(
        "flower",
        "A flower",
        "sklearn",
        "datasets/images/flower.jpg",
        "CC BY 2.0",
        "vultilion",
        "https://www.flickr.com/photos/vultilion/6056698931/sizes/z/in/photostream/",
    ),
)
PHOTOGRAPHS: dict[str, Photograph] = {photograph.name: photograph for photograph in _ALL}


def photograph(name: str) -> Photograph:
    """A photograph by name: ``look_at("photo-pc", photograph("coffee").path)``; ``PHOTOGRAPHS`` holds them all.

    Raises: ValueError on a name that is none of them; ImportError, when its ``path`` is asked for, where the package
        that holds it is not installed.
    """
    if not isinstance(name, str) or name not in PHOTOGRAPHS:
        raise ValueError(f"name must be one of {', '.join(PHOTOGRAPHS)}; got {name!r}")
    return PHOTOGRAPHS[name]
