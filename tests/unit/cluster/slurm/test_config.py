from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from posttrain.cluster.slurm.config import JobConfig, SlurmConfig, slurm_config
from posttrain.config import parse
from posttrain.errors import RecipeError


def test_a_flag_wins_over_the_block_and_the_block_over_the_profile(tmp_path: Path) -> None:
    profile = tmp_path / "site.yaml"
    profile.write_text(
        'partition: long\naccount: lab\ntime: "1-00:00:00"\nmodules: [cuda]\nenvironment: {A: site, B: site}\n'
    )
    block = {"partition": "gpu", "time": "2:00:00", "environment": {"B": "recipe"}}
    config = slurm_config(block, profile, {"time": "30"}, ["sft"])
    assert (config.partition, config.account, config.time, config.modules) == ("gpu", "lab", "30", ("cuda",))
    assert config.environment == {"A": "site", "B": "recipe"}


def test_a_stage_may_ask_for_more_than_the_others_and_a_round_for_what_its_stage_asks() -> None:
    config = slurm_config({"gpus": 1, "stages": {"rl": {"gpus": 4}}}, None, {"memory": "8G"}, ["sft", "rl-1", "rl-2"])
    assert [(config.of(name).gpu_count, config.of(name).memory) for name in ("sft", "rl-1", "rl-2")] == [
        (1, "8G"),
        (4, "8G"),
        (4, "8G"),
    ]


def test_gpus_with_a_type_are_counted() -> None:
    assert [parse(JobConfig, {"gpus": text}, "slurm").gpu_count for text in (0, 3, "2", "a100:4")] == [0, 3, 2, 4]


def test_a_time_is_read_as_slurm_reads_it() -> None:
    """man sbatch: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes, …:seconds."""
    read = {"90": 5400, "90:30": 5430, "4:00:01": 14401, "1-12": 129600, "1-12:30": 131400, "2-00:00:05": 172805}
    assert {text: parse(JobConfig, {"time": text}, "slurm").limit_seconds for text in read} == read


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"time": 14400}, "quotes"),  # what YAML makes of 4:00:00
        ({"time": "tomorrow"}, "hours:minutes:seconds"),
        ({"time": "3:59"}, "less than half"),  # minutes and seconds
        ({"time": "0:10:00", "signal": 301}, "less than half"),
        ({"partition": "gpu\n#SBATCH --uid=0"}, "partition"),
        ({"account": "a b"}, "account"),
        ({"gpus": "many"}, "type:number"),
        ({"memory": "lots"}, "memory"),
        ({"partitoin": "gpu"}, "Did you mean 'partition'"),
        ({"environment": {"HF_TOKEN": "x"}}, "looks like a secret"),
        ({"environment": {"A B": "x"}}, "no name of a variable"),
        ({"setup": ["a\nb"]}, "one line each"),
        ({"extra": ["exclusive"]}, "no option of sbatch"),
        ({"python": "a", "venv": "b"}, "two interpreters"),
        ({"stages": {"rk": {"gpus": 1}}}, "no stage 'rk'. Did you mean 'rl'"),
        ({"stages": {"rl": {"gpu": 1}}}, "slurm.stages.rl: unknown key 'gpu'. Did you mean 'gpus'"),
    ],
)
def test_a_block_that_can_not_be_meant_is_refused(block: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said.replace("(", r"\(")):
        slurm_config(block, None, {}, ["rl", "sft"])


def test_nothing_is_asked_for_that_was_not_said() -> None:
    assert SlurmConfig().model_dump(exclude_unset=True) == {}
