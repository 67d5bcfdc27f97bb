"""linex from Python: record a network, explain its units, score and look at what was found.

    recording = linex.record(model, ["layer4"], loader)
    run = linex.explain(recording.path("layer4"), presence, concepts)
    run.explanations, run.summary, run.show(7)

``linex.external`` makes a method of your own in a few lines. The binary is named by
``LINEX_BINARY``, or on ``PATH``, or built in the checkout.
"""

from . import external
from ._api import Benchmark, benchmark, evaluate, explain
from ._host import LinexError, find_binary, run_linex
from ._presence import presence
from ._record import Recording, record
from ._run import Card, Run

__version__ = "0.1.0"
__all__ = [
    "Benchmark",
    "Card",
    "LinexError",
    "Recording",
    "Run",
    "benchmark",
    "evaluate",
    "explain",
    "external",
    "find_binary",
    "presence",
    "record",
    "run_linex",
]
