"""A finished run: its explanations, scores and pictures."""

from __future__ import annotations

import csv
import html
import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

__all__ = ["Card", "Run"]


def _value(text: str) -> Any:
    if text == "":
        return None
    try:
        return float(text)
    except ValueError:
        return text


class Card:
    """One unit: ``terms`` (concept, weight) by weight, ``bias``, ``status``, ``scores`` by name."""

    def __init__(self, row: dict[str, str]) -> None:
        self.layer = row.get("layer", "")
        self.unit = int(row["unit"])
        self.terms: list[tuple[str, float]] = []
        for key, weight in row.items():
            if key.startswith("weight") and key[6:].isdigit() and weight:
                self.terms.append((row["concept" + key[6:]], float(weight)))
        self.bias = float(row.get("bias") or 0)
        self.status = row.get("status", "ok")
        known = {"layer", "unit", "bias", "status"}
        self.scores: dict[str, float | None] = {
            key: _value(text)
            for key, text in row.items()
            if key not in known and not key.startswith(("weight", "concept"))
        }

    @property
    def formula(self) -> str:
        """The explanation in words, e.g. ``1.25 red + 0.50 striped``."""
        return " + ".join(f"{weight:.2f} {concept}" for concept, weight in self.terms)

    def __repr__(self) -> str:
        where = f"{self.layer} " if self.layer else ""
        return f"{where}unit {self.unit}: {self.formula or self.status}"

    def _repr_html_(self) -> str:
        most = max((abs(weight) for _, weight in self.terms), default=1.0) or 1.0
        bars = "".join(
            f"<tr><td style='text-align:right'>{html.escape(concept)}</td><td style='width:12em'>"
            f"<div style='background:{'#4878a8' if weight >= 0 else '#b8584a'};height:0.8em;"
            f"width:{100 * abs(weight) / most:.0f}%'></div></td><td>{weight:.3f}</td></tr>"
            for concept, weight in self.terms
        )
        scores = ", ".join(
            f"{html.escape(name)} {value:.3f}"
            for name, value in self.scores.items()
            if isinstance(value, float)
        )
        return (
            "<div style='border:1px solid #8886;border-radius:6px;padding:0.6em 1em;"
            "max-width:36em'>"
            f"<b>{html.escape(self.layer)} unit {self.unit}</b> "
            f"<small>{html.escape(self.status)}</small><table>{bars}</table>"
            f"<small>{scores}</small></div>"
        )


@dataclass
class Run:
    """What a finished ``linex explain`` or ``evaluate`` left in ``folder``."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        if not (self.folder / "explanations.csv").is_file():
            raise FileNotFoundError(f"{self.folder} holds no finished run (explanations.csv)")

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """explanations.csv: one dictionary a unit, every cell as text."""
        with open(self.folder / "explanations.csv", newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    @cached_property
    def cards(self) -> list[Card]:
        return [Card(row) for row in self.rows]

    @cached_property
    def explanations(self) -> pandas.DataFrame:
        """One row a unit: layer, unit, explanation, length, bias, status and a column a score."""
        try:
            import pandas
        except ImportError:
            raise ImportError(
                "Run.explanations is a pandas DataFrame: pip install pandas; Run.cards does without"
            ) from None
        return pandas.DataFrame(
            [
                {
                    "layer": card.layer,
                    "unit": card.unit,
                    "explanation": card.formula,
                    "length": len(card.terms),
                    "bias": card.bias,
                    "status": card.status,
                    **card.scores,
                }
                for card in self.cards
            ]
        )

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json: means, timings, options, plugins, warnings."""
        with open(self.folder / "summary.json", encoding="utf-8") as file:
            summary: dict[str, Any] = json.load(file)
        return summary

    @property
    def report(self) -> Path:
        """The page to open in a browser."""
        return self.folder / "report" / "index.html"

    def show(self, unit: int, layer: str = "") -> Card:
        """The card of a unit; a notebook draws it."""
        for card in self.cards:
            if card.unit == unit and layer in ("", card.layer):
                return card
        raise KeyError(f"the run explains no unit {unit}" + (f" of {layer}" if layer else ""))

    def best(self, count: int = 5, by: str = "sim correlation") -> list[Card]:
        """Units with the highest score, best first."""

        def score(card: Card) -> float:
            value = card.scores.get(by)
            return value if isinstance(value, float) else -math.inf

        known = [card for card in self.cards if score(card) > -math.inf]
        return sorted(known, key=score, reverse=True)[:count]

    def plot_scores(self, by: str = "sim correlation", ax: Any = None) -> Any:
        """A histogram of a score over units, on matplotlib's axes; they are returned."""
        axes = _axes(ax)
        values = [card.scores.get(by) for card in self.cards]
        axes.hist([value for value in values if isinstance(value, float)], bins=30)
        axes.set_xlabel(by)
        axes.set_ylabel("units")
        return axes

    def plot_concepts(self, count: int = 20, ax: Any = None) -> Any:
        """In how many explanations the most used concepts occur, as bars."""
        axes = _axes(ax)
        counts: dict[str, int] = {}
        for card in self.cards:
            for concept, _ in card.terms:
                counts[concept] = counts.get(concept, 0) + 1
        top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:count][::-1]
        axes.barh([name for name, _ in top], [number for _, number in top])
        axes.set_xlabel("explanations")
        return axes

    def plot_unit(self, unit: int, layer: str = "", ax: Any = None) -> Any:
        """The weights of one unit's concepts, as bars."""
        axes = _axes(ax)
        card = self.show(unit, layer)
        axes.barh([c for c, _ in card.terms][::-1], [w for _, w in card.terms][::-1])
        axes.set_xlabel("weight")
        axes.set_title(f"unit {unit}")
        return axes

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {len(self.rows)} units)"

    def _repr_html_(self) -> str:
        scores = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{_mean(score)}</td></tr>"
            for name, score in self.summary.get("scores", {}).items()
        )
        best = "".join(card._repr_html_() for card in self.best(3))
        return (
            f"<div><b>{len(self.rows)} units</b> in <code>{html.escape(str(self.folder))}</code>"
            f"<table>{scores}</table>{best}</div>"
        )


def _mean(score: dict[str, Any]) -> str:
    if score.get("mean") is None:
        return "none"
    return f"{score['mean']:.4f} ± {score.get('sem') or 0:.4f} (n = {score.get('n')})"


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError("plots need matplotlib: pip install matplotlib") from None
    return plt.subplots()[1]
