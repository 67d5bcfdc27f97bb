"""A solver, labeler, evaluator or model of your own behind linex's ``external`` plugins.

A whole method::

    import linex.external as lx

    @lx.solver
    def strongest(problem):
        x = problem.presence[problem.train]
        for unit in problem.units:
            y = problem.activations[problem.train, unit]
            best = max(range(x.shape[1]), key=lambda j: abs(lx.correlation(x[:, j], y)))
            yield lx.Explanation(unit, [(best, 1.0)])

    if __name__ == "__main__":
        strongest.run()

and its run: ``linex explain --solver.plugin=external --solver.command="python3 strongest.py" ...``.
Standard output is linex's while a method runs; what your code prints goes to the log.
``docs/external.md`` is the protocol, for other languages.
"""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Callable, Protocol, TextIO, Union

import numpy as np
import numpy.typing as npt

__all__ = [
    "PROTOCOL",
    "Batch",
    "Command",
    "Evaluation",
    "Explanation",
    "InputError",
    "Model",
    "ModelInfo",
    "Preprocess",
    "Problem",
    "Request",
    "Score",
    "TorchModel",
    "UsageError",
    "correlation",
    "IMAGENET",
    "evaluator",
    "iterate",
    "labeler",
    "model",
    "solver",
]

PROTOCOL = 1
"""Version of the protocol that this module speaks."""

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Json = dict[str, Any]


class InputError(Exception):
    """Something about the data that the user can mend; linex exits with 3 and this line."""


class UsageError(Exception):
    """A wrong option; linex exits with 2 and this line."""


class _Channel:
    """Messages to the host, on what was standard output."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def send(self, message: Mapping[str, Any]) -> None:
        try:
            line = json.dumps(message, allow_nan=False, ensure_ascii=False)
        except ValueError as error:
            raise ValueError(f"a number of a message is NaN or infinite: {error}") from None
        self._out.write(line + "\n")
        self._out.flush()


class Request:
    """What every call tells. Attributes are those of the run."""

    def __init__(self, message: Json, channel: _Channel) -> None:
        self._message = message
        self._channel = channel
        #: options of your own: ``--solver.alpha=0.1`` is ``options["alpha"] == 0.1``
        self.options: Json = message.get("options") or {}
        #: the only source of randomness allowed
        self.seed: int = message["seed"]
        #: use at most this many; results must not depend on it
        self.threads: int = message["threads"]
        #: "cpu" or "cuda:0"
        self.device: str = message["device"]
        #: bound on large temporaries
        self.memory_bytes: int = message["memory_bytes"]
        #: folder for arrays of an answer
        self.exchange: str = message["exchange"]
        #: class names of the data set, where a labeler is asked for its concepts
        self.classes: list[str] = (message.get("data") or {}).get("classes") or []

    def log(self, text: str, level: str = "info") -> None:
        """Writes a line to linex's log; ``level`` is debug, info, warning or error."""
        self._channel.send({"type": "log", "level": level, "text": text})

    def progress(self, done: int, total: int, title: str = "", unit: str = "") -> None:
        """Shows that ``done`` of ``total`` steps are done. Also a sign of life: a command that says
        nothing for ``timeout`` seconds is ended."""
        self._channel.send(
            {"type": "progress", "done": done, "total": total, "title": title, "unit": unit}
        )

    def generator(self) -> np.random.Generator:
        """Random numbers that depend on the run's seed alone."""
        return np.random.default_rng(self.seed)

    def _array(self, given: Json) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = np.load(given["file"], mmap_mode="r")
        return array

    def _json(self, key: str) -> Any:
        file = self._message.get(key)
        if file is None:
            return None
        with open(file, encoding="utf-8") as stream:
            return json.load(stream)


