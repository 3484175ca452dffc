"""Scores into the card of a model that is on the Hub already: its metadata's `model-index`, as the Hub documents it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import yaml

from posttrain.hub.push import CARD, Existing, Parcel, Pushed, push_parcel
from posttrain.hub.refusals import TOKEN, Progress, PushError, check_token, refusals


def push_results(repo: str, results: Sequence[dict[str, Any]], *, existing: Existing = "refuse") -> Pushed:
    """Adds results (entries of a model-index) to the card of the model `repo`, and leaves the rest of it alone.

    A result on the same data, asked in the same way (`dataset.type` and `dataset.args`), is replaced where `existing`
    is not refuse. PushError when there is no such model, when the card has another value for a result, and as
    `push_parcel`.
    """
    check_token(repo)
    card = merge_results(repo, _card(repo), results, overwrite=existing != "refuse")
    parcel = Parcel("model", {CARD: card.encode()}, "Evaluation results")
    return push_parcel(parcel, repo, existing="add")


def merge_results(repo: str, card: str, results: Sequence[dict[str, Any]], *, overwrite: bool) -> str:
    """A card's text with `results` in its model-index. PushError where it has another value and may not be changed."""
    head, body = _parted(repo, card)
    index = head.get("model-index")
    if not isinstance(index, list) or not index or not isinstance(index[0], dict):
        index = [{"name": repo.partition("/")[2], "results": []}]
    known = {_asked(one): one for one in index[0].get("results") or [] if isinstance(one, dict)}
    for result in results:
        there = known.get(_asked(result))
        if there is not None and there.get("metrics") != result["metrics"] and not overwrite:
            raise PushError(
                f"the card of {repo} has another result on {result['dataset']['name']} asked in the same way. Nothing "
                "was sent. To replace it: --existing add."
            )
        known[_asked(result)] = dict(result)
    index[0]["results"] = list(known.values())
    front = yaml.safe_dump({**head, "model-index": index}, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{front}---\n{body}"


def _parted(repo: str, card: str) -> tuple[dict[str, Any], str]:
    """A card's metadata and its text."""
    if not card.startswith("---\n"):
        return {}, card
    front, mark, body = card[4:].partition("\n---\n")
    try:
        head = yaml.safe_load(front) if mark else None
    except yaml.YAMLError:
        head = None
    if not isinstance(head, dict):
        raise PushError(f"the metadata at the head of the card of {repo} can't be read. Mend README.md there first.")
    return head, body


def _asked(result: dict[str, Any]) -> str:
    """What tells two results apart: the data and how it was asked."""
    data = result.get("dataset") or {}
    args = data.get("args") if isinstance(data, dict) else None
    mark = args.get("fingerprint") if isinstance(args, dict) else args
    return f"{data.get('type') if isinstance(data, dict) else data} {mark}"


def _card(repo: str) -> str:
    """README.md of a model on the Hub; empty where it has none. PushError where there is no such model."""
    import tempfile
    from pathlib import Path

    from huggingface_hub import HfApi
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=os.environ[TOKEN], library_name="posttrain")
    with refusals(repo, api, Progress()), tempfile.TemporaryDirectory() as scratch:
        try:
            return Path(api.hf_hub_download(repo, CARD, local_dir=scratch)).read_text(encoding="utf-8")
        except LocalEntryNotFoundError:  # which is also what it says where there is no network: no card is not known
            raise PushError(
                f"the Hub can't be reached to read the card of {repo}. Nothing was sent; try again later."
            ) from None
        except EntryNotFoundError:
            return ""
        except RepositoryNotFoundError:
            raise PushError(
                f"there is no model {repo} on the Hub that this account may read, and scores go into a model's card. "
                f"Push the model first: posttrain push MODEL --repo {repo} --scores SCORES."
            ) from None
