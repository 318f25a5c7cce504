"""Weights of the best-known re-implementation: its network, written here by its description, gives the same numbers."""

import jaxtyping
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lpa_core.models import from_saoyan

WIDE, CLASSES = 8, 5  # an eighth of their width
BLOCKS = {1: (3, 1, 2), 2: (1, 2, 2), 3: (2, 4, 3), 4: (4, 8, 3), 5: (8, 8, 3), 6: (8, 8, 2)}


def their_state(*, attends: bool = True) -> dict[str, Tensor]:
    """A state dict with their names and shapes, all numbers random."""
    draw = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    state: dict[str, Tensor] = {}
    for block, (inputs, outputs, layers) in BLOCKS.items():
        for layer in range(layers):
            i, o = (inputs if layer == 0 else outputs) * (WIDE if block > 1 or layer else 1), outputs * WIDE
            place = (4 if block == 6 else 3) * layer
            state[f"conv_block{block}.op.{place}.weight"] = random(o, i, 3, 3) / (9 * i) ** 0.5
            state[f"conv_block{block}.op.{place}.bias"] = random(o) / 10
            norm = f"conv_block{block}.op.{place + 1}"
            state |= {f"{norm}.weight": 1 + random(o) / 10, f"{norm}.bias": random(o) / 10}
            # Small variances, so that another eps shows.
            state |= {f"{norm}.running_mean": random(o) / 10, f"{norm}.running_var": 1e-3 + random(o).abs() / 10}
            state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    top = 8 * WIDE
    state |= {"dense.weight": random(top, top, 1, 1) / top**0.5, "dense.bias": random(top)}
    if attends:
        state["projector.op.weight"] = random(top, 4 * WIDE, 1, 1) / top**0.5
        state |= {f"attn{i}.op.weight": random(1, top, 1, 1) for i in (1, 2, 3)}
    state |= {"classify.weight": random(CLASSES, top * (3 if attends else 1)), "classify.bias": random(CLASSES)}
    return state


def their_answer(
    state: dict[str, Tensor], images: Tensor, *, after: bool, sigmoid: bool
) -> tuple[Tensor, list[Tensor]]:
    """Logits and the attention maps (b, h, w), from the description of their networks."""

    def block(x: Tensor, number: int) -> Tensor:
        for layer in range(BLOCKS[number][2]):
            place = (4 if number == 6 else 3) * layer
            conv, norm = f"conv_block{number}.op.{place}", f"conv_block{number}.op.{place + 1}"
            x = F.conv2d(x, state[f"{conv}.weight"], state[f"{conv}.bias"], padding=1)
            mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
            x = F.batch_norm(x, mean, variance, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=1e-5).relu()
            x = F.max_pool2d(x, 2) if number == 6 else x
        return x

    x, local = block(block(images, 1), 2), []
    for number in (3, 4, 5):
        x = block(x, number)
        local.append(x)
        x = F.max_pool2d(x, 2)
        if after:
            local[-1] = x
    g = F.conv2d(block(x, 6), state["dense.weight"], state["dense.bias"])
    if "attn1.op.weight" not in state:
        return F.linear(g[:, :, 0, 0], state["classify.weight"], state["classify.bias"]), []
    local[0] = F.conv2d(local[0], state["projector.op.weight"])
    maps, vectors = [], []
    for number, features in enumerate(local, start=1):
        scores = F.conv2d(features + g, state[f"attn{number}.op.weight"])[:, 0]
        weights = scores.sigmoid() if sigmoid else scores.flatten(1).softmax(dim=1).view_as(scores)
        weighted = weights[:, None] * features
        vectors.append(weighted.mean((2, 3)) if sigmoid else weighted.sum((2, 3)))
        maps.append(weights)
    return F.linear(torch.cat(vectors, dim=1), state["classify.weight"], state["classify.bias"]), maps


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_logits_and_maps_are_theirs(after, sigmoid):
    state = their_state()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits, maps = their_answer(state, images, after=after, sigmoid=sigmoid)
    kept = {name: value.clone() for name, value in state.items()}
    model = from_saoyan(state, normalise="sigmoid" if sigmoid else "softmax", pooled_local=after)
    assert not model.training
    output = model.attend(images)
    torch.testing.assert_close(output.logits, logits, rtol=1e-12, atol=1e-12)
    for got, expected in zip(output.attended, maps, strict=True):
        torch.testing.assert_close(got.weights, expected, rtol=1e-12, atol=1e-12)
    assert all(torch.equal(value, state[name]) for name, value in kept.items())


def test_their_network_without_attention_and_names_of_data_parallel():
    state = their_state(attends=False)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits, _ = their_answer(state, images, after=False, sigmoid=False)
    older = {f"module.{name}": value for name, value in state.items() if "num_batches" not in name}
    torch.testing.assert_close(from_saoyan(older)(images), logits, rtol=1e-12, atol=1e-12)


def test_what_is_not_theirs_is_named():
    state = their_state()
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(TypeError, match="state_dict must be a mapping of names to tensors; got list"):
            from_saoyan([1])
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    with pytest.raises(ValueError, match=r"SaoYan's AttnVGG; it has no 'dense\.weight'"):
        from_saoyan({name: value for name, value in state.items() if name != "dense.weight"})
    with pytest.raises(ValueError, match=r"for pictures of 32x32, .* got \(64, 64, 2, 2\)"):
        from_saoyan(state | {"dense.weight": torch.zeros(64, 64, 2, 2)})
    without = {name: value for name, value in state.items() if name != "conv_block3.op.4.running_var"}
    with pytest.raises(
        ValueError, match=r"conv_block3\.op\.4\.running_var is missing, \(32,\) is needed; more is left"
    ):
        from_saoyan(without | {"more": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"attn2\.op\.weight is of shape \(1, 9, 1, 1\), \(64,\) is needed"):
        from_saoyan(state | {"attn2.op.weight": torch.zeros(1, 9, 1, 1)})