class _Rows(Request):
    """A request with a layer's activations and a split."""

    @cached_property
    def activations(self) -> FloatArray:
        """float32 (N, K): all units of the layer on all images; mapped, read-only."""
        return self._array(self._message["activations"])

    @cached_property
    def train(self) -> IntArray:
        """Rows that fit, ascending."""
        return np.asarray(self._array(self._message["split"]["train"]))

    @cached_property
    def val(self) -> IntArray:
        """Rows that select, ascending."""
        return np.asarray(self._array(self._message["split"]["val"]))

    @cached_property
    def test(self) -> IntArray:
        """Rows that score, ascending. Not for a solver's eyes."""
        return np.asarray(self._array(self._message["split"]["test"]))

    @property
    def layer(self) -> str:
        return str(self._message["layer"])

    @property
    def pool(self) -> str:
        """avg, max or first."""
        return str(self._message["pool"])

    @cached_property
    def images(self) -> list[str] | None:
        """What each row is called, a path below the data set's root; None where it is not told."""
        return self._json("images")  # type: ignore[no-any-return]


class Problem(_Rows):
    """What a solver is to explain."""

    @property
    def concepts(self) -> list[str]:
        """C names; they may repeat."""
        return self._message["concepts"]  # type: ignore[no-any-return]

    @cached_property
    def presence(self) -> FloatArray:
        """float32 (N, C): how present each concept is in each image; mapped, read-only."""
        return self._array(self._message["presence"])

    @property
    def units(self) -> list[int]:
        """Columns of ``activations`` to explain now, ascending."""
        return self._message["units"]  # type: ignore[no-any-return]

    @property
    def finished(self) -> list[int]:
        """Units that an earlier, interrupted run has explained. An explanation must not depend on
        which they are."""
        return self._message["finished"]  # type: ignore[no-any-return]


Term = tuple[Union[str, int], float]


@dataclass
class Explanation:
    """What one unit stands for.

    ``terms`` are (concept or its number, weight), weights in activation units per unit of
    presence; ``text`` is a sentence instead of terms. ``status`` is ok, dead, constant, no_concept
    or not_converged; left out, it is ok where there is a term or a text and no_concept otherwise.
    Numbers that are NaN or None are not known.
    """

    unit: int
    terms: Sequence[Term] = ()
    bias: float = 0.0
    text: str = ""
    status: str | None = None
    val_correlation: float | None = None
    objective: float | None = None
    duality_gap: float | None = None
    iterations: int = 0

    def message(self) -> Json:
        where = f"unit {int(self.unit)}"
        terms = []
        for concept, weight in self.terms:
            if not math.isfinite(weight):
                raise ValueError(f"{where}: the weight of {concept!r} is {weight}")
            terms.append([concept if isinstance(concept, str) else int(concept), float(weight)])
        if not math.isfinite(self.bias):
            raise ValueError(f"{where}: its bias is {self.bias}")
        message: Json = {
            "type": "explanation",
            "unit": int(self.unit),
            "terms": terms,
            "bias": float(self.bias),
            "text": self.text,
            "val_correlation": _number(self.val_correlation),
            "objective": _number(self.objective),
            "duality_gap": _number(self.duality_gap),
            "iterations": int(self.iterations),
        }
        if self.status is not None:
            message["status"] = self.status
        return message


class Evaluation(_Rows):
    """What an evaluator is to score."""

    @cached_property
    def explanations(self) -> list[Json]:
        """E objects with unit, terms, bias, text, status and val_correlation."""
        return self._json("explanations")  # type: ignore[no-any-return]

    @cached_property
    def predicted(self) -> FloatArray:
        """float32 (test rows, E): what each explanation predicts on ``test``; NaN where
        ``predicted_status`` is not ok."""
        return self._array(self._message["predicted"])

    @cached_property
    def predicted_status(self) -> list[str]:
        """E words: ok, or why an explanation predicts nothing."""
        return self._json("predicted_status")  # type: ignore[no-any-return]


@dataclass
class Score:
    """One column of scores over all E explanations, NaN or None where there is none.

    ``status`` says why there is none (``predicted_status`` fits); left out, it is ok or no_concept.
    """

    name: str
    values: Sequence[float | None] | npt.NDArray[Any]
    higher_is_better: bool = True
    status: Sequence[str] | None = None
    low: Sequence[float | None] | npt.NDArray[Any] | None = None
    high: Sequence[float | None] | npt.NDArray[Any] | None = None

    def message(self) -> Json:
        message: Json = {
            "type": "score",
            "name": self.name,
            "higher_is_better": bool(self.higher_is_better),
            "values": [_number(value) for value in self.values],
        }
        if self.status is not None:
            message["status"] = list(self.status)
        if self.low is not None and self.high is not None:
            message["low"] = [_number(value) for value in self.low]
            message["high"] = [_number(value) for value in self.high]
        return message


