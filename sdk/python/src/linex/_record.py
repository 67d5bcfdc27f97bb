"""Activations of any network as files that linex explains."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Callable

import numpy as np
import numpy.typing as npt

from ._layers import first_tensor, pool_output

__all__ = ["Recording", "record"]

_HEADER = 128


class _Rows:
    """A float32 .npy that grows by rows: never more than a batch in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.units = -1
        self.rows = 0
        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115
        self._file.write(b" " * _HEADER)

    def append(self, values: npt.NDArray[np.float32], layer: str) -> None:
        if self.units < 0:
            self.units = values.shape[1]
        if values.shape[1] != self.units:
            raise ValueError(
                f"layer {layer!r} has {values.shape[1]} units for one batch, {self.units} before"
            )
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise ValueError(f"layer {layer!r}: image {self.rows + row} gives NaN or infinity")
        self._file.write(np.ascontiguousarray(values, dtype="<f4").tobytes())
        self.rows += values.shape[0]

    def close(self) -> None:
        """Writes the header, whose shape is only known now."""
        text = (
            f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({self.rows}, {self.units}), }}"
        ).encode()
        self._file.seek(0)
        self._file.write(b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little"))
        self._file.write(text + b" " * (_HEADER - 11 - len(text)) + b"\n")
        self._file.close()


class Recording(Mapping[str, "npt.NDArray[np.float32]"]):
    """Pooled activations by layer, each a mapped float32 (N, K); ``path(layer)`` is its file."""

    def __init__(self, folder: Path, files: Mapping[str, Path]) -> None:
        self.folder = folder
        self._files = dict(files)

    def path(self, layer: str) -> Path:
        return self._files[layer]

    @property
    def layers(self) -> list[str]:
        return list(self._files)

    def __getitem__(self, layer: str) -> npt.NDArray[np.float32]:
        array: npt.NDArray[np.float32] = np.load(self._files[layer], mmap_mode="r")
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{layer} {self[layer].shape}" for layer in self)
        return f"Recording({shapes})"


def _images_of(batch: Any) -> Any:
    """Images of a loader's batch: itself, the first of a tuple, or the usual key of a mapping."""
    if isinstance(batch, Mapping):
        for key in ("pixel_values", "image", "images"):
            if key in batch:
                return batch[key]
        raise ValueError(f"a batch has no pixel_values, image or images among {list(batch)}")
    if isinstance(batch, (tuple, list)):
        return batch[0]
    return batch


def _sides(images: Any) -> tuple[int, int] | None:
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) != 4:
        return None
    # (n, 3, H, W), or (n, H, W, 3) for NumPy callables.
    return (shape[2], shape[3]) if shape[1] in (1, 3, 4) else (shape[1], shape[2])


def _numpy(tensor: Any) -> npt.NDArray[Any]:
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().float().cpu()
    return np.asarray(tensor)


def record(
    model: Any,
    layers: Sequence[str] | str | None,
    loader: Iterable[Any],
    pool: str = "avg",
    *,
    device: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    layout: Mapping[str, str] | None = None,
    progress: bool = True,
) -> Recording:
    """Records a network's pooled activations on all images of ``loader``.

    Parameters
    ----------
    model
        A ``torch.nn.Module``, called as it is with each batch of images; or any callable on arrays
        that returns an array, a tuple or a dictionary of arrays.
    layers
        Module paths (``model.named_modules()``); ``"path:key"`` takes entry ``key`` of a layer's
        dictionary or tuple. For a callable: keys of its output, or None for the output itself,
        which is then called ``output``.
    loader
        Batches: images (n, 3, H, W), or tuples whose first entry they are, or dictionaries with
        ``pixel_values``, ``image`` or ``images``.
    pool
        ``avg`` or ``max`` over a map's sides or all tokens, ``first`` for token 0. A map is
        (n, C, H, W), or (n, H, W, C) where only that fits the image's proportions (Swin).
    device
        Where the module and its input go; by default they stay where they are.
    folder
        Where the files go; a new temporary folder by default. float32 (N, K), a file a layer,
        written batch by batch.
    layout
        By layer, ``nchw`` or ``nhwc``, where the guess would be wrong.
    """
    if pool not in ("avg", "max", "first"):
        raise ValueError(f"pool is avg, max or first, not {pool!r}")
    names = [layers] if isinstance(layers, str) else list(layers) if layers is not None else [""]
    where = Path(folder) if folder is not None else Path(tempfile.mkdtemp(prefix="linex-record-"))
    where.mkdir(parents=True, exist_ok=True)
    run = _module_runner(model, names, device) if hasattr(model, "named_modules") else None
    files = {
        name or "output": where / f"{(name or 'output').replace('/', '_').replace(':', '.')}.npy"
        for name in names
    }
    writers = {name: _Rows(path) for name, path in files.items()}
    try:
        for batch in _bar(loader, progress):
            images = _images_of(batch)
            outputs = run(images) if run else _call(model, names, images)
            sides = _sides(images)
            for name, output in outputs.items():
                kind = (layout or {}).get(name, "auto")
                values = pool_output(_numpy(output), pool, name, kind, sides)
                writers[name].append(values, name)
    finally:
        for writer in writers.values():
            writer.close()
    if any(writer.rows == 0 for writer in writers.values()):
        raise ValueError("the loader gave no image")
    return Recording(where, files)


def _bar(loader: Iterable[Any], progress: bool) -> Iterable[Any]:
    if progress:
        with contextlib.suppress(ImportError):
            from tqdm.auto import tqdm

            bar: Iterable[Any] = tqdm(loader, desc="recording", unit="batch")
            return bar
    return loader


def _call(model: Callable[[Any], Any], names: Sequence[str], images: Any) -> dict[str, Any]:
    output = model(images)
    return {name or "output": first_tensor(output, name) for name in names}


def _module_runner(
    module: Any, names: Sequence[str], device: str | None
) -> Callable[[Any], dict[str, Any]]:
    import torch

    known = dict(module.named_modules())
    for name in names:
        if name.partition(":")[0] not in known:
            raise ValueError(
                f"the module has no layer {name!r}; it has {', '.join(list(known)[1:20])} ..."
            )
    if device is not None:
        module.to(device)

    def run(images: Any) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        hooks = []
        for name in names:
            path, _, key = name.partition(":")

            def keep(
                _module: Any, _input: Any, output: Any, name: str = name, key: str = key
            ) -> None:
                # A copy: the next layer may work in place.
                seen[name or "output"] = first_tensor(output, key).detach().clone()

            hooks.append(known[path].register_forward_hook(keep))
        training = module.training
        try:
            module.eval()
            with torch.inference_mode():
                inputs = torch.as_tensor(images)
                module(inputs.to(device) if device is not None else inputs)
        finally:
            module.train(training)
            for hook in hooks:
                hook.remove()
        for name in names:
            if (name or "output") not in seen:
                raise ValueError(f"the network does not run its layer {name!r}")
        return seen

    return run
