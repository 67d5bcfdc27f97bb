#!/usr/bin/env python3
"""Compares `linex activations` of vision transformers with forward hooks of the libraries that define them.

    compare_vits.py LINEX [--only NAME,...] [--images FOLDER]

Real-size networks with random weights, saved as their library saves them: torchvision's, timm's, Hugging Face's,
open_clip's, and Facebook's DINOv2 (timm's network under the names that timm's own loader reads). Images go through each
library's own preprocessing and through linex's defaults. Needs torch, torchvision, timm, transformers and open_clip; what
is not there is left out. Ends with 77 (skipped) where none is there, with 1 if a value differs by more than 1e-5 relative.
"""
import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    from PIL import Image
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TOLERANCE = 1e-5
CASES = {}


def case(name, layers, plugin="vit", options=()):
    """Registers a maker of (module, preprocess, save(folder) -> weights, logits(module, pixels) or None). `layers`: names of
    the modules, as NAME or LINEX_NAME=NAME; a name that ends in ^ has the batch second."""
    def register(make):
        CASES[name] = (make, layers, plugin, list(options))
        return make
    return register


def random_weights(module, seed=0):
    """Weights of a network that is not at its start: no norm is the identity, no token or scale is about zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1 and name.endswith("weight"):
            parameter.data = 1 + 0.2 * noise
        elif parameter.dim() <= 1 or "token" in name or "embed" in name and parameter.dim() == 3:
            parameter.data = 0.1 * noise
        elif parameter.std() < 1e-3:
            parameter.data = 0.02 * noise
    return module.eval()


# ---- torchvision ------------------------------------------------------------------------------------------------------------


def torchvision_vit(name):
    import torchvision
    module = random_weights(getattr(torchvision.models, name)(weights=None))
    transforms = torchvision.transforms
    preprocess = transforms.Compose([
        transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    return module, preprocess, save_state(module.state_dict()), lambda m, x: m(x)


for _name in ("vit_b_16", "vit_b_32"):
    case(f"torchvision {_name}", ["conv_proj", "encoder.layers.encoder_layer_0.ln_1", "encoder.layers.encoder_layer_0.mlp.1",
                                  "encoder.layers.encoder_layer_5.self_attention", "encoder.layers.encoder_layer_11",
                                  "encoder"])(lambda name=_name: torchvision_vit(name))


def save_state(state, name="weights.pth"):
    def save(folder):
        torch.save(state, folder / name)
        return folder / name
    return save


# ---- timm -------------------------------------------------------------------------------------------------------------------

TIMM = ["patch_embed.proj", "patch_embed", "pos_drop", "blocks.0.norm1", "blocks.0.attn.qkv", "blocks.0.attn", "blocks.0.mlp.act",
        "blocks.0.mlp", "blocks.1", "blocks"]


def timm_transform(size, mean, std, crop_pct=0.9):
    import timm.data
    return timm.data.create_transform((3, size, size), interpolation="bicubic", mean=mean, std=std, crop_pct=crop_pct)


HALF = ((0.5,) * 3, (0.5,) * 3)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def timm_vit(name, normal, crop_pct=0.9, size=224, logits=True, rename=None, transform=None, **options):
    import timm
    module = random_weights(timm.create_model(name, **options))
    state = module.state_dict() if rename is None else rename(module)
    return (module, transform or timm_transform(size, *normal, crop_pct=crop_pct), save_state(state),
            (lambda m, x: m(x)) if logits else None)


@case("timm ViT-Ti/16", TIMM + ["norm", "head"])
def _():
    return timm_vit("vit_tiny_patch16_224", HALF)


@case("timm ViT-B/32", TIMM + ["norm"])
def _():
    return timm_vit("vit_base_patch32_224", HALF)


@case("timm ViT-Ti/16 averaged", TIMM + ["fc_norm"])
def _():
    return timm_vit("vit_tiny_patch16_224", HALF, global_pool="avg")


@case("timm ViT-Ti/16 qk_norm", TIMM)
def _():
    return timm_vit("vit_tiny_patch16_224", HALF, qk_norm=True)


@case("timm DeiT-Ti/16", TIMM, options=["--model.mean=0.485,0.456,0.406", "--model.std=0.229,0.224,0.225"])
def _():
    return timm_vit("deit_tiny_patch16_224", IMAGENET)


@case("timm DeiT-Ti/16 distilled", TIMM + ["norm", "head", "head_dist"])
def _():
    return timm_vit("deit_tiny_distilled_patch16_224", IMAGENET)


@case("timm DeiT III-S/16", TIMM + ["blocks.0.ls1"])
def _():
    return timm_vit("deit3_small_patch16_224", HALF)


@case("DeiT III-S/16 (its own names)", TIMM + ["blocks.0.ls1"])
def _():
    return timm_vit("deit3_small_patch16_224", HALF, rename=lambda m: {
        k.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): v for k, v in m.state_dict().items()})


@case("DINO ViT-S/16", TIMM + ["norm"])
def _():
    from torchvision import transforms
    dino = transforms.Compose([transforms.Resize(256, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224),
                               transforms.ToTensor(), transforms.Normalize(*IMAGENET)])
    return timm_vit("vit_small_patch16_224", IMAGENET, logits=False, num_classes=0, transform=dino, rename=lambda m: {
        "student": {"module.backbone." + k: 2 * v for k, v in m.state_dict().items()},
        "teacher": {**{"backbone." + k: v for k, v in m.state_dict().items()}, "head.mlp.0.weight": torch.ones(2, 2)}})


DINOV2 = TIMM + ["blocks.0.ls1", "blocks.0.ls2", "norm"]


@case("timm DINOv2 ViT-S/14 at 518", DINOV2)
def _():
    return timm_vit("vit_small_patch14_dinov2", IMAGENET, crop_pct=1.0, size=518, logits=False)


@case("timm DINOv2 ViT-S/14 registers at 518", DINOV2)
def _():
    return timm_vit("vit_small_patch14_reg4_dinov2", IMAGENET, crop_pct=1.0, size=518, logits=False)


@case("timm DINOv2 ViT-g/14 (4 blocks, SwiGLU) at 518", DINOV2)
def _():
    return timm_vit("vit_giant_patch14_dinov2", IMAGENET, crop_pct=1.0, size=518, logits=False, depth=4)


@case("timm CLIP ViT-B/32", TIMM + ["norm_pre", "norm"])
def _():
    return timm_vit("vit_base_patch32_clip_224", CLIP, crop_pct=1.0, num_classes=512)


@case("timm SigLIP ViT-B/16", TIMM + ["attn_pool.kv", "attn_pool.mlp", "attn_pool"])
def _():
    from torchvision import transforms
    squash = transforms.Compose([transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC), transforms.ToTensor(),
                                 transforms.Normalize(*HALF)])
    return timm_vit("vit_base_patch16_siglip_224", HALF, logits=False, transform=squash)


# ---- Facebook's DINOv2 at 224 pixels ----------------------------------------------------------------------------------------


def resize_positions(positions, side, registers):
    """interpolate_pos_encoding of facebookresearch/dinov2: an offset of 0.1 without registers, antialiased with them."""
    grid = positions.reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    how = dict(size=(side, side), antialias=True) if registers else dict(scale_factor=((side + 0.1) / 37,) * 2)
    grid = torch.nn.functional.interpolate(grid, mode="bicubic", **how)
    return grid.permute(0, 2, 3, 1).reshape(1, side * side, -1)


class LinearProbe(torch.nn.Module):
    """_LinearClassifierWrapper of facebookresearch/dinov2's hub."""

    def __init__(self, backbone, layers, classes=1000):
        super().__init__()
        self.backbone, self.layers = backbone, layers
        self.linear_head = torch.nn.Linear((1 + layers) * backbone.embed_dim, classes)

    def forward(self, x):
        skip = self.backbone.num_prefix_tokens
        out = self.backbone.forward_intermediates(x, self.layers, norm=True, intermediates_only=True, return_prefix_tokens=True,
                                                  output_fmt="NLC")
        assert out[-1][1].shape[1] == skip
        return self.linear_head(torch.cat([o[1][:, 0] for o in out] + [out[-1][0].mean(1)], 1))