class Batch(Request):
    """Images that a labeler is to label."""

    def __init__(self, message: Json, channel: _Channel, concepts: Sequence[str]) -> None:
        super().__init__(message, channel)
        #: the T texts to label with: the labeler's concepts, or others that were asked for
        self.texts: list[str] = list(message.get("texts") or concepts)
        #: n row numbers
        self.rows: list[int] = message["rows"]
        #: n names (paths below the data set's root); empty without a data set
        self.names: list[str] = message.get("names") or []

    @cached_property
    def images(self) -> list[npt.NDArray[np.uint8]]:
        """n arrays uint8 (H, W, 3), RGB, as Pillow reads them."""
        return [self._array(image) for image in self._message.get("images") or []]


@dataclass
class Preprocess:
    """From pixels to a network's input, in torchvision's arithmetic; linex does it."""

    resize: str = "none"  #: none, short_side or squash
    size: int = 0
    interpolation: str = "bilinear"  #: or bicubic
    crop: int = 0  #: side of the centre crop, 0 = none
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  #: after division by 255
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


IMAGENET = Preprocess(
    "short_side", 256, "bilinear", 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
)
"""What most of torchvision's classifiers were trained with."""


@dataclass
class ModelInfo:
    """What a network is. ``fingerprint`` changes with its weights: caches depend on it."""

    layers: Sequence[str]
    fingerprint: str
    preprocess: Preprocess = field(default_factory=Preprocess)
    logits: bool = False
    replace: bool = False
    batch: int = 16


class Model(Protocol):
    """A network. Arrays are float32."""

    def info(self) -> ModelInfo: ...

    def forward(
        self, images: FloatArray, layers: Sequence[str], logits: bool
    ) -> tuple[Mapping[str, FloatArray], FloatArray | None]:
        """Raw outputs of ``layers``, (n, C, H, W), (n, T, D) or (n, D), for ``images``
        (n, 3, H, W), and logits (n, classes) where asked for."""
        ...

    def replace(self, images: FloatArray, layer: str, replaced: FloatArray) -> FloatArray:
        """Logits (m n, classes) with the output of ``layer`` replaced by ``replaced`` (m n, ...):
        m variants of the batch, stacked. Only asked of a model whose info says so."""
        ...


def correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Pearson's correlation of two vectors; 0 where one of them is constant."""
    x = np.asarray(a, dtype=np.float64)
    y = np.asarray(b, dtype=np.float64)
    x = x - x.mean()
    y = y - y.mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 0 else 0.0


# ------------------------------------------------------------------------------------ decorators


class Command:
    """What a decorator makes of your function: call it as before, ``run()`` it for linex."""

    def __init__(
        self,
        kind: str,
        function: Callable[..., Any],
        serve: Callable[[Json, _Channel], None],
    ) -> None:
        self.kind = kind
        self._function = function
        self._serve = serve
        self.__name__ = getattr(function, "__name__", kind)
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._function(*arguments, **named)

    def run(self) -> None:
        """Answers linex on standard input and output until it has no more calls."""
        if sys.stdin.isatty():
            script = os.path.basename(sys.argv[0])
            sys.exit(
                f"{script} is a {self.kind} for linex: --{self.kind}.plugin=external "
                f'--{self.kind}.command="python3 {script}"'
            )
        # Prints of this process, of libraries and of children must not end up among the messages.
        out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        os.dup2(2, 1)
        channel = _Channel(out)
        try:
            channel.send({"type": "hello", "linex": PROTOCOL})
            for line in sys.stdin:
                message = json.loads(line)
                if message.get("linex") != PROTOCOL:
                    raise UsageError(
                        f"this linex speaks version {message.get('linex')} of the protocol, the "
                        f"Python package version {PROTOCOL}; update the older of them"
                    )
                if message["kind"] != self.kind:
                    raise UsageError(
                        f"this command is a {self.kind}, and {message['kind']}.command names it"
                    )
                self._serve(message, channel)
                channel.send({"type": "done"})
        except (InputError, UsageError) as error:
            kind = "input" if isinstance(error, InputError) else "usage"
            channel.send({"type": "error", "kind": kind, "message": _line(error)})
            sys.exit(1)
        except BrokenPipeError:  # linex is gone
            os._exit(1)
        except Exception as error:
            traceback.print_exc()
            channel.send({"type": "error", "message": f"{type(error).__name__}: {_line(error)}"})
            sys.exit(1)


