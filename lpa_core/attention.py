"""Trainable soft attention: scores -> weights -> vector. The paper on one page.

Symbols of Jetley et al. (2018): at one level a network has local feature vectors l_1 ... l_n, one per position of
an (h, w) map, and one global vector g of the whole picture. A compatibility function gives each position a score
c_i; the scores are normalised into weights a_i; the weighted sum g_a = sum_i a_i l_i replaces g for classification.

Shapes: b pictures, c channels, an (h, w) map of n = h * w positions. Nothing here knows about a network.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ._utils.checks import check_count, check_option

Compatibility = Literal["pc", "dp", "scaled_dp", "additive", "uniform"]
Match = Literal["global", "local"]
Normalise = Literal["softmax", "sigmoid"]


class Attended(NamedTuple):
    """What attention gives at one level: the vector g_a, the weights a_i and the scores c_i they came from."""

    vector: Float[Tensor, "b c"]
    weights: Float[Tensor, "b h w"]
    scores: Float[Tensor, "b h w"]


def parametrised_scores(
    local: Float[Tensor, "b c h w"],
    g: Float[Tensor, "b c"] | None,
    u: Float[Tensor, " c"],
    bias: Float[Tensor, ""] | None = None,
) -> Float[Tensor, "b h w"]:
    """Parametrised compatibility (pc): c_i = <u, l_i + g>, with one learned direction u.

    Computed as <u, l_i> + <u, g>, so the sum l_i + g is never stored: in bfloat16 a large g would drown l_i. The two
    products are added in float32 at least. ``g=None`` leaves <u, g> out: a constant over positions, which a softmax
    over positions removes exactly.

    Source: Jetley et al. (2018), section 3.2; the authors' code adds the scalar ``bias``.
    Raises: ValueError when the channels of ``local``, ``g`` and ``u`` differ.
    """
    _same_channels(local, g=g, u=u)
    scores = _inner_products(local, u)
    if g is not None:
        scores = scores + _vector_products(g, u)[:, None, None]
    return scores if bias is None else scores + bias


def dot_scores(local: Float[Tensor, "b c h w"], g: Float[Tensor, "b c"]) -> Float[Tensor, "b h w"]:
    """Dot product (dp): c_i = <l_i, g>. g is one query, the l_i are keys and values; there is no scaling.

    Source: Jetley et al. (2018), section 3.2.
    Raises: ValueError when the channels of ``local`` and ``g`` differ.
    """
    _same_channels(local, g=g)
    return _inner_products(local, g)


def scaled_dot_scores(local: Float[Tensor, "b c h w"], g: Float[Tensor, "b c"]) -> Float[Tensor, "b h w"]:
    """Scaled dot product: c_i = <l_i, g> / sqrt(c). For vectors of independent parts its size does not grow with c.

    Large scores make a softmax choose one position and leave the others without a gradient; plain dot products grow
    with the lengths of l_i and g.

    Source: Vaswani et al. (2017), section 3.2.1, for one query g. Not in Jetley et al. (2018).
    Raises: ValueError when the channels of ``local`` and ``g`` differ.
    """
    return dot_scores(local, g / local.shape[1] ** 0.5)


def additive_scores(
    local: Float[Tensor, "b c h w"],
    g: Float[Tensor, "b k"],
    w_local: Float[Tensor, "d c"],
    w_global: Float[Tensor, "d k"],
    u: Float[Tensor, " d"],
) -> Float[Tensor, "b h w"]:
    """Additive attention: c_i = <u, tanh(W_l l_i + W_g g)>, the smallest change to pc that makes g matter.

    Without the tanh, <u, W_g g> would be the same at every position and a softmax would remove it.

    Source: Bahdanau et al. (2015), written for one query g. Not in Jetley et al. (2018).
    Raises: ValueError when a matrix does not fit its vector.
    """
    rows = len(u)
    if w_local.shape != (rows, local.shape[1]) or w_global.shape != (rows, g.shape[1]):
        raise ValueError(
            f"w_local must be ({rows}, {local.shape[1]}) and w_global ({rows}, {g.shape[1]}) to fit u, local and g; "
            f"got {tuple(w_local.shape)} and {tuple(w_global.shape)}"
        )
    # A matrix applied at every position is a 1x1 convolution, which keeps the memory format of the map.
    hidden = functional.conv2d(local, w_local[:, :, None, None]) + (g @ w_global.T)[:, :, None, None]
    return _inner_products(hidden.tanh(), u)


def uniform_scores(local: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
    """Uniform compatibility: c_i = 0. After a softmax every weight is 1/n and g_a is the average pool of ``local``.

    The matched control for attention: same trunk, same head, same code path, nothing to look with.
    """
    return local.new_zeros(local.shape[0], local.shape[2], local.shape[3])


def attend(
    local: Float[Tensor, "b c h w"], scores: Float[Tensor, "b h w"], *, normalise: Normalise = "softmax"
) -> Attended:
    """Scores to weights to vector: a = normalise(c) over the n positions, g_a from the weighted local vectors.

    * ``"softmax"``: a_i = exp(c_i) / sum_j exp(c_j), in [0, 1] and summing to 1; g_a = sum_i a_i l_i (the paper).
    * ``"sigmoid"``: a_i = 1 / (1 + exp(-c_i)), each in [0, 1], no sum fixed; g_a = (1/n) sum_i a_i l_i. The mean
      keeps the size of g_a independent of the size of the map. Differs from the paper, which uses the softmax.

    The weights are computed in float32 at least, whatever the dtype of ``scores``.

    Raises: ValueError when ``scores`` is not one number per position of ``local``, or on an unknown ``normalise``.
    """
    check_option("normalise", normalise, Normalise)
    if scores.shape != (local.shape[0], *local.shape[2:]):
        raise ValueError(
            f"scores must be (b, h, w) = {(local.shape[0], *local.shape[2:])} to fit local {tuple(local.shape)}; "
            f"got {tuple(scores.shape)}"
        )
    scores = _at_least_float32(scores)
    weights = scores.flatten(1).softmax(dim=1).view_as(scores) if normalise == "softmax" else scores.sigmoid()
    return Attended(weighted_sum(local, weights, normalise=normalise), weights, scores)


def weighted_sum(
    local: Float[Tensor, "b c h w"], weights: Float[Tensor, "b h w"], *, normalise: Normalise = "softmax"
) -> Float[Tensor, "b c"]:
    """The attended vector of given weights: g_a = sum_i a_i l_i, or their mean over positions with ``"sigmoid"``."""
    # The row of weights times the matrix whose n rows are the local vectors.
    vector = (weights.to(local.dtype).flatten(1)[:, None] @ local.flatten(2).mT)[:, 0]
    return vector / (local.shape[2] * local.shape[3]) if normalise == "sigmoid" else vector


class AttentionEstimator(nn.Module):
    """One level's attention: local features (b, c, h, w) and the global vector (b, k) -> ``Attended``.

    Args:
        local_channels: c, channels of the local features of this level.
        global_channels: k, length of the global vector g.
        compatibility: ``"pc"``, ``"dp"``, ``"scaled_dp"``, ``"additive"`` or ``"uniform"`` (the control; takes no g).
        match: which side is projected where c and k differ. ``"global"`` (the paper): g goes through
            BN - ReLU - dropout - Linear(k, c). ``"local"``: l_i goes through a matrix P (k, c) without bias, folded:
            <u, P l_i> = <P'u, l_i> and sum a_i P l_i = P sum a_i l_i, so P never touches the map. Where c = k
            nothing is projected.
        normalise: ``"softmax"`` (the paper) or ``"sigmoid"``.
        own_g: True gives this level a g of its own: g goes through BN - ReLU - dropout - Linear even where c = k.
            ``"additive"`` has its own W_g in any case.
        use_g: False builds no path for g at all (only pc with softmax, where g cannot change the result, and uniform).
        dropout: rate before the projection of g (the authors' 0.5).

    ``out_channels`` is the length of the vector: c, or k with ``match="local"``.

    Differs from the paper: the authors' initialisation of the score layer is unknown to us; u starts as the default
    of a 1x1 convolution, U(-1/sqrt(c), 1/sqrt(c)).

    Source: Jetley et al. (2018), sections 3.1-3.3; layers as in the authors' code.
    Raises: ValueError on channels below 1, an unknown option, or ``use_g=False`` where g changes the result.
    """

    def __init__(
        self,
        local_channels: int,
        global_channels: int,
        *,
        compatibility: Compatibility = "pc",
        match: Match = "global",
        normalise: Normalise = "softmax",
        own_g: bool = False,
        use_g: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_option("compatibility", compatibility, Compatibility)
        check_option("match", match, Match)
        check_option("normalise", normalise, Normalise)
        check_count("local_channels", local_channels)
        check_count("global_channels", global_channels)
        cancels = compatibility == "uniform" or (compatibility == "pc" and normalise == "softmax")
        if not use_g and not cancels:
            raise ValueError(
                f"use_g=False needs compatibility='pc' with normalise='softmax' (there g cancels) or 'uniform'; "
                f"got {compatibility!r} with {normalise!r}, where g changes the result"
            )
        self.compatibility, self.match, self.normalise = compatibility, match, normalise
        self.uses_g = use_g and compatibility != "uniform"
        self.local_channels, self.global_channels = local_channels, global_channels
        differ = local_channels != global_channels
        self.out_channels = global_channels if match == "local" else local_channels
        # additive has its own W_g for g, and uniform has no g: neither needs the projection of g.
        self.project_global = (
            nn.Sequential(
                nn.BatchNorm1d(global_channels, eps=1e-3),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(global_channels, self.out_channels),
            )
            if self.uses_g and compatibility != "additive" and (own_g or (differ and match == "global"))
            else None
        )
        self.project_local = (
            nn.Linear(local_channels, global_channels, bias=False) if differ and match == "local" else None
        )
        if compatibility == "pc":
            self.u = _unit_uniform(self.out_channels)
            self.bias = nn.Parameter(torch.zeros(()))
        elif compatibility == "additive":
            self.u = _unit_uniform(local_channels)
            self.w_local = nn.Linear(local_channels, local_channels, bias=False)
            self.w_global = nn.Linear(global_channels, local_channels, bias=False)

    def extra_repr(self) -> str:
        return f"compatibility={self.compatibility!r}, match={self.match!r}, normalise={self.normalise!r}"

    def scores(self, local: Float[Tensor, "b c h w"], g: Float[Tensor, "b k"] | None = None) -> Float[Tensor, "b h w"]:
        """The scores c_i alone. ``g`` may be None where the estimator uses none."""
        if local.shape[1] != self.local_channels:
            raise ValueError(f"local must have {self.local_channels} channels; got {local.shape[1]}")
        if self.compatibility == "uniform":
            return uniform_scores(local)
        if not self.uses_g:
            g = None
        elif g is None:
            raise ValueError(f"g is needed for compatibility={self.compatibility!r}; got None")
        elif g.shape[1] != self.global_channels:
            raise ValueError(f"g must have {self.global_channels} channels; got {g.shape[1]}")
        if self.compatibility == "additive":
            assert g is not None  # additive always uses g; refused in __init__ otherwise
            return additive_scores(local, g, self.w_local.weight, self.w_global.weight, self.u)
        if self.project_global is not None and g is not None:
            g = self.project_global(g)
        if self.compatibility == "pc":
            if self.project_local is None:
                return parametrised_scores(local, g, self.u, self.bias)
            # Folded: <u, P l_i + g> = <P'u, l_i> + <u, g>.
            shift = self.bias if g is None else _vector_products(g, self.u)[:, None, None] + self.bias
            return parametrised_scores(local, None, self.u @ self.project_local.weight) + shift
        assert g is not None  # a dot product always uses g
        if self.compatibility == "scaled_dp":
            g = g / self.out_channels**0.5  # those of the space in which l_i and g meet
        return dot_scores(local, g if self.project_local is None else g @ self.project_local.weight)

    def vector(self, local: Float[Tensor, "b c h w"], weights: Float[Tensor, "b h w"]) -> Float[Tensor, "b d"]:
        """The attended vector g_a that this estimator makes of given weights, projected where it projects."""
        vector = weighted_sum(local, weights, normalise=self.normalise)
        return vector if self.project_local is None else self.project_local(vector)

    def forward(self, local: Float[Tensor, "b c h w"], g: Float[Tensor, "b k"] | None = None) -> Attended:
        attended = attend(local, self.scores(local, g), normalise=self.normalise)
        if self.project_local is None:
            return attended
        return attended._replace(vector=self.project_local(attended.vector))


def _unit_uniform(channels: int) -> nn.Parameter:
    bound = channels**-0.5
    return nn.Parameter(torch.empty(channels).uniform_(-bound, bound))


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _inner_products(local: Tensor, query: Tensor) -> Tensor:
    """<query, l_i> at every position, as (b, h, w); ``query`` is (c,), or (b, c): one for each picture.

    In float32 at least, under autocast too: bfloat16 keeps 8 bits, so a score of 100 would be 0.5 off, and a softmax
    makes of that a weight that is wrong by two thirds.
    """
    if local.dtype in (torch.bfloat16, torch.float16):
        with torch.autocast(local.device.type, enabled=False):
            return _inner_products(_at_least_float32(local), _at_least_float32(query))
    if not local.is_contiguous():  # channels_last: each l_i lies in one piece
        return torch.einsum("bchw,c->bhw" if query.ndim == 1 else "bchw,bc->bhw", local, query)
    # A row times a matrix reads the map as it lies; the einsum would first copy it (on a CPU 4 times slower).
    b, c, h, w = local.shape
    return (query.expand(b, c)[:, None] @ local.flatten(2)).view(b, h, w)


def _vector_products(g: Tensor, query: Tensor) -> Tensor:
    """<query, g> of every picture, as (b,), in float32 at least as above."""
    if g.dtype in (torch.bfloat16, torch.float16):
        with torch.autocast(g.device.type, enabled=False):
            return _at_least_float32(g) @ _at_least_float32(query)
    return g @ query


def _same_channels(local: Tensor, **vectors: Tensor | None) -> None:
    for name, vector in vectors.items():
        if vector is not None and vector.shape[-1] != local.shape[1]:
            raise ValueError(f"{name} must have the {local.shape[1]} channels of local; got {vector.shape[-1]}")
