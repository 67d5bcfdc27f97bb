"""The Debian package: built, judged by lintian where it is there, unpacked and run.

    package_test.py BUILD     a build folder in which linex_app is built. Exit 77 without what cpack needs.
"""
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*command, **options):
    done = subprocess.run(command, text=True, capture_output=True, check=False, **options)
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def main():
    if not all(map(shutil.which, ("cpack", "dpkg-deb", "dpkg-shlibdeps", "file"))):
        return 77
    build = Path(sys.argv[1]).resolve()
    version = re.search(r"^project\(linex VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text(), re.M)[1]
    for file, pattern in {"CITATION.cff": r"^version: (\S+)", "sdk/python/pyproject.toml": r'^version = "(.+)"'}.items():
        assert re.search(pattern, (ROOT / file).read_text(), re.M)[1] == version, f"{file} is not of {version}"
    with tempfile.TemporaryDirectory(prefix="linex_package_") as folder:
        run("cpack", "-G", "DEB", "-B", folder, cwd=build)
        packages = list(Path(folder).glob("linex_*.deb"))
        assert len(packages) == 1, packages
        assert packages[0].name.startswith(f"linex_{version}-1_"), packages
        if shutil.which("lintian"):
            judged = subprocess.run(["lintian", "--allow-root", packages[0]], text=True, capture_output=True,
                                    check=False, cwd=folder).stdout
            errors = [line for line in judged.split("\n") if line.startswith("E:")]
            print(f"lintian: {len(errors)} errors, {judged.count('W:')} warnings")
            assert not errors, errors
        tree = Path(folder, "tree")
        run("dpkg-deb", "-x", packages[0], tree)
        run("dpkg-deb", "-e", packages[0], tree / "DEBIAN")
        control = (tree / "DEBIAN/control").read_text()
        for needed in ("libtorch", "libopenblas0-openmp", "libc6"):
            assert needed in control, f"does not depend on {needed}:\n{control}"
        page = gzip.decompress((tree / "usr/share/man/man1/linex.1.gz").read_bytes()).decode()
        assert page.startswith(".TH LINEX 1"), page[:200]
        for file in ("bash-completion/completions/linex", "zsh/vendor-completions/_linex", "doc/linex/copyright",
                     "linex/template/solver/my_solver.cpp"):
            assert (tree / "usr/share" / file).is_file(), file
        # As installed, but for the linker's cache.
        library = str(next(tree.rglob("liblinex_sdk.so")).parent)
        linex = str(tree / "usr/bin/linex")
        environment = {"LD_LIBRARY_PATH": library, "PATH": os.environ["PATH"], "HOME": folder}
        assert run(linex, "--version", env=environment).startswith(f"linex {version}\n")
        for file in [linex, *map(str, tree.rglob("*.so"))]:
            if shutil.which("readelf"):
                assert "RUNPATH" not in run("readelf", "-d", file), f"{file} says where libraries are"
        listed = run(linex, "list", env=environment)
        assert "linear" in listed and "cannot" not in listed, listed
        run(linex, "check", "--write-data", "data", env=environment, cwd=folder)
        run(linex, "explain", "--model.plugin=recorded", "--model.activations=data/activations.npy",
            "--labeler.plugin=recorded", "--labeler.concepts=data/presence.npy",
            "--labeler.names=data/concepts.txt", "--run.out=out", env=environment, cwd=folder)
        assert Path(folder, "out/report/index.html").is_file()
        print(f"{packages[0].name}: {packages[0].stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
