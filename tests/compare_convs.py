#!/usr/bin/env python3
"""Compares every layer of the convolutional and Swin plugins with forward hooks of torchvision and timm.

    compare_convs.py TAP_LAYERS [--linex=LINEX] [--networks=NAME,...|FAMILY,...]

TAP_LAYERS is the binary tests/tap_layers. Every network has random weights at its real size; statistics of
batch normalisation, layer scales and tables are random, too, so that none hides a mistake. Hooks clone what
they see: later modules work in place. With --linex, torchvision's networks are also run by the binary on
pictures, through their published preprocessing. Prints a table; ends with 1 if a value differs by more than
1e-5 relative or a module that gives a map or vector has no layer, with 77 (skipped) where torch or torchvision
are missing. timm's networks are left out where timm is missing.
"""
import argparse
import contextlib
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    import torchvision
    from PIL import Image
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)
try:
    import timm
    from timm.models import swin_transformer as timm_swin
except ImportError:
    timm = None

TOLERANCE = 1e-5
# (library, name, plugin, options of the plugin, side of the images, arguments of the constructor)
NETWORKS = [
    ("torchvision", "convnext_tiny", "convnext", {}, 224, {}),
    ("timm", "convnext_tiny", "convnext", {}, 224, {}),
    ("timm", "convnext_nano_ols", "convnext", {}, 224, {}),
    ("timm", "convnext_tiny_hnf", "convnext", {}, 224, {}),
    ("timm", "convnextv2_nano", "convnext", {}, 224, {}),
    ("timm", "convnextv2_tiny", "convnext", {}, 224, {}),
    ("torchvision", "swin_t", "swin", {}, 224, {}),
    ("torchvision", "swin_t", "swin", {}, 200, {}),
    ("torchvision", "swin_v2_t", "swin", {}, 256, {}),
    ("timm", "swin_tiny_patch4_window7_224", "swin", {}, 224, {}),
    ("timm", "swin_tiny_patch4_window7_224", "swin", {"image_size": 256}, 256, {"img_size": 256}),
    ("timm", "swinv2_tiny_window8_256", "swin", {}, 256, {}),
    ("timm", "swinv2_tiny_window16_256", "swin", {"window": 16}, 256, {}),
    ("torchvision", "efficientnet_b0", "efficientnet", {}, 224, {}),
    ("torchvision", "efficientnet_b5", "efficientnet", {}, 224, {}),
    ("torchvision", "efficientnet_v2_s", "efficientnet", {}, 224, {}),
    ("timm", "efficientnet_b0", "efficientnet", {}, 224, {}),
    ("timm", "tf_efficientnet_b0", "efficientnet", {"arch": "tf_efficientnet_b0"}, 225, {}),
    ("timm", "efficientnetv2_rw_t", "efficientnet", {}, 224, {}),
    ("timm", "efficientnetv2_s", "efficientnet", {}, 224, {}),
    ("timm", "tf_efficientnetv2_b0", "efficientnet", {"arch": "tf_efficientnetv2_b0"}, 192, {}),
    ("torchvision", "mobilenet_v2", "mobilenet", {}, 224, {}),
    ("torchvision", "mobilenet_v3_large", "mobilenet", {}, 224, {}),
    ("torchvision", "mobilenet_v3_small", "mobilenet", {}, 224, {}),
    ("timm", "mobilenetv2_100", "mobilenet", {}, 224, {}),
    ("timm", "mobilenetv2_120d", "mobilenet", {}, 224, {}),
    ("timm", "mobilenetv3_large_100", "mobilenet", {}, 224, {}),
    ("timm", "mobilenetv3_small_100", "mobilenet", {}, 224, {}),
    ("timm", "tf_mobilenetv3_small_minimal_100", "mobilenet", {"arch": "tf_mobilenet_v3_small"}, 224, {}),
    ("torchvision", "densenet121", "densenet", {}, 224, {}),
    ("torchvision", "densenet161", "densenet", {}, 200, {}),
    ("timm", "densenet121", "densenet", {"names": "timm"}, 224, {}),
    ("timm", "densenetblur121d", "densenet", {}, 224, {}),
    ("torchvision", "regnet_y_400mf", "regnet", {}, 224, {}),
    ("torchvision", "regnet_x_400mf", "regnet", {}, 224, {}),
    ("torchvision", "regnet_x_8gf", "regnet", {}, 224, {}),
    ("timm", "regnetx_002", "regnet", {}, 224, {}),
    ("timm", "regnety_002", "regnet", {}, 224, {}),
    ("timm", "regnety_032", "regnet", {}, 223, {}),
    ("timm", "regnetz_005", "regnet", {}, 224, {}),
    ("torchvision", "inception_v3", "inception", {}, 299, {"init_weights": False}),
    ("timm", "inception_v3", "inception", {"names": "timm"}, 299, {}),
]
# Modules without a layer of their own: they give no map or vector, or their output is another module's.
WITHOUT = re.compile(
    r"\.attn\.(softmax|attn_drop|cpb_mlp.*)$|global_pool\.(pool|flatten)$")

