"""Pictures: one form for all of them, digits made here, data sets by name, batches."""

from .batches import Batches
from .digits import DIGITS_MEAN, DIGITS_N, DIGITS_STD, digits_in_clutter
from .image_set import ImageSet, Split, normalise
from .montage_sets import montage, montages
from .photographs import PHOTOGRAPHS, Photograph, photograph
from .pictures import Picture, read_picture
from .shortcuts import Shortcut, WithShortcut, plant_shortcut
from .sources import FOLDER_SIZE, load, load_splits

__all__ = [
    "DIGITS_MEAN",
    "DIGITS_N",
    "DIGITS_STD",
    "FOLDER_SIZE",
    "PHOTOGRAPHS",
    "Batches",
    "ImageSet",
    "Photograph",
    "Picture",
    "Shortcut",
    "Split",
    "WithShortcut",
    "digits_in_clutter",
    "load",
    "load_splits",
    "montage",
    "montages",
    "normalise",
    "photograph",
    "plant_shortcut",
    "read_picture",
]
