#!/usr/bin/env python3
"""Compares `linex activations` with torchvision's forward hooks, both through their own preprocessing.

    compare_torchvision.py LINEX [--images FOLDER] [--networks resnet18,...] [--formats zip,...]
                           [--replace REPLACE_UNITS]

LINEX is the binary. FOLDER has *.JPEG, *.jpg or *.png files anywhere below it; without it, noise
pictures of several sizes are made. Every network has random weights, saved as a PyTorch zip and
legacy checkpoint, as safetensors, and as scripted and traced TorchScript. Needs torch, torchvision
and Pillow; ends with 77 (skipped) without them, 1 if a value differs by more than 1e-4 relative.

With --replace (the binary tests/replace_units), logits with a unit of each layer replaced are
compared with those of a hook that replaces it, and a layer's output put back has to give the plain
logits bit for bit.
"""
import argparse
import json
import pathlib
import struct
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

TOLERANCE = 1e-4
VIT_B = ["conv_proj", "encoder.layers.encoder_layer_0.self_attention", "encoder.layers.encoder_layer_5.mlp.1",
         "encoder.layers.encoder_layer_11", "encoder"]
VGG = ["features.0", "features.10", "classifier.0", "classifier.4", "classifier.6"]
LAYERS = {
    "resnet18": ["conv1", "layer2.0.conv2", "layer3.1.bn1", "layer4", "fc"],
    "resnet50": ["maxpool", "layer2.0.downsample", "layer3.1.conv2", "layer4", "fc"],
    "vgg16": VGG + ["features"],
    "vgg16_bn": VGG + ["features.43"],
    "vit_b_16": VIT_B,
    "vit_b_32": VIT_B,
    "vit_l_32": ["encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_12.mlp.0",
                 "encoder.layers.encoder_layer_23.mlp.1", "encoder.ln", "heads.head"],
}
FORMATS = ["zip", "legacy", "safetensors", "scripted", "traced"]


def random_network(name):
    torch.manual_seed(0)
    network = getattr(torchvision.models, name)(weights=None).eval()
    for module in network.modules():
        # Statistics of a trained network are not 0 and 1.
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    for parameter in network.parameters():
        if parameter.dim() > 1 and not parameter.any():
            parameter.data.normal_(0, 0.02)  # torchvision starts ViT heads at zero
    return network


