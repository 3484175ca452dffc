"""A real SLURM of one node, started by hand in a folder of its own: Debian's packages, root, ports of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo", "srun")
# cred_expire is also how long a requeued job waits before it may start again (120 s unless said otherwise, 5 at least).
CONFIG = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={room}/munge.socket,cred_expire=5
StateSaveLocation={room}/state
SlurmdSpoolDir={room}/spool
SlurmctldPidFile={room}/slurmctld.pid
SlurmdPidFile={room}/slurmd.pid
SlurmctldLogFile={room}/slurmctld.log
SlurmdLogFile={room}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc={room}/jobs.txt
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
JobRequeue=1
KillWait=2
MessageTimeout=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=100000
SlurmdParameters=config_overrides
{more}NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=UNLIMITED State=UP
"""


def missing() -> str:
    """Why no cluster can be started here; "" where it can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"no SLURM here ({', '.join(absent)} missing): apt-get install slurmctld slurmd slurm-client munge"
    return "" if os.geteuid() == 0 else "a SLURM of one's own is started by root only"


@contextlib.contextmanager
def running(room: Path, more: str = "") -> Iterator[Path]:
    """A cluster for the block; yields its slurm.conf, which SLURM_CONF must name. `more`: further lines of it."""
    room.mkdir(mode=0o755)
    for name in ("state", "spool"):
        (room / name).mkdir()
    host = socket.gethostname().partition(".")[0]
    controller, daemon = _free_ports(2)
    config = room / "slurm.conf"
    config.write_text(CONFIG.format(host=host, controller=controller, daemon=daemon, room=room, more=more))
    key = room / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    environment = {**os.environ, "SLURM_CONF": str(config)}
    munge = [f"--{name}-file={room}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    started = []
    try:
        for command in (
            ["munged", "--foreground", "--force", f"--socket={room}/munge.socket", *munge],
            ["slurmctld", "-D", "-f", str(config)],
            ["slurmd", "-D", "-f", str(config)],
        ):
            with (room / f"{command[0]}.out").open("wb") as out:
                started.append(subprocess.Popen(command, env=environment, stdout=out, stderr=out))
            if command[0] == "munged":
                _wait(lambda: (room / "munge.socket").exists(), room)
        _wait(lambda: _state(environment) == "idle", room)
        yield config
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _state(environment: dict[str, str]) -> str:
    command = ["sinfo", "--noheader", "--format=%T"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()


def _wait(ready: object, room: Path) -> None:
    deadline = time.monotonic() + 60
    assert callable(ready)
    while not ready():
        if time.monotonic() > deadline:
            logs = {
                path.name: path.read_text(errors="replace")[-2000:]
                for path in [*room.glob("*.out"), *room.glob("*.log")]
            }
            raise RuntimeError(f"the cluster does not come up: {logs}")
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
