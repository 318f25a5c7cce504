"""A quiz: questions with choices and a word on each choice, as plain HTML like the explorers."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .assets import controls_script, controls_style


@dataclass(frozen=True)
class Question:
    """A question with its choices.

    Attributes:
        text: the question.
        choices: choice -> feedback on it, in the order shown.
        answer: the right choice, one of ``choices``.

    Texts may hold ``code`` between backticks and *emphasis* between stars; nothing else is read as markup.

    Raises: ValueError with fewer than two choices, an empty text, or an ``answer`` that is none of them.
    """

    text: str
    choices: Mapping[str, str]
    answer: str

    def __post_init__(self) -> None:
        if not isinstance(self.choices, Mapping):
            raise TypeError(f"choices of {self.text!r} must be a mapping to feedback; got {self.choices!r}")
        texts = (self.text, self.answer, *self.choices, *self.choices.values())
        if wrong := [part for part in texts if not isinstance(part, str)]:
            raise TypeError(f"the text, the choices, their feedback and the answer must be text; got {wrong[0]!r}")
        if len(self.choices) < 2:
            raise ValueError(f"choices of {self.text!r} must be at least two; got {len(self.choices)}")
        if not all(part.strip() for part in (self.text, *self.choices, *self.choices.values())):
            raise ValueError(f"the question {self.text!r} must have no empty text, choice or feedback")
        if self.answer not in self.choices:
            raise ValueError(f"answer must be one of {list(self.choices)}; got {self.answer!r}")


class Quiz:
    """Questions with radio buttons and feedback on every choice. Where no script may run, the answers unfold.

    Show it by making it the last expression of a cell.

    Raises: ValueError without questions.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        if not questions:
            raise ValueError("questions must hold at least one question; got none")
        self.questions = tuple(questions)

    def __repr__(self) -> str:
        return f"<Quiz of {len(self.questions)} question{'s' * (len(self.questions) != 1)}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": repr(self)}

    def html(self) -> str:
        """HTML that needs nothing else."""
        forms = "".join(map(_form, self.questions))
        script = controls_script("quizzes.js")
        return f'<div class="lpa-quizzes"><style>{controls_style()}</style>{forms}<script>{script}</script></div>'


def quiz(text: str, choices: Mapping[str, str], answer: str) -> Quiz:
    """A quiz of one question: ``quiz("Does g matter?", {"Yes": "Why?", "No": "It cancels."}, "No")``.

    Raises: as ``Question``.
    """
    return Quiz([Question(text, choices, answer)])


# Inside ---------------------------------------------------------------------------------------------------------------


def _marked(text: str) -> str:
    """Escaped, with `code` and *emphasis*."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\*([^*\s][^*]*)\*", r"<em>\1</em>", text)


def _form(question: Question) -> str:
    """A form of its own, so that equal names in another one do not matter."""
    radios = "".join(
        f'<label><input type="radio" name="choice" value="{place}" autocomplete="off" disabled>'
        f"<span>{_marked(choice)}</span></label>"
        for place, choice in enumerate(question.choices)
    )
    answers = "".join(
        f"<li><strong>{_marked(choice)}</strong>: <span>{'Right.' if choice == question.answer else 'No.'} "
        f"{_marked(feedback)}</span></li>"
        for choice, feedback in question.choices.items()
    )
    return (
        f'<form class="lpa-quiz"><fieldset><legend>{_marked(question.text)}</legend>{radios}</fieldset>'
        f'<button type="submit" disabled>Check</button><p role="status"></p>'
        f"<details><summary>Answers</summary><ul>{answers}</ul></details></form>"
    )
