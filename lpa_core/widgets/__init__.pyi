from .explore_deletion import deletion_explorer
from .explore_epochs import epochs_explorer
from .explore_maps import maps_explorer
from .explore_swap import swap_explorer
from .explore_temperature import temperature_explorer
from .explore_windows import window_explorer
from .explorer import Explorer
from .frames import Control, Frame, Panel
from .live_network import LivePage, live
from .quizzes import Question, Quiz, quiz
from .step_by_step import Stepper, stepper

__all__ = [
    "Control",
    "Explorer",
    "Frame",
    "LivePage",
    "Panel",
    "Question",
    "Quiz",
    "Stepper",
    "deletion_explorer",
    "epochs_explorer",
    "live",
    "maps_explorer",
    "quiz",
    "stepper",
    "swap_explorer",
    "temperature_explorer",
    "window_explorer",
]
