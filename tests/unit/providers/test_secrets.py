"""A planted key is nowhere: not in the journal, the errors, the logs, the screen, the replies or the teacher."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tests.scripted_provider import Script, ScriptedProvider
from tests.unit.providers.asking import asked, question, questions, teacher_at

from posttrain.errors import ProviderError
from posttrain.providers import Journal, Live, ask, bill

KEY = "sk-Zq7vK2mN9xW4-ABCdef0123456789-xyz"
PARTS = ("Zq7vK2mN", "ABCdef", "0123456789")


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_a_planted_key_is_found_in_no_output(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    where: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLANTED", raising=False)
    if where == "environment":
        monkeypatch.setenv("PLANTED", KEY)
    else:
        (tmp_path / ".env").write_text(f"PLANTED={KEY}\n")
    seen: list[Live] = []
    said = []
    # A question that holds the key is answered with it: the provider repeats whatever it is told.
    leaky = (*question(0).messages[:1], {"role": "user", "content": f"My key is {KEY}"})
    for accepted in (KEY, "another"):
        told = {asked(question(1)): ["500"], asked(question(2)): ["torn"], asked(question(3)): ["html"]}
        with ScriptedProvider(Script(key=accepted, questions=told)) as provider:
            teacher = teacher_at(provider.url, retries=0).model_copy(update={"key_env": "PLANTED"})
            requests = [*questions(8), type(question(0))(messages=leaky, sampling={"max_tokens": 9})]
            path = tmp_path / f"{accepted[:2]}.jsonl"
            try:
                said += [repr(reply) for reply in ask(teacher, requests, path, progress=seen.append)]
            except ProviderError as error:
                said += [str(error), repr(error)]
            with Journal(path) as journal:
                said.append(repr(bill(journal, teacher)))
    said += [repr(teacher), teacher.model_dump_json(), repr(seen), caplog.text, *capfd.readouterr()]
    said += [path.read_text() for path in tmp_path.rglob("*") if path.is_file() and path.name != ".env"]
    assert any("401" in text for text in said)
    assert len(said) > 10
    for text in said:
        for part in (KEY, *PARTS):
            assert part not in text
