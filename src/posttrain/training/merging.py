"""The merge of a trained adapter into its base, and how far the merged model's log-probabilities are from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from posttrain.models import load_model, save_model
from posttrain.models.base import read_base, write_base
from posttrain.models.logprobs import token_stats

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from posttrain.stage import Workspace

PROBE = 8  # sequences that are compared
MERGED_WITHIN = 1e-3  # nats: what a merge in float32 may move a token's log-probability by
PROVENANCE = "posttrain.json"


def merge_adapter(
    adapted: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    work: Workspace,
    probe: Sequence[Sequence[int]],
) -> None:
    """`model/` becomes the merged model; the adapter moves to `adapter/`.

    adapted: the model as trained, for the comparison on `probe` (token ids): the largest and the mean difference of a
    token's log-probability go into the summary and the certificate. None where `model/` is not the model in memory.
    """
    target, adapter = work.dir / "model", work.dir / "adapter"
    provenance = (target / PROVENANCE).read_text(encoding="utf-8")
    write_base(target, read_base(target), adapter)
    target.rename(adapter)
    whole = load_model(adapter)
    save_model(whole, tokenizer, target, extra={PROVENANCE: provenance})
    if adapted is None or not probe:
        return
    reloaded = load_model(target, device=str(adapted.device))
    adapted.eval()
    differences = torch.cat([_logprobs(adapted, ids) - _logprobs(reloaded, ids) for ids in probe[:PROBE]]).abs()
    worst, mean = float(differences.max()), float(differences.mean())
    work.note(
        f"merged: log-probabilities of {len(differences)} tokens moved by {mean:.1e} on average, {worst:.1e} at most"
    )
    work.summarise(merge_error=worst, merge_error_mean=mean)
    work.certify(
        "merged adapter",
        worst <= MERGED_WITHIN,
        largest_difference=worst,
        mean_difference=mean,
        tokens=len(differences),
    )


def _logprobs(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    row = torch.zeros(len(ids) - 1, dtype=torch.int64, device=model.device)
    col = torch.arange(1, len(ids), device=model.device)
    with torch.no_grad():
        return token_stats(model, torch.tensor([list(ids)], device=model.device), row, col).logprobs.cpu()
