"""What configurations name: benchmarks, templates, grading specs, teachers, trackers."""

from __future__ import annotations

from tools.reference.text import NOTICE, code, escaped, table

from posttrain.benchmarks import DECLARATIONS, Declaration
from posttrain.grading import SPECS
from posttrain.prompts import TEMPLATES, get_template
from posttrain.providers import get_teacher, known_teachers
from posttrain.tracking import SINKS


def page() -> str:
    """One table each."""
    parts = [
        "# Names\n\n",
        NOTICE,
        "What a configuration may name. [Stages](stages.md), [recipes](recipes.md) and "
        "[algorithms](../algorithms.md) have pages of their own; filters and selectors stand with the stage "
        "[`curate`](stages/curate.md).\n",
        "\n## Benchmarks\n\nFor `benchmarks:` of `eval`; how they are asked and graded: "
        "[evaluation](../evaluation.md#benchmarks).\n\n",
        table(
            ("name", "items", "split", "template", "grading", "metrics", "licence", "alias"),
            map(_benchmark, DECLARATIONS),
        ),
        "\n## Templates\n\nFor `template:`; a `.jinja` file is one too. "
        "[Prompts](../data.md#prompts) shows what they say.\n\n",
        table(("name", "graded by", "ends with"), map(_template, TEMPLATES)),
        "\n## Grading specs\n\nFor `grading:`; what each looks for and calls equal: "
        "[grading](../grading.md#specs).\n\n",
        ", ".join(map(code, SPECS)) + ".\n",
        "\n## Teachers\n\nFor `teacher:` and `judge:`; any other model of a provider is written `PROVIDER/MODEL` "
        "([model APIs](../providers.md)). Dollars per million tokens on the day that stands beside them.\n\n",
        table(
            ("name", "provider", "key", "input", "output", "batch", "prices of"),
            map(_teacher, known_teachers()),
        ),
        "\n## Trackers\n\nFor `tracking:` of a recipe; each is an [extra](../install.md#extras).\n\n",
        ", ".join(map(code, SINKS)) + ".\n",
    ]
    return "".join(parts)


def _benchmark(one: Declaration) -> tuple[str, ...]:
    aliases = dict.fromkeys(name for name in (one.lm_eval, one.lighteval) if name and name != one.name)
    return (
        code(one.name),
        f"{one.items:,}" if one.items is not None else "the download's",
        one.split,
        "–" if one.likelihood else code(one.template),
        "log-likelihood" if one.likelihood else code(one.grading),
        ", ".join(one.metrics),
        escaped(one.licence),
        ", ".join(map(code, aliases)),
    )


def _template(name: str) -> tuple[str, ...]:
    template = get_template(name)
    stops = ", ".join(code(stop.replace("\n", "\\n")) for stop in template.stop)
    return code(name), code(template.grading), stops or "its end-of-turn token"


def _teacher(name: str) -> tuple[str, ...]:
    teacher = get_teacher(name)
    prices = teacher.prices
    money = (
        (
            f"{prices.input:g}",
            f"{prices.output:g}",
            f"× {prices.batch:g}" if prices.batch != 1 else "–",
            str(prices.as_of),
        )
        if prices
        else ("unknown",) * 2 + ("–", "–")
    )
    return code(name), teacher.provider, code(teacher.key_env) if teacher.key_env else "–", *money
