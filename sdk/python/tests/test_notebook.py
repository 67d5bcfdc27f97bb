"""The notebook of the examples runs from its first to its last cell."""

import pytest
from conftest import EXAMPLES

import linex

NOTEBOOK = EXAMPLES / "first_steps.ipynb"


def test_the_notebook_runs(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for needed in ("ipykernel", "torchvision", "pandas"):
        pytest.importorskip(needed)
    monkeypatch.setenv("LINEX_BINARY", str(linex.find_binary()))
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    table, card = [cell for cell in book.cells if cell.cell_type == "code"][-2:]
    assert "explanation" in table.outputs[-1]["data"]["text/html"]
    assert "unit 0" in card.outputs[-1]["data"]["text/html"]


def test_it_is_at_most_ten_lines():
    import json

    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = "".join("".join(c["source"]) + "\n" for c in cells if c["cell_type"] == "code")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
