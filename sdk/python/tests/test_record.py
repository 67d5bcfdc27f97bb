"""record() on networks whose layers have odd outputs."""

import numpy as np
import pytest

import linex
from linex._layers import first_tensor, is_channels_last, pool_output

torch = pytest.importorskip("torch")
nn = torch.nn


class Net(nn.Module):
    """A map, a dictionary, a tuple, tokens, in-place work after a layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.relu = nn.ReLU(inplace=True)
        self.tokens = nn.Linear(5, 7)
        self.pair = Pair()
        self.named = Named()

    def forward(self, x):
        x = self.relu(self.conv(x))
        t = self.tokens(x.flatten(2).transpose(1, 2))
        return self.named(self.pair(t)[0])["out"]


class Pair(nn.Module):
    def forward(self, x):
        return x * 2, x.sum()


class Named(nn.Module):
    def forward(self, x):
        return {"aux": x + 1, "out": x.mean(1)}


def loader(count=3, size=4, side=(12, 16)):
    generator = torch.Generator().manual_seed(1)
    return [(torch.rand(size, 3, *side, generator=generator), None) for _ in range(count)]


def test_every_form_of_output(tmp_path):
    torch.manual_seed(0)
    net = Net().train()
    batches = loader()
    layers = ["conv", "relu", "tokens", "pair", "named", "named:aux"]
    recording = linex.record(net, layers, batches, folder=tmp_path, progress=False)
    assert net.training  # as it was
    assert recording.layers == layers
    net.eval()
    with torch.inference_mode():
        images = torch.cat([images for images, _ in batches])
        conv = net.conv(images)
        relu = conv.relu()
        tokens = net.tokens(relu.flatten(2).transpose(1, 2))
        expected = {
            "conv": conv.mean((2, 3)),  # before the in-place relu
            "relu": relu.mean((2, 3)),
            "tokens": tokens.mean(1),
            "pair": 2 * tokens.mean(1),
            "named": 2 * tokens.mean(1),
            "named:aux": 2 * tokens.mean(1) + 1,
        }
    for layer, values in expected.items():
        assert recording[layer].shape == values.shape
        assert recording[layer].dtype == np.float32
        assert np.abs(recording[layer] - values.numpy()).max() < 1e-5, layer
        assert np.array_equal(np.load(recording.path(layer)), recording[layer])


def test_pools(tmp_path):
    net = Net().eval()
    batches = loader(1)
    with torch.inference_mode():
        conv = net.conv(batches[0][0])
        tokens = net.tokens(conv.relu().flatten(2).transpose(1, 2))
    most = linex.record(net, ["conv", "tokens"], batches, "max", folder=tmp_path, progress=False)
    assert np.allclose(most["conv"], conv.amax((2, 3)), atol=1e-6)
    assert np.allclose(most["tokens"], tokens.amax(1), atol=1e-6)
    first = linex.record(net, "tokens", batches, "first", folder=tmp_path, progress=False)
    assert np.allclose(first["tokens"], tokens[:, 0], atol=1e-6)
    with pytest.raises(ValueError, match="for tokens"):
        linex.record(net, "conv", batches, "first", folder=tmp_path, progress=False)


def test_layouts():
    assert not is_channels_last((2, 64, 7, 7), (224, 224))
    assert is_channels_last((2, 7, 7, 64), (224, 224))
    assert not is_channels_last((2, 7, 7, 7), (224, 224))
    assert is_channels_last((2, 6, 8, 9), (12, 16))
    assert not is_channels_last((2, 9, 6, 8), (12, 16))
    values = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
    last = np.moveaxis(values, 1, 3)
    expected = values.mean((2, 3))
    assert np.array_equal(pool_output(values, "avg", "x", "auto", (8, 8)), expected)
    assert np.array_equal(pool_output(last, "avg", "x", "auto", (8, 8)), expected)
    assert np.array_equal(pool_output(last, "avg", "x", "nhwc", None), expected)


def test_callables_on_arrays(tmp_path):
    def network(images):
        return {"mean": images.mean((1, 2)), "max": images.max((1, 2))}

    batches = [np.random.default_rng(i).random((5, 8, 8, 3), dtype=np.float32) for i in range(2)]
    recording = linex.record(network, ["mean", "max"], batches, folder=tmp_path, progress=False)
    assert np.allclose(recording["max"], np.concatenate([b.max((1, 2)) for b in batches]))
    plain = linex.record(lambda x: x.mean((1, 2)), None, batches, folder=tmp_path, progress=False)
    assert plain["output"].shape == (10, 3)


def test_mistakes_are_told(tmp_path):
    net = Net()
    with pytest.raises(ValueError, match="no layer 'conv9'"):
        linex.record(net, "conv9", loader(), folder=tmp_path)
    with pytest.raises(ValueError, match="avg, max or first"):
        linex.record(net, "conv", loader(), "mean", folder=tmp_path)
    with pytest.raises(ValueError, match="no image"):
        linex.record(net, "conv", [], folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="NaN or infinity"):
        linex.record(net, "conv", [torch.full((1, 3, 12, 16), torch.nan)], folder=tmp_path)
    with pytest.raises(TypeError, match="no tensor"):
        first_tensor("text")


NETWORK = """
import sys
import torch
import linex.external as lx
sys.path.insert(0, {folder!r})
from test_record import odd_network

