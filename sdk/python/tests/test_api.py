"""explain, evaluate, benchmark, Run: files between, the binary behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import linex


@pytest.fixture
def run(planted, tmp_path):
    activations, presence, names = planted
    return linex.explain(
        activations, presence, names, out=tmp_path / "run", quiet=True, run={"report": "plain"}
    )


def test_a_run(run):
    assert len(run.rows) == 6
    assert run.summary["units"] == 6
    assert run.report.is_file()
    card = run.show(2)
    assert card.terms[0][0] == "concept 2"
    assert card.terms[0][1] == pytest.approx(2, abs=0.2)
    assert "concept 2" in card._repr_html_() and "concept 2" in repr(card)
    assert run.best(2)[0].scores["sim correlation"] > 0.95
    assert "6 units" in run._repr_html_()
    with pytest.raises(KeyError, match="no unit 77"):
        run.show(77)


def test_explanations_are_a_frame(run):
    pytest.importorskip("pandas")
    frame = run.explanations
    assert list(frame["unit"]) == [0, 1, 2, 3, 4, 5]
    assert frame.loc[0, "sim correlation"] > 0.9
    assert frame.loc[5, "length"] == 0


def test_plots(run):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    assert run.plot_scores().get_ylabel() == "units"
    assert len(run.plot_concepts().patches) > 4
    assert len(run.plot_unit(1).patches) == len(run.show(1).terms)


def test_evaluate_scores_a_run_again(run, planted, tmp_path):
    activations, presence, names = planted
    again = linex.evaluate(
        run,
        activations,
        presence,
        names,
        out=tmp_path / "again",
        quiet=True,
        run={"report": "none"},
    )
    assert [c.scores["sim correlation"] for c in again.cards] == [
        c.scores["sim correlation"] for c in run.cards
    ]


def test_files_are_used_where_they_lie(planted, tmp_path):
    activations, presence, names = planted
    np.save(tmp_path / "a.npy", activations)
    np.save(tmp_path / "p.npy", presence)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    out = tmp_path / "run"
    linex.explain(tmp_path / "a.npy", mapped, names, out=out, quiet=True, run={"report": "none"})
    assert not (out / "presence.npy").exists() and not (out / "activations.npy").exists()
    # A part of a map is another matrix.
    part = tmp_path / "part"
    linex.explain(
        activations, mapped[:, ::2], names[::2], out=part, quiet=True, run={"report": "none"}
    )
    assert np.array_equal(np.load(part / "presence.npy"), presence[:, ::2])


def test_errors(planted, tmp_path):
    activations, presence, names = planted
    with pytest.raises(linex.LinexError, match="solver 'liner'.*did you mean 'linear'") as caught:
        linex.explain(activations, presence, names, out=tmp_path, quiet=True, solver="liner")
    assert caught.value.code == 2
    bad = activations.copy()
    bad[3, 1] = np.nan
    with pytest.raises(linex.LinexError, match="row 3") as caught:
        linex.explain(bad, presence, names, out=tmp_path / "nan", quiet=True)
    assert caught.value.code == 3
    with pytest.raises(ValueError, match="matrix"):
        linex.explain(activations[:, 0], presence, names)
    with pytest.raises(FileNotFoundError):
        linex.Run(tmp_path / "nowhere")


def test_the_binary(monkeypatch, tmp_path):
    monkeypatch.setenv("LINEX_BINARY", str(tmp_path / "none"))
    with pytest.raises(linex.LinexError, match="is not a program"):
        linex.find_binary()


def test_python_and_cpp_methods_in_one_table(planted, example, tmp_path):
    activations, presence, names = planted
    np.save(tmp_path / "a.npy", activations)
    np.save(tmp_path / "p.npy", presence)
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    done = linex.benchmark(
        {
            "run": {"report": "none"},
            "network planted": {"plugin": "recorded", "activations": tmp_path / "a.npy"},
            "labeler": {
                "plugin": "recorded",
                "concepts": tmp_path / "p.npy",
                "names": tmp_path / "names.txt",
            },
            "method linear": {"solver": "linear"},
            "method dissect": {"solver": "clip_dissect"},
            "method cosine": {"solver": "external", "solver.command": example("cosine")},
            "method strongest": {
                "solver": "external",
                "solver.command": example("my_solver"),
                "solver.weight": 2,
            },
        },
        out=tmp_path / "benchmark",
        quiet=True,
    )
    for method in ("linear", "dissect", "cosine", "strongest"):
        assert method in done.markdown
    assert done.run("planted", "strongest").show(0).terms == [("concept 0", 2.0)]
    assert done.run("planted", "linear").show(0).terms[0][0] == "concept 0"


SLOW = """
import sys, time
import linex.external as lx

@lx.solver
def slow(problem):
    for unit in problem.units:
        yield lx.Explanation(unit, [(0, 1.0)])
        open(problem.options["started"], "w").close()
        time.sleep(60)

slow.run()
"""


def test_an_interrupt_reaches_the_host(planted, tmp_path):
    activations, presence, names = planted
    np.savez(tmp_path / "data.npz", a=activations, p=presence)
    (tmp_path / "slow.py").write_text(SLOW)
    call = f"""
    import linex, numpy as np, sys
    data = np.load({str(tmp_path / "data.npz")!r})
    try:
        linex.explain(data["a"], data["p"], {names!r}, out={str(tmp_path / "run")!r},
            solver={{"plugin": "external", "started": {str(tmp_path / "started")!r},
                     "command": sys.executable + " " + {str(tmp_path / "slow.py")!r}}})
    except KeyboardInterrupt as stop:
        print("stopped:", stop)
        sys.exit(7)
    """
    script = tmp_path / "call.py"
    script.write_text(textwrap.dedent(call))
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    for _ in range(600):
        if (tmp_path / "started").exists():
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    assert "goes on from there" in printed
    assert list((tmp_path / "run").glob("*.journal"))
