"""What one look gave, and the loss that trains whoever looked."""

from typing import Literal, NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from .reinforce import reinforce_loss

Reward = Literal["log_probability", "probability", "correct"]
Expected = Literal["none", "mean", "learned"]


class Seen(NamedTuple):
    """What a kind of model did with a batch: logits, windows as boxes (b, t, 4) or None, and what REINFORCE needs.

    ``answers`` (b, t, classes), for glimpses: the logits after each; ``logits`` are the last. Where several windows
    were drawn for each picture, b counts all of them: all pictures, and then all again.
    """

    logits: Float[Tensor, "b classes"]
    boxes: Int64[Tensor, "b t 4"] | None = None
    log_prob: Float[Tensor, "b s"] | None = None
    entropy: Float[Tensor, "b s"] | None = None
    baseline: Float[Tensor, "b s"] | None = None
    answers: Float[Tensor, "b t classes"] | None = None


def for_each_draw(labels: Int64[Tensor, " n"], seen: Seen) -> Int64[Tensor, " b"]:
    """The labels of a batch, repeated for every window that was drawn."""
    return labels.repeat(len(seen.logits) // len(labels))


def loss_and_rewards(
    seen: Seen, labels: Int64[Tensor, " n"], *, reward: Reward, baseline: Expected, entropy_weight: float
) -> tuple[Float[Tensor, ""], Float[Tensor, " b"]]:
    """The loss of a batch, and the rewards (b,) of its last answers: cross-entropy for answers, REINFORCE for places.

    loss = mean cross-entropy of all answers + sum over places of (REINFORCE + (baseline - reward)^2 / 2). The reward
    of a place is that of the answer after it; where several answers follow, their mean.

    ``reward``, ``baseline`` and ``entropy_weight`` as in ``HardConfig``.
    """
    labels = for_each_draw(labels, seen)
    answers = seen.logits[:, None] if seen.answers is None else seen.answers
    surprise = functional.cross_entropy(answers.mT, labels[:, None].expand(answers.shape[:2]), reduction="none")
    rewards = -surprise.detach()
    if reward == "probability":
        rewards = rewards.exp()
    elif reward == "correct":
        rewards = (answers.argmax(dim=2) == labels[:, None]).to(surprise.dtype)
    loss = surprise.mean()
    if seen.log_prob is not None and seen.baseline is not None:
        first = answers.shape[1] - seen.log_prob.shape[1]  # the answer that follows the first chosen place
        for place, (log_prob, expected) in enumerate(
            zip(seen.log_prob.unbind(1), seen.baseline.unbind(1), strict=True)
        ):
            earned = rewards[:, first + place :].mean(dim=1)
            loss = loss + reinforce_loss(
                log_prob,
                earned,
                baseline=expected if baseline == "learned" else baseline,
                entropy=None if seen.entropy is None else seen.entropy[:, place],
                entropy_weight=entropy_weight if seen.entropy is not None else 0.0,
            )
            loss = loss + 0.5 * functional.mse_loss(expected, earned)
    return loss, rewards[:, -1]
