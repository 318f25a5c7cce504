"""Networks that look at a part: one window, and several glimpses."""

from .kit import Drawing, Point


def node(
    drawing: Drawing, x: float, y: float, words: str, kind: str = "rest", *, width: float = 92, height: float = 40,
    quiet: str = "",
) -> None:  # fmt: skip
    """A box around its middle with a name and, below it, what it does."""
    drawing.box(x - width / 2, y - height / 2, width, height, kind, fill=0.14)
    drawing.lines(x, y - (7 if quiet else 0), words, bold=True)
    if quiet:
        drawing.lines(x, y + 9, quiet, size=12, quiet=True)


def digit(drawing: Drawing, x: float, y: float, side: float, kind: str = "feat") -> None:
    """A handwritten seven in a square."""
    points: list[Point] = [(0.25, 0.28), (0.72, 0.25), (0.42, 0.8)]
    drawing.arrow([(x + side * a, y + side * b) for a, b in points], kind, head=None, width=side / 9, bend=2)


def hard_loop() -> Drawing:
    drawing = Drawing(
        "Hard attention with one window: policy, crop, classifier, reward",
        "The policy sees a coarse view of the picture and gives each window a probability. One window is drawn and cut "
        "out. The classifier sees this crop and nothing else. How sure it is of the right class is the reward, which "
        "REINFORCE carries back to the policy.",
        height=284,
    )
    side, top = 96, 30
    drawing.text(8 + side / 2, 20, "picture")
    drawing.box(8, top, side, side, fill=0.06, radius=3)
    window = (58, 76, 36)
    digit(drawing, window[0], window[1], window[2])
    drawing.box(*window, window[2], "att", fill=0.1, line=2, radius=2)
    for x, y in ((22, 44), (72, 42), (24, 98)):
        drawing.arrow([(x, y + 12), (x + 8, y), (x + 14, y + 13)], head=None, width=3, bend=3, faint=True)
    drawing.arrow([(108, 66), (149, 66)])
    drawing.text(127, 58, "coarse", size=11.5, quiet=True)
    node(drawing, 202, 66, "policy", "att", width=100, quiet="where to look?")
    cells = [[0.05, 0.08, 0.06, 0.05], [0.06, 0.1, 0.16, 0.1], [0.05, 0.14, 0.3, 0.75], [0.04, 0.06, 0.14, 0.12]]
    drawing.arrow([(254, 66), (294, 66)], "att")
    drawing.text(273, 58, "$π_θ$", size=15)
    drawing.grid(298, 26, 80, cells, "att", line=1)
    drawing.text(396, 18, "chance of each window", size=11.5, anchor="end")
    row = 214
    drawing.arrow([(338, 110), (338, 164)], "att")
    drawing.text(328, 141, "draw one", anchor="end", quiet=True)
    drawing.box(310, 186, 56, 56, "feat", fill=0.1, line=2, radius=2)
    digit(drawing, 310, 186, 56)
    drawing.text(338, 179, "crop")
    drawing.arrow([(306, row), (254, row)], "feat")
    node(drawing, 202, row, "classifier", "feat", width=98, quiet="which class?")
    drawing.arrow([(150, row), (107, row)])
    node(drawing, 56, row, "reward", width=96, quiet="$p$(label)")
    back = 152
    drawing.arrow([(56, row - 22), (56, back), (202, back), (202, 89)], "att", dashed=True)
    drawing.text(128, back + 18, "REINFORCE", size=12.5, bold=True)
    drawing.text(200, 270, "Windows that paid more than expected become likelier.", quiet=True)
    return drawing


def glimpse_loop() -> Drawing:
    drawing = Drawing(
        "Several glimpses: the recurrent attention model",
        "The location network draws a place. The glimpse sensor cuts a sharp and a coarse patch around it. The glimpse "
        "network turns patches and place into a vector. The core network adds it to its memory, from which the next "
        "place is drawn, the action network answers and the baseline network predicts the reward.",
        height=302,
    )
    sensor, network, upper, lower, last = 182, 332, 78, 182, 274
    drawing.text(52, 20, "picture")
    drawing.box(8, 30, 88, 96, fill=0.06, radius=3)
    drawing.box(28, 56, 56, 56, "feat", fill=0.08, line=1.5, radius=2)
    drawing.box(42, 70, 28, 28, "att", fill=0.16, line=2, radius=2)
    digit(drawing, 42, 70, 28)
    drawing.arrow([(99, upper), (121, upper)], "feat")
    node(drawing, sensor, upper, "glimpse sensor", "feat", width=116, quiet="two patches")
    drawing.arrow([(243, upper), (266, upper)], "feat")
    node(drawing, network, upper, "glimpse network", "feat", width=128, quiet="what and where")
    drawing.arrow([(network, 101), (network, lower - 23)], "feat")
    node(drawing, network, lower, "core network", width=128, quiet="memory")
    drawing.arrow([(265, lower), (249, lower)])
    node(drawing, sensor, lower, "location network", "att", width=130, quiet="where next?")
    drawing.arrow([(sensor, lower - 23), (sensor, 101)], "att")
    drawing.text(sensor + 9, 135, "draw a place", anchor="start", size=12.5, quiet=True)
    drawing.arrow([(52, 129), (52, lower), (114, lower)])
    drawing.text(59, 151, "coarse view", anchor="start", size=12, quiet=True)
    node(drawing, 200, last, "baseline network", width=134, quiet="reward to expect")
    node(drawing, network + 2, last, "action network", width=120, quiet="the answer")
    trunk = 230
    drawing.arrow([(network, lower + 22), (network, last - 23)])
    drawing.arrow([(network, trunk), (200, trunk), (200, last - 23)])
    for row, words in enumerate(("The location", "network learns", "by REINFORCE.")):
        drawing.text(8, last - 12 + 16 * row, words, anchor="start", size=12, quiet=True)
    return drawing
