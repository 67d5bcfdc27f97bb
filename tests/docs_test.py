"""Every command that README and docs show is executed, and what they show as output is compared.

    docs_test.py LINEX [PAGE...]    LINEX: the binary; pages are paths from the root (all if none)

A page is Markdown; its blocks are run from top to bottom in a folder of its own that looks like a
checkout with a build in it:

* ```sh      a script for bash; a command that fails fails the test
* ```console commands after "$ ", each followed by what it prints. Lines are looked for in the output
             in their order; numbers may differ by 2 % or 0.02; a line "..." stands for any lines
* a comment "file: NAME" in <!-- --> right before a block: the block is the content of that file
* a comment "needs: WHAT" before a block: it is executed where $LINEX_SHARED has WHAT (cifar10), or
  Python has the module WHAT (numpy, torch), else counted as not run. Its linex commands must still be ones that linex understands: with options and
  values that exist, up to the files it would read
* a comment "figures: differ": numbers of the block are not compared, only how many there are
* ```text    shows something that is not a command

A block in no language, or a line of a ```text block that begins with a command, is an error: nothing
that a reader could type escapes. Exit 77 without bash.
"""
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What a page may name of a checkout; not what somebody's runs have left there.
CHECKOUT = ("CITATION.cff", "CHANGELOG.md", "CMakeLists.txt", "CMakePresets.json", "CONTRIBUTING.md", "README.md",
            "cmake", "core", "docs", "host", "mkdocs.yml", "plugins", "sdk", "tests")
NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?")
COMMAND = re.compile(r"^\s*(\$ )?(\./run|linex|cmake|ctest|pip|python3|mpirun|srun) ")
# What "needs: WHAT" can name beside modules of Python, and where it lies; others never run here.
MODULES = ("numpy", "torch")
DATA = {"cifar10": {"cifar10": "data/cifar10",
                    "superclass_to_ids.json": "data/cifar10/superclass_to_ids.json",
                    "resnet20-12fca82f.th": "data/weights/resnet20-12fca82f.th"}}


class Block:
    def __init__(self, line, language, notes):
        self.line, self.language, self.notes, self.text = line, language, notes, ""

    def note(self, name):
        return self.notes.get(name)


def blocks_of(text):
    """Fenced blocks, each with the comments that stand right before it."""
    blocks, notes, block = [], {}, None
    for number, line in enumerate(text.split("\n"), 1):
        if block is None:
            if match := re.match(r"\s*<!-- (file|needs|figures): (.+?) -->\s*$", line):
                notes[match[1]] = match[2]
            elif match := re.match(r"(\s*)```(.*)$", line):
                block = Block(number, match[2].strip(), notes)
                indent, notes = len(match[1]), {}
            elif line.strip():
                notes = {}
        elif line.strip() == "```":
            blocks.append(block)
            block = None
        else:
            block.text += line[indent:] + "\n"
    if block is not None:
        raise SystemExit(f"line {block.line}: a block without end")
    return blocks


def steps_of(block):
    """(command, expected lines) of a block."""
    if block.language == "sh":
        return [(block.text, [])]
    steps = []
    lines = block.text.split("\n")
    while lines:
        line = lines.pop(0)
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\") and lines:
                command += "\n" + lines.pop(0)
            steps.append((command + "\n", []))
        elif steps and line.strip():
            steps[-1][1].append(line)
    return steps


def same(expected, actual, figures_differ):
    """Equal but for blanks, and numbers that are near."""
    if NUMBER.sub("#", expected).split() != NUMBER.sub("#", actual).split():
        return False
    if figures_differ:
        return True
    for a, b in zip(NUMBER.findall(expected), NUMBER.findall(actual)):
        a, b = float(a.replace(",", "")), float(b.replace(",", ""))
        if abs(a - b) > max(0.02, 0.02 * abs(a)):
            return False
    return True


def first_difference(expected, output, figures_differ):
    """The first line of `expected` that does not come in `output`, in order; None if all do."""
    lines = [line for line in output.split("\n") if line.strip()]
    at = 0
    for line in expected:
        if line.strip() in ("...", "…"):
            continue
        while at < len(lines) and not same(line, lines[at], figures_differ):
            at += 1
        if at == len(lines):
            return line
        at += 1
    return None


def commands_in(script):
    """Simple commands of a script: lists of words. Continued lines are one."""
    for line in script.replace("\\\n", " ").split("\n"):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        if words:
            yield words


