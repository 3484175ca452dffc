"""A process that makes parts of a stage, one after another, as it is told (parts.py says how they talk)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from posttrain.errors import PosttrainError
from posttrain.pipeline.jobs import order_of
from posttrain.pipeline.parts import make_parts
from posttrain.talk import listen, wait_to_be_ended


def main() -> None:
    """Speaks on stdin and stdout."""
    lines, say = listen()
    job = lines.get()

    def asked() -> Iterator[str]:
        while True:
            yield str(lines.get()["part"])

    try:
        for name, _ in make_parts(order_of(job), asked(), Path(job["scratch"]), device=job["device"]):
            say({"done": name})
    except PosttrainError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        say({"failed": str(error), "kind": type(error).__name__})
        wait_to_be_ended()


if __name__ == "__main__":
    main()
