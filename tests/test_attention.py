"""The attention functions against their formulas, written out position by position."""

import itertools
import math
from typing import get_args

import jaxtyping
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lpa_core._utils.checks import check_count
from lpa_core.attention import (
    Attended,
    AttentionEstimator,
    Compatibility,
    Match,
    Normalise,
    additive_scores,
    attend,
    dot_scores,
    parametrised_scores,
    scaled_dot_scores,
    uniform_scores,
)

B, C, K, H, W = 3, 4, 6, 5, 3
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

# Every estimator there is: options x (channels agree or not) x (g is used or not).
ESTIMATORS = [
    {"compatibility": c, "match": m, "normalise": n, "own_g": own, "use_g": use, "channels": (C, k)}
    for c, m, n, own, use, k in itertools.product(
        get_args(Compatibility), get_args(Match), get_args(Normalise), (False, True), (True, False), (C, K)
    )
    if use or c == "uniform" or (c == "pc" and n == "softmax" and not own)
]


def name_of(options: dict) -> str:
    g = "no-g" if not options["use_g"] else "own-g" if options["own_g"] else "g"
    sizes = "same" if len(set(options["channels"])) == 1 else "differ"
    return "-".join((options["compatibility"], options["match"], options["normalise"], g, sizes))


every_estimator = pytest.mark.parametrize("options", ESTIMATORS, ids=name_of)


def make(options: dict, **more: object) -> AttentionEstimator:
    channels, rest = options["channels"], {k: v for k, v in options.items() if k != "channels"}
    torch.manual_seed(0)
    return AttentionEstimator(*channels, **rest, **more)


def inputs(options: dict, dtype: torch.dtype = torch.float32, batch: int = B) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    c, k = options["channels"]
    local = torch.randn(batch, c, H, W, generator=generator, dtype=torch.float64)
    return local.to(dtype), torch.randn(batch, k, generator=generator, dtype=torch.float64).to(dtype)


@pytest.fixture
def unchecked():
    """Without the shape checker of the tests, as users run: the package's own errors must speak."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_position(local: Tensor, score) -> Tensor:
    """score(picture, l_i) at every position, one at a time."""
    b, _, h, w = local.shape
    return torch.stack([score(p, local[p, :, i, j]) for p in range(b) for i in range(h) for j in range(w)]).view(
        b, h, w
    )


# The formulas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("what", ["pc", "pc without g", "dp", "scaled dp", "additive"])
def test_scores_are_the_formula_at_every_position(what, layout):
    local, g = randn(B, C, H, W), randn(B, K if what == "additive" else C, seed=1)
    u, bias, w_local, w_global = randn(C, seed=2), randn(1, seed=3)[0], randn(C, C, seed=4), randn(C, K, seed=5)
    if what == "pc":
        true = by_position(local, lambda p, x: u @ (x + g[p]) + bias)
        got = parametrised_scores(local.to(memory_format=layout), g, u, bias)
    elif what == "pc without g":
        true = by_position(local, lambda p, x: u @ x)
        got = parametrised_scores(local.to(memory_format=layout), None, u)
    elif what == "dp":
        true = by_position(local, lambda p, x: x @ g[p])
        got = dot_scores(local.to(memory_format=layout), g)
    elif what == "scaled dp":
        true = by_position(local, lambda p, x: x @ g[p] / C**0.5)
        got = scaled_dot_scores(local.to(memory_format=layout), g)
    else:
        true = by_position(local, lambda p, x: u @ torch.tanh(w_local @ x + w_global @ g[p]))
        got = additive_scores(local.to(memory_format=layout), g, w_local, w_global, u)
    torch.testing.assert_close(got, true, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("normalise", get_args(Normalise))
def test_attend_is_the_formula(normalise, layout):
    local, scores = randn(B, C, H, W), randn(B, H, W, seed=1)
    vector, weights, kept = attend(local.to(memory_format=layout), scores, normalise=normalise)
    for p in range(B):
        c = [float(x) for x in scores[p].flatten()]
        if normalise == "softmax":
            a = [math.exp(x) / sum(map(math.exp, c)) for x in c]
        else:
            a = [1 / (1 + math.exp(-x)) for x in c]
        columns = local[p].flatten(1).T
        total = sum(a_i * l_i for a_i, l_i in zip(a, columns, strict=True))
        assert weights[p].flatten().tolist() == pytest.approx(a, rel=1e-12)
        torch.testing.assert_close(vector[p], total / (H * W if normalise == "sigmoid" else 1), rtol=1e-12, atol=1e-13)
    assert torch.equal(kept, scores)


def test_uniform_is_average_pooling():
    local = randn(B, C, H, W)
    vector, weights, scores = attend(local, uniform_scores(local))
    assert (scores == 0).all()
    assert (weights == weights[0, 0, 0]).all()
    assert float(weights[0, 0, 0]) == pytest.approx(1 / (H * W), rel=1e-15)
    torch.testing.assert_close(vector, functional.adaptive_avg_pool2d(local, 1).flatten(1), rtol=1e-14, atol=1e-14)


def test_what_is_the_same_at_every_position_cancels_in_a_softmax():
    """u.g, the score's bias, and the g half of a concatenation: the weights depend on neither of them."""
    local, g, u, v = randn(B, C, H, W), 10 * randn(B, C, seed=1), randn(C, seed=2), randn(C, seed=3)
    alone = attend(local, parametrised_scores(local, None, u)).weights
    concatenated = by_position(local, lambda p, x: torch.cat((u, v)) @ torch.cat((x, g[p])))
    for scores in (parametrised_scores(local, g, u), parametrised_scores(local, g, u, randn(1)[0]), concatenated):
        torch.testing.assert_close(attend(local, scores).weights, alone, rtol=1e-12, atol=0)
        assert not torch.allclose(attend(local, scores, normalise="sigmoid").weights, alone.sigmoid(), rtol=1e-3)


