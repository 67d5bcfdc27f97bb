import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import linex

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="session", autouse=True)
def binary():
    try:
        return linex.find_binary()
    except linex.LinexError as error:
        pytest.skip(str(error))


@pytest.fixture
def example():
    """example("lasso") is the command that runs it with this interpreter and this package."""

    def command(name: str) -> str:
        return shlex.join([sys.executable, str(EXAMPLES / f"{name}.py")])

    return command


@pytest.fixture(autouse=True)
def package_for_commands(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(linex.__file__).parents[1]))


@pytest.fixture
def planted():
    """Units that are sums of two concepts: activations (200, 6), presence (200, 8), names."""
    generator = np.random.default_rng(7)
    presence = generator.random((200, 8), dtype=np.float32)
    activations = np.empty((200, 6), dtype=np.float32)
    for unit in range(6):
        activations[:, unit] = 2 * presence[:, unit] + presence[:, unit + 1]
    activations += 0.05 * generator.random(activations.shape, dtype=np.float32)
    activations[:, 5] = 0
    return activations, presence, [f"concept {j}" for j in range(8)]


@pytest.fixture
def run_command():
    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(linex.find_binary()), *arguments], capture_output=True, text=True, timeout=300
        )

    return run


@pytest.fixture
def images(tmp_path):
    """An image folder of two classes, 12 images of 40 x 48 pixels each."""
    pillow = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(3)
    for name in ("apple_tree", "boat"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(12):
            pixels = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            pixels[..., i % 3] //= 2
            pillow.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"
