"""A model as a graph: torch.export and ONNX give the logits and the maps of the model itself."""

import json

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from lpa_core.models import attend_to, attention_vgg, export_onnx, exported, load_weights, small_attention_net

OPTIONS = {
    "small, scaled dp": lambda: small_attention_net(3, compatibility="scaled_dp"),
    "small, dp": lambda: small_attention_net(3, compatibility="dp"),
    "vgg, local, indep": lambda: attention_vgg(3, width=1 / 32, match="local", combine="indep"),
    "attend_to": lambda: attend_to(Backbone().eval(), num_classes=3, input_size=32),
}


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())
        self.c2 = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2), nn.ReLU())
        self.c3 = nn.Conv2d(6, 8, 3)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.c3(self.c2(self.c1(x))).mean((2, 3)))


def pictures(n: int, side: int = 32) -> Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize("build", OPTIONS.values(), ids=OPTIONS)
def test_a_graph_gives_logits_and_maps_for_any_number_of_pictures(build):
    torch.manual_seed(0)
    model = build().train()
    graph = exported(model, size=32).module()
    assert model.training  # left as it was
    model.eval()
    for n in (1, 3):
        logits, *maps = graph(pictures(n))
        output = model.attend(pictures(n))
        torch.testing.assert_close(logits, output.logits)
        assert len(maps) == len(output.attended)
        for one, attended in zip(maps, output.attended, strict=True):
            torch.testing.assert_close(one, attended.weights)


@pytest.mark.long
def test_onnx_gives_the_same_and_says_what_it_is(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    trained = load_weights("digits-dp")
    path = tmp_path / "model.onnx"
    assert export_onnx(path, trained) == ("logits", "map_1", "map_2", "map_3")
    assert list(tmp_path.iterdir()) == [path]
    session = onnxruntime.InferenceSession(path)
    for n in (1, 3):
        logits, *maps = map(torch.from_numpy, session.run(None, {"images": pictures(n, 40).numpy()}))
        output = trained.model.attend(pictures(n, 40))
        torch.testing.assert_close(logits, output.logits, rtol=1e-4, atol=1e-5)
        for one, attended in zip(maps, output.attended, strict=True):
            torch.testing.assert_close(one, attended.weights, rtol=1e-4, atol=1e-6)
    about = json.loads(session.get_modelmeta().custom_metadata_map["lpa_core"])
    assert about["classes"] == list("0123456789")
    assert about["mean"] == list(trained.info.mean)
    assert about["size"] == [40, 40]


def test_what_cannot_be_exported_is_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="size must be given"):
        exported(small_attention_net(3))
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(TypeError, match=r"an AttentionClassifier or what load_weights gave; got Linear"):
            exported(nn.Linear(3, 3), size=32)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ImportError, match="pip install onnx onnxscript"):
        export_onnx(tmp_path / "x.onnx", small_attention_net(3), size=32)
