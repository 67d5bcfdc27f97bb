"""What comments and pages cite exists: sections of docs/methods.md, pages, and links of Markdown."""
import re
import subprocess
import sys
from pathlib import Path

root = Path(__file__).resolve().parents[2]


def sections(text):
    """Numbers of headings and, below each, of the steps of its numbered lists."""
    numbers, heading = set(), ""
    for line in text.splitlines():
        if match := re.match(r"#+ ([\d.]+) ", line):
            heading = match[1]
            numbers.add(heading)
        elif match := re.match(r"(\d+)\. ", line):
            numbers.add(f"{heading}.{match[1]}")
    return numbers


def problems(path, text, known, pages):
    # A comment's line breaks do not end a citation.
    for match in re.finditer(r"methods\.md[\s/*#]*(§[\d.]+(?:(?:,|–|-| and)?[\s/*#]*§?\d+\.[\d.]*\d)*)", text):
        for number in re.findall(r"\d+(?:\.\d+)*", match[1]):
            if number not in known:
                yield match.start(), f"docs/methods.md has no §{number}"
    for match in re.finditer(r"(?<![\w./-])docs/[\w./-]*\w|(?<![\w./{}$*<>-])[\w-]+(?:/[\w-]+)*\.md\b", text):
        name, before = match[0], text[text.rfind("\n", 0, match.start()) + 1:match.start()]
        if path.suffix != ".md" and not re.search(r"//|^\s*[#*]", before):
            continue  # no comment: a file that the program writes
        if not (root / name).exists() and not (path.parent / name).exists() and Path(name).name not in pages:
            yield match.start(), f"there is no {name}"
    if path.suffix == ".md":
        for match in re.finditer(r"\]\((?!https?:|#)([^)#\s]+)", text):
            if not (path.parent / match[1]).exists():
                yield match.start(), f"the link to {match[1]} leads nowhere"


listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root,
                        capture_output=True, text=True, check=True).stdout.split("\n")
paths = [root / name for name in listed if name and (root / name).is_file()]
paths = [path for path in paths if path.stat().st_size < 2**20]
known = sections((root / "docs/methods.md").read_text())
pages = {path.name for path in paths if path.suffix == ".md"}
found = 0
for path in paths:
    content = path.read_bytes()
    if b"\0" in content:
        continue
    text = content.decode("utf-8", "replace")
    for start, what in problems(path, text, known, pages):
        print(f"{path.relative_to(root)}:{text.count(chr(10), 0, start) + 1}: {what}")
        found += 1
sys.exit(bool(found))
