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
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

# No -ffast-math: linking with it would switch off denormals for the whole process, and it breaks the exponential.
_FLAGS = ("-O3", "-march=native", "-fPIC", "-shared", "-fopenmp", "-std=c11", "-fno-math-errno", "-fno-trapping-math")
_WIDE = ("-mprefer-vector-width=512",) if platform.machine() in ("x86_64", "AMD64") else ()


@cache
def load_library(source: Path, includes: Sequence[Path] = ()) -> ctypes.CDLL | None:
    """The shared library of a C file, compiled into the cache folder once; None where it can't be had."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if sys.platform != "linux" or compiler is None:
        return None
    command = [*_FLAGS, *_WIDE]
    texts = [path.read_text(encoding="utf-8") for path in (source, *includes)]
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
                link = ["-Wl,--as-needed", *map(str, runtime), "-lm"]
                subprocess.run(
                    [compiler, str(source), "-o", str(built), *command, *link], check=True, capture_output=True
                )
                built.replace(target)
        return ctypes.CDLL(str(target))
    except (OSError, subprocess.CalledProcessError):
        return None  # no writable cache, no OpenMP, an old compiler: PyTorch's operations do
