"""Embeddings: the cache, the pooling, TF-IDF, and the real MiniLM where it is installed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from posttrain.curate import embeddings, lsa
from posttrain.curate.embeddings import Cache, Encoder, embed
from posttrain.errors import DataError, MissingExtraError, ModelError
from posttrain.tracking import Progress

TEXTS = ["a cat sat on a mat", "a dog sat on a log", "", "a cat sat on a mat", "numbers 1 2 3 and words " * 40]


def quiet(total: int | None, label: str, unit: str = "items") -> Progress:
    return Progress(total, label, unit, quiet=True)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(embeddings.CACHE, str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights, in a sentence-transformers folder."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] a cat dog sat on mat log numbers and words 1 2 3".split()
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=64, **shape)).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32}))
    return folder


def test_equal_texts_have_equal_unit_vectors_in_order(bert: Path) -> None:
    vectors = embed(TEXTS, str(bert), progress=quiet)
    assert vectors.shape == (5, 16)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert np.array_equal(vectors[0], vectors[3])
    assert not np.allclose(vectors[0], vectors[1])


def test_batches_change_nothing(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = Encoder(bert).encode(TEXTS, lambda n: None)
    alone = np.concatenate([Encoder(bert).encode([text], lambda n: None) for text in TEXTS])
    assert together == pytest.approx(alone, abs=1e-5)
    monkeypatch.setattr(embeddings, "BATCH_TOKENS", 20)
    assert Encoder(bert).encode(TEXTS, lambda n: None) == pytest.approx(alone, abs=1e-5)


def test_the_mean_is_over_the_texts_own_tokens(bert: Path) -> None:
    import torch
    from transformers import BertModel, BertTokenizerFast

    model, tokenizer = BertModel.from_pretrained(bert).eval(), BertTokenizerFast.from_pretrained(bert)
    with torch.inference_mode():
        hidden = model(**tokenizer(TEXTS[0], return_tensors="pt")).last_hidden_state[0].numpy()
    mean = hidden.mean(axis=0)
    assert Encoder(bert).encode([TEXTS[0]], lambda n: None)[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_what_was_embedded_is_not_embedded_again(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = embed(TEXTS, str(bert), progress=quiet)
    monkeypatch.setattr(Encoder, "encode", lambda self, texts, report: pytest.fail(f"embedded again: {texts}"))
    assert np.array_equal(embed(TEXTS[::-1], str(bert), progress=quiet), first[::-1])


def test_an_interrupted_run_goes_on_where_it_was(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "SHARD", 1)
    encode, done = Encoder.encode, []

    def stopped(self: Encoder, texts: list[str], report: object) -> np.ndarray:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.extend(texts)
        return encode(self, texts, lambda n: None)

    monkeypatch.setattr(Encoder, "encode", stopped)
    with pytest.raises(KeyboardInterrupt):
        embed(TEXTS, str(bert), progress=quiet)
    again: list[str] = []
    monkeypatch.setattr(
        Encoder, "encode", lambda self, texts, report: (again.extend(texts), encode(self, texts, report))[1]
    )
    bar = Progress(None, "x", quiet=True)
    embed(TEXTS, str(bert), progress=lambda *_: bar)
    assert len(done) == 2
    assert set(done) & set(again) == set()
    assert bar.done == 4  # of four different texts two were there, and the time left is told of the others


KILLED = """
import os, signal, sys
from posttrain.curate import embeddings
from posttrain.tracking import Progress

written, savez = [], embeddings.np.savez

def killed_in_the_third(file, **arrays):
    written.append(file)
    if len(written) < 3:
        return savez(file, **arrays)
    file.write(b"PK half a shard")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

