"""A lasso by scikit-learn as a solver. Options: alpha (of the unit's deviation), length."""

import numpy as np
from sklearn.linear_model import Lasso

import linex.external as lx


@lx.solver
def lasso(problem):
    x = np.asarray(problem.presence[problem.train], dtype=np.float64)
    held_out = np.asarray(problem.presence[problem.val], dtype=np.float64)
    for unit, y, y_val in lx.iterate(problem):
        if not y.std() > 0:
            yield lx.Explanation(unit, status="constant")
            continue
        alpha = problem.options.get("alpha", 0.02) * float(y.std())
        fit = Lasso(alpha=alpha, positive=True).fit(x, y)
        terms = [(j, w) for j, w in enumerate(fit.coef_) if w > 0]
        terms = sorted(terms, key=lambda term: -term[1])[: problem.options.get("length", 5)]
        val = lx.correlation(held_out @ fit.coef_, y_val)
        yield lx.Explanation(unit, terms, bias=float(fit.intercept_), val_correlation=val)


if __name__ == "__main__":
    lasso.run()
