"""The linex binary: finding it, running it, its errors as exceptions."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["LinexError", "find_binary", "run_linex"]

_PROGRESS = re.compile(r"^(?P<title>.*): (?P<done>\d+) of (?P<total>\d+) (?P<unit>\S+) \(")


class LinexError(RuntimeError):
    """linex ended with an error: its line, and its exit code in ``code`` (2 wrong call or
    configuration, 3 bad input, 4 a plugin failed)."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def find_binary() -> Path:
    """The binary that ``LINEX_BINARY`` names, else ``linex`` on ``PATH``, else the one that was
    built in the checkout this package lies in."""
    named = os.environ.get("LINEX_BINARY")
    if named:
        path = Path(named)
        if path.is_file() and os.access(path, os.X_OK):
            return path
        raise LinexError(f"LINEX_BINARY={named} is not a program", 2)
    found = shutil.which("linex")
    if found:
        return Path(found)
    for folder in Path(__file__).resolve().parents:
        for build in sorted(folder.glob("build/*/bin/linex")):
            if os.access(build, os.X_OK):
                return build
    raise LinexError(
        "there is no linex binary: build it with './run build' in a checkout of linex and put it "
        "on PATH, or name it by the environment variable LINEX_BINARY",
        2,
    )


def run_linex(arguments: Sequence[str], quiet: bool = False) -> str:
    """Runs ``linex ARGUMENTS``; what it printed. Its log and progress go to standard error (a bar
    where tqdm is installed). Ctrl-C stops it; a second time at once. Throws LinexError."""
    process = subprocess.Popen(
        [str(find_binary()), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        # Its own session: an interrupt reaches it once, from here, in a notebook as in a terminal.
        start_new_session=True,
    )
    assert process.stdout and process.stderr
    import threading

    printed: list[str] = []
    reader = threading.Thread(target=lambda out: printed.append(out.read()), args=(process.stdout,))
    reader.start()
    last = ""
    shown = _Shown(quiet)
    try:
        while True:
            try:
                for line in process.stderr:
                    text = line.rstrip("\n")
                    if text:
                        last = text
                    shown.line(text)
                code = process.wait()
                break
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
    except BaseException:
        process.kill()
        raise
    finally:
        shown.close()
        reader.join()
        process.stdout.close()
        process.stderr.close()
    if code == 130:
        raise KeyboardInterrupt("linex was interrupted; the same call goes on from there")
    if code < 0:
        raise LinexError(f"linex was ended by signal {-code}", 4)
    if code != 0:
        message = last[len("linex: ") :] if last.startswith("linex: ") else last
        raise LinexError(message or f"linex ended with exit code {code}", code)
    return "".join(printed)


class _Shown:
    """Lines of linex's standard error for a person: progress as a bar, the rest as it is."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._title = ""

    def line(self, text: str) -> None:
        if self._quiet or text.startswith("linex: "):  # that one becomes the exception
            return
        found = _PROGRESS.match(text)
        if not found:
            self.close()
            print(text, file=sys.stderr)
            return
        if found["title"] != self._title:
            self.close()
            try:
                from tqdm.auto import tqdm
            except ImportError:
                print(text, file=sys.stderr)
                return
            self._bar = tqdm(total=int(found["total"]), desc=found["title"], unit=found["unit"])
            self._title = found["title"]
        if self._bar is not None:
            self._bar.update(int(found["done"]) - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None
        self._title = ""
