"""Outputs of layers: finding the tensor in them and pooling it to one number a unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_PREFERRED = ("last_hidden_state", "out", "logits", "pooler_output")


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def first_tensor(output: Any, key: str = "") -> Any:
    """The tensor (or array) of a layer's output: itself; of a mapping or a ModelOutput the entry
    ``key``, a usual one (last_hidden_state, out, ...) or the first; of a tuple the first."""
    if _is_array(output):
        return output
    if isinstance(output, Mapping):
        if key:
            return first_tensor(output[key])
        for name in (*_PREFERRED, *output):
            if name in output:
                try:
                    return first_tensor(output[name])
                except TypeError:
                    continue
    elif isinstance(output, (tuple, list)):
        if key:
            return first_tensor(output[int(key)])
        for value in output:
            try:
                return first_tensor(value)
            except TypeError:
                continue
    raise TypeError(f"there is no tensor in an output of type {type(output).__name__}")


def with_first_tensor(output: Any, value: Any) -> Any:
    """``output`` with what first_tensor() gives replaced by ``value``."""
    if _is_array(output):
        return value
    if isinstance(output, Mapping):
        for name in (*_PREFERRED, *output):
            if name not in output:
                continue
            try:
                changed = with_first_tensor(output[name], value)
            except TypeError:
                continue
            if type(output) is dict:
                return {**output, name: changed}
            return type(output)(**{**output, name: changed})
    elif isinstance(output, (tuple, list)):
        for i, part in enumerate(output):
            try:
                changed = with_first_tensor(part, value)
            except TypeError:
                continue
            parts = [*output[:i], changed, *output[i + 1 :]]
            if hasattr(output, "_fields"):
                return type(output)(*parts)
            return type(output)(parts)
    raise TypeError(f"there is no tensor in an output of type {type(output).__name__}")


def is_channels_last(shape: tuple[int, ...], image: tuple[int, int] | None) -> bool:
    """Whether a map (n, a, b, c) is (n, H, W, C), as Swin's are, and not (n, C, H, W).

    The sides of a map have the proportion of the image's; where both readings fit it is (n, C, H,
    W).
    """
    _, a, b, c = shape
    height, width = image or (1, 1)

    def fits(rows: int, columns: int) -> bool:
        return abs(rows * width - columns * height) < max(height, width)

    return not fits(b, c) and fits(a, b)


def pool_output(
    output: npt.NDArray[Any], pool: str, layer: str, layout: str, image: tuple[int, int] | None
) -> npt.NDArray[np.float32]:
    """float32 (n, units): maps pooled over their sides, tokens (n, T, D) over T (``first``: token
    0), vectors as they are. ``layout`` is auto, nchw or nhwc."""
    if output.ndim == 2:
        return np.ascontiguousarray(output, dtype=np.float32)
    if output.ndim == 4:
        if pool == "first":
            raise ValueError(f"layer {layer!r} is a map; pool 'first' is for tokens")
        last = layout == "nhwc" or (layout == "auto" and is_channels_last(output.shape, image))
        axes: tuple[int, ...] = (1, 2) if last else (2, 3)
    elif output.ndim == 3:
        if pool == "first":
            return np.ascontiguousarray(output[:, 0], dtype=np.float32)
        axes = (1,)
    else:
        raise ValueError(
            f"layer {layer!r} gives shape {output.shape}; (n, units), (n, tokens, units) and maps "
            "can be pooled"
        )
    values = output.mean(axes, dtype=np.float64) if pool == "avg" else output.max(axes)
    return np.ascontiguousarray(values, dtype=np.float32)
