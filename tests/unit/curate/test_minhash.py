"""MinHash against its definition and against datasketch."""

from __future__ import annotations

import random

import numpy as np
import pytest

from posttrain.curate import minhash
from posttrain.data.contamination import grams, tokens

WORDS = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(300)]


def texts(count: int, seed: int = 0) -> list[str]:
    """Pairs of texts with every similarity: a text, then one with some of its words exchanged."""
    draw = random.Random(seed)
    found = []
    for k in range(count // 2):
        words = draw.choices(WORDS, k=40)
        other = list(words)
        for i in draw.sample(range(40), k % 12):
            other[i] = draw.choice(WORDS)
        found += [" ".join(words), " ".join(other)]
    return found


def jaccard(a: str, b: str, n: int = 3) -> float:
    first, second = grams(tokens(a), n), grams(tokens(b), n)
    return len(first & second) / len(first | second)


def test_similarity_is_that_of_the_ngrams_as_words() -> None:
    given = texts(40)
    found = minhash.shingles(given, 3)
    for i in range(0, 40, 2):
        assert found.jaccard(i, i + 1) == pytest.approx(jaccard(given[i], given[i + 1]))


def test_the_share_of_equal_minima_estimates_the_similarity() -> None:
    given = texts(200)
    found = minhash.shingles(given, 3)
    signed = minhash.signatures(found, 512, seed=0)
    errors = np.array([(signed[i] == signed[i + 1]).mean() - jaccard(given[i], given[i + 1]) for i in range(0, 200, 2)])
    assert abs(errors.mean()) < 0.01
    assert np.abs(errors).max() < 5 * np.sqrt(0.25 / 512)  # 5 standard errors of a proportion at most


def test_a_signature_is_the_same_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["", *texts(20), ""]
    whole = minhash.signatures(minhash.shingles(given, 3), 64, seed=3)
    monkeypatch.setattr(minhash, "BLOCK", 50)
    monkeypatch.setattr(minhash, "CHUNK", 3)
    assert np.array_equal(minhash.signatures(minhash.shingles(given, 3), 64, seed=3), whole)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9])
def test_bands_find_a_pair_at_the_threshold(threshold: float) -> None:
    bands, rows = minhash.bands_for(threshold, 128)
    assert bands * rows <= 128
    assert 1 - (1 - threshold**rows) ** bands >= minhash.FOUND
    assert (
        1 - (1 - threshold ** (rows + 1)) ** (128 // (rows + 1)) < minhash.FOUND
    )  # and no band is wider than it may be


def test_twins_are_those_of_all_pairs_compared() -> None:
    given = texts(400, seed=1)
    found = minhash.shingles(given, 3)
    twin, _ = minhash.first_twins(found, 0.7)
    wanted = [jaccard(given[i], given[i + 1]) >= 0.7 for i in range(0, 400, 2)]
    got = [bool(twin[i + 1] == i) for i in range(0, 400, 2)]
    assert sum(w != g for w, g in zip(wanted, got, strict=True)) <= 1  # one in 200 at the threshold may be missed
    assert (twin[::2] == -1).all()


def test_a_row_goes_for_one_that_stays() -> None:
    # b is like a, c like b only: b goes for a, c stays, since what it is like is gone.
    a = WORDS[:60]
    b = WORDS[:50] + WORDS[60:70]
    c = WORDS[:40] + WORDS[60:80]
    found = minhash.shingles([" ".join(x) for x in (a, b, c)], 1)
    assert found.jaccard(0, 1) > 0.7 > found.jaccard(0, 2)
    assert found.jaccard(1, 2) > 0.7
    twin, similarity = minhash.first_twins(found, 0.7)
    assert twin.tolist() == [-1, 0, -1]
    assert similarity[1] == pytest.approx(50 / 70)


def test_many_copies_stay_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["the same words again and again in a row of copies"] * 300
    found = minhash.shingles(given, 3)
    signed = minhash.signatures(found, 128, 0)
    pairs = minhash.candidates(signed, *minhash.bands_for(0.7, 128), np.ones(300, np.bool_))
    assert len(pairs) <= 300 * (minhash.NEIGHBOURS + 1)
    assert minhash.first_twins(found, 0.7)[0].tolist() == [-1] + [0] * 299


def test_texts_without_words_have_no_twins() -> None:
    assert minhash.first_twins(minhash.shingles(["", " ", "..."], 3), 0.7)[0].tolist() == [-1, -1, -1]
    assert len(minhash.first_twins(minhash.shingles([], 3), 0.7)[0]) == 0


def test_datasketch_finds_the_same_pairs() -> None:
    datasketch = pytest.importorskip("datasketch", reason="datasketch is not installed (make install)")
    given = texts(300, seed=2)
    theirs = []
    for text in given:
        signed = datasketch.MinHash(num_perm=128)
        signed.update_batch([" ".join(gram).encode() for gram in grams(tokens(text), 3)])
        theirs.append(signed)
    bands, rows = minhash.bands_for(0.7, 128)
    index = datasketch.MinHashLSH(num_perm=128, params=(bands, rows))
    for i, signed in enumerate(theirs):
        index.insert(i, signed)
    near = {(i, j) for j, signed in enumerate(theirs) for i in index.query(signed) if i < j}
    wanted = {(i, j) for i, j in near if jaccard(given[i], given[j]) >= 0.7}
    twin, _ = minhash.first_twins(minhash.shingles(given, 3), 0.7)
    assert {(int(t), j) for j, t in enumerate(twin) if t >= 0} == wanted
    estimates = [theirs[i].jaccard(theirs[i + 1]) for i in range(0, 300, 2)]
    signed = minhash.signatures(minhash.shingles(given, 3), 128, 0)
    ours = [float((signed[i] == signed[i + 1]).mean()) for i in range(0, 300, 2)]
    assert np.abs(np.mean(np.subtract(ours, estimates))) < 0.02