def solver(function: Callable[[Problem], Iterable[Explanation]]) -> Command:
    """A function (usually a generator) that explains each of ``problem.units``, in order."""

    def serve(message: Json, channel: _Channel) -> None:
        for explanation in function(Problem(message, channel)):
            channel.send(explanation.message())

    return Command("solver", function, serve)


def evaluator(function: Callable[[Evaluation], Score | Iterable[Score]]) -> Command:
    """A function that gives a Score, or several, over all explanations."""

    def serve(message: Json, channel: _Channel) -> None:
        scores = function(Evaluation(message, channel))
        for score in [scores] if isinstance(scores, Score) else scores:
            channel.send(score.message())

    return Command("evaluator", function, serve)


def labeler(
    concepts: Sequence[str] | Callable[[Request], Sequence[str]],
    texts: bool = False,
    rows: int | None = None,
) -> Callable[[Callable[[Batch], npt.ArrayLike]], Command]:
    """A function that labels a Batch: presence (n, T), finite, of ``batch.texts`` in its images.

    ``concepts`` are their names, or a function of the request (options) that gives them; ``texts``
    says that it can label any other text; ``rows`` how many there are, for a labeler that needs no
    data set.
    """

    def decorate(function: Callable[[Batch], npt.ArrayLike]) -> Command:
        names: list[str] = []

        def serve(message: Json, channel: _Channel) -> None:
            if message["call"] == "concepts":
                given = concepts(Request(message, channel)) if callable(concepts) else concepts
                names[:] = list(given)
                answer: Json = {"type": "concepts", "names": names, "texts": texts}
                if rows is not None:
                    answer["rows"] = rows
                channel.send(answer)
                return
            batch = Batch(message, channel, names)
            values = np.asarray(function(batch), dtype=np.float32)
            expected = (len(batch.rows), len(batch.texts))
            if values.shape != expected:
                raise ValueError(f"presence has shape {values.shape}, not {expected}")
            file = _save(batch.exchange, "presence", values)
            channel.send({"type": "batch", "presence": file})

        return Command("labeler", function, serve)

    return decorate


def model(function: Callable[[Request], Model]) -> Command:
    """A function that makes the Model, e.g. a TorchModel; called once, at the first request."""
    made: list[Model] = []

    def serve(message: Json, channel: _Channel) -> None:
        request = Request(message, channel)
        if not made:
            made.append(function(request))
        network = made[0]
        if message["call"] == "describe":
            info = network.info()
            channel.send(
                {
                    "type": "model",
                    "layers": list(info.layers),
                    "fingerprint": info.fingerprint,
                    "preprocess": vars(info.preprocess),
                    "logits": info.logits,
                    "replace": info.replace,
                    "batch": info.batch,
                }
            )
            return
        images = np.load(message["images"]["file"])
        answer: Json = {"type": "batch"}
        if message["call"] == "replace":
            replaced = np.load(message["replaced"]["file"])
            logits: FloatArray | None = network.replace(images, message["layer"], replaced)
        else:
            outputs, logits = network.forward(images, message["layers"], message["logits"])
            answer["layers"] = {
                name: _save(request.exchange, f"layer{i}", outputs[name])
                for i, name in enumerate(message["layers"])
            }
        if logits is not None:
            answer["logits"] = _save(request.exchange, "logits", logits)
        channel.send(answer)

    return Command("model", function, serve)


