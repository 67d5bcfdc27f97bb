"""CLIP-Dissect's idea: the concept whose presence points where the unit's activations point."""

import numpy as np

import linex.external as lx


@lx.solver
def cosine(problem):
    rows = np.concatenate([problem.train, problem.val])
    x = np.asarray(problem.presence[rows], dtype=np.float64)
    x = (x - x.mean(0)) / np.maximum(np.linalg.norm(x - x.mean(0), axis=0), 1e-12)
    for unit in problem.units:
        y = np.asarray(problem.activations[rows, unit], dtype=np.float64)
        if not y.std() > 0:
            yield lx.Explanation(unit, status="constant")
            continue
        y = (y - y.mean()) / np.linalg.norm(y - y.mean())
        scores = x.T @ (y**3)  # the strongest images count most
        yield lx.Explanation(unit, [(int(scores.argmax()), 1.0)])


if __name__ == "__main__":
    cosine.run()
