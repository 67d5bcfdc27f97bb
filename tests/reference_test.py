"""What linex writes about itself: the option reference, the manual page, shell completions.

    reference_test.py LINEX
"""
import functools
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINEX = sys.argv.pop(1)


@functools.lru_cache(None)
def inspect(*arguments):
    return subprocess.run([LINEX, "inspect", "--no-plugins-from-env", *arguments], text=True,
                          check=True, capture_output=True).stdout


class Reference(unittest.TestCase):
    maxDiff = 4000

    def test_the_committed_page_is_what_the_declarations_say(self):
        self.assertMultiLineEqual((ROOT / "docs/options.md").read_text(), inspect("--markdown"),
                                  "write it anew: ./run inspect --markdown > docs/options.md")

    def test_every_option_of_a_plugin_is_on_the_page(self):
        page = (ROOT / "docs/options.md").read_text()
        for plugin in ("solver/linear", "labeler/siglip", "model/resnet"):
            for line in inspect(plugin).split("\n"):
                if line.startswith("  --"):
                    self.assertIn("`" + line.split()[0][2:] + "`", page)

    def test_only_one_thing_is_asked_for(self):
        done = subprocess.run([LINEX, "inspect", "--man", "solver/linear"], text=True,
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stderr, "linex: linex inspect --man is about all plugins\n")

    @unittest.skipUnless(shutil.which("man"), "no man")
    def test_man_understands_the_manual_page(self):
        with tempfile.NamedTemporaryFile("w", suffix=".1") as file:
            file.write(inspect("--man"))
            file.flush()
            done = subprocess.run(["man", "--warnings=all", "-l", "-Tutf8", file.name], text=True,
                                  capture_output=True, check=True, env={"LC_ALL": "C.UTF-8", "MANWIDTH": "80",
                                                                        "PATH": "/usr/bin:/bin"})
        self.assertEqual(done.stderr, "")
        page = re.sub(".\x08", "", done.stdout)  # bold is a letter over itself
        for text in ("benchmark", "--run.seed", "solver/linear", "EXIT STATUS", "LINEX_PLUGIN_PATH"):
            self.assertTrue(text in page, text)


class Completion:
    """One line of a shell up to the cursor, and what is offered."""

    def test_commands(self):
        self.assertEqual(self.offered("linex", "expl"), ["explain"])
        self.assertIn("benchmark", self.offered("linex", ""))

    def test_options_of_a_command(self):
        self.assertEqual(self.offered("linex", "list", "--js"), ["--json"])
        self.assertEqual(self.offered("linex", "explain", "--run.se"), ["--run.seed="])
        self.assertEqual(self.offered("linex", "list", "--run.se"), [])

    def test_options_of_plugins_chosen_or_taken_by_default(self):
        self.assertEqual(self.offered("linex", "explain", "--solver.lam"), ["--solver.lambda="])
        self.assertEqual(self.offered("linex", "explain", "--solver.plugin=clip_dissect", "--solver.sim"),
                         ["--solver.similarity="])
        self.assertEqual(self.offered("linex", "explain", "--solver.plugin=clip_dissect", "--solver.lam"), [])
        self.assertIn("--simulator.concepts=",
                      self.offered("linex", "evaluate", "--simulator.plugin=siglip", "--simulator.co"))

    def test_values(self):
        self.assertEqual(self.offered("linex", "explain", "--solver.plugin=li"), ["linear"])
        self.assertEqual(sorted(self.offered("linex", "explain", "--run.report=")), ["full", "none", "plain"])
        self.assertIn("solver/linear", self.offered("linex", "inspect", "solver/"))
        self.assertEqual(self.offered("linex", "explain", "--run.resume=f"), ["false"])

    def test_files(self):
        self.assertEqual(self.offered("linex", "explain", "--config=only."), ["only.ini"])
        self.assertEqual(self.offered("linex", "explain", "--data.root=only."), ["only.ini"])


@unittest.skipUnless(shutil.which("bash"), "no bash")
class Bash(Completion, unittest.TestCase):
    def offered(self, *words):
        # As bash splits the line: "=" is a word.
        split = []
        for word in words:
            name, equals, value = word.partition("=")
            split += [name] + ([equals] if equals else []) + ([value] if value else [])
        script = (inspect("--bash") + "\nCOMP_WORDS=(" + " ".join(f"'{word}'" for word in split) + ")\n"
                  f"COMP_CWORD={len(split) - 1}\n_linex\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n")
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "only.ini").touch()
            done = subprocess.run(["bash", "-u", "-c", script], text=True, capture_output=True, check=True,
                                  cwd=folder)
        self.assertEqual(done.stderr, "")
        return [line for line in done.stdout.split("\n") if line]


@unittest.skipUnless(shutil.which("zsh"), "no zsh")
class Zsh(Completion, unittest.TestCase):
    def offered(self, *words):
        # The completion system's builtins, as far as the script uses them.
        script = r"""
_describe() { local word; for word in ${(P)2}; do word=${word%%%%:*}; [[ $word != $PREFIX* ]] || print -r -- $word; done }
compadd() {
  local word
  while [[ $1 == -* ]]; do [[ $1 != -S ]] || shift; [[ $1 != -- ]] || { shift; break }; shift; done
  for word in "$@"; do [[ $word != $PREFIX* ]] || print -r -- $word; done
}
compset() { PREFIX=${PREFIX#*=} }
_files() { print -rl -- $PREFIX*(N) }
words=(%s)
CURRENT=%d
PREFIX=%s
%s
""" % (" ".join(f"'{word}'" for word in words), len(words), f"'{words[-1]}'", inspect("--zsh"))
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "only.ini").touch()
            done = subprocess.run(["zsh", "-f", "-c", script], text=True, capture_output=True, check=True,
                                  cwd=folder)
        self.assertEqual(done.stderr, "")
        return [line for line in done.stdout.split("\n") if line]


if __name__ == "__main__":
    unittest.main()
