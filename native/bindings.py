"""Build `appliance._native` from `native/include/cdefs.h` and `native/src/*.c`.

Two ways lead here:

- a wheel is built by setuptools, which asks `ffibuilder` for the module's description and
  compiles everything;
- `make build` runs this file: it compiles only what is older than its sources and leaves the
  module in `appliance/`, or, with `BETTONG_SANITIZE=1`, a module under the address and
  undefined-behaviour sanitizers in `build/sanitize/`, beside links to the rest of the package,
  so that `PYTHONPATH=build/sanitize` runs it.

    python native/bindings.py            build what is out of date
    python native/bindings.py --strict   the same; fails when any of our sources gave a warning
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cffi

# Relative, as the compiler's messages and setuptools want them: both ways start at the root.
NATIVE = Path("native")
BUILD = Path("build/native")
GENERATED = BUILD / "include"
GENERATORS = ("tables.py", "case_table.py")

MODULE = "appliance._native"
MACROS = [("_CFFI_NO_LIMITED_API", None), ("_GNU_SOURCE", None)]
FLAGS = ["-std=c11", "-O3", "-fvisibility=hidden", "-pthread"]
WARNINGS = ["-Wall", "-Wextra"]
SANITIZE_FLAGS = [
    "-std=c11",
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fvisibility=hidden",
    "-pthread",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
]
LIBRARIES = ["-lm"]
PRELUDE = "#include <stddef.h>\n#include <stdbool.h>\n#include <stdint.h>\n#include <value.h>\n"


def sources() -> list[Path]:
    """Our own C files, in a stable order."""
    return sorted((NATIVE / "src").glob("*.c"))


def generate() -> None:
    """Run the generators of tables: each writes headers into the folder it is given."""
    GENERATED.mkdir(parents=True, exist_ok=True)
    for name in GENERATORS:
        script, stamp = NATIVE / name, GENERATED / f"{name}.stamp"
        if script.exists() and not is_newer(stamp, [script]):
            subprocess.run([sys.executable, str(script), str(GENERATED)], check=True)
            stamp.touch()


def ffibuilder() -> cffi.FFI:
    """The module's description, with all its sources, as setuptools and cffi understand it."""
    generate()
    return description([str(path) for path in sources()])


def description(compiled_along: Sequence[str]) -> cffi.FFI:
    """The declarations and how to build them; `compiled_along` are C files beside cffi's own."""
    ffi = cffi.FFI()
    ffi.cdef((NATIVE / "include" / "cdefs.h").read_text())
    ffi.set_source(
        MODULE,
        PRELUDE,
        sources=list(compiled_along),
        include_dirs=[str(NATIVE / "include"), str(GENERATED)],
        define_macros=MACROS,
        extra_compile_args=FLAGS,
        extra_link_args=LIBRARIES,
        # It speaks to CPython's full API: it belongs to one minor version and its name says so.
        py_limited_api=False,
    )
    return ffi


def is_newer(target: Path, prerequisites: Sequence[Path]) -> bool:
    """Whether `target` is there and no prerequisite is younger, or gone."""
    try:
        made = target.stat().st_mtime_ns
        return all(path.stat().st_mtime_ns <= made for path in prerequisites)
    except FileNotFoundError:
        return False


def is_compiled(target: Path) -> bool:
    """Whether an object is newer than this recipe and all that the compiler read for it."""
    try:
        words = target.with_suffix(".d").read_text().replace("\\\n", " ").split()
    except FileNotFoundError:
        return False
    return is_newer(target, [Path(word) for word in words if not word.endswith(":")] + [recipe()])


def recipe() -> Path:
    return NATIVE / "bindings.py"


class Builder:
    """One variant of the module: a folder for its objects, and where the module goes."""

    def __init__(self, sanitize: bool) -> None:
        self.objects = BUILD / ("sanitize" if sanitize else "release")
        self.flags = SANITIZE_FLAGS if sanitize else FLAGS
        self.package = Path("build/sanitize/appliance") if sanitize else Path("appliance")
        self.compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        self.module = self.package / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
        self.is_sanitized = sanitize

    def build(self) -> bool:
        """Compile and link what is out of date; whether anything was. Raises CalledProcessError."""
        self.objects.mkdir(parents=True, exist_ok=True)
        self.package.mkdir(parents=True, exist_ok=True)
        generate()
        units = [(self.face(), ["-w"])] + [(path, WARNINGS) for path in sources()]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = [pool.submit(self.compile, *unit) for unit in units]
        objects = [job.result() for job in jobs]
        if self.is_sanitized:
            self.link_package()
        # The list of objects is a prerequisite too: a source that went away must leave the module.
        listing = self.objects / "objects.txt"
        write_changed(listing, "\n".join(map(str, objects)))
        if is_newer(self.module, [*objects, listing]):
            return False
        self.link(objects)
        return True

    def face(self) -> Path:
        """cffi's half of the module."""
        path = self.objects / "_native.c"
        if not is_newer(path, [NATIVE / "include" / "cdefs.h", recipe()]):
            with contextlib.redirect_stdout(io.StringIO()):
                description(()).emit_c_code(str(path))
            path.touch()  # cffi leaves an equal file as it was
        return path

    def compile(self, source: Path, warnings: Sequence[str]) -> Path:
        target = self.objects / f"{source.stem}.o"
        if is_compiled(target):
            return target
        print(f"  cc {source}", flush=True)
        done = subprocess.run(
            [*self.compiler, *self.flags, *warnings, "-fPIC", *macros(), *includes()]
            + ["-MMD", "-MF", str(target.with_suffix(".d")), "-c", str(source), "-o", str(target)],
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.stderr:
            print(done.stderr, file=sys.stderr, end="", flush=True)
        if done.returncode:
            target.unlink(missing_ok=True)
            raise subprocess.CalledProcessError(done.returncode, f"cc {source}")
        # Kept beside the object, so that --strict need not compile again what is up to date.
        target.with_suffix(".warnings").write_text(done.stderr)
        return target

    def link(self, objects: Sequence[Path]) -> None:
        """Into a new file that then takes the name: a process that runs keeps the old one."""
        print(f"  ld {self.module}", flush=True)
        fresh = self.module.with_suffix(f".{os.getpid()}.new")
        command = [*self.compiler, *self.flags, "-shared", *map(str, objects), *LIBRARIES]
        subprocess.run([*command, "-o", str(fresh)], check=True)
        fresh.replace(self.module)

    def link_package(self) -> None:
        """Make `build/sanitize/appliance` the same package, but for the native module."""
        links = {path.name: path for path in Path("appliance").iterdir() if path.suffix != ".so"}
        for stale in self.package.iterdir():
            if stale.is_symlink() and stale.name not in links:
                stale.unlink()
        for name, path in links.items():
            if not (self.package / name).is_symlink():
                (self.package / name).symlink_to(path.resolve())

    def warnings(self) -> str:
        """What the compiler said about our own sources, whenever they were compiled."""
        return "".join((self.objects / f"{path.stem}.warnings").read_text() for path in sources())


def macros() -> list[str]:
    return [f"-D{name}" for name, _ in MACROS]


def includes() -> list[str]:
    folders = [NATIVE / "include", GENERATED, sysconfig.get_path("include")]
    return [f"-I{folder}" for folder in dict.fromkeys(folders)]


def write_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One build at a time: two `make build` side by side must not write the same objects."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build_in_place(sanitize: bool = False) -> Builder:
    """Bring the module up to date. Raises CalledProcessError when the compiler refuses."""
    builder = Builder(sanitize)
    with alone():
        builder.build()
    return builder


def main(arguments: Sequence[str]) -> int:
    os.chdir(Path(__file__).resolve().parent.parent)
    try:
        builder = build_in_place(os.environ.get("BETTONG_SANITIZE") == "1")
    except subprocess.CalledProcessError as error:
        print(f"native build failed: {error.cmd}", file=sys.stderr)
        return 1
    if "--strict" in arguments and (said := builder.warnings()):
        print(f"{said}\nnative build: warnings are errors here", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
