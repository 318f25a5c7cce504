"""A model without this package: one graph, by torch.export or as an ONNX file, that gives logits and maps."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._utils.checks import height_and_width
from .._utils.files import write_atomic
from .._utils.modes import evaluating
from .classifier import AttentionClassifier, unwrapped
from .weights import METADATA_KEY, Trained, WeightsInfo


class LogitsAndMaps(nn.Module):
    """``model`` as a module that gives (logits, map of level 1, map of level 2, ...), as a graph can give them.

    The maps are the attention weights in their own sizes, (b, h_s, w_s), shallow to deep.
    """

    def __init__(self, model: AttentionClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Tensor, ...]:
        output = self.model.attend(images)
        return (output.logits, *(attended.weights for attended in output.attended))


def exported(model: AttentionClassifier | Trained, *, size: int | tuple[int, int] | None = None) -> Any:
    """``model`` as a ``torch.export.ExportedProgram``: logits and maps of any number of pictures of one size.

    ``exported(model).module()(images)`` gives (logits, map of level 1, ...), as ``LogitsAndMaps``, in eval mode; it
    can be saved by ``torch.export.save`` and needs PyTorch alone. The model is left as it was.

    Args:
        model: an ``AttentionClassifier``, or what ``load_weights`` gave.
        size: height and width of the pictures, or one number for both. None: as the weights say, or the backbone's
            ``input_size``.

    Raises: TypeError on a model of another kind; ValueError where the size is neither given nor to be read off.
    """
    network, side = _network(model), _size(model, size)
    example = next(network.parameters())
    # Two pictures: one would make a graph for a single picture.
    pictures = torch.zeros(2, network.trunk.in_channels, *side, dtype=example.dtype, device=example.device)
    batch = {0: torch.export.Dim("batch", min=1)}
    with torch.no_grad(), evaluating(network):
        return torch.export.export(LogitsAndMaps(network), (pictures,), dynamic_shapes={"images": batch})


def export_onnx(
    path: str | os.PathLike[str],
    model: AttentionClassifier | Trained,
    *,
    size: int | tuple[int, int] | None = None,
) -> tuple[str, ...]:
    """Write ``model`` to ``path`` as ONNX, for onnxruntime and others; returns the names of what it gives.

    Input ``images`` (b, c, h, w), float32 and normalised; outputs ``logits`` (b, K) and ``map_1`` ... ``map_S``, the
    attention weights in their own sizes. Where the model came with weights, the file's metadata say under
    ``"lpa_core"``, as JSON, its classes, mean, std, size and scores. The file appears whole or not at all.

    Args: as ``exported``.
    Raises: as ``exported``; ImportError without onnx and onnxscript, which PyTorch needs for it; OSError when the
        folder cannot be written.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"writing ONNX needs onnx and onnxscript ({error}): pip install onnx onnxscript") from error
    program = exported(model, size=size)
    levels = len(program.graph_signature.user_outputs) - 1
    names = ("logits", *(f"map_{level}" for level in range(1, levels + 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's exporter warns of its own parts
        written = torch.onnx.export(
            program, input_names=["images"], output_names=list(names), dynamo=True, verbose=False, external_data=False
        )
    assert written is not None  # with dynamo=True there is a program
    proto = written.model_proto
    if isinstance(model, Trained):
        entry = proto.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, json.dumps(_described(model.info), sort_keys=True)
    write_atomic(Path(path), proto.SerializeToString())
    return names


def _described(info: WeightsInfo) -> dict[str, Any]:
    return {name: getattr(info, name) for name in ("classes", "mean", "std", "size", "scores")}


def _network(model: AttentionClassifier | Trained) -> AttentionClassifier:
    network = unwrapped(model.model if isinstance(model, Trained) else model)
    if not isinstance(network, AttentionClassifier):
        raise TypeError(f"model must be an AttentionClassifier or what load_weights gave; got {type(network).__name__}")
    return network


def _size(model: AttentionClassifier | Trained, size: int | tuple[int, int] | None) -> tuple[int, int]:
    if size is not None:
        return height_and_width(size)
    if isinstance(model, Trained) and model.info.size is not None:
        return model.info.size
    side = getattr(_network(model).trunk, "input_size", None)
    if side is None:
        raise ValueError("size must be given: neither the weights nor the network say how large the pictures are")
    return side, side
