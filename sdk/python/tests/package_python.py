"""Runs the package's tests for CTest; 77 (skipped) where Python lacks pytest or numpy.

LINEX_TEST_PYTHON names another interpreter, e.g. of an environment with torch.
"""

import importlib.util
import os
import sys
from pathlib import Path

package = Path(__file__).resolve().parents[1]
other = os.environ.pop("LINEX_TEST_PYTHON", "")
if other:
    os.execv(other, [other, *sys.argv])
for name in ("pytest", "numpy"):
    if importlib.util.find_spec(name) is None:
        print(f"skipped: {sys.executable} has no {name}")
        sys.exit(77)

import pytest  # noqa: E402

os.environ["LINEX_BINARY"] = str(Path(sys.argv[1]).resolve())
sys.path.insert(0, str(package / "src"))
sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
code = pytest.main(["-q", "-p", "no:cacheprovider", "-rs", str(package / "tests"), *sys.argv[2:]])
sys.exit(int(code))
