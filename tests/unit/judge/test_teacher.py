"""A judge behind an API, over real HTTP: replies are journaled, asked for once, and kept within a budget."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.unit.judge.fakes import graded

from posttrain.errors import PosttrainError
from posttrain.judge import JudgeConfig, read_judgements, read_summary
from posttrain.judge.stages import judge
from posttrain.stage import Workspace

pytest.importorskip("posttrain.providers", reason="the client of model APIs is not here")


class Provider:
    """Speaks chat completions; `say` makes the reply's text of the user's words."""

    def __init__(self) -> None:
        self.say: Callable[[str], str] = lambda text: '{"reason": "r", "verdict": "correct"}'
        self.asked: list[dict[str, Any]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                provider.asked.append(body)
                text = provider.say(body["messages"][-1]["content"])
                reply = {
                    "id": "1",
                    "model": "judge-1",
                    "choices": [
                        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
                    ],
                    "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
                }
                content = json.dumps(reply).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def settings(provider: Provider, **config: Any) -> JudgeConfig:
    teacher = {"base_url": provider.url, "model": "judge-1", "prices": {"input": 10.0, "output": 100.0}}
    return JudgeConfig.model_validate({"judge": "mine", "teacher": teacher, **config})


def run(config: JudgeConfig, tmp_path: Path, folder: str = "judged", n: int = 12) -> Path:
    scores = graded(tmp_path, n, base=0.5)
    return judge(config, [scores], Workspace(tmp_path / "run" / folder, quiet=True)).path


def test_replies_are_journaled_and_bought_once(provider: Provider, tmp_path: Path) -> None:
    made = run(settings(provider), tmp_path)
    assert len(provider.asked) == 12
    assert provider.asked[0]["model"] == "judge-1"
    assert provider.asked[0]["temperature"] == 0.0
    summary = read_summary(made)
    assert summary["dollars"] == pytest.approx(12 * (100 * 10 + 10 * 100) / 1e6)
    assert (summary["judge"], {r["judge"] for r in read_judgements(made)}) == ("mine", {"judge-1"})
    assert [p.name for p in (tmp_path / "run/journals").iterdir() if p.suffix == ".jsonl"] == ["judge-mine.jsonl"]
    again = run(settings(provider), tmp_path, "again")
    assert len(provider.asked) == 12, "another stage finds the replies in the journal"
    assert read_judgements(again) == read_judgements(made)


def test_questions_with_the_same_words_are_asked_once(provider: Provider, tmp_path: Path) -> None:
    scores = graded(tmp_path, 8, base=0.5, copy=0.5)
    import posttrain.judge.plan as plan

    asks = plan.asks_of(settings(provider), plan.collect(settings(provider), [scores]))
    same = len({(a.question, a.response, a.gold) for a in asks})
    assert same < len(asks), "some answers of the two models are the same words"
    made = judge(settings(provider), [scores], Workspace(tmp_path / "run/judged", quiet=True))
    assert len(provider.asked) == same
    paid = [r["cost"] for r in read_judgements(made.path)]
    assert sum(paid) == pytest.approx(same * 0.002)


def test_a_reply_that_is_no_json_is_asked_for_again_in_other_words(provider: Provider, tmp_path: Path) -> None:
    provider.say = lambda text: '{"verdict": "correct"}' if "earlier reply" in text else "It is correct."
    summary = read_summary(run(settings(provider), tmp_path))
    assert (summary["ok"], summary["asked_again"], len(provider.asked)) == (12, 12, 24)


def test_nothing_is_asked_that_could_pass_the_budget(provider: Provider, tmp_path: Path) -> None:
    with pytest.raises(PosttrainError, match="budget"):
        run(settings(provider, budget=0.07, max_tokens=500), tmp_path)
    assert len(provider.asked) < 12
    asked = len(provider.asked)
    provider.asked.clear()
    run(settings(provider, max_tokens=500), tmp_path)
    assert len(provider.asked) == 12 - asked, "what was bought before stands in the journal"


def test_an_unknown_judge_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(PosttrainError, match="no teacher is called 'gpt-4oo'"):
        run(JudgeConfig.model_validate({"judge": "gpt-4oo"}), tmp_path)
