"""The command line: ``posttrain VERB``. Each verb is a thin file here, imported only when it is called."""

from __future__ import annotations

import importlib
import keyword
import sys
from collections.abc import Sequence

import click

from posttrain import __version__
from posttrain.errors import PosttrainError, did_you_mean
from posttrain.registry import STAGES

# verb → one line of help. Verb `x` is the click command `x` in posttrain/cli/x.py; to add one, add a file and a line.
VERBS: dict[str, str] = {
    "run": "Run a recipe: reuse what is finished, resume what was interrupted.",
    "explore": "Read a run in the browser: curves, checkpoints × problems, traces side by side, search.",
    "report": "Report on a run: tables, comparisons and curves as HTML, Markdown and JSON; cards.",
    "leaderboard": "Rank runs and submissions as far as noise allows; every answer is graded anew.",
    "card": "The Hub's card of a model, of problems or of traces.",
    "sweep": "Every checkpoint of a run on one fixed problem set: what changes over steps.",
    "compare": "Is one model better than another? Paired, item by item, with an honest answer.",
    "grade": "Judge responses against golds: a JSONL file, or one pair.",
    "audit": "What does a second, independent grader say of the same samples?",
    "contamination": "Which training rows are a benchmark's own questions, or their twins?",
    "cuts": "What did cleaning cut out of traces? Before and after.",
    "benchmarks": "List the benchmarks: items, licence, and whether the mirror holds them.",
    "export-samples": "Write the samples of an evaluation in lm-eval's format.",
    "submit": "Queue a recipe's stages on a cluster (SLURM), each after those it reads.",
    "status": "What became of a run's stages: made, running, waiting, failed and why.",
    "launch": "Train a stage on several machines; --print shows every machine's command.",
    "plan": "Show what a run would do, and what it would cost.",
    "recipes": "List the recipes that ship, or print one.",
    "init": "Write a starter recipe and an .env.example into a folder.",
    "import": "Turn a LLaMA-Factory or TRL configuration into a recipe; say what has no place in it.",
    "validate": "Make up for validation that was missed while a stage was trained.",
    "lineage": "Walk from an artifact back to its data, teacher, seeds and code.",
    "doctor": "Look at Python, libraries, CPU, GPUs, memory, disk and mirrors.",
    "chat": "Talk to a checkpoint.",
    "algorithms": "The RL algorithms: rows of one table, each with its paper; --diff trl|verl.",
    "serve": "Offer a checkpoint over the OpenAI protocol.",
    "parity": "Do the sampler's and the trainer's log-probabilities agree?",
    "fetch": "Mirror a model or a data set for machines without a network.",
    "push": "Send a run, a model, data or scores to the Hub, or what a training stage could not send.",
}

# Stages whose verb has flags of its own, in a file of its own.
WITH_FLAGS = ("traces", "curate")


class LazyGroup(click.Group):
    """Lists verbs and stages without importing them; imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(dict.fromkeys([*VERBS, *STAGES]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name in VERBS:
            name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name.replace("-", "_")
            command: click.Command = getattr(importlib.import_module(f"posttrain.cli.{name}"), name)
            return command
        if cmd_name in WITH_FLAGS:
            own: click.Command = getattr(importlib.import_module(f"posttrain.cli.{cmd_name}"), cmd_name)
            return own
        if cmd_name in STAGES or ":" in cmd_name:
            from posttrain.cli.stage import stage_command

            return stage_command(cmd_name)
        known = [*VERBS, *STAGES]
        raise click.UsageError(f"there is no verb {cmd_name!r}.{did_you_mean(cmd_name, known)}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))
        with formatter.section("Stages, each also alone: posttrain sft model=… traces=… lr=1e-4 out=DIR"):
            formatter.write_dl([(name, summary) for name, (_, summary) in STAGES.items() if name not in VERBS])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    subcommand_metavar="VERB [ARGS]...",
)
@click.version_option(__version__, message="posttrain %(version)s")
def cli() -> None:
    """Make a small language model reason better, and prove it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. A PosttrainError is one message and exit code 2; anything else is a bug and keeps its traceback."""
    try:
        code = cli.main(list(arguments) if arguments is not None else None, "posttrain", standalone_mode=False)
    except PosttrainError as error:
        print("\n  ".join([f"posttrain: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)
        sys.exit(2)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "posttrain"
        print(f"posttrain: {error.format_message()} `{path} --help` shows how.", file=sys.stderr)
        sys.exit(error.exit_code)
    except click.Abort:
        print("posttrain: stopped. Run the same command again to continue.", file=sys.stderr)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
