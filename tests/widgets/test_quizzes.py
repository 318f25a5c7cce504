"""A quiz: radio buttons in a form of their own, a word on every choice, nothing that needs a kernel or a network."""

import pytest
from bs4 import BeautifulSoup

from lpa_core.widgets.quizzes import Question, Quiz, quiz

CHOICES = {"Yes": "Try `g = 0`: *nothing* moves.", "No, <it> cancels": "One term, above & below the line."}


@pytest.fixture
def page():
    two = Quiz(
        [Question("Does *g* matter?", CHOICES, "No, <it> cancels"), Question("Again?", {"a": "1", "b": "2"}, "a")]
    )
    return BeautifulSoup(two.html(), "html.parser")


def test_each_question_is_a_form_with_a_legend_and_labelled_radios(page):
    forms = page.select("form.lpa-quiz")
    assert [form.select_one("fieldset > legend").text for form in forms] == ["Does g matter?", "Again?"]
    assert [label.text for label in forms[0].select("label")] == list(CHOICES)
    for form in forms:
        radios = form.select("label > input[type=radio]")
        assert {radio["name"] for radio in radios} == {"choice"}
        assert [radio["value"] for radio in radios] == ["0", "1"]
        assert form.select_one("button[type=submit]").text == "Check"
        assert form.select_one("p[role=status]").text == ""


def test_the_feedback_says_right_or_no_in_words(page):
    first, second = page.select("form.lpa-quiz")
    assert [span.text for span in first.select("li > span")] == [
        "No. Try g = 0: nothing moves.",
        "Right. One term, above & below the line.",
    ]
    assert [span.text for span in second.select("li > span")] == ["Right. 1", "No. 2"]


def test_markup_is_code_and_emphasis_only(page):
    assert [code.text for code in page.select("li code")] == ["g = 0"]
    assert [emphasis.text for emphasis in page.select("em")] == ["g", "nothing"]
    assert page.select("it") == []
    assert page.select("[id], [for]") == []


def test_the_answers_can_be_unfolded_where_no_script_runs(page):
    assert page.select_one("details:not([hidden]) summary").text == "Answers"
    assert all(element.has_attr("disabled") for element in page.select("input, button"))


def test_the_bundle_is_html_and_a_line_of_text():
    bundle = quiz("Again?", {"a": "1", "b": "2"}, "a")._repr_mimebundle_()
    assert bundle["text/plain"] == "<Quiz of 1 question>"
    assert bundle["text/html"].count("<form") == 1
    assert repr(Quiz([Question("Again?", {"a": "1", "b": "2"}, "a")] * 2)) == "<Quiz of 2 questions>"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Again?", {"a": "1"}, "a"), "at least two; got 1"),
        (("Again?", {"a": "1", "b": " "}, "a"), "no empty text"),
        (("Again?", {"a": "1", "b": "2"}, "c"), r"one of \['a', 'b'\]; got 'c'"),
    ],
)
def test_a_question_without_a_right_choice_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        quiz(*arguments)


def test_a_quiz_without_questions_is_refused():
    with pytest.raises(ValueError, match="at least one question"):
        Quiz([])
