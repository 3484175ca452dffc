"""The ground that every test stands on (conftest.py)."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest


def test_no_address_but_this_machine_can_be_reached() -> None:
    with socket.socket() as client, pytest.raises(ConnectionRefusedError, match="no network"):
        client.connect(("192.0.2.1", 80))  # TEST-NET-1 of RFC 5737: never a real host


def test_a_server_on_this_machine_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


def test_the_home_of_the_person_who_runs_the_tests_is_out_of_reach() -> None:
    assert Path.home().name.startswith("posttrain-tests-")
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_torch_computes_on_a_fixed_number_of_threads() -> None:
    import torch

    assert torch.get_num_threads() == 1
