"""An explorer: a picture with controls, as one object with two faces.

* On a page and in a stored notebook it is plain HTML: labelled sliders and lists over pictures with alternative texts,
  all choices computed beforehand. It needs no kernel, no network and no library, and works from the keyboard.
* ``live()`` gives ipywidgets that compute each choice when it is made, for Jupyter and Colab.

Showing an explorer never stores a widget: a widget without its kernel is a blank.
"""

import functools
import html
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

from .assets import controls_script, controls_style
from .frames import Control, Frame, plain


class Explorer:
    """A picture with controls (see above). Show it by making it the last expression of a cell.

    Args:
        title: names it, for readers of the screen too.
        controls: what can be chosen.
        draw: called with one value of each control, in their order; the ``Frame`` to show. Every frame must have as
            many panels as the first.

    Raises: ValueError without controls, and, when it is shown, on a frame without panels or words, or with another
        number of panels than the others.
    """

    def __init__(self, title: str, controls: Sequence[Control], draw: Callable[..., Frame]) -> None:
        if not controls:
            raise ValueError("controls must hold at least one control; got none")
        self.title, self.controls, self.draw = title, tuple(controls), draw

    def __repr__(self) -> str:
        choices = " × ".join(f"{len(control.options)} {control.label}" for control in self.controls)
        return f"<Explorer {self.title!r}: {choices}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": repr(self)}

    @functools.cached_property
    def frames(self) -> list[Frame]:
        """The frames of all choices, the last control changing fastest."""
        return [self._frame(*values) for values in itertools.product(*(c.options.values() for c in self.controls))]

    def _frame(self, *values: Any) -> Frame:
        frame = self.draw(*values)
        if not frame.panels or not frame.text.strip() or not all(panel.alt.strip() for panel in frame.panels):
            raise ValueError(f"a frame of {self.title!r} must have panels, alternative texts and a text; got {frame}")
        return frame

    def html(self) -> str:
        """The plain face: HTML that needs nothing else. The first choice shows even where no script may run."""
        panels: dict[tuple[object, ...], int] = {}  # each once, however many frames show it
        rows = []
        for frame in self.frames:
            if len(frame.panels) != len(self.frames[0].panels):
                raise ValueError(f"every frame of {self.title!r} must have as many panels as the first")
            indices = [panels.setdefault(plain(panel), len(panels)) for panel in frame.panels]
            rows.append([*indices, frame.text])
        first = 0
        for control in self.controls:
            first = first * len(control.options) + list(control.options).index(control.first)
        offered = [control for control in self.controls if len(control.options) > 1]
        names = [list(control.options) for control in offered]
        # Escaped within JSON, the data is safe in an attribute and looks like no tag to those who strip tags.
        data = json.dumps({"names": names, "panels": list(panels), "frames": rows}, ensure_ascii=False)
        for character in "&<>'":
            data = data.replace(character, f"\\u{ord(character):04x}")
        return (
            f"<style>{controls_style()}</style>"
            f'<div class="lpa-explorer" role="group" aria-label="{html.escape(self.title)}" data-frames=\'{data}\'>'
            f"<p><strong>{html.escape(self.title)}</strong></p>"
            f'<div class="lpa-controls">{"".join(map(_control, offered))}</div>'
            f"{_shown(self.frames[first])}"
            f'<p class="lpa-note">In a notebook, run this cell to move the controls.</p>'
            f"<script>{controls_script('explorer.js')}</script></div>"
        )

    def live(self) -> Any:
        """The live face: an ipywidgets box that computes each choice when it is made (ipywidgets 7.7 and 8).

        It holds the options of ``Control.live``. The stored output of a cell that shows it needs a kernel; show the
        explorer itself where a page is built.

        Raises: ImportError without ipywidgets.
        """
        try:
            import ipywidgets
        except ImportError as error:
            raise ImportError("live() needs ipywidgets: pip install 'lpa-core[widgets]'") from error
        inputs = []
        for control in self.controls:
            options = list((control.options if control.live is None else control.live).items())
            # Chosen by place: a tensor as value could not be compared.
            places = [(name, place) for place, (name, _) in enumerate(options)]
            kind = ipywidgets.SelectionSlider if control.slider else ipywidgets.Dropdown
            start = dict(places).get(control.first, 0)
            wide = {"description_width": "9em"}
            inputs.append(kind(options=places, value=start, description=control.label, style=wide))
        face = ipywidgets.HTML()

        def show(_change: object = None) -> None:
            chosen = []
            for control, chooser in zip(self.controls, inputs, strict=True):
                values = list((control.options if control.live is None else control.live).values())
                chosen.append(values[chooser.value])
            face.value = (
                f'<style>{controls_style()}</style><div class="lpa-explorer">{_shown(self._frame(*chosen))}</div>'
            )

        for chooser in inputs:
            chooser.observe(show, names="value")
        show()
        return ipywidgets.VBox([ipywidgets.HTML(f"<strong>{html.escape(self.title)}</strong>"), *inputs, face])


def _control(control: Control) -> str:
    """A label around its slider or list. It is off until the script has taken it over, and needs no id."""
    names = list(control.options)
    start = names.index(control.first)
    label, name = html.escape(control.label), html.escape(control.first)
    if control.slider:
        return (
            f'<label>{label}<input type="range" min="0" max="{len(names) - 1}" step="1" value="{start}" '
            f'aria-valuetext="{name}" autocomplete="off" disabled><span aria-hidden="true">{name}</span></label>'
        )
    options = "".join(
        f'<option value="{place}"{" selected" * (place == start)}>{html.escape(name)}</option>'
        for place, name in enumerate(names)
    )
    return f'<label>{label}<select autocomplete="off" disabled>{options}</select></label>'


def _shown(frame: Frame) -> str:
    """The pictures of a frame and its sentence."""
    figures = []
    for panel in frame.panels:
        source, alt, title, *scale = plain(panel)
        low, high, signed = scale or ("", "", 0)
        bar = f'<span class="lpa-bar lpa-bar-{signed}"{"" if scale else " hidden"}><i>{low}</i><i>{high}</i></span>'
        figures.append(
            f'<figure><figcaption>{html.escape(str(title))}</figcaption><img class="dark-light" '
            f'src="{source}" alt="{html.escape(str(alt))}">{bar}</figure>'
        )
    return f'<div class="lpa-panels">{"".join(figures)}</div><p role="status">{html.escape(frame.text)}</p>'
