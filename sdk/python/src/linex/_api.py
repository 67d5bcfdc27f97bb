"""linex's commands as functions: files between, nothing linked."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from ._host import run_linex
from ._run import Run

if TYPE_CHECKING:
    import pandas

__all__ = ["Benchmark", "benchmark", "evaluate", "explain"]

Matrix = Union[npt.ArrayLike, "os.PathLike[str]", str]
Split = Union[str, "os.PathLike[str]", Sequence[npt.ArrayLike]]
Section = Union[str, Mapping[str, Any]]


def explain(
    activations: Matrix,
    presence: Matrix,
    concepts: Sequence[str] | os.PathLike[str] | str,
    *,
    out: str | os.PathLike[str] | None = None,
    split: Split | None = None,
    quiet: bool = False,
    **sections: Section,
) -> Run:
    """Explains units by weighted sums of concepts: ``linex explain`` on recorded matrices.

    Parameters
    ----------
    activations
        (N, K): K units on N images; an array, or a .npy file (``recording.path("layer4")``).
    presence
        (N, C): how present each concept is in each image; an array or a .npy file.
    concepts
        The C names, or a file with one a line.
    out
        Folder of the run; a new temporary one by default. The same call with the same folder goes
        on with an interrupted run.
    split
        Three arrays of row numbers (train, val, test), a folder of them, or fractions as text.
        Default: 0.7,0.1,0.2, shuffled by ``run={"seed": 0}``.
    sections
        Everything else, by section: a plugin's name or a dictionary with its options, e.g.
        ``solver="clip_dissect"``, ``solver={"plugin": "external", "command": "python3 m.py"}``,
        ``evaluator="none"``, ``run={"units": "0:64", "report": "none"}``.

    Throws LinexError with linex's line and exit code.
    """
    folder = _folder(out)
    given = _sections(folder, activations, presence, concepts, split, sections)
    run_linex(["explain", *_options(given)], quiet)
    return Run(folder)


def evaluate(
    explanations: Run | os.PathLike[str] | str,
    activations: Matrix,
    presence: Matrix,
    concepts: Sequence[str] | os.PathLike[str] | str,
    *,
    out: str | os.PathLike[str] | None = None,
    split: Split | None = None,
    quiet: bool = False,
    **sections: Section,
) -> Run:
    """Scores explanations, a Run's or those of a CSV file of ours or a published one:
    ``linex evaluate``. The rest is as for explain(); ``evaluator="a,b"`` names the scores."""
    file = (
        explanations.folder / "explanations.csv" if isinstance(explanations, Run) else explanations
    )
    folder = _folder(out)
    given = _sections(folder, activations, presence, concepts, split, sections)
    run_linex(["evaluate", f"--explanations={os.path.abspath(file)}", *_options(given)], quiet)
    return Run(folder)


@dataclass
class Benchmark:
    """What ``linex benchmark`` left in ``folder``."""

    folder: Path

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """benchmark.csv, every cell as text."""
        with open(self.folder / "benchmark.csv", newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @property
    def table(self) -> pandas.DataFrame:
        """benchmark.csv as a DataFrame."""
        import pandas

        return pandas.read_csv(self.folder / "benchmark.csv")

    @cached_property
    def results(self) -> Any:
        """benchmark.json."""
        with open(self.folder / "benchmark.json", encoding="utf-8") as file:
            return json.load(file)

    @property
    def markdown(self) -> str:
        return (self.folder / "benchmark.md").read_text(encoding="utf-8")

    def run(self, network: str, method: str) -> Run:
        return Run(self.folder / network / method)

    def _repr_markdown_(self) -> str:
        return self.markdown


def benchmark(
    configuration: os.PathLike[str] | str | Mapping[str, Section],
    *,
    out: str | os.PathLike[str] | None = None,
    quiet: bool = False,
) -> Benchmark:
    """Several methods on several networks in one table: ``linex benchmark``.

    ``configuration`` is an INI file, or its sections as dictionaries: ``{"labeler": {...},
    "network small": {...}, "method lasso": {"solver": "external", "solver.command": "..."}}``.
    """
    folder = _folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(configuration, Mapping):
        file = folder / "linex.ini"
        file.write_text(_ini(configuration), encoding="utf-8")
    else:
        file = Path(configuration)
    run_linex(["benchmark", "--config", os.path.abspath(file), f"--run.out={folder}"], quiet)
    return Benchmark(folder)


# --------------------------------------------------------------------------------------- helpers


def _folder(out: str | os.PathLike[str] | None) -> Path:
    return Path(out if out is not None else tempfile.mkdtemp(prefix="linex-run-")).resolve()


def _matrix(value: Matrix, folder: Path, name: str) -> str:
    """The file of a matrix; an array is written to the run's folder."""
    if isinstance(value, (str, os.PathLike)):
        return os.path.abspath(value)
    mapped = getattr(value, "filename", None)
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if mapped and getattr(value, "offset", None) and array.dtype == np.float32:
        # An untouched memory map of a .npy file is that file.
        with contextlib.suppress(Exception):
            whole = np.load(mapped, mmap_mode="r")
            if whole.shape == array.shape and whole.offset == value.offset:  # type: ignore[union-attr]
                return os.path.abspath(str(mapped))
    if array.ndim != 2:
        raise ValueError(
            f"{name} has shape {array.shape}; a matrix with a row an image is expected"
        )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.npy"
    array = np.ascontiguousarray(array, dtype=np.float32)
    # Written only where it changed, so that an interrupted run's inputs stay as they were.
    if not (file.is_file() and _same(file, array)):
        np.save(file, array)
    return str(file)


