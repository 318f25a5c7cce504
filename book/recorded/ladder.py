"""The recorded runs as ladders, and what may be said of them: words that the numbers choose.

A ladder is what was trained on one data set with one recipe: VGG, the same trunk that classifies from g, the same trunk
with equal weights, and attention. Every rung beside equal weights is compared with them over the seeds both have. One
seed is said to be one seed; with two there is an interval, and a claim is made from three on.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any, Literal, NamedTuple

from scipy.stats import t as student

from lpa_core.training.sweeps import VARIANTS

from .runs import RecordedRun, difference, runs_of
from .schema import must

# From the bottom up; other variants stand above them in the order of VARIANTS.
ORDER = ("vgg", "vgg-gap", "global", "uniform", "pc")
CONTROL, ASKED = "uniform", "pc"
LABELS = {"vgg": "VGG", "vgg-gap": "VGG, CAM layout", "global": "from g", "uniform": "equal weights"}
# The three effects between VGG and attention: what changes, above, below.
STEPS = (("resolution", "global", "vgg"), ("head", "uniform", "global"), ("attention", "pc", "uniform"))
# One choice of the design at a time, as far as runs can tell: what is chosen, with it, without it.
CHOICES = (
    ("pc in place of dp", "pc", "dp"),
    ("scaled in place of plain dp", "scaled-dp", "dp"),
    ("pc in place of additive scores", "pc", "additive"),
    ("softmax in place of sigmoid", "pc", "sigmoid"),
    ("concat in place of indep", "pc", "indep"),
    ("three levels in place of two", "pc", "levels-2"),
    ("two levels in place of one", "levels-2", "levels-1"),
    ("VGG in place of its CAM layout", "vgg", "vgg-gap"),
)
DATA = {
    "cifar100": "CIFAR-100",
    "cifar10": "CIFAR-10",
    "svhn": "SVHN",
    "digits": "digits",
    "tiny-imagenet": "Tiny ImageNet",
}
FULL = "full width"
ENOUGH = 3  # seeds from which on an interval carries a claim

Verdict = Literal["gain", "loss", "open", "one seed", "not run"]


class Rung(NamedTuple):
    """One network: its test accuracy in per cent for each seed, and the seeds."""

    variant: str
    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]

    @property
    def label(self) -> str:
        return LABELS.get(self.variant, self.variant)


class Ladder(NamedTuple):
    """What was trained on one data set with one recipe. ``name`` is the data set and the beginning of the runs'."""

    name: str
    data: str
    network: str
    rungs: tuple[Rung, ...]

    @property
    def title(self) -> str:
        return f"{DATA.get(self.data, self.data)}, {self.network}"

    @property
    def spoken(self) -> str:
        """The title as it stands in a sentence."""
        return f"{DATA.get(self.data, self.data)} ({self.network})"

    def rung(self, variant: str) -> Rung | None:
        return next((rung for rung in self.rungs if rung.variant == variant), None)


class Gain(NamedTuple):
    """What one rung gains over another: points of accuracy for each seed both have; an interval from two seeds on."""

    ladder: Ladder
    variant: str
    other: str
    points: tuple[float, ...]
    mean: float | None
    low: float | None
    high: float | None

    @property
    def verdict(self) -> Verdict:
        if not self.points:
            return "not run"
        if len(self.points) == 1:
            return "one seed"
        if len(self.points) < ENOUGH or self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "open"
        return "gain" if self.low > 0 else "loss"

    def __str__(self) -> str:
        if self.mean is None:
            return "not run"
        if self.low is None:
            return minus(f"{self.mean:+.2f} (one seed)")
        return minus(f"{self.mean:+.2f} ({self.low:+.2f} to {self.high:+.2f})")