# Normalisations in residual branches of timm's networks, whose activations would grow from block to block: then
# rounding alone makes more than the tolerance, in the library too when it is compared with float64.
BRANCH = re.compile(r"^(blocks|s\d)\..*\b(bn2|bn3|conv3\.bn)\.weight$")


def randomise(network):
    """Nothing is zero, one or a constant that would hide a mistake."""
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    for name, parameter in network.named_parameters():
        data, last = parameter.data, name.split(".")[-1]
        if last == "logit_scale":
            data.normal_(2.3, 0.5)
            data.view(-1)[0] = 5.0  # beyond the clamp
        elif last in ("layer_scale", "gamma"):
            data.uniform_(0.2, 1)
        elif "table" in last:
            data.normal_(0, 0.5)
        elif data.dim() == 1 and last == "weight":
            data.uniform_(0.5, 1.5)
            if BRANCH.search(name):
                data.mul_(0.2)
        elif data.dim() == 1:
            data.normal_(0, 0.1)
        elif not data.any():
            data.normal_(0, 0.02)
    return network.eval()


def hooked(network, images):
    """Last output of every module that gives a tensor, and the logits."""
    kept, handles = {}, []
    for name, module in network.named_modules():
        def hook(_, __, out, name=name):
            if isinstance(out, torch.Tensor):
                kept[name] = out.clone()
        if name:
            handles.append(module.register_forward_hook(hook))
    with torch.no_grad():
        logits = network(images)
    for handle in handles:
        handle.remove()
    return kept, logits


def windows_as_map(network, name, value, shape):
    """timm's attention works on windows (n·windows, window², C), shifted: the map they were cut from."""
    block = network.get_submodule(name[:name.index(".attn")])
    window, shift, area = block.window_size, block.shift_size, value.shape[1]
    n, _, height, width = shape
    padded = [-(-side // w) * w for side, w in zip((height, width), window)]
    assert area == window[0] * window[1] and value.shape[0] * area == n * padded[0] * padded[1]
    value = value.view(-1, window[0], window[1], value.shape[-1])
    value = timm_swin.window_reverse(value, window, *padded)[:, :height, :width]
    return torch.roll(value, shifts=tuple(shift), dims=(1, 2)).permute(0, 3, 1, 2)


def like_layer(network, name, value, shape):
    """What a hook saw in the shape of a layer: maps as (n, C, H, W), however the module has them."""
    shape = tuple(shape)
    if tuple(value.shape) == shape:
        return value
    if len(shape) == 4 and value.dim() == 4:
        return value.permute(0, 3, 1, 2)
    if len(shape) == 4 and value.dim() == 3 and ".attn" in name:
        return windows_as_map(network, name, value, shape)
    if len(shape) == 4 and value.dim() == 3:
        return value.transpose(1, 2).reshape(shape)
    return value.reshape(shape)


def difference(found, wanted):
    if tuple(found.shape) != tuple(wanted.shape):
        return float("inf")
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))


def make(library, name, arguments):
    torch.manual_seed(0)
    if library == "torchvision":
        return randomise(getattr(torchvision.models, name)(weights=None, **arguments))
    return randomise(timm.create_model(name, pretrained=False, **arguments))