class Pages:
    def __init__(self, linex):
        self.linex = Path(linex).resolve()
        self.build = self.linex.parents[1]
        self.shared = Path(os.environ.get("LINEX_SHARED") or ROOT / "../shared").resolve()
        self.work = Path(tempfile.mkdtemp(prefix="linex_docs_"))
        self.failures, self.executed, self.waiting, self.files = [], 0, {}, 0
        self.demo, self.demo_ended = None, None  # what the demo left on the first page that runs it

    def fail(self, page, block, what):
        self.failures.append(f"{page}:{block.line}: {what}")
        print("FAILED", self.failures[-1], flush=True)

    def checkout(self, page):
        """A folder as a reader has it after ./run build."""
        folder = self.work / re.sub(r"\W+", "_", str(page))
        folder.mkdir()
        for name in CHECKOUT:
            (folder / name).symlink_to(ROOT / name)
        (folder / "build").mkdir()
        (folder / "build/release").symlink_to(self.build)
        run = folder / "run"
        run.write_text("#!/bin/bash\n"
                       f'case "$1" in\nbuild) echo "{self.linex}" ;;\n'
                       'test | lint | sanitize | docs | fuzz) echo "not in a test" >&2; exit 99 ;;\n'
                       f'*) exec "{self.linex}" "$@" ;;\nesac\n')
        run.chmod(0o755)
        (folder / "bin").mkdir()
        (folder / "bin/python3").symlink_to(sys.executable)
        for data in DATA.values():
            for name, source in data.items():
                if (self.shared / source).exists():
                    (folder / name).symlink_to(self.shared / source)
        if self.demo:
            shutil.copytree(self.demo, folder / self.demo.name, copy_function=os.link)
        return folder

    def environment(self, folder):
        paths = [str(self.linex.parent), str(folder / "bin"), os.environ["PATH"]]
        return dict(os.environ, HOME=str(folder), PATH=":".join(paths), LINEX_BINARY=str(self.linex),
                    PYTHONPATH=str(ROOT / "sdk/python/src"))

    def bash(self, script, folder):
        return subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=self.environment(folder), timeout=1200)

    def run(self, script, folder):
        """The demo takes a minute of two cores and is the same on every page: it runs once."""
        if script.split("#")[0].split() not in (["linex", "demo"], ["./run", "demo"]):
            return self.bash(script, folder)
        if self.demo_ended is None:
            self.demo_ended = self.bash(script, folder)
        return self.demo_ended

    def understood(self, page, block, folder):
        """The linex commands of a block that cannot run: an error in them is exit code 2."""
        for command, _ in steps_of(block):
            if subprocess.run(["bash", "-n", "-c", command], check=False).returncode:
                self.fail(page, block, "bash does not understand it")
            for words in commands_in(command):
                if words[0] not in ("linex", "./run") or words[1:2] in (
                        ["test"], ["docs"], ["lint"], ["sanitize"], ["fuzz"], ["build"]):
                    continue
                with tempfile.TemporaryDirectory(prefix="linex_docs_") as empty:
                    done = subprocess.run([self.linex, *words[1:]], cwd=empty, text=True, timeout=600,
                                          stdin=subprocess.DEVNULL, capture_output=True, check=False,
                                          env=self.environment(folder))
                if done.returncode not in (0, 3):
                    self.fail(page, block, f"{' '.join(words)}\nexit {done.returncode}: {done.stderr}")

    @staticmethod
    def has(needs, folder):
        if needs in MODULES:
            return importlib.util.find_spec(needs) is not None
        return needs in DATA and all((folder / name).exists() for name in DATA[needs])

    def run_block(self, page, block, folder):
        needs = block.note("needs")
        if needs and not self.has(needs, folder):
            self.waiting.setdefault(needs, []).append(f"{page}:{block.line}")
            self.understood(page, block, folder)
            return
        for command, expected in steps_of(block):
            started = time.time()
            done = self.run(command, folder)
            self.executed += sum(1 for _ in commands_in(command))
            print(f"{page}:{block.line}: {time.time() - started:.1f} s", flush=True)
            if done.returncode:
                self.fail(page, block, f"{command}exit {done.returncode}:\n{done.stdout[-3000:]}")
            elif (line := first_difference(expected, done.stdout, block.note("figures"))) is not None:
                self.fail(page, block, f"{command}does not print '{line}' there:\n{done.stdout}")

    def run_page(self, page):
        folder = self.checkout(page)
        for block in blocks_of((ROOT / page).read_text()):
            name = block.note("file")
            if name:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(block.text)
                self.files += 1
            elif block.language in ("sh", "console"):
                self.run_block(page, block, folder)
            elif block.language in ("", "bash", "shell") or (
                    block.language == "text" and any(map(COMMAND.match, block.text.split("\n")))):
                self.fail(page, block, "commands stand in blocks of sh or console, else text or another")
        if self.demo is None and (folder / "linex-out").is_dir():
            self.demo = folder / "linex-out"


def main():
    if not shutil.which("bash"):
        return 77
    pages = Pages(sys.argv[1])
    names = sys.argv[2:] or ["README.md", "sdk/README.md", "sdk/python/README.md"] + sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
    try:
        for name in names:
            pages.run_page(Path(name))
    finally:
        shutil.rmtree(pages.work, ignore_errors=True)
    waiting = sum(map(len, pages.waiting.values()))
    print(f"{len(names)} pages: {pages.executed} commands executed, {pages.files} files, {waiting} blocks "
          f"that need something else, {len(pages.failures)} failures")
    for needs, where in sorted(pages.waiting.items()):
        print(f"  needs {needs}: {', '.join(where)}")
    return 1 if pages.failures else 0


if __name__ == "__main__":
    sys.exit(main())