def ladders(records: Sequence[RecordedRun], photographs: Mapping[str, Any] | None = None) -> list[Ladder]:
    """Every ladder that has a finished run: photographs first, digits last. Raises: ValueError as ``runs_of``.

    ``photographs`` is the record of attention on Tiny ImageNet, if there is one.
    """
    found: dict[tuple[str, str], dict[str, list[RecordedRun]]] = {}
    for run in records:
        recipe, variant = parted(run.name)
        runs = [r for r in runs_of(records, run.name, data=run.data) if r.results is not None]
        if runs:
            found.setdefault((run.data, recipe), {})[variant] = runs
    made = []
    for (data, recipe), variants in found.items():
        rungs = tuple(rung(name, variants[name]) for name in in_order(variants))
        made.append(Ladder(f"{data}-{recipe}", data, network_of(variants, recipe), rungs))
    if photographs is not None:
        accuracy = {name: of["test"] for name, of in photographs["accuracy"].items()}
        rungs = (
            Rung(name, tuple(range(len(accuracy[name]))), tuple(100 * a for a in accuracy[name]))
            for name in in_order(accuracy)
        )
        made.append(Ladder("tiny-imagenet", "tiny-imagenet", "frozen EfficientNet", tuple(rungs)))
    titles = [each.title for each in made]
    for place, one in enumerate(made):  # two recipes for one network are told apart by their names
        if titles.count(one.title) > 1:
            made[place] = one._replace(network=f"{one.network} ({one.name.removeprefix(f'{one.data}-')})")
    places = [*DATA]
    return sorted(made, key=lambda each: (each.data == "digits", places.index(each.data), -best(each)))


def parted(name: str) -> tuple[str, str]:
    """Recipe and variant of a run's name: ``small-levels-1`` is ``small`` and ``levels-1``."""
    fits = [variant for variant in VARIANTS if name.endswith(f"-{variant}")]
    variant = max(fits, key=len, default="")
    return (name.removesuffix(f"-{variant}"), variant) if variant else (name, name)


def in_order(variants: Iterable[str]) -> list[str]:
    order = [*ORDER, *(name for name in VARIANTS if name not in ORDER)]
    return sorted(variants, key=lambda name: order.index(name) if name in order else len(order))


def rung(variant: str, runs: Sequence[RecordedRun]) -> Rung:
    accuracies = (100 * run.results["test"]["accuracy"] for run in runs if run.results is not None)
    return Rung(variant, tuple(run.seed for run in runs), tuple(accuracies))


def network_of(variants: Mapping[str, Sequence[RecordedRun]], recipe: str) -> str:
    """What the network is called: by its builder and width."""
    run = variants[next((name for name in (ASKED, CONTROL) if name in variants), next(iter(variants)))][0]
    width, builder = run.config.model.get("width", 1.0), run.config.model["builder"]
    if builder in ("attention_vgg", "vgg", "vgg_gap"):
        wide = f"width 1/{round(1 / width)}" if width < 1 else FULL
        return f"{wide}, {run.config.epochs} epochs"
    if builder == "photo_attention_net":
        return f"photo network, {run.config.epochs} epochs"
    return {"small_attention_net": "small network"}.get(builder, recipe)


def best(ladder: Ladder) -> float:
    return max(mean(rung.accuracies) for rung in ladder.rungs)


# --- comparisons ------------------------------------------------------------------------------------------------------


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Student's 95 % interval of a mean; None and None below two values."""
    if len(values) < 2:
        return None, None
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return mean(values) - half, mean(values) + half


def gain(ladder: Ladder, variant: str = ASKED, other: str = CONTROL) -> Gain:
    """The gain of one rung over another, paired by seed; without a common seed it has no points."""
    one, two = ladder.rung(variant), ladder.rung(other)
    if one is None or two is None:
        return Gain(ladder, variant, other, (), None, None, None)
    there = dict(zip(two.seeds, two.accuracies, strict=True))
    both = zip(one.seeds, one.accuracies, strict=True)
    points = tuple(accuracy - there[seed] for seed, accuracy in both if seed in there)
    return Gain(ladder, variant, other, points, mean(points) if points else None, *interval(points))


def gains(found: Sequence[Ladder]) -> list[Gain]:
    """Every rung but the control against it, ladder by ladder, where both were run."""
    each = (gain(ladder, rung.variant) for ladder in found for rung in ladder.rungs if rung.variant != CONTROL)
    return [one for one in each if one.points]


def steps(found: Sequence[Ladder]) -> list[tuple[str, Gain]]:
    """Resolution, head and attention, ladder by ladder, where both ends of a step were run."""
    each = ((what, gain(ladder, above, below)) for ladder in found for what, above, below in STEPS)
    return [(what, one) for what, one in each if one.points]


def choices(found: Sequence[Ladder]) -> list[tuple[str, Gain]]:
    """What each choice of ``CHOICES`` gains, ladder by ladder, where both networks were run."""
    each = ((what, gain(ladder, one, other)) for ladder in found for what, one, other in CHOICES)
    return [(what, one) for what, one in each if one.points]