def test_g_matters_to_dp_and_to_additive_scores():
    local, g, other, w = randn(B, C, H, W), randn(B, C, seed=1), randn(B, C, seed=2), randn(C, C, seed=3)
    for scores in (lambda g: dot_scores(local, g), lambda g: additive_scores(local, g, w, w, w[0])):
        assert (attend(local, scores(g)).weights - attend(local, scores(other)).weights).abs().max() > 0.01


def test_a_large_g_drowns_l_only_where_the_sum_is_stored_in_bfloat16():
    """In bfloat16, l + g keeps 8 bits of g. Added to the scores instead, in float32, the same g does no harm."""
    local, u = randn(B, 64, 8, 8), randn(64, seed=1)
    g = functional.normalize(randn(B, 64, seed=2)) * 100
    true = attend(local, parametrised_scores(local, None, u)).weights
    low = [x.bfloat16() for x in (local, g, u)]
    stored = torch.einsum("bchw,c->bhw", low[0] + low[1][:, :, None, None], low[2]).float().flatten(1).softmax(1)
    ours = attend(low[0], parametrised_scores(*low)).weights
    assert ((stored.view_as(true) - true).abs() / true).max() > 0.5
    assert ((ours - true).abs() / true).max() < 0.15  # the rounding of l and u themselves
    without = attend(low[0], parametrised_scores(low[0], None, low[2])).weights
    torch.testing.assert_close(ours, without, rtol=1e-3, atol=0)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("under_autocast", [False, True])
def test_scores_of_bfloat16_features_are_not_rounded_to_bfloat16(memory, under_autocast):
    """A dot product of 150, rounded to 8 bits, is off by up to 0.5; in float32 it is that of the given numbers."""
    local, g, u = (x.float() for x in (randn(B, 256, 8, 8) * 3, randn(B, 256, seed=1) * 3, randn(256, seed=2)))
    local, g = local.contiguous(memory_format=memory).bfloat16(), g.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=under_autocast):
        dp, pc = dot_scores(local, g), parametrised_scores(local, g, u)
    exact = torch.einsum("bchw,bc->bhw", local.double(), g.double())
    assert exact.abs().max() > 150
    torch.testing.assert_close(dp.double(), exact, rtol=0, atol=1e-3)
    shift = torch.einsum("bc,c->b", g.double(), u.double())[:, None, None]
    torch.testing.assert_close(
        pc.double(), torch.einsum("bchw,c->bhw", local.double(), u.double()) + shift, rtol=0, atol=1e-3
    )
    assert dp.dtype == pc.dtype == torch.float32


