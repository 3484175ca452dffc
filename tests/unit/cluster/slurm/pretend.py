"""A SLURM of small shell scripts: it queues nothing, notes what it is asked, and says what real ones say.

Its messages are those of SLURM 22.05. tests/integration/test_slurm.py drives a real one.
"""

from __future__ import annotations

import os
from pathlib import Path

from posttrain.cluster.slurm.commands import COLUMNS

SBATCH = """#!/bin/bash
script=$(realpath "${!#}")
cd {room}
[ -e refuse ] && { echo "sbatch: error: $(cat refuse)" >&2; exit 1; }
[ "$1" = --test-only ] && { echo "sbatch: Job 1 to start at once" >&2; exit 0; }
number=$(($(cat next 2>/dev/null || echo 100) + 1))
echo $number >next
echo "$*" >>asked
mark=$(sed -n 's/^#SBATCH --comment=//p' "$script")
indices=$(sed -n 's/^#SBATCH --array=//p' "$script" | sed 's/%.*//')
echo "$number|$mark|$indices" >>queue
[ -e die ] && { rm die; kill -KILL $PPID; sleep 5; }
echo $number
"""
SQUEUE = """#!/bin/bash
cd {room}
[ -e refuse ] && { echo "slurm_load_jobs error: $(cat refuse)" >&2; exit 1; }
touch queue
while IFS='|' read -r number mark indices; do
  if [[ "$*" == *%F* ]]; then echo "$number|$mark"; continue; fi
  for index in ${indices//,/ } ${indices:+} $([ -z "$indices" ] && echo -); do
    name=$number; [ "$index" != - ] && name=${number}_$index
    state=PENDING reason=Dependency code=0 node=
    [ -e "state-$name" ] && read -r state reason code node <"state-$name"
    printf '%-{JobArrayID}s%-{State}s%-{Reason}s%-{exit_code}s%-{RestartCnt}s%-{TimeUsed}s%-{NodeList}s\\n' \
      "$name" "$state" "$reason" "$code" 0 0:00 "$node"
  done
done <queue
"""
SINFO = """#!/bin/bash
cd {room}
[ -e refuse ] && { echo "slurm_load_partitions: $(cat refuse)" >&2; exit 1; }
cat partitions
"""
SACCT = """#!/bin/bash
echo "Slurm accounting storage is disabled" >&2
exit 1
"""
SACCTMGR = """#!/bin/bash
printf 'lab\\nlab\\nteaching\\n'
"""


class Pretend:
    """The scripts in a folder, and what they were asked."""

    def __init__(self, room: Path) -> None:
        self.room = room
        room.mkdir()
        scripts = {"sbatch": SBATCH, "squeue": SQUEUE, "sinfo": SINFO, "sacct": SACCT, "sacctmgr": SACCTMGR}
        for name, text in scripts.items():
            for column, width in COLUMNS.items():
                text = text.replace(f"{{{column}}}", str(width))
            (room / name).write_text(text.replace("{room}", str(room)))
            (room / name).chmod(0o755)
        (room / "partitions").write_text("debug*\ngpu\n")

    @property
    def path(self) -> str:
        """A PATH on which they come first."""
        return f"{self.room}{os.pathsep}{os.environ['PATH']}"

    def asked(self) -> list[str]:
        """What sbatch was called with, without the script's folder."""
        told = self.room / "asked"
        lines = told.read_text().splitlines() if told.exists() else []
        return [" ".join([*line.split()[:-1], Path(line.split()[-1]).name]) for line in lines]

    def becomes(self, number: str, state: str, *, code: int = 0, reason: str = "None", node: str = "n1") -> None:
        """The job ends, or starts. code: its exit code."""
        (self.room / f"state-{number}").write_text(f"{state} {reason} {code << 8} {node}\n")

    def refuses(self, message: str | None) -> None:
        """From now on every command says this; None: no longer."""
        path = self.room / "refuse"
        path.write_text(message) if message else path.unlink()
