#!/usr/bin/env python3
"""Compares `linex evaluate --evaluator.plugin=concept_metrics` with scikit-learn and SciPy.

    compare_sklearn.py LINEX

LINEX is the binary. Units that are continuous, sparse, signed and full of ties, against concepts
that are one-hot, soft and rounded, at several alphas. Needs numpy, scipy and scikit-learn; ends with
77 (skipped) without them, 1 where a metric differs by more than 1e-6.
"""
import csv
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from sklearn_metrics import metrics_of
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TOLERANCE = 1e-6
ROWS = 700


def columns(random):
    labels = random.random(ROWS) < 0.15
    units = [random.gamma(1.0, 1.0, ROWS), np.round(random.gamma(1.0, 2.0, ROWS)),
             np.where(labels, random.random(ROWS), 0), random.normal(size=ROWS),
             labels * 1.5 + random.random(ROWS)]
    concepts = [labels, random.random(ROWS), np.round(random.random(ROWS), 1),
                random.beta(0.3, 0.6, ROWS), np.clip(labels * 0.6 + random.random(ROWS) * 0.4, 0, 1)]
    return (np.stack(units, 1).astype(np.float32), np.stack(concepts, 1).astype(np.float32))


def main(linex):
    random = np.random.default_rng(1)
    units, concepts = columns(random)
    pairs = [(u, c) for u in range(units.shape[1]) for c in range(concepts.shape[1])]
    test = np.sort(random.choice(ROWS, 500, replace=False))
    rest = np.setdiff1d(np.arange(ROWS), test)
    worst, count = 0.0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        np.save(folder / "A.npy", units)
        np.save(folder / "P.npy", concepts)
        (folder / "names.txt").write_text("".join(f"c{c}\n" for c in range(concepts.shape[1])))
        for part, rows in {"train": rest[::2], "val": rest[1::2], "test": test}.items():
            np.save(folder / f"{part}_ids.npy", rows.astype(np.int64))
        (folder / "pairs.csv").write_text("unit,description\n" + "".join(f"{u},c{c}\n" for u, c in pairs))
        for alpha in (0.01, 0.05, 0.12):
            subprocess.run(
                [linex, "evaluate", "--explanations", "pairs.csv", "--run.out=out", "--run.log-level=error",
                 "--run.report=none", "--data.split=.", "--model.plugin=recorded", "--model.activations=A.npy",
                 "--labeler.plugin=recorded", "--labeler.concepts=P.npy", "--labeler.names=names.txt",
                 "--evaluator.plugin=concept_metrics", f"--evaluator.alpha={alpha}"],
                cwd=folder, check=True, stdout=subprocess.DEVNULL)
            with open(folder / "out/explanations.csv", encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            for row, (u, c) in zip(rows, pairs, strict=True):
                for metric, value in metrics_of(units[test, u], concepts[test, c], alpha).items():
                    gap = abs(float(row[metric]) - value)
                    worst, count = max(worst, gap), count + 1
                    if not gap <= TOLERANCE:
                        print(f"unit {u}, c{c}, alpha {alpha}: {metric} is {row[metric]}, scikit-learn says {value}")
    print(f"{count} values, largest difference {worst:.1e}")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
