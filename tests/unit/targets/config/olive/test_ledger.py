"""The promise on Olive files by itself: one state for each key, and no secret in sight."""

from __future__ import annotations

import pytest

from targets.config.olive.ledger import Ledger, State
from targets.config.olive.node import Node
from targets.config.olive.secrets import is_secret, masked


@pytest.mark.parametrize("stronger", [State.REFUSED, State.HONOURED, State.TRANSLATED])
def test_a_weaker_word_does_not_take_back_a_stronger_one(stronger: State) -> None:
    ledger = Ledger()
    for state in (stronger, State.NO_EFFECT):
        ledger.enter(("a",), 1, state, "")
    assert ledger.state(("a",)) is stronger
    ledger.enter(("a",), 1, State.REFUSED, "")
    assert ledger.state(("a",)) is State.REFUSED


def test_entries_stand_in_the_order_of_the_file() -> None:
    ledger = Ledger()
    listed = [{"d": 2}, 3]
    raw = {"a": {"b": 1, "c": listed}, "e": []}
    ledger.enter(("e",), [], State.HONOURED, "")
    ledger.enter(("a", "c"), listed, State.HONOURED, "")
    ledger.enter(("a", "b"), 1, State.HONOURED, "")
    ledger.order(raw)
    paths = [entry.path for entry in ledger.entries]
    assert paths == [("a", "b"), ("a", "c", 0, "d"), ("a", "c", 1), ("e",)]


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "hf_token", "token", "key", "api_key", "apikey", "client_secret", "storage_sas"],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["monkey", "pad_token", "tokenizer", "max_tokens", "keyword", 0])
def test_names_that_only_look_like_those_of_secrets(name: str | int) -> None:
    assert not is_secret(name)


def test_what_may_be_secret_is_hidden() -> None:
    assert masked(("environment_variables", "X"), "v") == "***"
    assert masked(("a",), {"b": [{"password": "v"}], "c": True}) == {
        "b": [{"password": "***"}],
        "c": True,
    }
    assert masked(("data_files",), "https://me:pw@host/x") == "https://***@host/x"
    assert masked(("data_files",), "https://host:80/x@1") == "https://host:80/x@1"


def test_a_secret_of_the_wrong_type_is_not_said_aloud() -> None:
    ledger = Ledger()
    assert Node("hf_one", ("hf_token",), ledger).number() is None
    assert Node(["hf_two"], ("hf_token",), ledger).word() is None
    assert len(ledger.refusals) == 2
    assert "hf_" not in str([refusal.reason for refusal in ledger.refusals])
