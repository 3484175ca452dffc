"""A step's batch: dynamic sampling, shaping, what is undecided, the journal, and batches sampled ahead."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tests.unit.evals.fakes import CharTokenizer, ScriptedEngine, sums

from posttrain.errors import EngineError
from posttrain.prompts import get_template
from posttrain.rl.config import RLConfig
from posttrain.rl.drawing import Drawer
from posttrain.rl.feed import Feed
from posttrain.rl.journal import Journal, Watched, chosen_keys, write_tokens
from posttrain.rl.rollouts import Collector, batch_of


def right(problem_id: str) -> int:
    return int(problem_id.split("/")[1]) + 1


def often(problem_id: str, index: int) -> str:
    """Problems 0, 3, 6 … are solved by the first half of a group, 1, 4, 7 … always, 2, 5, 8 … never."""
    kind = int(problem_id.split("/")[1]) % 3
    solved = kind == 1 or (kind == 0 and index < 2)
    return f"The answer is {right(problem_id) if solved else -1}."


def collector(script: Any = often, n: int = 30, **settings: Any) -> Collector:
    config = RLConfig.model_validate(
        {"template": "plain", "grading": "gsm8k", "prompts": 6, "group": 4, "max_tokens": 40, **settings}
    )
    given = sums(n, split="train")
    template = get_template(config.template)
    return Collector(config, ScriptedEngine(script), CharTokenizer(), template, None, Drawer(config, given, 0), 0)


def test_groups_without_a_signal_are_replaced_and_accounted_for() -> None:
    plain = batch_of(collector().collect(1))
    assert (plain.metrics["groups"], plain.metrics["rounds"], plain.metrics["dropped"]) == (6, 1, 0)
    assert len(plain.rollouts) == 24, "without dynamic sampling a silent group stays, and counts in the denominators"

    made = batch_of(collector(dynamic_sampling={"max_rounds": 8}).collect(1))
    assert len(made.rollouts) == 6 * 4
    assert all(r.advantage != 0 for r in made.rollouts)
    m = made.metrics
    assert m["rounds"] > 1
    assert m["rollouts"] == len(made.samples) == 24 + m["dropped"]
    assert m["effective_samples"] == 24
    assert m["effective_groups"] == pytest.approx(24 / m["rollouts"])


def test_the_cap_on_rounds_holds_and_the_batch_is_then_smaller() -> None:
    def never(problem_id: str, index: int) -> str:
        return "The answer is -1." if problem_id != "sum/3" else often(problem_id, index)

    made = batch_of(collector(never, n=200, dynamic_sampling={"max_rounds": 3}).collect(1))
    assert made.metrics["rounds"] == 3
    assert made.metrics["groups"] == 18
    assert len(made.rollouts) in (0, 4)


def test_overlong_shaping_is_a_component_of_its_own() -> None:
    def long(problem_id: str, index: int) -> str:
        return "." * 12 * index + f"The answer is {right(problem_id)}."

    made = collector(long, max_tokens=60, overlong_buffer=0.5).collect(1)
    for s in made:
        n = len(s.token_ids or ())
        assert s.extra["reward_parts"]["overlong"] == pytest.approx(-min(max(n - 30, 0) / 30, 1))
        assert s.reward == pytest.approx(s.extra["reward_parts"]["correct"] + s.extra["reward_parts"]["overlong"])
    assert batch_of(made).metrics["reward_overlong"] < 0


def test_batch_norm_is_zero_on_average_over_tokens() -> None:
    made = batch_of(collector(advantage="batch_norm").collect(1))
    weighted = sum(r.advantage * sum(r.mask) for r in made.rollouts)
    assert weighted == pytest.approx(0, abs=1e-9)


def test_the_distance_to_the_reference_can_be_taken_from_the_reward() -> None:
    c = collector(kl=0.5, kl_in="reward")
    c.distance = lambda samples: [float(s.index) for s in samples]
    for s in c.collect(1):
        assert s.extra["reward_parts"]["kl"] == -0.5 * s.index
        assert s.reward == pytest.approx(s.extra["reward_parts"]["correct"] - 0.5 * s.index)


def feed(folder: Path, c: Collector, steps: int = 6, **settings: Any) -> Feed:
    return Feed(c, Journal(folder / "state", folder / "kept"), steps, **settings)


def test_a_journaled_batch_is_read_back_to_the_bit_and_sampled_no_second_time(tmp_path: Path) -> None:
    first = feed(tmp_path, collector())
    first.resume(0, None)
    made = [first.next(step) for step in range(3)]
    again = collector()
    second = feed(tmp_path, again)
    second.resume(0, None)
    for batch in made:
        found = second.next(made.index(batch))
        assert found.samples == batch.samples
        assert found.rollouts == batch.rollouts
    assert again.engine.generated == []  # type: ignore[attr-defined]
    assert [s.problem_id for s in second.next(3).samples] == [s.problem_id for s in first.next(3).samples]


def test_a_batch_that_was_not_written_to_its_end_is_made_again(tmp_path: Path) -> None:
    first = feed(tmp_path, collector())
    first.resume(0, None)
    made = first.next(0)
    (tmp_path / "state" / "step-000001" / "batch.json").unlink()
    again = collector()
    second = feed(tmp_path, again)
    second.resume(0, None)
    assert second.next(0).samples == made.samples
    assert again.engine.generated  # type: ignore[attr-defined]


@pytest.mark.parametrize("beside", [False, True])
def test_staleness_samples_ahead_with_the_weights_of_then(tmp_path: Path, beside: bool) -> None:
    class Versioned(ScriptedEngine):
        version = 0

        def generate(self, *arguments: Any) -> Any:
            version = self.version
            return (dataclasses.replace(c, weights_version=version) for c in super().generate(*arguments))

    c = collector()
    c.engine = engine = Versioned(often)
    f = feed(tmp_path, c, staleness=1, beside=beside)
    f.resume(0, None)
    seen = []
    for step in range(6):
        batch = f.next(step)
        f.finish()
        seen.append(batch.metrics["staleness"])
        engine.version = step + 1
    assert seen == [0, 1, 1, 1, 1, 1]


def test_batches_in_flight_are_the_same_after_a_resume(tmp_path: Path) -> None:
    calm = feed(tmp_path / "calm", collector(), staleness=2)
    calm.resume(0, None)
    expected = [calm.next(step).samples for step in range(6)]
    rough = feed(tmp_path / "rough", collector(), staleness=2)
    rough.resume(0, None)
    assert [rough.next(step).samples for step in range(3)] == expected[:3]
    drawn = rough.drawn
    resumed = feed(tmp_path / "rough", collector(), staleness=2)
    resumed.resume(3, drawn)
    assert [resumed.next(step).samples for step in range(3, 6)] == expected[3:]


def test_an_engine_that_is_lost_leaves_the_drawer_where_it_was_for_the_saved_state(tmp_path: Path) -> None:
    c = collector()
    f = feed(tmp_path, c)
    f.resume(0, None)
    f.next(0)
    before = f.drawn

    def lost(problem_id: str, index: int) -> str:
        raise EngineError(f"lost at {problem_id}, {index}")

    c.engine = ScriptedEngine(lost)
    with pytest.raises(EngineError):
        f.next(1)
    assert f.drawn == before


def test_forgotten_batches_go_and_kept_ones_stay(tmp_path: Path) -> None:
    f = feed(tmp_path, collector())
    f.resume(0, None)
    for step in range(3):
        f.next(step)
    f.journal.keep(2)
    write_tokens(tmp_path / "kept" / "step-000002", 2, {("sum/1", 0): Watched([-0.5], [0.25])})
    f.journal.forget(2)
    assert sorted(p.name for p in (tmp_path / "state").iterdir()) == ["step-000003"]
    assert sorted(p.name for p in (tmp_path / "kept").rglob("*.parquet")) == [
        "samples.parquet",
        "tokens.parquet",
        "verdicts.parquet",
    ]


def test_which_rollouts_keep_their_tokens_is_a_draw_by_seed_and_step() -> None:
    keys = [("p", i) for i in range(50)]
    assert len(chosen_keys(keys, 8, 0, 1)) == 8
    assert chosen_keys(keys, 8, 0, 1) == chosen_keys(keys, 8, 0, 1) != chosen_keys(keys, 8, 0, 2)
    assert chosen_keys(keys, 99, 0, 1) == set(keys)
    assert chosen_keys(keys, 0, 0, 1) == set()
