"""``python -m tests.scripted_provider SCRIPT [--port N]``; SCRIPT is JSON or a file of it. Prints its address."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from tests.scripted_provider.script import Script
from tests.scripted_provider.server import ScriptedProvider


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scripted_provider")
    parser.add_argument("script", nargs="?", default="{}")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    text = given.script if given.script.lstrip().startswith("{") else Path(given.script).read_text(encoding="utf-8")
    provider = ScriptedProvider(Script.from_json(json.loads(text)), given.port)
    asyncio.run(provider.serve(lambda: print(provider.url, flush=True)))


if __name__ == "__main__":
    main()
