"""Maps of networks as they are: one function, ``explain``, and eleven methods."""

from .methods import METHODS, Method, explain
from .network import Logits, Targets, Task, map_layers

__all__ = [
    "METHODS",
    "Logits",
    "Method",
    "Targets",
    "Task",
    "explain",
    "map_layers",
]