def _same(file: Path, array: npt.NDArray[Any]) -> bool:
    try:
        return bool(np.array_equal(np.load(file, mmap_mode="r"), array))
    except (OSError, ValueError):
        return False


def _names(concepts: Sequence[str] | os.PathLike[str] | str, folder: Path) -> str:
    if isinstance(concepts, (str, os.PathLike)):
        return os.path.abspath(concepts)
    for name in concepts:
        if "\n" in name or "\r" in name:
            raise ValueError(f"the concept {name!r} has more than one line")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "concepts.txt"
    file.write_text("".join(f"{name}\n" for name in concepts), encoding="utf-8")
    return str(file)


def _split(split: Split, folder: Path) -> str:
    if isinstance(split, str):
        return os.path.abspath(split) if os.path.isdir(split) else split
    if isinstance(split, os.PathLike):
        return os.path.abspath(split)
    if len(split) != 3:
        raise ValueError("split is three arrays of row numbers: train, val, test")
    where = folder / "split"
    where.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(("train", "val", "test"), split):
        np.save(where / f"{name}_ids.npy", np.sort(np.asarray(rows, dtype=np.int64)))
    return str(where)


def _sections(
    folder: Path,
    activations: Matrix,
    presence: Matrix,
    concepts: Sequence[str] | os.PathLike[str] | str,
    split: Split | None,
    sections: Mapping[str, Section],
) -> dict[str, dict[str, Any]]:
    given: dict[str, dict[str, Any]] = {
        "model": {
            "plugin": "recorded",
            "activations": _matrix(activations, folder, "activations"),
        },
        "labeler": {
            "plugin": "recorded",
            "concepts": _matrix(presence, folder, "presence"),
            "names": _names(concepts, folder),
        },
        "run": {"out": str(folder)},
        "data": {},
    }
    if split is not None:
        given["data"]["split"] = _split(split, folder)
    for name, section in sections.items():
        keys = {"plugin": section} if isinstance(section, str) else dict(section)
        given.setdefault(name, {}).update(keys)
    return given


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _options(sections: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"--{section}.{key}={_text(value)}"
        for section, keys in sections.items()
        for key, value in keys.items()
    ]


def _ini(sections: Mapping[str, Section]) -> str:
    text = ""
    for name, section in sections.items():
        keys = {"plugin": section} if isinstance(section, str) else section
        text += f"[{name}]\n" + "".join(f"{key} = {_text(value)}\n" for key, value in keys.items())
    return text
