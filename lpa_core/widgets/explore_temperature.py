"""An explorer of the softmax's temperature."""

from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ..attention import attend
from ..plotting.maps import pixels
from .choices import in_words
from .explorer import Explorer
from .frames import Control, Frame, Panel


def temperature_explorer(
    image: UInt8[Tensor, "c h w"],
    scores: Float[Tensor, "_ _"],
    *,
    start: float = 0.25,
    box: Int[Tensor, "*k 4"] | None = None,
    title: str = "The temperature of the softmax",
) -> Explorer:
    r"""What dividing the scores by a temperature does: a_i = exp(c_i / T) / sum_j exp(c_j / T), T from 1/16 to 16.

    ``scores`` (h, w) are those of one picture at one level. Beside the weights at the chosen T stand those at T = 1.
    "As good as k positions" is exp(entropy): n for uniform weights, 1 for a single position. The live face has finer
    steps.

    Raises: ValueError unless ``scores`` is finite and (h, w), or when ``start`` is no power of two in that range.
    """
    if scores.ndim != 2 or not bool(scores.isfinite().all()):
        raise ValueError(f"scores must be finite and (h, w); got {tuple(scores.shape)} from {scores.min():.3g}")
    powers = {_fraction(power): 2.0**power for power in range(-4, 5)}
    if start not in powers.values():
        raise ValueError(f"start must be one of {', '.join(powers)}; got {start}")
    scores = scores.detach()
    n = scores.numel()

    def weights(temperature: float) -> Tensor:
        return attend(scores[None, None], scores[None] / temperature).weights[0]

    def panel(temperature: float) -> Panel:
        a = weights(temperature)
        row, column = divmod(int(a.argmax()), a.shape[1])
        return Panel(
            pixels(image, a, boxes=box),
            f"Attention weights at temperature {temperature:.3g}: the heaviest of {n} positions, "
            f"{in_words(row, column, *a.shape)}, holds {100 * float(a.max()):.1f} percent of the weight.",
            f"weights at T = {temperature:.3g}",
            (0.0, float(a.max())),
        )

    def draw(temperature: float) -> Frame:
        a = weights(temperature)
        entropy = -(a * a.clamp(min=1e-30).log()).sum()
        text = f"T = {temperature:.3g}: the heaviest position holds {100 * float(a.max()):.1f} % of the weight"
        alike = f"equal weights on {float(entropy.exp()):.0f} of the {n} positions"
        text += f" (uniform: {100 / n:.2g} %). It is spread as widely as {alike}."
        shown = Panel(pixels(image, boxes=box), "The picture that is looked at.", "picture")
        return Frame([shown, panel(1.0), panel(temperature)], text)

    fine = {f"{2 ** (power / 4):.2g}": 2 ** (power / 4) for power in range(-16, 17)} | powers
    return Explorer(
        title,
        [
            Control(
                label="Temperature T",
                options=powers,
                start=next(name for name, value in powers.items() if value == start),
                slider=True,
                live=dict(sorted(fine.items(), key=lambda item: item[1])),
            )
        ],
        draw,
    )


def _fraction(power: int) -> str:
    return f"{2**power}" if power >= 0 else f"1/{2**-power}"
