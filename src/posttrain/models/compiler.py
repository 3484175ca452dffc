"""C sources of the house, compiled once per machine by the C compiler at hand and loaded through ctypes.

Without a compiler (or off Linux) there is no library, and callers take PyTorch's operations instead: the same results,
slower.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch

VECTORS = Path(__file__).with_name("vectors.h")  # what every source includes
# No -ffast-math: linking with it would switch off denormals for the whole process, and it breaks the exponential.
_FLAGS = ("-O3", "-fPIC", "-shared", "-fopenmp", "-std=c11", "-fno-math-errno", "-fno-trapping-math")


@cache
def processor() -> tuple[str, ...]:
    """Flags for the processor at hand. A compiler older than it takes it for a lesser one, without AVX-512."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return ("-march=native",)
    known = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    flags = known & {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    if len(flags) < 5:
        return ("-march=native",)
    return ("-march=x86-64-v4", "-mprefer-vector-width=512", *(("-mavx512bf16",) if "avx512_bf16" in known else ()))


@cache
def load_library(source: Path, includes: tuple[Path, ...] = (), flags: tuple[str, ...] = ()) -> ctypes.CDLL | None:
    """The shared library of a C file, compiled into the cache folder once; None where it can't be had.

    includes: headers of its own, beside it. flags: which processor, definitions and what else the compiler is told;
    others round otherwise, so results are the same to the bit only for the same flags.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if sys.platform != "linux" or compiler is None:
        return None
    command = [*_FLAGS, *flags]
    texts = [path.read_text(encoding="utf-8") for path in (source, VECTORS, *includes)]
    what = "\0".join([*texts, compiler, *command, platform.node(), torch.__version__])
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "posttrain" / "kernels"
    target = folder / f"{source.stem}-{hashlib.sha256(what.encode()).hexdigest()[:16]}.so"
    try:
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                built = Path(scratch) / "library.so"
                # PyTorch's own OpenMP first: two runtimes in a process would each keep their threads spinning.
                runtime = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))[:1]
                link = [f"-I{VECTORS.parent}", "-Wl,--as-needed", *map(str, runtime), "-lm"]
                subprocess.run(
                    [compiler, str(source), "-o", str(built), *command, *link], check=True, capture_output=True
                )
                built.replace(target)
        return ctypes.CDLL(str(target))
    except (OSError, subprocess.CalledProcessError):
        return None  # no writable cache, no OpenMP, an old compiler: PyTorch's operations do
