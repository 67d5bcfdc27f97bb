"""The metrics of concept_metrics by scikit-learn and SciPy, for tests."""
import math

import numpy as np
from scipy import stats
from sklearn import metrics as sk


def harmonic(a, b):
    return 2 * a * b / (a + b) if a + b > 0 else 0.0


def metrics_of(a, c, alpha):
    """Of activations `a` and presences `c`, float32 columns: {name: value}."""
    n = len(a)
    on = a >= np.sort(a)[n - math.ceil(alpha * n)]
    present = c >= 0.5
    result = {
        "recall": sk.recall_score(on, present),
        "precision": sk.precision_score(on, present, zero_division=0),
        "f1": sk.f1_score(on, present),
        "iou": sk.jaccard_score(on, present),
        "accuracy": sk.accuracy_score(on, present),
        "balanced accuracy": sk.balanced_accuracy_score(on, present),
        "inverse balanced accuracy": sk.balanced_accuracy_score(present, on),
        "auc": sk.roc_auc_score(on, c),
        "inverse auc": sk.roc_auc_score(present, a),
        "correlation": stats.pearsonr(a.astype(float), c.astype(float))[0],
        "spearman": stats.spearmanr(a, c)[0],
        "cosine": sk.pairwise.cosine_similarity([a.astype(float)], [c.astype(float)])[0, 0],
        "wpmi": np.mean(np.log(np.maximum(c[on].astype(float), 1e-8)))
        - np.log(c.astype(float).mean()),
        "mad": a[present].astype(float).mean() - a[~present].astype(float).mean(),
        "auprc": sk.average_precision_score(on, c),
        "inverse auprc": sk.average_precision_score(present, a),
    }
    result["combined auc"] = harmonic(result["auc"], result["inverse auc"])
    result["combined balanced accuracy"] = harmonic(
        result["balanced accuracy"], result["inverse balanced accuracy"])
    result["recall and inverse auc"] = harmonic(result["recall"], result["inverse auc"])
    return {name: float(value) for name, value in result.items()}
