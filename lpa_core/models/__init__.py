"""Networks: trunks, the attention classifier on top of them, builders of the paper's models, weights."""

from .adapt import attend_to
from .backbone_trunk import BackboneTrunk
from .builders import (
    BUILDERS,
    attention_resnet164,
    attention_vgg,
    build,
    photo_attention_net,
    resnet164,
    small_attention_net,
    vgg,
    vgg_gap,
    vgg_pan,
)
from .classifier import AttentionClassifier, AttentionOutput, Combine, Head, attention_maps
from .deploy import LogitsAndMaps, export_onnx, exported
from .photo_trunk import PhotoTrunk
from .resnet_trunk import ResNetTrunk
from .saoyan import from_saoyan
from .small_trunk import SmallTrunk
from .tracing import node_shapes
from .trunk import Features, Trunk
from .vgg_trunk import AttentionVGGTrunk, ProgressiveVGGTrunk, VGGTrunk
from .weights import Trained, WeightsInfo, available, load_weights, save_weights

__all__ = [
    "BUILDERS",
    "AttentionClassifier",
    "AttentionOutput",
    "AttentionVGGTrunk",
    "BackboneTrunk",
    "Combine",
    "Features",
    "Head",
    "LogitsAndMaps",
    "PhotoTrunk",
    "ProgressiveVGGTrunk",
    "ResNetTrunk",
    "SmallTrunk",
    "Trained",
    "Trunk",
    "VGGTrunk",
    "WeightsInfo",
    "attend_to",
    "attention_maps",
    "attention_resnet164",
    "attention_vgg",
    "available",
    "build",
    "export_onnx",
    "exported",
    "from_saoyan",
    "load_weights",
    "node_shapes",
    "photo_attention_net",
    "resnet164",
    "save_weights",
    "small_attention_net",
    "vgg",
    "vgg_gap",
    "vgg_pan",
]
