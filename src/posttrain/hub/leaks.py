"""No key leaves with a file: what is to be sent is searched for the values of keys, and for what looks like one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from posttrain.hub.refusals import PushError

# Variables whose values are secrets, by the words their names end in.
_NAMES = re.compile(r"(?:^|_)(?:TOKEN|KEY|KEYS|SECRET|PASSWORD|PASSWD|CREDENTIALS)$", re.IGNORECASE)
_SHORTEST = 12  # a shorter value stands in many files by chance
# Keys in the forms that their makers give them.
_FORMS = re.compile(
    rb"(?<![\w-])(?:hf_[A-Za-z0-9]{30,}|sk-(?:proj|ant|or)-[\w-]{20,}|AKIA[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{36}"
    rb"|AIza[\w-]{35})(?![\w-])"
)
# Only what posttrain writes about itself is searched for forms: in a model's answers they may stand as text.
_OWN = (".json", ".yaml", ".yml", ".toml", ".txt", ".log", ".cfg")
_OPAQUE = (".safetensors", ".png", ".jpg", ".woff2")
_BLOCK = 8 << 20


def refuse_leaks(files: Mapping[str, Path | bytes], secrets: Mapping[str, str]) -> None:
    """PushError at the first file that holds a secret: a value of `secrets` or the environment, or a key's form."""
    values = {**_environment(), **{name: value for name, value in secrets.items() if len(value) >= _SHORTEST}}
    for name, content in files.items():
        what = _found(name, content, values)
        if what:
            raise PushError(
                f"{name} holds {what}. Nothing was sent. Take it out of the file; if others could read the file, "
                "revoke that key."
            )


def _environment() -> dict[str, str]:
    return {n: v.strip() for n, v in os.environ.items() if _NAMES.search(n) and len(v.strip()) >= _SHORTEST}


def _found(name: str, content: Path | bytes, values: Mapping[str, str]) -> str | None:
    """What of a secret stands in a file, without the secret."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _OPAQUE:
        return None
    wanted = {variable: value.encode() for variable, value in values.items()}
    overlap = max((len(value) for value in wanted.values()), default=0)
    tail = b""
    for block in _blocks(suffix, content):
        seen = tail + block
        for variable, value in wanted.items():
            if value in seen:
                return f"the value of {variable}"
        if suffix in _OWN and _FORMS.search(seen):
            return "what has the form of an access key"
        tail = seen[-max(overlap, 200) :]
    return None


def _blocks(suffix: str, content: Path | bytes) -> Iterator[bytes]:
    """The file's bytes; of a Parquet table, whose pages are compressed, the text in its columns."""
    if isinstance(content, bytes):
        yield content
    elif suffix == ".parquet":
        yield from _texts(content)
    else:
        with content.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block


def _texts(path: Path) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
    for batch in file.iter_batches(batch_size=1000, columns=texts):
        for column in batch.columns:
            yield "\n".join(value for value in column.to_pylist() if value is not None).encode()
