"""Programs, run against tests in the sandbox."""

from __future__ import annotations

from posttrain.benchmarks import readers
from posttrain.benchmarks.declaration import Declaration, MirrorFile
from posttrain.engines.base import Sampling

CODE = Sampling(temperature=0.0, max_tokens=1024)
WHOLE = "Write Python. Answer with the complete function in one ```python block, with the imports that it needs."
STANDARD_INPUT = (
    "Write Python. Answer with one complete program in a ```python block; it reads standard input and prints the "
    "answer to standard output."
)

HUMANEVAL = Declaration(
    name="humaneval",
    files=(MirrorFile("humaneval.jsonl", "37f51c8fecc67d812a66241e200b7f463c15cf92da703da6f602e85b51c742a0"),),
    read=readers.plain,
    items=164,
    licence="MIT",
    origin="openai/human-eval: data/HumanEval.jsonl.gz",
    grading="code",
    system=WHOLE,
    sampling=CODE,
    lm_eval="humaneval",
)
MBPP = Declaration(
    name="mbpp",
    files=(MirrorFile("mbpp.jsonl", "4d7eee6066c7a908921e12fdfb0901bc883a22a43786ee954fddf63ce957f2ec"),),
    read=readers.mbpp,
    items=500,
    licence="CC-BY-4.0",
    origin="google-research/mbpp, as in mlfoundations/evalchemy: eval/chat_benchmarks/MBPP/data/mbpp.jsonl",
    grading="code",
    system=WHOLE,
    sampling=CODE,
    lm_eval="mbpp",
    note="The test split, tasks 11 to 510; the tests that are run are shown, as in the paper.",
)
LIVECODEBENCH = Declaration(
    name="livecodebench",
    files=(MirrorFile("livecodebench.jsonl", None),),
    read=readers.livecodebench,
    items=None,
    licence="as its card says; the statements belong to their contests",
    origin="livecodebench/code_generation_lite on the Hub",
    grading="code",
    system=STANDARD_INPUT,
    sampling=Sampling(temperature=0.2, top_p=0.95, max_tokens=2048),
    obtain=(
        "It is over a gigabyte and grows with every release: download livecodebench/code_generation_lite from the Hub, "
        "choose a release and a window of contest_date, and write rows with question_id, question_content, "
        "contest_date and tests: [{input, output}, …]"
    ),
    lighteval="lcb:codegeneration",
    note="How many items it has, the release and window decide. Problems on standard input only.",
)

CRUXEVAL = Declaration(
    name="cruxeval",
    files=(MirrorFile("cruxeval.jsonl", "a9349e5c60ed9ce50b29840c059cd7d82b04a8e48e29e9ba56491ecadc520894"),),
    read=readers.cruxeval,
    items=800,
    licence="MIT",
    origin="facebookresearch/cruxeval, as in mlfoundations/evalchemy: eval/chat_benchmarks/CruxEval/data",
    grading="exact",
    system="Answer with the value alone, as Python prints it. Write nothing else.",
    sampling=Sampling(temperature=0.0, max_tokens=256),
    note="CRUXEval-O. The value must be written as Python prints it: another spelling of the same value is wrong.",
)

ALL = (CRUXEVAL, HUMANEVAL, MBPP, LIVECODEBENCH)