@lx.model
def network(request):
    torch.set_num_threads(1)
    module, layers = odd_network(request.options["name"])
    return lx.TorchModel(module, layers, lx.Preprocess("squash", 32), logits=False)

network.run()
"""


def odd_network(name):
    """(network, layers) with fixed random weights, small enough for a test."""
    torch.manual_seed(3)
    if name == "swin":
        models = pytest.importorskip("torchvision").models
        net = models.SwinTransformer([2, 2], 24, [2, 2], [2, 4], [3, 3], num_classes=5)
        return net.eval(), ["features.1", "features.3", "norm"]
    if name == "vit":
        models = pytest.importorskip("torchvision").models
        net = models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)
        return net.eval(), ["encoder.layers.encoder_layer_0", "encoder"]
    if name == "densenet":
        models = pytest.importorskip("torchvision").models
        net = models.DenseNet(8, (2, 2), 8, num_classes=5)
        return net.eval(), ["features.denseblock1", "features"]  # followed by an in-place relu
    if name == "dictionary":
        return nn.Sequential(Net(), nn.Linear(7, 5)).eval(), ["0", "0.named"]
    return nn.Sequential(Net(), nn.Linear(7, 5)).eval(), ["0.pair", "0.conv"]


@pytest.mark.parametrize("name", ["swin", "vit", "densenet", "dictionary", "tuple"])
def test_record_equals_linex_activations(name, images, tmp_path, run_command):
    import shlex
    import sys
    from pathlib import Path

    from PIL import Image

    script = tmp_path / "network.py"
    script.write_text(NETWORK.format(folder=str(Path(__file__).parent)))
    module, layers = odd_network(name)
    out = tmp_path / "out"
    done = run_command(
        "activations",
        f"--data.root={images}",
        "--model.plugin=external",
        f"--model.command={shlex.join([sys.executable, str(script)])}",
        f"--model.name={name}",
        f"--model.layer={','.join(layers)}",
        f"--run.out={out}",
    )
    assert done.returncode == 0, done.stderr
    # Rows are in the order of sorted names; Pillow resizes as linex does.
    files = sorted(images.rglob("*.png"), key=lambda file: file.relative_to(images).as_posix())
    pixels = [np.asarray(Image.open(f).resize((32, 32), Image.BILINEAR)) for f in files]
    batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    recording = linex.record(module, layers, [batch], folder=tmp_path / "rec", progress=False)
    for layer in layers:
        found = np.load(next(out.glob(f"*{layer}.npy")))
        assert found.shape == recording[layer].shape
        assert np.abs(found - recording[layer]).max() < 1e-6 * max(1, np.abs(found).max()), layer
