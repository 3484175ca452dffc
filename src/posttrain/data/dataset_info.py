"""LLaMA-Factory's dataset_info.json: which file a dataset's name stands for, and what its columns are called.

https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from posttrain.data.formats import Format, Names
from posttrain.errors import DataError, did_you_mean

INFO = "dataset_info.json"


def read_dataset_info(path: Path, name: str | None) -> tuple[Path, Format, Names]:
    """File, format and names of dataset `name` (None: the only one) in the JSON file `path`.

    DataError where the file is malformed, the name unknown, or the data is elsewhere than beside it.
    """
    try:
        known = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read as JSON: {error}. Give LLaMA-Factory's dataset_info.json.") from None
    if not isinstance(known, dict) or not all(isinstance(entry, dict) for entry in known.values()):
        raise DataError(f"{path} is not an object of datasets. Give LLaMA-Factory's dataset_info.json.")
    if name is None and len(known) == 1:
        name = next(iter(known))
    if name is None or name not in known:
        raise DataError(
            f"{path} has no dataset {name!r}.{did_you_mean(name or '', known)} Say which with name:, one of "
            f"{', '.join(sorted(known))}."
        )
    entry: dict[str, Any] = known[name]
    if "file_name" not in entry:
        elsewhere = entry.get("hf_hub_url") or entry.get("ms_hub_url") or entry.get("script_url")
        raise DataError(
            f"{path}: dataset {name!r} is not a file beside it but {elsewhere!r}. Give that hub id as the source."
        )
    if entry.get("ranking"):
        raise DataError(f"{path}: dataset {name!r} holds preference pairs (ranking), not answers to learn from.")
    file = path.parent / str(entry["file_name"])
    if not file.resolve().is_relative_to(path.parent.resolve()):
        raise DataError(f"{path}: file_name {entry['file_name']!r} leads out of the folder. Put the file beside it.")
    return file, *_names(entry)


def _names(entry: dict[str, Any]) -> tuple[Format, Names]:
    columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
    if entry.get("formatting", "alpaca") == "alpaca":
        return "alpaca", Names(
            instruction=columns.get("prompt", "instruction"),
            input=columns.get("query", "input"),
            output=columns.get("response", "output"),
            system=columns.get("system", "system"),
            history=columns.get("history", "history"),
        )
    roles = {
        tags[f"{role}_tag"]: role
        for role in ("user", "assistant", "system")
        if isinstance(tags.get(f"{role}_tag"), str)
    }
    return "sharegpt", Names(
        messages=columns.get("messages", "conversations"),
        system=columns.get("system", "system"),
        role=tags.get("role_tag", "from"),
        content=tags.get("content_tag", "value"),
        roles=roles,
    )
