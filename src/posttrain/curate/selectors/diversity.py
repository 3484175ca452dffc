"""`diversity`: an equal share of every cluster of questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from posttrain.curate.base import Decision, Rows, Tools
from posttrain.curate.selectors.choosing import SelectConfig, choose
from posttrain.curate.selectors.kmeans import kmeans, silhouettes
from posttrain.curate.selectors.order import in_turn

SHOWN = 3  # questions of a cluster that stand for it
JUDGED = 2_000  # rows whose silhouettes are computed: their cost grows with the square


class DiversityConfig(SelectConfig):
    """What is embedded, by what, and into how many clusters."""

    clusters: int = Field(50, ge=2)
    """At most so many; each gets an equal share of the budget, and what a small one can't fill goes to the others."""
    embedding: str = "minilm"
    """Embeddings: minilm, tfidf, or a sentence-transformers model by name or folder."""
    of: Literal["question", "response", "both"] = "question"
    """What is embedded."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """Of n rows with unit vectors. label: [n]. nearness: cosine with the own centre, [n]. silhouette: of a sample of
    the rows by Rousseeuw (1987), NaN for the rest, [n]."""

    label: NDArray[np.int64]
    nearness: NDArray[np.float64]
    silhouette: NDArray[np.float64]

    @property
    def names(self) -> list[int]:
        return [int(name) for name in np.unique(self.label)]


def diversity(rows: Rows, budget: int, config: DiversityConfig, tools: Tools, seed: int) -> Decision:
    """The score is the cosine with the cluster's centre; rows of a cluster are drawn at random, not by it."""
    found = clustered(tools.embed(rows.texts(config.of), config.embedding), config.clusters, seed)
    order = in_turn(found.label, np.arange(len(rows)), seed)
    decision = choose(
        "diversity",
        rows,
        order,
        budget,
        config,
        tools,
        score=found.nearness,
        columns={"cluster": found.label.tolist()},
    )
    notes = cluster_notes(found, rows.texts("question"), decision.keep)
    for line in notes["said"]:
        tools.note(line)
    return replace(decision, notes={**decision.notes, **notes})


def clustered(vectors: NDArray[np.float32], clusters: int, seed: int) -> Clusters:
    """Unit vectors [n, d] in at most `clusters`, none of them empty."""
    label = kmeans(vectors, clusters, seed)
    centres = np.stack([vectors[label == k].mean(axis=0) for k in range(int(label.max()) + 1)])
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    nearness = np.einsum("nd,nd->n", vectors, centres[label]).astype(np.float64)
    judged = np.sort(np.random.default_rng(seed).permutation(len(label))[:JUDGED])
    silhouette = np.full(len(label), np.nan)
    silhouette[judged] = silhouettes(vectors[judged], label[judged])
    return Clusters(label, nearness, silhouette)


def cluster_notes(found: Clusters, questions: Sequence[str], keep: NDArray[np.bool_]) -> dict[str, Any]:
    """Every cluster with its size, what was taken of it, its silhouette and the questions nearest to its centre; and
    which were smaller than their share, in words."""
    rows: list[dict[str, Any]] = []
    for k in found.names:
        members = np.flatnonzero(found.label == k)
        nearest = members[np.argsort(-found.nearness[members], kind="stable")][:SHOWN]
        judged = found.silhouette[members]
        rows.append(
            {
                "cluster": k,
                "size": len(members),
                "taken": int(keep[members].sum()),
                "silhouette": float(np.nanmean(judged)) if not np.isnan(judged).all() else None,
                "samples": [questions[i][:200] for i in nearest],
            }
        )
    share = int(keep.sum()) / len(rows)
    small = [r for r in rows if r["size"] < int(share)]
    said = []
    if small:
        lacking = sum(int(share) - r["size"] for r in small)
        said.append(
            f"{len(small)} of {len(rows)} clusters are smaller than their share of {share:.0f} rows "
            f"({', '.join(str(r['size']) for r in small[:8])}{' …' if len(small) > 8 else ''}): the {lacking:,} rows "
            "they lack are taken from the others"
        )
    known = found.silhouette[~np.isnan(found.silhouette)]
    silhouette = float(known.mean()) if len(known) else None
    return {"clusters": rows, "share": share, "redistributed": len(small), "silhouette": silhouette, "said": said}
