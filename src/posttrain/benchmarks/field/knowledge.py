"""Multiple choice, answered in writing or by log-likelihood; the choices keep the order of the file."""

from __future__ import annotations

from posttrain.benchmarks import readers
from posttrain.benchmarks.declaration import Declaration, MirrorFile
from posttrain.benchmarks.likelihood import Likelihood
from posttrain.engines.base import Sampling

_MMLU_TEST = MirrorFile("mmlu_test.jsonl", "da5fb752325ed3505ac6c2ea46f35a558f8ec5406cf214a2ca606836ab5c1d60")
_MMLU_DEV = MirrorFile("mmlu_dev.jsonl", "eba370fd75d749144f498d36e007825fa7fe0a2074be61491a7acf7dbcf6ca4a")
_REDUX = MirrorFile("mmlu_redux.jsonl", "b7003828c56354ff3e5078ce03441a6e9612dfdb3c1b2464d92ccf4f9a96a7ad")
_REDUX_ORIGIN = "aryopg/mmlu-redux: mmlu_redux/*.csv"

MMLU = Declaration(
    name="mmlu",
    files=(_MMLU_TEST,),
    read=readers.choices,
    items=14042,
    licence="MIT",
    origin="hendrycks/test, as in stanford-cs336/assignment5-alignment: data/mmlu/test",
    grading="choice",
    note="Generated answers; mmlu_likelihood compares log-likelihoods, as lm-eval's mmlu does: another measurement.",
    reference=("Llama-3.1-8B 58.1 (baseline of a study of instruction tuning, CS336 assignment 5)",),
)
MMLU_LIKELIHOOD = Declaration(
    name="mmlu_likelihood",
    files=(_MMLU_TEST,),
    examples_file=_MMLU_DEV,
    read=readers.scored_choices,
    items=14042,
    licence="MIT",
    origin="hendrycks/test, as in stanford-cs336/assignment5-alignment: data/mmlu/test and dev",
    grading="choice",
    template="plain",
    sampling=Sampling(temperature=0.0, max_tokens=1),
    shots=5,
    likelihood=Likelihood(
        "letters",
        intro="The following are multiple choice questions (with answers) about {subject}.\n\n",
        by_subject=True,
    ),
    metrics=("accuracy", "acc_norm"),
    lm_eval="mmlu",
    note="Prompts and numbers of lm-eval's mmlu: the first k questions of the subject's dev set are shown.",
)
MMLU_REDUX = Declaration(
    name="mmlu_redux",
    files=(_REDUX,),
    read=readers.only(readers.redux_correct, readers.choices),
    items=5330,
    licence="CC-BY-4.0",
    origin=_REDUX_ORIGIN,
    grading="choice",
    lighteval="mmlu_redux_2",
    note="The 5,330 of 5,700 questions in which the annotators found no error.",
)
MMLU_REDUX_CORRECTED = Declaration(
    name="mmlu_redux_corrected",
    files=(_REDUX,),
    read=readers.redux_corrected,
    items=5432,
    licence="CC-BY-4.0",
    origin=_REDUX_ORIGIN,
    grading="choice",
    note="mmlu_redux, and the questions with a wrong key under the annotators' key, where they give exactly one.",
)
GPQA_DIAMOND = Declaration(
    name="gpqa_diamond",
    files=(MirrorFile("gpqa_diamond.csv", None),),
    read=readers.gpqa,
    items=198,
    licence="CC-BY-4.0; the authors ask that examples are not posted in plain text",
    origin="idavidrein/gpqa",
    grading="choice",
    obtain=(
        "Its authors ask that it is not passed on in plain text: take gpqa_diamond.csv out of dataset.zip of "
        "github.com/idavidrein/gpqa (its README has the password), or accept the terms of Idavidrein/gpqa on the Hub"
    ),
    lm_eval="gpqa_diamond_cot_zeroshot",
    lighteval="gpqa:diamond",
    note="The order of each item's choices is pinned by a hash of its record id.",
)

ALL = (MMLU, MMLU_LIKELIHOOD, MMLU_REDUX, MMLU_REDUX_CORRECTED, GPQA_DIAMOND)