embeddings.SHARD, embeddings.np.savez = 2, killed_in_the_third
embeddings.embed(sys.argv[2:], sys.argv[1], progress=lambda *a: Progress(*a, quiet=True))
"""


def test_killed_while_it_writes_it_embeds_only_the_rest(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{word} sat on {other}" for word in ("a cat", "a dog", "a mat") for other in ("a log", "a mat", "words")]
    died = subprocess.run([sys.executable, "-c", KILLED, str(bert), *texts], check=False)
    assert died.returncode == -signal.SIGKILL
    encode, again = Encoder.encode, []
    monkeypatch.setattr(
        Encoder, "encode", lambda self, some, report: (again.extend(some), encode(self, some, report))[1]
    )
    bar = Progress(None, "x", quiet=True)
    vectors = embed(texts, str(bert), progress=lambda *_: bar)
    assert len(again) == len(texts) - 4, "two shards of two stood whole"
    assert bar.done == len(texts)
    monkeypatch.setenv(embeddings.CACHE, str(tmp_path / "undisturbed"))
    assert embed(texts, str(bert), progress=quiet) == pytest.approx(vectors, abs=1e-6)


def test_another_models_vectors_are_others(bert: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(bert, other)
    (other / "1_Pooling").mkdir()
    (other / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    assert not np.allclose(embed(TEXTS, str(bert), progress=quiet), embed(TEXTS, str(other), progress=quiet))


def test_a_pooling_that_is_not_known_is_refused(bert: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(bert, other)
    (other / "1_Pooling").mkdir()
    (other / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ModelError, match="pools by max_tokens"):
        Encoder(other)


def test_a_vector_that_is_not_a_number_is_refused(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "encode", lambda self, texts, report: np.full((len(texts), 4), np.nan, np.float32))
    with pytest.raises(DataError, match="NaN"):
        embed(["a"], str(bert), progress=quiet)


def test_minilm_that_is_absent_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "PACKAGE", "no-such-package")
    with pytest.raises(MissingExtraError, match=r"posttrain\[embed\]"):
        embed(["a"], "minilm", progress=quiet)


def test_tfidf_weighs_rare_words_and_not_length() -> None:
    texts = ["the cat", "the dog", "the cat the cat", "the ship"]
    weighted = lsa.tfidf(texts)
    assert weighted.shape == (4, lsa.FEATURES)
    same = (weighted @ weighted.T).toarray()
    assert np.diag(same) == pytest.approx(np.ones(4), abs=1e-5)
    assert same[0, 2] == pytest.approx(1, abs=1e-5)
    assert same[0, 1] < 0.5


def test_tfidf_is_scikit_learns() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text", reason="scikit-learn is not installed")
    texts = ["the cat sat on the mat", "the dog and the cat", "ships sail", "a cat", "ships sail on the sea"]
    theirs = text.TfidfVectorizer(sublinear_tf=True, token_pattern=r"[a-z]+").fit_transform(texts)
    ours = lsa.tfidf(texts)
    assert (ours @ ours.T).toarray() == pytest.approx((theirs @ theirs.T).toarray(), abs=1e-5)


def test_few_dimensions_keep_most_of_the_likeness() -> None:
    draw = np.random.default_rng(0)
    topics = [[f"t{chr(97 + t)}{chr(97 + w)}" for w in range(26)] for t in range(6)]
    texts = [" ".join(draw.choice(topics[i % 6], 20)) for i in range(240)]
    vectors = lsa.embed(texts, dimensions=12)
    assert vectors.shape == (240, 12)
    alike = vectors @ vectors.T
    same = np.equal.outer(np.arange(240) % 6, np.arange(240) % 6)
    assert alike[same].mean() > 0.6
    assert np.abs(alike[~same]).mean() < 0.1
    assert np.array_equal(vectors, lsa.embed(texts, dimensions=12))


def test_tfidf_of_hardly_anything() -> None:
    assert lsa.embed([]).shape[0] == 0
    assert lsa.embed(["", ""]).tolist() == [[0.0] * lsa.embed(["", ""]).shape[1]] * 2
    assert np.linalg.norm(lsa.embed(["one text"]), axis=1) == pytest.approx([1], abs=1e-5)


@pytest.mark.real
def test_minilm_knows_a_paraphrase() -> None:
    try:
        embeddings.find_model("minilm")
    except MissingExtraError as absent:
        pytest.skip(str(absent))
    texts = [
        "How many apples does Tom have after he buys three more?",
        "Tom purchases 3 additional apples; what is his total number of apples?",
        "Find the derivative of the logarithm of a polynomial.",
    ]
    vectors = embed(texts, "minilm", progress=quiet)
    assert vectors.shape == (3, 384)
    assert vectors[0] @ vectors[1] > 0.75 > 0.3 > vectors[0] @ vectors[2]
    assert len(list(Cache(Encoder(embeddings.find_model("minilm")).identity, ()).folder.glob("*.npz"))) == 1