def must_be_matched(records: Sequence[RecordedRun], found: Sequence[Gain]) -> None:
    """Raise ValueError where runs of pc and of equal weights differ in more than the attention."""
    for one in found:
        if one.points and one.ladder.data != "tiny-imagenet" and (one.variant, one.other) == (ASKED, CONTROL):
            recipe = one.ladder.name.removeprefix(f"{one.ladder.data}-")
            names = f"{recipe}-{one.variant}", f"{recipe}-{one.other}"
            same = difference(records, *names, data=one.ladder.data)
            must(abs((same.points or 0) - (one.mean or 0)) < 1e-9, f"{names}: two ways to a difference disagree")


def minus(text: str) -> str:
    """Text with real minus signs before its numbers."""
    return re.sub(r"-(?=\d)", "−", text)


# --- words ------------------------------------------------------------------------------------------------------------


def sentence(one: Gain) -> str:
    """What may be said of one gain, as Markdown."""
    title = f"**{one.ladder.spoken}**"
    if one.mean is None:
        return f"{title}: attention and its control have not been run with the same seed."
    where = f"{abs(one.mean):.1f} points {'above' if one.mean > 0 else 'below'} equal weights"
    if one.low is None or one.high is None:
        return f"{title}: {one.variant} ends {where}. That is one seed of each: no interval, no claim."
    range_ = minus(f"(95 % interval {one.low:+.1f} to {one.high:+.1f}, {len(one.points)} seeds)")
    says = {
        "gain": "The interval lies above zero: with this recipe attention helps.",
        "loss": "The interval lies below zero: with this recipe equal weights do better.",
        "open": "The interval holds zero: no difference is shown."
        if one.low <= 0 <= one.high
        else f"With fewer than {ENOUGH} seeds no claim is made of it.",
    }
    return f"{title}: {one.variant} ends {where} {range_}. {says[one.verdict]}"


def answer(found: Sequence[Gain]) -> str:
    """The answer to "is it the attention?" over several pairs of pc and equal weights, as Markdown."""
    of = {verdict: [one.ladder.spoken for one in found if one.verdict == verdict] for verdict in VERDICTS}
    if not any(of.values()):
        return "No pair of attention and equal weights has been run yet."
    said = {
        "gain": "Attention ends above equal weights, beyond the spread of the seeds, on {}.",
        "loss": "Attention ends *below* equal weights, beyond the spread of the seeds, on {}.",
        "open": "On {} no difference is shown.",
        "one seed": "On {} there is one seed alone, which decides nothing.",
    }
    lines = [said[verdict].format(listed(titles)) for verdict, titles in of.items() if titles]
    return " ".join(lines)


VERDICTS: tuple[Verdict, ...] = ("gain", "loss", "open", "one seed")


def listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def not_run(found: Sequence[Ladder]) -> str:
    """What has not been run, with the command that runs it; empty where nothing is lacking."""
    lacking = {
        "the paper's full width": not any(FULL in each.network for each in found),
        "SVHN": not any(each.data == "svhn" for each in found),
    }
    commands = {
        "the paper's full width": "`python tools/record.py sweep full-width --out runs` (on a GPU)",
        "SVHN": "`python tools/record.py sweep --data svhn --preset book --variants pc uniform --out runs`",
    }
    names = [name for name, lacks in lacking.items() if lacks]
    if not names:
        return ""
    verb = "have" if len(names) > 1 else "has"
    runs = " and ".join(commands[name] for name in names)
    said = " and ".join(names)
    return f"{said[0].upper()}{said[1:]} {verb} not been run for this book. To run and record: {runs}."


def unknown(found: Sequence[Ladder], pairs: Sequence[Gain]) -> str:
    """What nobody can say from these runs, as Markdown."""
    parts = []
    if lacking := not_run(found):
        parts.append(f"{lacking.split(' for this book.')[0]}.")
    below = {what for what, _ in steps(found)}
    if missing := [what for what, _, _ in STEPS if what not in below]:
        parts.append(f"The share of {' and '.join(missing)} in the paper's gain was not measured.")
    if alone := [one.ladder.spoken for one in pairs if one.verdict == "one seed"]:
        parts.append(f"What more seeds would say on {listed(alone)} is open.")
    return " ".join(parts) or "Other networks, recipes and data sets than those of the ladder."
