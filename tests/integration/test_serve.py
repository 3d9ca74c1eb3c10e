"""`serve`, asked by OpenAI's own client."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import openai
import psutil
import pytest
import requests

from tests.support.command import Quern
from tests.support.held_builds import LABELS, HeldBuilds

ASKED: Any = [{"role": "user", "content": "what a bright morning"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"far": {"type": "boolean"}, "miles": {"enum": [1, 2]}},
    "required": ["far", "miles"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Serving:
    """A process that serves, and what it said first."""

    process: subprocess.Popen[str]
    address: str

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.address, api_key="none", max_retries=0, timeout=300)

    def ask(self, **options: Any) -> Any:
        return self.client.chat.completions.create(
            **{"model": "held", "messages": ASKED, **options}
        )

    def text(self, **options: Any) -> str:
        return str(self.ask(**options).choices[0].message.content)


@contextmanager
def serving(quern: Quern, builds: HeldBuilds, *arguments: str) -> Iterator[Serving]:
    config = ("--config", str(builds.folder / "held.toml"), "--dist", str(builds.folder / "dist"))
    process = subprocess.Popen(
        quern.command("serve", *config, "--port", "0", *arguments),
        env=quern.environment(),
        cwd=builds.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = next((line for line in process.stdout if line.startswith("http")), "")
        assert said, process.communicate()[1]
        yield Serving(process, said.split()[0])
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def served(quern: Quern, held_builds: HeldBuilds) -> Iterator[Serving]:
    held_builds.build("constrain = true")
    with serving(quern, held_builds, "--runtime", "venv") as running:
        yield running


def test_the_one_model(served: Serving) -> None:
    assert [model.id for model in served.client.models.list()] == ["held"]
    assert served.client.models.retrieve("held").owned_by == "quern"
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        served.ask(model="other")


def test_answers_have_the_form_of_the_config_or_of_the_request(served: Serving) -> None:
    answer = served.ask()
    assert answer.choices[0].message.content in LABELS
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert served.text(response_format={"type": "text"}) == "joy"
    form = {"type": "json_schema", "json_schema": {"name": "way", "schema": SCHEMA}}
    jsonschema.validate(json.loads(served.text(response_format=form)), SCHEMA)


def test_a_stream_is_the_answer_in_pieces(served: Serving) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = served.ask(**options)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(pieces) == served.text()
    assert len([piece for piece in pieces if piece]) > 1
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert last.usage.completion_tokens == served.ask().usage.completion_tokens


def test_limits_stops_and_sampling(served: Serving) -> None:
    free = {"response_format": {"type": "text"}}
    cut = served.ask(max_tokens=1, **free).choices[0]
    assert cut.finish_reason == "length"
    assert "joy".startswith(cut.message.content) or cut.message.content == "joy"
    assert served.text(stop=["oy"], **free) == "j"
    hot = {"temperature": 2.0, "seed": 7, "max_tokens": 12, **free}
    assert served.text(**hot) == served.text(**hot)
    assert served.text(temperature=0, **free) == "joy"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages.0.role"),
        ({"n": 2}, "n is not supported"),
        ({"messages": [{"role": "user", "content": "a <|end|> b"}]}, "only the chat template"),
        ({"messages": [{"role": "user", "content": "far " * 9000}]}, "the question has"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
            "cannot hold answers",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_answered_is_said(
    served: Serving, options: dict[str, Any], said: str
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as error:
            served.ask(stream=stream, **options)
        assert said in str(error.value)
    assert served.text() in LABELS


def test_requests_are_bounded_and_errors_have_the_form(served: Serving) -> None:
    asked = f"{served.address}/chat/completions"
    json_type = {"Content-Type": "application/json"}
    answers = [
        requests.post(asked, data=b" " * 1_100_000, headers=json_type, timeout=60),
        requests.post(asked, data=b"{}", headers={"Content-Type": "text/plain"}, timeout=60),
        requests.post(asked, data=b"{", headers=json_type, timeout=60),
        requests.get(f"{served.address}/nothing", timeout=60),
        requests.get(asked, timeout=60),
    ]
    assert [answer.status_code for answer in answers] == [413, 415, 400, 404, 405]
    for answer in answers:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    elsewhere = requests.get(
        f"{served.address}/models", headers={"Host": "evil.example"}, timeout=60
    )
    assert elsewhere.status_code == 400


def test_only_this_machine_is_answered(served: Serving) -> None:
    connections = [
        connection.laddr.ip
        for connection in psutil.Process(served.process.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert connections == ["127.0.0.1"]


def test_several_ask_at_once_and_one_goes_away(served: Serving) -> None:
    with served.ask(stream=True) as left:
        next(iter(left))
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(served.text())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert set(answers) <= set(LABELS)


def ended_by_ctrl_c(running: Serving, cache: Path) -> None:
    children = psutil.Process(running.process.pid).children(recursive=True)
    port = int(running.address.rpartition(":")[2].partition("/")[0])
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 130
    assert not [child for child in children if child.is_running()]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert not list((cache / "scratch").glob("*serve*"))


def test_ctrl_c_leaves_nothing(quern: Quern, held_builds: HeldBuilds) -> None:
    held_builds.build("constrain = true")
    with serving(quern, held_builds, "--runtime", "venv", "--free") as running:
        assert running.text() == "joy"
        ended_by_ctrl_c(running, quern.cache)


def test_a_port_that_is_taken(quern: Quern, held_builds: HeldBuilds) -> None:
    held_builds.build("constrain = true")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        where = ("--config", str(held_builds.folder / "held.toml"))
        dist = ("--dist", str(held_builds.folder / "dist"), "--runtime", "venv")
        done = quern("serve", *where, *dist, "--port", port)
    assert (done.code, "choose another" in done.stderr) == (4, True)


@pytest.mark.engine
@pytest.mark.slow
def test_in_a_container(quern: Quern, held_builds: HeldBuilds) -> None:
    held_builds.build("constrain = true")
    with serving(quern, held_builds, "--runtime", "docker") as running:
        assert running.text() in LABELS
        assert (
            "".join(chunk.choices[0].delta.content or "" for chunk in running.ask(stream=True))
            == running.text()
        )
        ended_by_ctrl_c(running, quern.cache)