class TorchModel:
    """A torch module as a Model: any layer of ``module.named_modules()``.

    ``layers`` are module paths, all that have a name by default. ``logits`` says whether the
    module's output is (n, classes); then layers can be replaced as well. ``fingerprint`` defaults
    to a digest of the weights.
    """

    def __init__(
        self,
        module: Any,
        layers: Sequence[str] | None = None,
        preprocess: Preprocess = IMAGENET,
        logits: bool = True,
        batch: int = 16,
        device: str = "cpu",
        fingerprint: str = "",
    ) -> None:
        import torch

        self._torch = torch
        self._device = device
        self._module = module.eval().to(device)
        names = [name for name, _ in module.named_modules() if name]
        for layer in layers or ():
            if layer not in names:
                raise UsageError(f"the module has no layer {layer!r}")
        self._info = ModelInfo(
            layers=list(layers or names),
            fingerprint=fingerprint or _digest(module),
            preprocess=preprocess,
            logits=logits,
            replace=logits,
            batch=batch,
        )

    def info(self) -> ModelInfo:
        return self._info

    @staticmethod
    def _last(output: Any, images: FloatArray) -> bool:
        """Whether a layer gives (n, H, W, C), as Swin's do; linex gets (n, C, H, W)."""
        from ._layers import is_channels_last

        sides = (images.shape[2], images.shape[3])
        return len(output.shape) == 4 and is_channels_last(tuple(output.shape), sides)

    def _run(self, images: FloatArray) -> Any:
        with self._torch.inference_mode():
            return self._module(self._torch.from_numpy(images).to(self._device))

    def forward(
        self, images: FloatArray, layers: Sequence[str], logits: bool
    ) -> tuple[dict[str, FloatArray], FloatArray | None]:
        from ._layers import first_tensor

        seen: dict[str, FloatArray] = {}
        hooks = []
        for layer in layers:

            def keep(_module: Any, _input: Any, output: Any, layer: str = layer) -> None:
                # A copy: the next layer may work in place.
                value = first_tensor(output).detach().clone().float().cpu().numpy()
                if self._last(value, images):
                    value = np.ascontiguousarray(np.moveaxis(value, 3, 1))
                seen[layer] = value

            hooks.append(self._module.get_submodule(layer).register_forward_hook(keep))
        try:
            output = self._run(images)
        finally:
            for hook in hooks:
                hook.remove()
        missing = [layer for layer in layers if layer not in seen]
        if missing:
            raise InputError(f"the network does not run its layer {missing[0]!r}")
        return seen, first_tensor(output).float().cpu().numpy() if logits else None

    def replace(self, images: FloatArray, layer: str, replaced: FloatArray) -> FloatArray:
        from ._layers import first_tensor, with_first_tensor

        variants = replaced.shape[0] // images.shape[0]
        value = self._torch.from_numpy(replaced).to(self._device)

        def put(_module: Any, _input: Any, output: Any) -> Any:
            own = first_tensor(output)
            new = value.permute(0, 2, 3, 1) if self._last(own, images) else value
            return with_first_tensor(output, new.to(own.dtype))

        hook = self._module.get_submodule(layer).register_forward_hook(put)
        try:
            output = self._run(np.concatenate([images] * variants) if variants > 1 else images)
        finally:
            hook.remove()
        logits: FloatArray = first_tensor(output).float().cpu().numpy()
        return logits


# --------------------------------------------------------------------------------------- helpers


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _save(folder: str, name: str, values: npt.ArrayLike) -> str:
    """Writes float32 to the exchange folder; the file's name."""
    file = f"{name}.npy"
    np.save(os.path.join(folder, file), np.ascontiguousarray(values, dtype=np.float32))
    return file


def _digest(module: Any) -> str:
    import hashlib

    digest = hashlib.sha256(repr(module).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).numpy().tobytes())
    return digest.hexdigest()


def iterate(problem: Problem) -> Iterator[tuple[int, FloatArray, FloatArray]]:
    """(unit, its training activations, its validation activations) for each unit due."""
    for unit in problem.units:
        values = problem.activations[:, unit]
        yield unit, values[problem.train], values[problem.val]
