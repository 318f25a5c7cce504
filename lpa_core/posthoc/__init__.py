"""Maps of networks as they are: one function, ``explain``, and a table of its methods."""

from .layers import map_layers
from .methods import OwnMethod, explain
from .network import Logits, Targets, Task
from .table import METHODS, Method

__all__ = [
    "METHODS",
    "Logits",
    "Method",
    "OwnMethod",
    "Targets",
    "Task",
    "explain",
    "map_layers",
]