def facebook_dinov2(name, registers, layers=0, grouped=False, **options):
    import timm
    from torchvision import transforms
    whole = random_weights(timm.create_model(name, **options))
    small = timm.create_model(name, img_size=224, **options).eval()
    state, prefix = whole.state_dict(), 0 if registers else 1
    positions = state["pos_embed"]
    small.load_state_dict({**state, "pos_embed": torch.cat(
        [positions[:, :prefix], resize_positions(positions[:, prefix:], 16, registers)], 1)})
    saved = {"mask_token": torch.zeros(1, whole.embed_dim)}
    for key, value in state.items():
        if "giant" in name:
            key = key.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3")
        if key == "reg_token":
            key = "register_tokens"
        if grouped and key.startswith("blocks."):
            key = f"blocks.{int(key.split('.')[1]) // 3}." + key[7:]
        saved[key] = value
    if registers:  # timm adds the class token's position to the token
        saved["cls_token"] = state["cls_token"] - 0.25
        saved["pos_embed"] = torch.cat([torch.full((1, 1, whole.embed_dim), 0.25), positions], 1)
    module = small
    if layers:
        module = random_weights(LinearProbe(small, layers))
        small.load_state_dict({k: v for k, v in small.state_dict().items()})
        probe = module.state_dict()
        saved = {"linear_head.weight": probe["linear_head.weight"], "linear_head.bias": probe["linear_head.bias"],
                 **{"backbone." + k: v for k, v in saved.items()}}
        for key, value in state.items():  # as they were before random_weights of the probe
            if key != "pos_embed":
                small.state_dict()[key].copy_(value)
        small.state_dict()["pos_embed"].copy_(torch.cat(
            [positions[:, :prefix], resize_positions(positions[:, prefix:], 16, registers)], 1))
    dinov2 = transforms.Compose([transforms.Resize(256, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(224),
                                 transforms.ToTensor(), transforms.Normalize(*IMAGENET)])
    return module, dinov2, save_state(saved), (lambda m, x: m(x)) if layers else None


FACEBOOK = ["patch_embed.proj", "pos_drop", "blocks.0.attn.qkv", "blocks.0.ls1", "blocks.0.mlp", "blocks.1", "blocks"]


@case("DINOv2 ViT-S/14 at 224", FACEBOOK + ["norm"])
def _():
    return facebook_dinov2("vit_small_patch14_dinov2", False)


@case("DINOv2 ViT-S/14 in groups of blocks", FACEBOOK + ["norm"])
def _():
    return facebook_dinov2("vit_small_patch14_dinov2", False, grouped=True)


@case("DINOv2 ViT-S/14 registers at 224", FACEBOOK + ["norm"])
def _():
    return facebook_dinov2("vit_small_patch14_reg4_dinov2", True)


@case("DINOv2 ViT-g/14 (4 blocks, SwiGLU) at 224", FACEBOOK + ["norm"])
def _():
    return facebook_dinov2("vit_giant_patch14_dinov2", False, depth=4)


@case("DINOv2 ViT-S/14 linear probe", [f"{name}=backbone.{name}" for name in FACEBOOK[:-1]])
def _():
    return facebook_dinov2("vit_small_patch14_dinov2", False, layers=1)


@case("DINOv2 ViT-S/14 registers, probe of 4 blocks", [f"{name}=backbone.{name}" for name in FACEBOOK[:-1]])
def _():
    return facebook_dinov2("vit_small_patch14_reg4_dinov2", True, layers=4)


# ---- Hugging Face -----------------------------------------------------------------------------------------------------------


def hugging_face(kind, config, processor, logits=True, **settings):
    import transformers
    module = random_weights(getattr(transformers, kind)(getattr(transformers, config)(**settings)))
    processor = getattr(transformers, processor[0])(**processor[1])

    def save(folder):
        module.save_pretrained(folder)
        processor.save_pretrained(folder)
        return folder

    def preprocess(image):
        return processor(images=image, return_tensors="pt")["pixel_values"][0]
    return module, preprocess, save, (lambda m, x: m(pixel_values=x).logits) if logits else None


def under(prefix, names):
    return [f"{name}={prefix}{name}" for name in names]


VIT_HF = ["embeddings.patch_embeddings.projection", "embeddings.patch_embeddings", "embeddings", "encoder.layer.0.layernorm_before",
          "encoder.layer.0.attention.attention.query", "encoder.layer.0.attention.attention", "encoder.layer.0.attention",
          "encoder.layer.0.intermediate", "encoder.layer.0.output", "encoder.layer.1", "encoder", "layernorm"]
DINO_HF = ["embeddings.patch_embeddings.projection", "embeddings", "encoder.layer.0.norm1",
           "encoder.layer.0.attention.attention.value", "encoder.layer.0.attention", "encoder.layer.0.layer_scale1",
           "encoder.layer.0.mlp", "encoder.layer.0.layer_scale2", "encoder.layer.1", "encoder", "layernorm"]
TINY = dict(hidden_size=192, num_attention_heads=3, intermediate_size=768)
SMALL2 = dict(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14)
BIT = ("BitImageProcessor", dict(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, resample=3,
                                 image_mean=IMAGENET[0], image_std=IMAGENET[1]))
DEIT = ("DeiTImageProcessor", {})


@case("HF ViT-Ti/16", under("vit.", VIT_HF) + ["classifier"])
def _():
    return hugging_face("ViTForImageClassification", "ViTConfig", ("ViTImageProcessor", {}), num_labels=7, **TINY)


@case("HF ViT-Ti/16, 4 heads, other eps and GELU", under("vit.", VIT_HF))
def _():
    return hugging_face("ViTForImageClassification", "ViTConfig", ("ViTImageProcessor", {}), num_labels=7, layer_norm_eps=1e-2,
                        hidden_act="gelu_new", qkv_bias=False, **{**TINY, "num_attention_heads": 4})


@case("HF ViTModel B/16", VIT_HF + ["pooler"])
def _():
    return hugging_face("ViTModel", "ViTConfig", ("ViTImageProcessor", {}), logits=False)


@case("HF DeiT-Ti/16", under("deit.", VIT_HF))
def _():
    return hugging_face("DeiTForImageClassification", "DeiTConfig", DEIT, num_labels=7, **TINY)


@case("HF DeiT-Ti/16 with teacher", under("deit.", VIT_HF) + ["cls_classifier", "distillation_classifier"])
def _():
    return hugging_face("DeiTForImageClassificationWithTeacher", "DeiTConfig", DEIT, num_labels=7, **TINY)


@case("HF DINOv2-S/14", under("dinov2.", DINO_HF) + ["classifier"])
def _():
    return hugging_face("Dinov2ForImageClassification", "Dinov2Config", BIT, num_labels=7, **SMALL2)


@case("HF DINOv2 model, SwiGLU", DINO_HF)
def _():
    return hugging_face("Dinov2Model", "Dinov2Config", BIT, logits=False, use_swiglu_ffn=True, **SMALL2)


@case("HF DINOv2-S/14 with registers", under("dinov2_with_registers.", DINO_HF))
def _():
    return hugging_face("Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig", BIT, num_labels=7, **SMALL2)


CLIP_HF = ["vision_model.embeddings.patch_embedding", "vision_model.embeddings", "vision_model.encoder.layers.0.layer_norm1",
           "vision_model.encoder.layers.0.self_attn.q_proj", "vision_model.encoder.layers.0.self_attn",
           "vision_model.encoder.layers.0.mlp.activation_fn", "vision_model.encoder.layers.0.mlp", "vision_model.encoder.layers.1",
           "vision_model.encoder", "vision_model.post_layernorm"]


def clip_vision(kind, config, processor, nested=False, **settings):
    module, preprocess, save, _ = hugging_face(kind, config, processor, False, **settings)
    if nested:
        module.forward = module.get_image_features
    return module, preprocess, save, None


CLIP_TEXT = dict(hidden_size=64, intermediate_size=64, num_attention_heads=1, num_hidden_layers=1)


@case("HF CLIPModel B/32", CLIP_HF + ["vision_model.pre_layrnorm", "visual_projection"])
def _():
    return clip_vision("CLIPModel", "CLIPConfig", ("CLIPImageProcessor", {}), True, text_config=CLIP_TEXT, vision_config={})


@case("HF CLIPVisionModel B/16, GELU, 8 heads", CLIP_HF)
def _():
    return clip_vision("CLIPVisionModel", "CLIPVisionConfig", ("CLIPImageProcessor", {}), patch_size=16, hidden_act="gelu",
                       num_attention_heads=8)


@case("HF CLIPVisionModelWithProjection B/32", CLIP_HF + ["visual_projection"])
def _():
    return clip_vision("CLIPVisionModelWithProjection", "CLIPVisionConfig", ("CLIPImageProcessor", {}))


@case("HF SiglipModel B/16", CLIP_HF + ["vision_model.head.attention", "vision_model.head"])
def _():
    return clip_vision("SiglipModel", "SiglipConfig", ("SiglipImageProcessor", {"size": {"height": 224, "width": 224}}), True,
                       text_config=CLIP_TEXT, vision_config={})


@case("HF SiglipVisionModel B/16", CLIP_HF + ["vision_model.head.mlp"])
def _():
    return clip_vision("SiglipVisionModel", "SiglipVisionConfig",
                       ("SiglipImageProcessor", {"size": {"height": 224, "width": 224}}))


# ---- open_clip and OpenAI ---------------------------------------------------------------------------------------------------

OPEN_CLIP = ["visual.conv1", "visual.ln_pre", "visual.transformer.resblocks.0.ln_1^", "visual.transformer.resblocks.0.attn^",
             "visual.transformer.resblocks.0.mlp.gelu^", "visual.transformer.resblocks.0.mlp^", "visual.transformer.resblocks.1^",
             "visual.transformer^", "visual"]


def open_clip_vision(name, half=False):
    import open_clip
    module = random_weights(open_clip.create_model(name))
    _, _, preprocess = open_clip.create_model_and_transforms(name)
    state = module.state_dict()
    if half:  # OpenAI's archives
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        module.load_state_dict({k: v.float() for k, v in state.items()})
        state["input_resolution"] = torch.tensor(224)
    module.forward = module.encode_image
    return module, preprocess, save_state(state), None


@case("open_clip ViT-B-32", OPEN_CLIP)
def _():
    return open_clip_vision("ViT-B-32")


@case("OpenAI ViT-B-16 (half)", OPEN_CLIP)
def _():
    return open_clip_vision("ViT-B-16-quickgelu", half=True)


@case("open_clip ViT-B-16-SigLIP", under("visual.trunk.", TIMM + ["norm", "attn_pool"]))
def _():
    return open_clip_vision("ViT-B-16-SigLIP")


# ---- the comparison ---------------------------------------------------------------------------------------------------------


def make_images(folder):
    generator = np.random.default_rng(0)
    # Where torchvision's and transformers' centre crops agree: the latter halves odd margins down.
    for i, (width, height) in enumerate([(300, 400), (256, 256), (640, 340), (560, 560)]):
        noise = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((width, height)).save(folder / f"{i}.png")


def pooled(value, batch_second):
    if isinstance(value, tuple):
        value = value[0]
    if not torch.is_tensor(value):
        value = value.last_hidden_state
    if batch_second:
        value = value.transpose(0, 1)
    return value.mean((2, 3)) if value.dim() == 4 else value.mean(1) if value.dim() == 3 else value


def hooked(module, layers, pixels, logits):
    kept, handles = {}, []
    for ours, theirs in layers:
        def hook(_, __, out, ours=ours, second=theirs.endswith("^")):
            kept.setdefault(ours, []).append(pooled(out, second).clone())
        handles.append(module.get_submodule(theirs.rstrip("^")).register_forward_hook(hook))
    with torch.no_grad():
        for pixel in pixels:
            if logits:
                kept.setdefault("logits", []).append(logits(module, pixel[None]))
            else:
                module.forward(pixel[None])
    for handle in handles:
        handle.remove()
    return {layer: torch.cat(values).numpy() for layer, values in kept.items()}


def compare(linex, name, root, files, folder):
    make, layers, plugin, options = CASES[name]
    module, preprocess, save, logits = make()
    layers = [(layer.split("=")[0].rstrip("^"), layer.split("=")[-1]) for layer in layers]
    pixels = [preprocess(Image.open(path).convert("RGB")) for path in files]
    expected = hooked(module, layers, pixels, logits)
    weights = save(folder)
    del module
    out = folder / "out"
    names = [ours for ours, _ in layers]
    command = [linex, "activations", "--data.kind=image_folder", f"--data.root={root}", f"--model.plugin={plugin}",
               f"--model.weights={weights}", f"--model.layer={','.join(names)}", "--model.pool=avg", f"--run.out={out}",
               "--run.cache=none", "--run.log-level=error"] + options
    ran = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        print(f"FAILED {name}: {ran.stderr.strip()}", flush=True)
        return False
    worst, where = 0.0, ""
    for layer in names + (["logits"] if logits else []):
        file = out / ("logits.npy" if layer == "logits" else f"activations.{layer}.npy")
        found, wanted = np.load(file), expected[layer]
        difference = np.abs(found - wanted).max() / np.abs(wanted).max() if found.shape == wanted.shape else np.inf
        if not difference <= TOLERANCE:
            print(f"FAILED {name} {layer}: {found.shape} for {wanted.shape} differs by {difference:.2e} relative")
        if not difference <= worst:
            worst, where = difference, layer
    if not logits and (out / "logits.npy").exists():
        print(f"FAILED {name}: logits of a network that has none")
        worst = np.inf
    end = "and the logits" if logits else "(no logits)"
    print(f"{name:48} {len(names):2} layers {end:14}  worst relative difference {worst:.1e} ({where})", flush=True)
    return worst <= TOLERANCE


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("linex")
    parser.add_argument("--only", default="")
    parser.add_argument("--images")
    given = parser.parse_args()
    good, ran, missing = True, 0, set()
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
        for name in CASES:
            if given.only and not any(part in name for part in given.only.split(",")):
                continue
            folder = temporary / "case"
            folder.mkdir()
            try:
                good &= compare(given.linex, name, root, files, folder)
                ran += 1
            except ImportError as error:
                missing.add(str(error))
            shutil.rmtree(folder)
    for error in sorted(missing):
        print(f"left out: {error}")
    return (0 if good else 1) if ran else 77


if __name__ == "__main__":
    sys.exit(main())