def save_safetensors(tensors, path):
    header, at = {}, 0
    tensors = {k: v.contiguous() for k, v in tensors.items()}
    for key, value in tensors.items():
        size = value.numel() * value.element_size()
        header[key] = {"dtype": {torch.float32: "F32", torch.int64: "I64"}[value.dtype],
                       "shape": list(value.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in tensors.values():
            file.write(value.numpy().tobytes())


def save(network, kind, folder):
    path = folder / f"weights.{kind}"
    if kind == "zip":
        torch.save(network.state_dict(), path)
    elif kind == "legacy":
        torch.save({"state_dict": {"module." + k: v for k, v in network.state_dict().items()}}, path,
                   _use_new_zipfile_serialization=False)
    elif kind == "safetensors":
        path = folder / "weights.safetensors"
        save_safetensors(network.state_dict(), path)
    elif kind == "scripted":
        torch.jit.script(network).save(str(path))
    else:
        torch.jit.trace(network, torch.rand(2, 3, 224, 224), check_trace=False).save(str(path))
    return path


def make_images(folder):
    generator = np.random.default_rng(0)
    for i, (width, height) in enumerate([(300, 400), (256, 256), (640, 333), (224, 500)]):
        noise = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((width, height)).save(folder / f"{i}.png")


def preprocess(name, path):
    transforms = torchvision.transforms
    steps = transforms.Compose([
        transforms.Resize(242 if name == "vit_l_16" else 256), transforms.CenterCrop(224), transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    return steps(Image.open(path).convert("RGB"))


def pool(value):
    return value.mean((2, 3)) if value.dim() == 4 else value.mean(1) if value.dim() == 3 else value


def hooked(name, network, files):
    kept, handles = {}, []
    for layer in LAYERS[name]:
        def hook(_, __, out, layer=layer):
            # A later ReLU may work in place: pool, which copies, now.
            kept.setdefault(layer, []).append(pool(out[0] if isinstance(out, tuple) else out).clone())
        handles.append(network.get_submodule(layer).register_forward_hook(hook))
    with torch.no_grad():
        for path in files:
            kept.setdefault("logits", []).append(network(preprocess(name, path)[None]))
    for handle in handles:
        handle.remove()
    return {layer: torch.cat(values).numpy() for layer, values in kept.items()}


def plugin_of(name, kind):
    if kind in ("scripted", "traced"):
        return "torchscript"
    return next(plugin for plugin in ("resnet", "vgg", "vit") if name.startswith(plugin))


def compare(linex, name, kind, weights, expected, root, out):
    layers = LAYERS[name]
    command = [linex, "activations", "--data.kind=image_folder", f"--data.root={root}",
               f"--model.plugin={plugin_of(name, kind)}", f"--model.weights={weights}", f"--model.layer={','.join(layers)}", "--model.pool=avg",
               f"--run.out={out}", "--run.cache=none", "--run.log-level=error"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    worst = 0.0
    for layer in layers + ["logits"]:
        file = out / ("logits.npy" if layer == "logits" else f"activations.{layer}.npy")
        found, wanted = np.load(file), expected[layer]
        difference = np.abs(found - wanted).max() / np.abs(wanted).max() if found.shape == wanted.shape else np.inf
        if not difference <= TOLERANCE:
            print(f"FAILED {name} {kind} {layer}: {found.shape} differs by {difference:.2e} relative")
        worst = max(worst, difference)
    print(f"{name:10} {kind:12} {len(layers)} layers and logits, worst relative difference {worst:.1e}", flush=True)
    return worst <= TOLERANCE


def replaced(network, layer, images, unit, value):
    """Logits with all values of a unit of the layer replaced by a hook."""
    def hook(_, __, out):
        first = (out[0] if isinstance(out, tuple) else out).clone()
        first.select(1 if first.dim() == 4 else -1, unit).fill_(value)
        return (first,) + out[1:] if isinstance(out, tuple) else first
    handle = network.get_submodule(layer).register_forward_hook(hook)
    with torch.no_grad():
        logits = network(images)
    handle.remove()
    return logits.numpy()


def compare_replaced(tool, name, kind, network, weights, images, folder):
    layers = LAYERS[name]
    np.save(folder / "images.npy", images.numpy())
    out = folder / "replaced"
    out.mkdir(exist_ok=True)
    ran = subprocess.run([tool, plugin_of(name, kind), weights, folder / "images.npy", "1", "0.5", out] + layers)
    good, worst = ran.returncode == 0, 0.0
    for layer in layers:
        found, wanted = np.load(out / f"{layer}.npy"), replaced(network, layer, images, 1, 0.5)
        difference = np.abs(found - wanted).max() / np.abs(wanted).max()
        if not difference <= TOLERANCE:
            print(f"FAILED {name} {kind} {layer} with a unit replaced: differs by {difference:.2e} relative")
            good = False
        worst = max(worst, difference)
    print(f"{name:10} {kind:12} {len(layers)} layers replaced by themselves: {'same bits' if ran.returncode == 0 else 'DIFFER'}"
          f"; a unit replaced: worst relative difference {worst:.1e}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("linex")
    parser.add_argument("--images")
    parser.add_argument("--networks", default=",".join(LAYERS))
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--replace")
    given = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        temporary = pathlib.Path(temporary)
        root = temporary / "images"
        (root / "all").mkdir(parents=True)
        if given.images:
            for path in pathlib.Path(given.images).rglob("*"):
                if path.suffix.lower() in (".jpeg", ".jpg", ".png"):
                    (root / "all" / path.name).symlink_to(path.resolve())
        else:
            make_images(root / "all")
        files = sorted((root / "all").iterdir())
        for name in given.networks.split(","):
            network = random_network(name)
            expected = hooked(name, network, files)
            for kind in given.formats.split(","):
                weights = save(network, kind, temporary)
                out = temporary / "out"
                good &= compare(given.linex, name, kind, weights, expected, root, out)
                if given.replace:
                    images = torch.stack([preprocess(name, path) for path in files[:3]])
                    good &= compare_replaced(given.replace, name, kind, network, weights, images, temporary)
                weights.unlink()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
