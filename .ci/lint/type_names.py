"""No two files define a type of one name in one namespace: the linker would merge their functions."""
import collections
import re
import subprocess
import sys
from pathlib import Path

root = Path(__file__).resolve().parents[2]
# Comments, strings and preprocessor lines; strings of raw literals too.
NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\''
                   r'|^[ \t]*#(?:\\\n|[^\n])*', re.S | re.M)
TOKEN = re.compile(
    r"\bnamespace\s+(?P<space>[\w:]*)\s*\{"
    r"|\bextern\s*\{"  # the string of extern "C" is gone
    r"|\b(?:class|struct|union|enum(?:\s+(?:class|struct))?)\s+(?:[A-Z_]+\s+|\[\[[^\]]*\]\]\s*)?"
    r"(?P<type>[A-Za-z_]\w*)\s*(?:final\s*)?(?::(?!:)[^;{}()]*)?\{"
    r"|\{|\}")


def types(text):
    """(namespace, name, line) of every type defined at namespace scope, unnamed namespaces left out."""
    clean = NOISE.sub(lambda m: "\n" * m.group().count("\n"), text)
    scopes = []
    for token in TOKEN.finditer(clean):
        space, name = token["space"], token["type"]
        if token.group() == "}":
            if scopes:
                scopes.pop()
            continue
        if name and None not in scopes:
            yield "::".join(filter(None, scopes)), name, clean.count("\n", 0, token.start()) + 1
        if space is not None:
            scopes.append(space or None)  # an unnamed namespace hides what it holds
        else:
            scopes.append("" if token.group().startswith("extern") else None)


listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "sdk", "core", "host", "plugins", "tests"],
                        cwd=root, capture_output=True, text=True, check=True).stdout.split("\n")
seen = collections.defaultdict(list)
for path in listed:
    source = path.endswith(".cpp") and not path.startswith("tests/")
    if (source or re.search(r"\.(hpp|h)$", path)) and "/fixtures/" not in path and (root / path).exists():
        for space, name, line in types((root / path).read_text()):
            seen[space, name].append(f"{path}:{line}")
clashes = {key: places for key, places in seen.items() if len({p.split(":")[0] for p in places}) > 1}
for (space, name), places in sorted(clashes.items()):
    print(f"{'::'.join(filter(None, (space, name)))} is defined in {' and '.join(places)}: "
          "give each a namespace or a name of its own")
sys.exit(bool(clashes))
