"""Presence of texts in images by a vision-language model that is installed here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["presence"]


def presence(
    model: Any,
    images: Iterable[Any],
    texts: Sequence[str],
    *,
    processor: Any = None,
    tokenizer: Any = None,
    template: str = "{}",
    batch: int = 32,
    device: str = "cpu",
    kind: str = "auto",
) -> npt.NDArray[np.float32]:
    """How present each of T texts is in each of N images: float32 (N, T).

    Parameters
    ----------
    model
        The name of a model: of Hugging Face (``google/siglip-base-patch16-224``; needs
        transformers) or ``open_clip:ARCHITECTURE/PRETRAINED`` (needs open_clip). Or a loaded one,
        with its ``processor`` (transformers), or with its image transform as ``processor`` and its
        ``tokenizer`` (open_clip).
    images
        Pillow images (RGB), in the order of the rows.
    texts, template
        Concepts, and the prompt in which ``{}`` stands for one.
    kind
        ``cosine`` of the embeddings; ``sigmoid`` of scale x cosine + bias, for models trained with
        it (SigLIP); ``auto``: sigmoid where the model has a bias.
    """
    if kind not in ("auto", "cosine", "sigmoid"):
        raise ValueError(f"kind is auto, cosine or sigmoid, not {kind!r}")
    try:
        import torch
    except ImportError:
        raise ImportError("presence() needs torch: pip install torch") from None
    if isinstance(model, str):
        model, processor, tokenizer = _load(model, processor, tokenizer)
    if processor is None:
        raise ValueError("presence(): a loaded model needs its processor (image transform)")
    model = model.eval().to(device)
    prompts = [template.replace("{}", text) for text in texts]

    with torch.inference_mode():
        words = [
            _embed_texts(model, processor, tokenizer, prompts[i : i + batch], device)
            for i in range(0, len(prompts), batch)
        ]
        text_vectors = torch.nn.functional.normalize(torch.cat(words), dim=-1)
        rows = []
        for some in _chunks(images, batch):
            vectors = _embed_images(model, processor, tokenizer, some, device)
            rows.append(torch.nn.functional.normalize(vectors, dim=-1) @ text_vectors.T)
        if not rows:
            raise ValueError("presence(): there is no image")
        cosines = torch.cat(rows)
        bias = getattr(model, "logit_bias", None)
        if kind == "sigmoid" or (kind == "auto" and bias is not None):
            scale = model.logit_scale.exp()
            cosines = torch.sigmoid(cosines * scale + (bias if bias is not None else 0.0))
        values: npt.NDArray[np.float32] = cosines.float().cpu().numpy()
    return values


def _load(name: str, processor: Any, tokenizer: Any) -> tuple[Any, Any, Any]:
    if name.startswith("open_clip:"):
        try:
            import open_clip
        except ImportError:
            raise ImportError(f"{name} needs open_clip: pip install open_clip_torch") from None
        architecture, _, pretrained = name[len("open_clip:") :].partition("/")
        model, _, transform = open_clip.create_model_and_transforms(
            architecture, pretrained=pretrained or None
        )
        return model, processor or transform, tokenizer or open_clip.get_tokenizer(architecture)
    try:
        import transformers
    except ImportError:
        raise ImportError(f"{name} needs transformers: pip install transformers") from None
    return (
        transformers.AutoModel.from_pretrained(name),
        processor or transformers.AutoProcessor.from_pretrained(name),
        None,
    )


def _vectors(output: Any) -> Any:
    """An embedding, whichever way a version of transformers gives it."""
    return output if hasattr(output, "shape") else output.pooler_output


def _embed_texts(
    model: Any, processor: Any, tokenizer: Any, prompts: Sequence[str], device: str
) -> Any:
    if tokenizer is not None:
        return model.encode_text(tokenizer(list(prompts)).to(device))
    tokens = processor(
        text=list(prompts), padding="max_length", truncation=True, return_tensors="pt"
    ).to(device)
    return _vectors(model.get_text_features(**tokens))


def _embed_images(
    model: Any, processor: Any, tokenizer: Any, images: Sequence[Any], device: str
) -> Any:
    if tokenizer is not None:
        import torch

        return model.encode_image(torch.stack([processor(image) for image in images]).to(device))
    pixels = processor(images=list(images), return_tensors="pt").to(device)
    return _vectors(model.get_image_features(**pixels))


def _chunks(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    some: list[Any] = []
    for item in items:
        some.append(item)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
