"""Correlation on test rows of the first K terms of a lasso path (scikit-learn), refitted by least squares.

usage: lasso_baseline.py FOLDER [TERMS = 5]
FOLDER: concepts.npy, activations.npy and {train,val,test}_ids.npy, as generate_problem writes them. Compare with
linex explain --solver.max_length=TERMS --solver.price=0 --solver.tolerance=0 on the same files.
"""
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.linear_model import lars_path

warnings.filterwarnings("ignore")
folder, terms = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5
presence, activations = (np.load(folder / f"{name}.npy").astype(float) for name in ("concepts", "activations"))
train, val, test = (np.load(folder / f"{name}_ids.npy") for name in ("train", "val", "test"))
mean, std = presence[train].mean(0), presence[train].std(0)
kept = np.flatnonzero(std > 1e-5)
x = (presence[train][:, kept] - mean[kept]) / std[kept]
gram = x.T @ x
scores, lengths = [], []
for k in range(activations.shape[1]):
    y = activations[train, k] - activations[train, k].mean()
    if not y.any():
        continue
    _, _, path = lars_path(x, y, Gram=gram, Xy=x.T @ y, method="lasso", max_iter=4 * terms)
    counts = (path != 0).sum(0)
    chosen = np.flatnonzero(path[:, np.flatnonzero(counts <= terms)[-1]])
    columns = np.c_[np.ones(len(train)), presence[np.ix_(train, kept[chosen])]]
    weights = np.linalg.lstsq(columns, activations[train, k], rcond=None)[0]
    predicted = np.c_[np.ones(len(test)), presence[np.ix_(test, kept[chosen])]] @ weights
    scores.append(np.corrcoef(predicted, activations[test, k])[0, 1])
    lengths.append(len(chosen))
scores = np.array(scores)
finite = scores[np.isfinite(scores)]
print(f"lasso: test {finite.mean():.4f} ± {finite.std(ddof=1) / len(finite) ** 0.5:.4f} "
      f"at {np.mean(lengths):.2f} terms (n {len(finite)})")