@pytest.mark.parametrize("compatibility", get_args(Compatibility))
def test_the_folded_projection_is_the_unfolded_formula_in_value_and_gradient(compatibility):
    """P never touches the map: <u, P l_i> = <P'u, l_i> and sum a_i P l_i = P sum a_i l_i."""
    options = {"compatibility": compatibility, "match": "local", "channels": (C, K)}
    estimator = make(options).double()
    local, g = (x.requires_grad_() for x in inputs(options, torch.float64))
    p = estimator.project_local.weight
    projected = torch.einsum("kc,bchw->bkhw", p, local)
    if compatibility == "pc":
        scores = torch.einsum("bkhw,k->bhw", projected + g[:, :, None, None], estimator.u) + estimator.bias
    elif compatibility == "dp":
        scores = torch.einsum("bkhw,bk->bhw", projected, g)
    elif compatibility == "scaled_dp":  # by the length that l_i and g have where they meet
        scores = torch.einsum("bkhw,bk->bhw", projected, g) / K**0.5
    elif compatibility == "additive":  # its own matrix W_l takes the place of P in the scores
        scores = additive_scores(local, g, estimator.w_local.weight, estimator.w_global.weight, estimator.u)
    else:
        scores = local.new_zeros(B, H, W)
    weights = scores.flatten(1).softmax(1).view_as(scores)
    unfolded = Attended(torch.einsum("bkhw,bhw->bk", projected, weights), weights, scores)
    folded = estimator(local, g)
    for one, other in zip(folded, unfolded, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    direction = [randn(*x.shape, seed=7) for x in (folded.vector, folded.weights)]
    wanted = [x for x in (local, g, *estimator.parameters())]
    gradients = [
        torch.autograd.grad(
            sum((a * d).sum() for a, d in zip((result.vector, result.weights), direction, strict=True)),
            wanted,
            retain_graph=True,
            allow_unused=True,
        )
        for result in (folded, unfolded)
    ]
    assert gradients[0][0].abs().max() > 0.01
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


# Every estimator ------------------------------------------------------------------------------------------------------


@every_estimator
def test_an_estimator_gives_a_vector_and_weights_of_the_right_kind(options):
    estimator, (local, g) = make(options).eval(), inputs(options)
    vector, weights, scores = estimator(local, g)
    assert vector.shape == (B, estimator.out_channels) == (B, options["channels"][options["match"] == "local"])
    assert weights.shape == scores.shape == (B, H, W)
    assert weights.min() >= 0
    assert weights.max() <= 1
    if options["normalise"] == "softmax":
        torch.testing.assert_close(weights.sum((1, 2)), torch.ones(B))
    else:
        torch.testing.assert_close(weights, scores.sigmoid())
    assert torch.equal(scores, estimator.scores(local, g).float())
    if not estimator.uses_g:
        assert torch.equal(estimator(local).vector, vector)
        assert estimator.project_global is None


@every_estimator
def test_moving_the_positions_moves_the_weights_and_not_the_vector(options):
    estimator, (local, g) = make(options).double().eval(), inputs(options, torch.float64)
    order = torch.randperm(H * W, generator=torch.Generator().manual_seed(3))
    moved = estimator(local.flatten(2)[:, :, order].view_as(local), g)
    vector, weights, _ = estimator(local, g)
    torch.testing.assert_close(moved.vector, vector, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(moved.weights.flatten(1), weights.flatten(1)[:, order], rtol=1e-12, atol=0)


@every_estimator
def test_gradients_are_those_of_finite_differences(options):
    estimator = make(options, dropout=0.0).double()
    local, g = (x.requires_grad_() for x in inputs(options, torch.float64))
    names, parameters = zip(*estimator.named_parameters(), strict=True) if list(estimator.parameters()) else ((), ())

    def run(local: Tensor, g: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.functional_call(estimator, dict(zip(names, values, strict=True)), (local, g))[:2]

    values = (p.detach().requires_grad_() for p in parameters)
    assert torch.autograd.gradcheck(run, (local, g, *values), fast_mode=True)


@every_estimator
def test_both_memory_formats_and_a_single_picture_agree(options):
    estimator, (local, g) = make(options).eval(), inputs(options)
    usual = estimator(local, g)
    turned = estimator(local.to(memory_format=torch.channels_last), g)
    alone = estimator(local[1:2], g[1:2])
    empty = estimator(local[:0], g[:0])
    for name in Attended._fields:
        torch.testing.assert_close(getattr(turned, name), getattr(usual, name), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(getattr(alone, name), getattr(usual, name)[1:2], rtol=1e-5, atol=1e-6)
        assert getattr(empty, name).shape == (0, *getattr(usual, name).shape[1:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_estimator
def test_in_half_precision_the_weights_stay_float32(options, dtype):
    estimator, (local, g) = make(options).eval(), inputs(options)
    true = estimator(local, g)
    vector, weights, scores = estimator.to(dtype)(local.to(dtype), g.to(dtype))
    assert vector.dtype is dtype
    assert weights.dtype is scores.dtype is torch.float32
    torch.testing.assert_close(weights, true.weights, rtol=0.1, atol=1e-3)
    torch.testing.assert_close(vector.float(), true.vector, rtol=0.1, atol=0.05)
    if options["normalise"] == "softmax":
        torch.testing.assert_close(weights.sum((1, 2)), torch.ones(B))


@every_estimator
def test_a_projection_of_g_exists_exactly_where_it_is_needed(options):
    estimator = make(options)
    differ = len(set(options["channels"])) == 2
    needed = options["compatibility"] in ("pc", "dp", "scaled_dp") and options["use_g"]
    needed = needed and (options["own_g"] or (differ and options["match"] == "global"))
    assert (estimator.project_global is not None) == needed
    assert (estimator.project_local is not None) == (differ and options["match"] == "local")
    if needed:
        assert [type(layer).__name__ for layer in estimator.project_global] == [
            "BatchNorm1d",
            "ReLU",
            "Dropout",
            "Linear",
        ]
        assert estimator.project_global[3].out_features == estimator.out_channels


def test_the_dropout_before_the_projection_of_g_has_the_authors_rate():
    assert AttentionEstimator(C, K).project_global[2].p == 0.5
    assert AttentionEstimator(C, K, dropout=0.25).project_global[2].p == 0.25


@pytest.mark.parametrize("match", get_args(Match))
@pytest.mark.parametrize("channels", [(C, C), (C, K)], ids=["same", "differ"])
def test_the_scores_of_pc_hold_g_and_the_bias(match, channels):
    """Where a softmax would hide them: <u, l_i + g> + b, with l_i or g projected where their lengths differ."""
    options = {"compatibility": "pc", "match": match, "normalise": "sigmoid", "channels": channels}
    estimator = make({**options, "own_g": False, "use_g": True}).eval()
    (local, g), b = inputs(options), 0.7
    with torch.no_grad():
        estimator.bias.fill_(b)
        here, there = local, g
        if estimator.project_local is not None:
            here = torch.einsum("kc,bchw->bkhw", estimator.project_local.weight, local)
        if estimator.project_global is not None:
            there = estimator.project_global(g)
        expected = torch.einsum("k,bkhw->bhw", estimator.u, here + there[..., None, None]) + b
        torch.testing.assert_close(estimator.scores(local, g), expected)


def test_the_layers_of_an_estimator_are_the_authors():
    projecting = make({"channels": (C, K)})
    assert projecting.project_global[0].eps == 1e-3
    assert projecting.project_global[3].bias is not None
    assert make({"channels": (C, K), "match": "local"}).project_local.bias is None
    additive = make({"channels": (C, K), "compatibility": "additive"})
    assert (additive.w_local.bias, additive.w_global.bias) == (None, None)


@pytest.mark.parametrize(("count", "good"), [(0, False), (1, True), (2, True), (2**31 - 1, True), (2**31, False)])
def test_counts_are_whole_numbers_that_fit_into_memory(count, good):
    if good:
        check_count("channels", count)
        return
    limit = " and below 2[*][*]31" if count else ""
    with pytest.raises(ValueError, match=rf"^channels must be a whole number of at least 1{limit}; got {count}$"):
        check_count("channels", count)


def test_u_starts_within_one_over_the_root_of_the_channels():
    torch.manual_seed(0)
    u = AttentionEstimator(100, 100).u
    assert 0.08 < u.abs().max() <= 0.1
    assert AttentionEstimator(100, 100).bias == 0


# Errors ---------------------------------------------------------------------------------------------------------------

WRONG_ARGUMENTS = {
    "compatibility": ({"compatibility": "bilinear"}, r"compatibility must be one of 'pc', 'dp', .*; got 'bilinear'"),
    "match": ({"match": "both"}, r"match must be one of 'global', 'local'; got 'both'"),
    "normalise": ({"normalise": "sparsemax"}, r"normalise must be one of 'softmax', 'sigmoid'; got 'sparsemax'"),
    "dp without g": ({"compatibility": "dp", "use_g": False}, r"use_g=False needs .* got 'dp' with 'softmax'"),
    "sigmoid without g": ({"normalise": "sigmoid", "use_g": False}, r"use_g=False needs .* got 'pc' with 'sigmoid'"),
    "additive without g": ({"compatibility": "additive", "use_g": False}, r"use_g=False needs .* got 'additive'"),
    "no channels": ({"local_channels": 0}, r"local_channels must be a whole number of at least 1; got 0"),
    "half a channel": ({"global_channels": 2.5}, r"global_channels must be a whole number of at least 1; got 2.5"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG_ARGUMENTS.values(), ids=WRONG_ARGUMENTS)
def test_a_wrong_argument_is_named_with_what_would_be_right(unchecked, arguments, message):
    with pytest.raises(ValueError, match=message):
        AttentionEstimator(**{"local_channels": C, "global_channels": K} | arguments)


WRONG_CALLS = {
    "pc: g": (lambda x: parametrised_scores(x, randn(B, K), randn(C)), r"g must have the 4 channels of local; got 6"),
    "pc: u": (lambda x: parametrised_scores(x, None, randn(K)), r"u must have the 4 channels of local; got 6"),
    "dp: g": (lambda x: dot_scores(x, randn(B, K)), r"g must have the 4 channels of local; got 6"),
    "additive: W_g": (
        lambda x: additive_scores(x, randn(B, K), randn(C, C), randn(C, C), randn(C)),
        r"w_local must be \(4, 4\) and w_global \(4, 6\) .* got \(4, 4\) and \(4, 4\)",
    ),
    "additive: u": (
        lambda x: additive_scores(x, randn(B, K), randn(C, C), randn(C, K), randn(2)),
        r"w_local must be \(2, 4\) and w_global \(2, 6\)",
    ),
    "attend: scores": (
        lambda x: attend(x, randn(B, W, H)),
        r"scores must be \(b, h, w\) = \(3, 5, 3\) .* got \(3, 3, 5\)",
    ),
    "attend: normalise": (lambda x: attend(x, randn(B, H, W), normalise="l1"), r"normalise must be one of .* got 'l1'"),
    "estimator: local": (lambda x: AttentionEstimator(K, K).double()(x, None), r"local must have 6 channels; got 4"),
    "estimator: no g": (
        lambda x: AttentionEstimator(C, C).double()(x),
        r"g is needed for compatibility='pc'; got None",
    ),
    "estimator: g": (
        lambda x: AttentionEstimator(C, C).double()(x, randn(B, K)),
        r"g must have 4 channels; got 6",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_tensors_that_do_not_fit_are_refused(unchecked, call, message):
    with pytest.raises(ValueError, match=message):
        call(randn(B, C, H, W))
