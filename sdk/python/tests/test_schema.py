"""The JSON schema of the protocol describes what is really said."""

import json
import shlex
import sys
from pathlib import Path

import pytest

import linex
import linex.external as lx

ROOT = Path(__file__).resolve().parents[3]


def test_calls_and_messages_fit_the_schema(planted, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "docs" / "external.schema.json").read_text())

    def check(kind, value):
        jsonschema.validate(value, {**schema["$defs"][kind], "$defs": schema["$defs"]})

    activations, presence, names = planted
    script = tmp_path / "method.py"
    script.write_text(
        "import sys, json\n"
        "line = sys.stdin.readline()\n"
        f"open({str(tmp_path / 'call.json')!r}, 'w').write(line)\n"
        "for unit in json.loads(line)['units']:\n"
        "    print(json.dumps({'type': 'explanation', 'unit': unit, 'terms': [[0, 1]]}))\n"
        "print(json.dumps({'type': 'done'}), flush=True)\n"
    )
    linex.explain(
        activations,
        presence,
        names,
        out=tmp_path / "run",
        quiet=True,
        solver={"plugin": "external", "command": shlex.join([sys.executable, str(script)])},
        run={"report": "none"},
    )
    check("call", json.loads((tmp_path / "call.json").read_text()))
    check("message", lx.Explanation(3, [("red", 1.5)], val_correlation=float("nan")).message())
    check("message", lx.Score("s", [0.5, float("nan")], status=["ok", "dead"]).message())
    check("message", {"type": "hello", "linex": lx.PROTOCOL})
    for wrong in (
        {"type": "explanation"},
        {"type": "explanatoin", "unit": 3},
        {"type": "explanation", "unit": -1},
        {"type": "score", "name": "", "values": []},
    ):
        with pytest.raises(jsonschema.ValidationError):
            check("message", wrong)
