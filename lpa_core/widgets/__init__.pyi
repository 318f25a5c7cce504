from .explore_maps import maps_explorer as maps_explorer
from .explore_swap import swap_explorer as swap_explorer
from .explore_temperature import temperature_explorer as temperature_explorer
from .explore_windows import window_explorer as window_explorer
from .explorer import Explorer as Explorer
from .frames import Control as Control
from .frames import Frame as Frame
from .frames import Panel as Panel
from .quizzes import Question as Question
from .quizzes import Quiz as Quiz
from .quizzes import quiz as quiz

__all__ = [
    "Control",
    "Explorer",
    "Frame",
    "Panel",
    "Question",
    "Quiz",
    "maps_explorer",
    "quiz",
    "swap_explorer",
    "temperature_explorer",
    "window_explorer",
]