def compare(tool, network, label, plugin, options, side, folder):
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    weights = folder / "weights.pth"
    torch.save(network.state_dict(), weights)
    np.save(folder / "images.npy", images.numpy())
    kept, logits = hooked(network, images)
    words = [f"{key}={value}" for key, value in options.items()]
    subprocess.run([tool, plugin, weights, folder / "images.npy", folder] + words, check=True)
    layers = (folder / "layers.txt").read_text().split("\n")[:-1]
    worst, where, good = 0.0, "", True
    for i, layer in enumerate(layers):
        if layer not in kept:
            continue
        found = torch.from_numpy(np.load(folder / f"{i}.npy"))
        off = difference(found, like_layer(network, layer, kept[layer], found.shape))
        if not off <= TOLERANCE:
            print(f"FAILED {label} {layer}: {tuple(found.shape)} differs by {off:.1e} relative")
            good = False
        if off > worst:
            worst, where = off, layer
    missing = [name for name in kept if name not in layers and not WITHOUT.search(name)]
    if missing:
        print(f"FAILED {label}: no layer for {', '.join(missing[:8])}{' …' if len(missing) > 8 else ''}")
        good = False
    for i in range(len(layers)):
        (folder / f"{i}.npy").unlink()
    compared = sum(layer in kept for layer in layers)
    logits_off = difference(torch.from_numpy(np.load(folder / "logits.npy")), logits)
    good &= logits_off <= TOLERANCE and compared >= 5
    print(f"{label:46} {side:4} {compared:5} {worst:10.1e} {logits_off:10.1e}  {where}", flush=True)
    return good


def compare_pictures(linex, network, name, plugin, folder):
    """The binary on pictures, with the preprocessing of the published weights."""
    transform = torchvision.models.get_weight(weights_of(name)).transforms()
    root = folder / "pictures" / "all"
    root.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    wanted = []
    for i, (width, height) in enumerate([(400, 500), (640, 433), (350, 350)]):
        noise = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((width, height)).save(root / f"{i}.png")
        with torch.no_grad():
            wanted.append(network(transform(Image.open(root / f"{i}.png").convert("RGB"))[None]))
    out = folder / "out"
    layer = [name for name, _ in network.named_children()][0]
    network.transform_input = True  # of Inception v3, as for its published weights
    subprocess.run([linex, "activations", "--data.kind=image_folder", f"--data.root={root.parent}",
                    f"--model.plugin={plugin}", f"--model.weights={folder / 'weights.pth'}", f"--model.layer={layer}",
                    f"--run.out={out}", "--run.cache=none", "--run.log-level=error"],
                   check=True, stdout=subprocess.DEVNULL)
    off = difference(torch.from_numpy(np.load(out / "logits.npy")), torch.cat(wanted))
    print(f"{'':12} pictures, as {weights_of(name)}: logits differ by {off:.1e}", flush=True)
    return off <= TOLERANCE * 10  # pixels are rounded to float32 in another order


def weights_of(name):
    for entry in dir(torchvision.models):
        if entry.lower() == f"{name}_weights":
            return f"{entry}.IMAGENET1K_V1"
    raise KeyError(name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool")
    parser.add_argument("--linex")
    parser.add_argument("--networks", help="names of networks or plugins, a comma list")
    given = parser.parse_args()
    chosen = given.networks.split(",") if given.networks else None
    good = True
    print(f"{'network':46} {'side':>4} {'taps':>5} {'worst':>10} {'logits':>10}  where")
    for library, name, plugin, options, side, arguments in NETWORKS:
        if plugin is None or (chosen and name not in chosen and plugin not in chosen and library not in chosen):
            continue
        if library == "timm" and timm is None:
            print(f"{library + ' ' + name:46} left out: no timm")
            continue
        with tempfile.TemporaryDirectory() as temporary, contextlib.suppress(KeyboardInterrupt):
            folder = pathlib.Path(temporary)
            network = make(library, name, arguments)
            good &= compare(given.tool, network, f"{library} {name}", plugin, options, side, folder)
            if given.linex and library == "torchvision":
                good &= compare_pictures(given.linex, network, name, plugin, folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
