"""Weights of the best-known re-implementation, SaoYan's, in this package's network.

Of its state dict the names and shapes alone are used; they are public. Its networks are the paper's at three levels
with these differences, all of them options of ``attention_vgg``: the shallowest local features are projected up to
g's length (``match="local"``), no score bias, no BatchNorm, ReLU or dropout before the classifier (``head="linear"``),
no dropout at all, and PyTorch's default ``eps=1e-5``.
"""

from collections.abc import Mapping

from torch import Tensor

from ..attention import Normalise
from .builders import attention_vgg
from .classifier import AttentionClassifier
from .vgg_trunk import VGG_CHANNELS

# Their block, how many layers it has, and how many modules apart those are -> the part of ours that holds them.
_BLOCKS = (
    ("conv_block1", 2, 3, "trunk.stages.0", 0),
    ("conv_block2", 2, 3, "trunk.stages.0", 2),
    ("conv_block3", 3, 3, "trunk.stages.0", 4),
    ("conv_block4", 3, 3, "trunk.stages.1", 0),
    ("conv_block5", 3, 3, "trunk.stages.2", 0),
)


def from_saoyan(
    state_dict: Mapping[str, Tensor], *, normalise: Normalise = "softmax", pooled_local: bool = False
) -> AttentionClassifier:
    """A model in evaluation mode from a state dict of SaoYan's LearnToPayAttention: equal logits, equal maps.

    ``from_saoyan(torch.load("net.pth", map_location="cpu", weights_only=True))``. Numbers of classes, colours and
    channels are read off, and whether there is attention. What a state dict does not say must be said:

    Args:
        state_dict: as their ``net.state_dict()``; the ``module.`` before every name that ``nn.DataParallel`` leaves is
            taken off. It is not changed.
        normalise: ``"sigmoid"`` for a network made with ``normalize_attn=False``.
        pooled_local: True for ``AttnVGG_after`` (model2), whose local features leave after the pool that follows.

    Pictures are those of their training: CIFAR-100 at 32x32, normalised by its mean and standard deviation.

    Source: github.com/SaoYan/LearnToPayAttention, model1 and model2. Theirs is for one ``im_size``, and only that of 32
    (a ``dense`` layer of one position) is known here.
    Raises: TypeError unless ``state_dict`` is a mapping of tensors; ValueError naming the tensors that are missing,
        left over or of another shape.
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise TypeError(f"state_dict must be a mapping of names to tensors; got {type(state_dict).__name__}")
    theirs = {name.removeprefix("module."): value for name, value in state_dict.items()}
    for name in ("conv_block1.op.0.weight", "dense.weight", "classify.weight"):
        if name not in theirs:
            raise ValueError(f"state_dict must be of SaoYan's AttnVGG; it has no {name!r}")
    if tuple(theirs["dense.weight"].shape[2:]) != (1, 1):
        raise ValueError(
            f"state_dict must be of a network for pictures of 32x32, whose dense.weight ends in (1, 1); got "
            f"{tuple(theirs['dense.weight'].shape)}"
        )
    first = theirs["conv_block1.op.0.weight"]
    attends = "attn1.op.weight" in theirs
    model = attention_vgg(
        len(theirs["classify.weight"]),
        in_channels=first.shape[1],
        width=len(first) / VGG_CHANNELS[0],
        combine="concat" if attends else "global",
        match="local",
        normalise=normalise,
        pooled_local=pooled_local,
        dropout=0.0,
        head="linear",
        eps=1e-5,
    ).to(first.dtype)
    wanted = _names(attends)
    own = model.state_dict()
    # Counted batches are in newer files alone and change nothing in evaluation; a score has no bias there.
    free = {name for name in own if name.endswith("num_batches_tracked")}
    ours = {name: own[name] for name in (*free, *(f"estimators.{i}.bias" for i in range(3 * attends)))}
    problems = []
    for name, their_name in wanted.items():
        value = theirs.pop(their_name, None)
        if value is None and name in free:
            continue
        if value is None or value.numel() != own[name].numel():
            got = "missing" if value is None else f"of shape {tuple(value.shape)}"
            problems.append(f"{their_name} is {got}, {tuple(own[name].shape)} is needed")
        else:
            ours[name] = value.detach().reshape(own[name].shape)  # 1x1 convolutions become matrices and vectors
    problems += [f"{name} is left over" for name in theirs]
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError(f"state_dict must be of SaoYan's AttnVGG: {'; '.join(problems[:4])}{more}")
    model.load_state_dict(ours)
    return model.to(first.device).eval()


def _names(attends: bool) -> dict[str, str]:
    """Our name -> theirs, for every tensor of theirs."""
    layers = {
        f"{ours}.{start + layer}": (f"{theirs}.op.{apart * layer}", f"{theirs}.op.{apart * layer + 1}")
        for theirs, count, apart, ours, start in _BLOCKS
        for layer in range(count)
    }
    layers |= {f"trunk.tail.{2 * i}": (f"conv_block6.op.{4 * i}", f"conv_block6.op.{4 * i + 1}") for i in (0, 1)}
    names: dict[str, str] = {}
    for ours, (convolution, norm) in layers.items():
        names |= {f"{ours}.0.{part}": f"{convolution}.{part}" for part in ("weight", "bias")}
        parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        names |= {f"{ours}.1.{part}": f"{norm}.{part}" for part in parts}
    names |= {f"trunk.tail.6.{part}": f"dense.{part}" for part in ("weight", "bias")}
    names |= {f"classifiers.0.{part}": f"classify.{part}" for part in ("weight", "bias")}
    if attends:
        names["estimators.0.project_local.weight"] = "projector.op.weight"
        names |= {f"estimators.{i}.u": f"attn{i + 1}.op.weight" for i in range(3)}
    return names
