"""A choice that has no derivative, and the loss that trains it all the same: REINFORCE."""

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .._utils.checks import check_count

ConstantBaseline = Literal["none", "mean"]


class Choice(NamedTuple):
    """Chosen windows: corners (top, left); log pi(window), which has a derivative; and the entropy of pi in nats."""

    corners: Int64[Tensor, "b 2"]
    log_prob: Float[Tensor, " b"]
    entropy: Float[Tensor, " b"]


def choose(
    scores: Float[Tensor, "b rows columns"], *, stride: int = 1, generator: torch.Generator | None = None
) -> Choice:
    """Choose one window a picture by pi = softmax(scores): drawn with a ``generator``, the most probable without.

    pi(k) = exp(s_k) / sum_j exp(s_j) over all windows of a picture. The draw itself carries no derivative: it is made
    first, from detached probabilities, and its log-probability is looked up afterwards. (Differentiating through the
    draw as well is a known mistake; it adds a term that has nothing to do with the reward.)

    Raises: ValueError on scores with NaN or inf.
    """
    check_count("stride", stride)
    if not bool(scores.isfinite().all()):
        raise ValueError("scores must be finite; got NaN or inf")
    log_pi = scores.flatten(1).log_softmax(dim=1)
    if generator is None:
        index = log_pi.argmax(dim=1)
    else:
        pi = log_pi.detach().exp()
        index = torch.multinomial(pi.to(generator.device), 1, generator=generator)[:, 0].to(scores.device)
    columns = scores.shape[2]
    corners = torch.stack([index // columns, index % columns], dim=1) * stride
    return Choice(corners, log_pi.gather(1, index[:, None])[:, 0], -(log_pi.exp() * log_pi).sum(dim=1))


def reinforce_loss(
    log_prob: Float[Tensor, " b"],
    reward: Float[Tensor, " b"],
    *,
    baseline: ConstantBaseline | Float[Tensor, " b"] = "none",
    entropy: Float[Tensor, " b"] | None = None,
    entropy_weight: float = 0.0,
) -> Float[Tensor, ""]:
    """A number whose gradient estimates minus that of the expected reward: -mean((R - b) log pi) - weight mean(H).

    grad E[R] = E[R grad log pi], because grad pi = pi grad log pi. Subtracting a baseline b that does not depend on
    the draw leaves the mean of the estimate as it is, since E[grad log pi] = 0, and lowers its variance.

    * ``baseline="none"``: b = 0.
    * ``"mean"``: for each sample, the mean reward of the *others* in the batch. (A mean that includes the sample
      itself would shrink the estimate by (n - 1) / n.)
    * a tensor (b,): a prediction of the reward from the picture alone. It is detached here: train it by its own
      squared error.

    ``reward`` is detached and may have any scale. With ``entropy_weight`` > 0 a bonus for the entropy keeps the policy
    from settling too early.

    Source: Williams (1992).
    Raises: ValueError on NaN or inf in ``reward`` or ``baseline``, on shapes that differ, on "mean" with one sample,
        an unknown baseline, or an ``entropy_weight`` below 0 or without ``entropy``.
    """
    _same_samples("reward", reward, log_prob)
    reward = reward.detach()
    if isinstance(baseline, Tensor):
        _same_samples("baseline", baseline, log_prob)
        expected = baseline.detach()
    elif baseline == "mean":
        if len(reward) < 2:
            raise ValueError(f"baseline='mean' compares with the other samples and needs 2 at least; got {len(reward)}")
        expected = (reward.sum() - reward) / (len(reward) - 1)
    elif baseline == "none":
        expected = torch.zeros_like(reward)
    else:
        raise ValueError(
            f"baseline must be {', '.join(map(repr, get_args(ConstantBaseline)))} or a tensor; got {baseline!r}"
        )
    if not 0 <= entropy_weight < float("inf") or (entropy_weight and entropy is None):
        raise ValueError(f"entropy_weight must be at least 0, and needs entropy above 0; got {entropy_weight}")
    loss = -((reward - expected) * log_prob).mean()
    return loss if entropy is None else loss - entropy_weight * entropy.mean()


def _same_samples(name: str, value: Tensor, log_prob: Tensor) -> None:
    if value.shape != log_prob.shape:
        raise ValueError(
            f"{name} must be {tuple(log_prob.shape)}, one number for each log_prob; got {tuple(value.shape)}"
        )
    if not bool(value.isfinite().all()):
        raise ValueError(f"{name} must be finite; got NaN or inf")
