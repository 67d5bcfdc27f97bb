"""Methods written with linex.external, run by the binary, beside their C++ twins."""

import os
import textwrap

import numpy as np
import pytest

import linex
import linex.external as lx


@pytest.mark.parametrize(
    ("kind", "name", "more"),
    [
        ("solver", "my_solver", []),
        ("solver", "cosine", []),
        ("labeler", "label", []),
        ("evaluator", "correlation", []),
    ],
)
def test_conforms(run_command, example, kind, name, more):
    done = run_command("check", "--external", kind, example(name), *more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout
    assert "FAILED" not in done.stdout


def test_lasso_conforms(run_command, example):
    pytest.importorskip("sklearn")
    done = run_command("check", "--external", "solver", example("lasso"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_solver_finds_what_was_planted(planted, example, tmp_path):
    pytest.importorskip("sklearn")
    activations, presence, names = planted
    run = linex.explain(
        activations,
        presence,
        names,
        out=tmp_path / "run",
        quiet=True,
        solver={"plugin": "external", "command": example("lasso"), "alpha": 0.01, "length": 2},
        run={"report": "none"},
    )
    for unit in range(5):
        card = run.show(unit)
        assert [concept for concept, _ in card.terms] == [f"concept {unit}", f"concept {unit + 1}"]
        assert card.terms[0][1] == pytest.approx(2, abs=0.1)
    assert run.show(5).status == "constant"
    assert run.summary["options"]["solver"]["options"] == '{"alpha":0.01,"length":2}'


def test_the_evaluator_equals_its_twin(planted, example, tmp_path):
    activations, presence, names = planted
    run = linex.explain(
        activations,
        presence,
        names,
        out=tmp_path / "run",
        quiet=True,
        evaluator={"plugin": "simulation_correlation,external", "command": example("correlation")},
        run={"report": "none"},
    )
    for card in run.cards:
        ours, theirs = card.scores["py correlation"], card.scores["sim correlation"]
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours == pytest.approx(theirs, abs=1e-6)


def test_the_labeler_equals_its_twin(images, example, tmp_path, run_command):
    generator = np.random.default_rng(1)
    np.save(tmp_path / "acts.npy", generator.random((24, 3), dtype=np.float32))
    made = {}
    for name, options in {
        "cpp": ["--labeler.plugin=label"],
        "python": ["--labeler.plugin=external", f"--labeler.command={example('label')}"],
    }.items():
        out = tmp_path / name
        done = run_command("concepts", f"--data.root={images}", *options, f"--run.out={out}")
        assert done.returncode == 0, done.stderr
        made[name] = (out / "concepts.npy").read_bytes(), (out / "concept_names.txt").read_bytes()
    assert made["cpp"] == made["python"]


def test_the_template_equals_its_twin(planted, example, tmp_path, run_command):
    plugin = os.environ.get("LINEX_TEMPLATE")
    if not plugin:
        pytest.skip("LINEX_TEMPLATE does not name the built sdk/template/solver")
    activations, presence, names = planted
    np.save(tmp_path / "a.npy", activations)
    np.save(tmp_path / "p.npy", presence)
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    files = {}
    for name, options in {
        "cpp": [f"--plugin={plugin}", "--solver.plugin=my_solver"],
        "python": ["--solver.plugin=external", f"--solver.command={example('my_solver')}"],
    }.items():
        done = run_command(
            "explain",
            "--model.plugin=recorded",
            f"--model.activations={tmp_path / 'a.npy'}",
            "--labeler.plugin=recorded",
            f"--labeler.concepts={tmp_path / 'p.npy'}",
            f"--labeler.names={tmp_path / 'names.txt'}",
            "--run.report=none",
            "--solver.weight=2",
            *options,
            f"--run.out={tmp_path / name}",
        )
        assert done.returncode == 0, done.stderr
        files[name] = (tmp_path / name / "explanations.csv").read_bytes()
    assert files["cpp"] == files["python"]


def test_the_template_follows_its_formula(planted, example, tmp_path):
    activations, presence, names = planted
    solver = {"plugin": "external", "command": example("my_solver"), "weight": 2.5}
    run = linex.explain(
        activations,
        presence,
        names,
        split=(range(0, 140), range(140, 160), range(160, 200)),
        out=tmp_path / "run",
        quiet=True,
        solver=solver,
        run={"report": "none"},
    )
    for unit in range(5):
        expected = max(
            range(8), key=lambda j: np.corrcoef(presence[:140, j], activations[:140, unit])[0, 1]
        )
        assert run.show(unit).terms == [(f"concept {expected}", 2.5)]


METHOD = """
import linex.external as lx

@lx.solver
def method(problem):
    print("hello from a method")
    for i, unit in enumerate(problem.units):
        {fault}
        yield lx.Explanation(unit, [(0, 1.0)])

method.run()
"""


@pytest.mark.parametrize(
    ("fault", "says", "code"),
    [
        ("raise lx.InputError('row 3 is odd; remove it')", "row 3 is odd; remove it", 3),
        ("raise lx.UsageError('alpha is too large')", "alpha is too large", 2),
        ("raise KeyError('what')", "KeyError: 'what'", 4),
        ("yield lx.Explanation(unit, [(0, float('nan'))])", "the weight of 0 is nan", 4),
        ("yield lx.Explanation(unit + 1, [(0, 1.0)])", "explained unit 1 where unit 0 was due", 4),
        ("import os; os._exit(3)", "ended by exit 3", 4),
    ],
)
def test_errors_are_exceptions_with_the_hosts_line(planted, tmp_path, fault, says, code, example):
    activations, presence, names = planted
    script = tmp_path / "method.py"
    script.write_text(textwrap.dedent(METHOD).replace("{fault}", fault))
    import shlex
    import sys

    with pytest.raises(linex.LinexError) as caught:
        linex.explain(
            activations,
            presence,
            names,
            out=tmp_path / "run",
            quiet=True,
            solver={"plugin": "external", "command": shlex.join([sys.executable, str(script)])},
            run={"report": "none"},
        )
    assert caught.value.code == code
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_decorated_functions_stay_functions():
    @lx.solver
    def method(problem):
        """Doc."""
        yield from ()

    assert list(method(None)) == []
    assert method.__doc__ == "Doc."


def test_correlation():
    assert lx.correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert lx.correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert lx.correlation([1, 1, 1], [3, 2, 1]) == 0


def test_a_network_conforms(run_command, example):
    pytest.importorskip("torchvision")
    done = run_command(
        "check", "--external", "model", example("network"), "--with", "name=squeezenet1_1"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_hugging_face_labeler(images, example, tmp_path, run_command):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = tiny_clip(transformers, tmp_path / "clip")
    (tmp_path / "list.txt").write_text("red\nboat\n")
    out = tmp_path / "out"
    done = run_command(
        "concepts",
        f"--data.root={images}",
        "--labeler.plugin=external",
        f"--labeler.command={example('zero_shot')}",
        f"--labeler.model={folder}",
        f"--labeler.list={tmp_path / 'list.txt'}",
        f"--run.out={out}",
    )
    assert done.returncode == 0, done.stderr
    from PIL import Image

    values = np.load(out / "concepts.npy")
    pictures = [Image.open(file) for file in sorted(images.rglob("*.png"))]
    assert values.shape == (24, 2)
    by_path = {
        file.relative_to(images).as_posix(): row
        for file, row in zip(
            sorted(images.rglob("*.png")),
            linex.presence(
                transformers.AutoModel.from_pretrained(folder),
                pictures,
                ["red", "boat"],
                processor=transformers.AutoProcessor.from_pretrained(folder),
                template="a photo of {}",
            ),
        )
    }
    assert np.abs(np.sort(values, 0) - np.sort(np.stack(list(by_path.values())), 0)).max() < 1e-5


def tiny_clip(transformers, folder):
    """A CLIP of random weights with a tokenizer of single letters."""
    import json

    folder.mkdir()
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *[letter + "</w>" for letter in letters], "<|startoftext|>"]
    vocabulary = {token: i for i, token in enumerate([*tokens, "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=32
    )
    size = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    size["num_hidden_layers"] = 2
    config = transformers.CLIPConfig(
        text_config={
            **size,
            "vocab_size": len(vocabulary),
            "max_position_embeddings": 32,
            "bos_token_id": len(vocabulary) - 2,
            "eos_token_id": len(vocabulary) - 1,
        },
        vision_config={**size, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    import torch

    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    crop = {"height": 32, "width": 32}
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=crop)
    transformers.CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder
