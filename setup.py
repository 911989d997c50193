"""Build of the native engine: one extension module, every object compiled on its own.

The only reason for a subclass of build_ext is speed for people who work on the engine: setuptools compiles the
sources of an extension one after the other and all again; here objects are compiled side by side and only when
something that they include has changed.

Environment: VMCORE_SANITIZE=address,undefined builds with those sanitizers and the call-loop dispatcher;
VMCORE_OPT=-O0 (or another) replaces -O2; VMCORE_JOBS=n sets the number of compilers run side by side.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
NATIVE = Path("vmcore/engine/native")
TABLES = Path("vmcore/engine/tables")

FLAGS = [
    "-std=c++17",
    os.environ.get("VMCORE_OPT", "-O2"),
    "-fno-strict-aliasing",
    "-fno-stack-protector",
    "-fno-tree-vectorize",
    "-foptimize-sibling-calls",
    "-fno-partial-inlining",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-ffp-contract=off",
    "-frounding-math",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
]


class BuildEngine(build_ext):
    """Compiles the engine's objects incrementally and in parallel."""

    def build_extension(self, ext: Extension) -> None:
        if self.compiler.compiler_type != "unix":
            self._generate(Path(self.build_temp))
            ext.include_dirs.append(self.build_temp)
            ext.extra_compile_args = ["/std:c++17", "/O2"]
            super().build_extension(ext)
            return
        temp = Path(self.build_temp)
        sanitize = os.environ.get("VMCORE_SANITIZE")
        flags = list(FLAGS)
        link: list[str] = []
        if os.uname().machine in ("x86_64", "i686"):
            flags.append("-fcf-protection=none")
        if sanitize:
            temp = temp.with_name(temp.name + "-sanitize")
            flags += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-g", "-DVMCORE_CALL_LOOP=1"]
            flags += ["-fno-sanitize=alignment", "-fno-sanitize-recover=all"]
            link += [f"-fsanitize={sanitize}"]
        temp.mkdir(parents=True, exist_ok=True)
        self._generate(temp)
        ext.include_dirs.append(str(temp))

        headers = [*NATIVE.glob("*.h"), *NATIVE.glob("*.inc"), *temp.glob("*.inc")]
        newest_header = max((h.stat().st_mtime for h in headers), default=0.0)
        flags_file = temp / "flags"
        flags_text = " ".join([*flags, os.environ.get("CXX", ""), sys.executable])
        if not flags_file.exists() or flags_file.read_text() != flags_text:
            for stale in temp.glob("*.o"):
                stale.unlink()
            flags_file.write_text(flags_text)

        def compile_one(source: str) -> str:
            obj = temp / (Path(source).stem + ".o")
            if obj.exists() and obj.stat().st_mtime > max(newest_header, Path(source).stat().st_mtime):
                return str(obj)
            compiler = self.compiler.compiler_cxx or self.compiler.compiler_so
            command = [*compiler[:1], *compiler[1:]] if compiler else ["c++"]
            command = [c for c in command if c not in ("-pthread",)]
            includes = [f"-I{d}" for d in [*ext.include_dirs, *self.compiler.include_dirs]]
            cxx = os.environ.get("CXX")
            base = cxx.split() if cxx else command[:1]
            subprocess.run(
                [*base, "-fPIC", "-pthread", "-DNDEBUG", *flags, *includes, "-c", source, "-o", str(obj)], check=True
            )
            return str(obj)

        # The biggest sources first, so that the last compiler is not left alone with one.
        sources = sorted(ext.sources, key=lambda s: -Path(s).stat().st_size)
        jobs = int(os.environ.get("VMCORE_JOBS", os.cpu_count() or 1))
        with ThreadPoolExecutor(jobs) as pool:
            objects = list(pool.map(compile_one, sources))
        target = self.get_ext_fullpath(ext.name)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        self.compiler.link_shared_object(
            sorted(objects), target, extra_postargs=link, target_lang="c++", build_temp=self.build_temp
        )

    @staticmethod
    def _generate(temp: Path) -> None:
        """Turn the instruction tables into C++ (only rewritten when the text changes)."""
        generator = NATIVE / "generate.py"
        temp.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, str(generator), str(TABLES), str(temp)], check=True, cwd=ROOT)


setup(
    ext_modules=[
        Extension(
            "vmcore.engine._native",
            sources=sorted(str(p) for p in NATIVE.glob("*.cpp")),
            include_dirs=[str(NATIVE)],
            language="c++",
        )
    ],
    cmdclass={"build_ext": BuildEngine},
)
