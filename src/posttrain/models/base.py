"""What an adapter stands on: where the base is, and a digest that tells another model from it. Loads no torch model."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from posttrain.errors import ModelError
from posttrain.hub import resolve_model

ADAPTER_CONFIG = "adapter_config.json"
BASE = "adapter_base.json"
_ROWS = 3  # of a matrix: the first, the middle and the last


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and not a whole model."""
    return (folder / ADAPTER_CONFIG).is_file()


def base_facts(ref: str | Path, revision: str | None, quantize: str | None) -> dict[str, Any]:
    """Of a model that adapters are going to be trained on: its folder or hub name, a digest, how it is quantised."""
    folder = resolve_model(ref, revision)
    local = Path(ref).expanduser().is_dir()
    return {
        "ref": str(folder.resolve()) if local else str(ref),
        "revision": revision,
        "quantize": quantize,
        "digest": weights_digest(folder),
    }


def write_base(folder: Path, facts: dict[str, Any], final: Path) -> None:
    """Beside the adapter, with the way to a local base told relatively too: a run's folder may be moved as a whole."""
    near = os.path.relpath(facts["ref"], final.resolve()) if Path(facts["ref"]).is_absolute() else None
    (folder / BASE).write_text(json.dumps({**facts, "near": near}, indent=2) + "\n", encoding="utf-8")


def read_base(folder: Path) -> dict[str, Any]:
    """What `write_base` wrote; for adapters of other tools what adapter_config.json says (no digest then)."""
    try:
        if (folder / BASE).is_file():
            facts: dict[str, Any] = json.loads((folder / BASE).read_text(encoding="utf-8"))
            return facts
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        ref = config.get("base_model_name_or_path")
        if not ref:
            raise ModelError(
                f"{folder} is an adapter that names no base. Write base_model_name_or_path into its {ADAPTER_CONFIG}."
            )
        return {"ref": ref, "revision": config.get("revision"), "quantize": None, "digest": None, "near": None}
    except (OSError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"the adapter {folder} can't be read ({error}). Put it back from a copy.") from None


def find_base(folder: Path, facts: dict[str, Any]) -> tuple[Path, str | None]:
    """The base's folder and its revision. ModelError where it is gone, or is another model than the adapter's."""
    near = (folder / facts["near"]).resolve() if facts.get("near") else None
    ref = facts["ref"]
    if near is not None and near.is_dir():
        found = near
    else:
        try:
            found = resolve_model(ref, facts.get("revision"))
        except ModelError as error:
            raise ModelError(
                f"the adapter {folder} stands on {ref}, which can't be had ({error}) Put that model back, or merge "
                "the adapter where its base is (lora.merge: true)."
            ) from None
    check_base(folder, facts, found)
    return found, facts.get("revision")


def check_base(folder: Path, facts: dict[str, Any], found: Path) -> None:
    """ModelError where the model folder `found` is not what the adapter in `folder` was trained on, as far as known."""
    if facts.get("digest") and weights_digest(found) != facts["digest"]:
        raise ModelError(
            f"the adapter {folder} was trained on other weights than those that stand in {found} now: the sum of the "
            "two would be a model that nobody trained. Put the base back that it was trained on."
        )


def weights_digest(folder: Path) -> str:
    """SHA-256 over names, shapes and some rows of every tensor: a model trained further differs in all of them.

    Reads a few rows of each tensor, not the file. An adapter's digest is over its own tensors and its base's digest.
    """
    from safetensors import safe_open

    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys()):
                part = file.get_slice(name)
                shape = part.get_shape()
                digest.update(f"{name}{shape}{part.get_dtype()}".encode())
                rows = sorted({0, shape[0] // 2, shape[0] - 1})[:_ROWS] if shape and shape[0] else []
                for row in rows:
                    digest.update(part[row : row + 1].float().numpy().tobytes())
    if is_adapter(folder):
        digest.update(str(read_base(folder).get("digest")).encode())
    return digest.hexdigest()


def for_others(folder: Path, base: str | None = None) -> dict[str, bytes | None]:
    """What of an adapter's folder must read differently elsewhere, by file name; None: the file stays here.

    base: the hub name of what it stands on, where that is a folder of this machine. Without one the adapter names no
    base: a path means nothing elsewhere, and its last part could be anybody's model.
    """
    if not is_adapter(folder):
        return {}
    facts = read_base(folder)
    near, ref = bool(facts.get("near")), str(facts["ref"])
    local = near or Path(ref).is_absolute() or ref.startswith((".", "~"))
    if not local and base is None:
        return {}
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    elsewhere = {**config, "base_model_name_or_path": base, "revision": None}
    told: dict[str, bytes | None] = {ADAPTER_CONFIG: _json(elsewhere)}
    if (folder / BASE).is_file():
        told[BASE] = _json({**facts, "ref": base, "revision": None, "near": None}) if base else None
    return told


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
