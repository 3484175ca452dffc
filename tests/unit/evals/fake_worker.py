"""A process of a sweep that answers nothing: it does what the step of a checkpoint says."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

FAILS, DIES, LATE = 13, 14, 15


def main() -> None:
    work = Path(json.loads(sys.stdin.readline())["directory"]) / ".work"
    for line in sys.stdin:
        point = json.loads(line)["point"]
        if point["step"] == FAILS:
            print(json.dumps({"failed": "the model is gone. Bring it back.", "kind": "ModelError"}), flush=True)
            time.sleep(60)
        if point["step"] == DIES:
            print("out of memory, says the driver", file=sys.stderr, flush=True)
            os._exit(9)
        if point["step"] == LATE:
            time.sleep(0.5)
        folder = work / point["label"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "finished.json").write_text(json.dumps({"key": "", "by": os.getpid()}))
        print(json.dumps({"done": point["label"]}), flush=True)


if __name__ == "__main__":
    main()
