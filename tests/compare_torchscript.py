#!/usr/bin/env python3
"""Compares `linex activations` through the torchscript plugin with forward hooks, over torchvision's zoo.

    compare_torchscript.py LINEX [--networks densenet121,...] [--layers 6]

LINEX is the binary. Every network has random weights and is saved scripted and traced; a few layers
spread over its depth are compared on noise pictures. Needs torch, torchvision and Pillow; ends with 77
(skipped) without them, 1 if a value differs by more than 1e-4 relative.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import compare_torchvision as common
from compare_torchvision import np, torch, torchvision

NETWORKS = ["alexnet", "squeezenet1_1", "densenet121", "googlenet", "inception_v3", "mobilenet_v2", "mobilenet_v3_small",
            "shufflenet_v2_x1_0", "mnasnet0_5", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "swin_t",
            "resnext50_32x4d"]


def random_network(name):
    torch.manual_seed(0)
    extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    network = getattr(torchvision.models, name)(weights=None, **extra).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


def channels_last(name, path):
    """Whether torchvision computes this layer as (n, H, W, C)."""
    if name.startswith("swin"):
        return path.startswith(("features", "norm")) and path != "features.0.0"
    return name.startswith("convnext") and path.split(".")[-2:-1] == ["block"] and path[-1] in "12345"


def hooked(name, network, images, count):
    """Pooled outputs of up to `count` layers, and logits; layers that run once and have units."""
    outputs, handles = {}, []
    for path, module in network.named_modules():
        if path:
            handles.append(module.register_forward_hook(
                # What returns its input (stochastic depth when evaluating) leaves nothing in a trace.
                lambda _, given, out, path=path: outputs.setdefault(path, []).append(
                    out.clone() if isinstance(out, torch.Tensor) and out is not given[0] else None)))
    with torch.no_grad():
        logits = network(images)
    for handle in handles:
        handle.remove()
    usable = [path for path, runs in outputs.items() if len(runs) == 1 and runs[0] is not None
              and runs[0].dim() in (2, 3, 4) and runs[0].shape[0] == len(images)]
    chosen = [usable[i] for i in sorted({round(i * (len(usable) - 1) / (count - 1)) for i in range(count)})]
    found = {}
    for path in chosen:
        output = outputs[path][0]
        if output.dim() == 4 and channels_last(name, path):
            output = output.permute(0, 3, 1, 2)
        found[path] = common.pool(output).numpy()
    found["logits"] = logits.numpy()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("linex")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--layers", type=int, default=6)
    given = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        temporary = pathlib.Path(temporary)
        root = temporary / "images"
        (root / "all").mkdir(parents=True)
        common.make_images(root / "all")
        images = torch.stack([common.preprocess("any", path) for path in sorted((root / "all").iterdir())])
        for name in given.networks.split(","):
            network = random_network(name)
            expected = hooked(name, network, images, given.layers)
            layers = [layer for layer in expected if layer != "logits"]
            for kind in ("scripted", "traced"):
                file = temporary / f"{name}.{kind}.pt"
                with torch.no_grad():
                    module = torch.jit.script(network) if kind == "scripted" else torch.jit.trace(network, images[:1])
                module.save(str(file))
                out = temporary / f"{name}.{kind}"
                ran = subprocess.run(
                    [given.linex, "activations", "--data.kind=image_folder", f"--data.root={root}",
                     "--model.plugin=torchscript", f"--model.weights={file}", f"--model.layer={','.join(layers)}",
                     "--model.pool=avg", f"--run.out={out}", "--run.cache=none", "--run.log-level=error"],
                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                file.unlink()
                if ran.returncode:
                    print(f"FAILED {name} {kind}: {ran.stderr.strip()}", flush=True)
                    good = False
                    continue
                worst = 0.0
                for layer, wanted in expected.items():
                    found = np.load(out / ("logits.npy" if layer == "logits" else f"activations.{layer}.npy"))
                    difference = np.abs(found - wanted).max() / np.abs(wanted).max()
                    if not difference <= common.TOLERANCE:
                        print(f"FAILED {name} {kind} {layer}: differs by {difference:.2e} relative")
                        good = False
                    worst = max(worst, difference)
                print(f"{name:20} {kind:9} {len(layers)} layers and logits, worst relative difference {worst:.1e}",
                      flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
