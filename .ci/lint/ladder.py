"""Includes go down the ladder of CONTRIBUTING.md, whose table is the rule, and stay in their tier."""
import os
import re
import subprocess
import sys
from pathlib import Path

root = Path(__file__).resolve().parents[2]
CONTRACT, TOOLKIT, MILAN = "sdk/include/linex/", "sdk/toolkit/", "plugins/solvers/milan/"
TIERS = {  # what the files of a tier may include beside their own folder
    "sdk/include/": [CONTRACT],
    "sdk/src/": [CONTRACT],
    "sdk/template/": [CONTRACT, TOOLKIT],
    "sdk/toolkit/": [CONTRACT, TOOLKIT],
    "core/": [CONTRACT, TOOLKIT, "core/"],
    "plugins/": [CONTRACT, TOOLKIT],
    # The one exception: linex milan-train and the demo train what the solver milan runs.
    "host/": [CONTRACT, TOOLKIT, "core/", "host/", MILAN],
}
PUBLIC = re.compile(r"[a-z_]+|std(int|def)\.h|(torch|ATen|c10)/.+")  # <...> of the contract


def rungs():
    text = (root / "CONTRIBUTING.md").read_text().split("## The ladder")[1].split("\n## ")[0]
    table = re.findall(r"^\| `([^`]+/)` \|", text, re.M)
    return [re.compile(re.sub(r"\{[^}]*\}|NAME", "[^/]+", rung)) for rung in table]


def rank(path):  # of the rung with the longest match
    return max(((rung.match(path).end(), i) for i, rung in enumerate(ladder) if rung.match(path)),
               default=(0, None))[1]


def file_of(path, name):
    top, _, rest = name.partition("/")
    target = {"linex": CONTRACT, "toolkit": TOOLKIT}.get(top, top + "/") + rest
    return target if (root / target).is_file() else os.path.normpath(Path(path).parent / name)


def check(path):
    tier = next((tier for tier in TIERS if path.startswith(tier)), None)
    if tier and rank(path) is None and tier not in ("sdk/src/", "sdk/template/"):
        yield f"{path}: no row of the ladder in CONTRIBUTING.md holds it"
    for kind, name in re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)', (root / path).read_text(), re.M):
        target = file_of(path, name)
        if kind == "<":
            if tier == "sdk/include/" and not PUBLIC.fullmatch(name):
                yield f"{path}: the contract includes only std and LibTorch, not <{name}>"
        elif Path(target).parent != Path(path).parent:
            if not target.startswith(tuple(TIERS[tier])):
                yield f"{path}: files of {tier} may not include {name}"
            elif None not in (rank(path), rank(target)) and rank(target) < rank(path):
                yield f"{path}: {name} lies above it on the ladder"


ladder = rungs()
listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard", *TIERS], cwd=root)
files = [path for path in listed.decode().split("\n") if re.search(r"\.(hpp|cpp|h)$", path)]
problems = [problem for path in files if (root / path).is_file() for problem in check(path)]
sys.exit("\n".join(problems) or 0)
