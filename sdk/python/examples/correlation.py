"""Simulation with correlation scoring: the evaluator ``simulation_correlation`` in Python."""

import linex.external as lx


@lx.evaluator
def correlation(evaluation):
    values, status = [], []
    for i, explanation in enumerate(evaluation.explanations):
        word, value = evaluation.predicted_status[i], None
        if word == "ok":
            actual = evaluation.activations[evaluation.test, explanation["unit"]]
            predicted = evaluation.predicted[:, i]
            word = "ok" if actual.std() > 0 and predicted.std() > 0 else "constant"
            value = lx.correlation(actual, predicted) if word == "ok" else None
        values.append(value)
        status.append(word)
    return lx.Score("py correlation", values, status=status)


if __name__ == "__main__":
    correlation.run()
