"""The concept that correlates most with each unit: sdk/template/solver/my_solver.cpp in Python."""

import numpy as np

import linex.external as lx


@lx.solver
def my_solver(problem):
    x = problem.presence[problem.train]
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.nan_to_num((x - x.mean(0)) / x.std(0, ddof=1))
    for unit in problem.units:
        y = np.asarray(problem.activations[problem.train, unit])
        best = int((x.T @ y).argmax())
        status = "ok" if y.std() > 0 else "constant"
        yield lx.Explanation(unit, [(best, problem.options.get("weight", 1))], status=status)


if __name__ == "__main__":
    my_solver.run()
