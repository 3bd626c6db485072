"""What is wrong with a cluster, or with asking for one, is one line with exit code 2, said at once."""

from __future__ import annotations

import socket

import pytest

RUN = ("--backend", "scripted", "--model", "oracle", "--elicitation", "list", "--length", 20, "--trials", 3)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--replicas", 0, "--ray", "local"), "--replicas 0: expected a whole number of at least 1"),
        (("--replicas", 2), "--replicas 2: goes with --ray (local, or a cluster's address)"),
        (("--ray", "somewhere"), "--ray somewhere: expected local, auto, HOST:PORT or ray://HOST:PORT"),
    ],
)
def test_replicas_that_cannot_be_are_refused(command, flags, said):
    pytest.importorskip("ray")
    done = command(*RUN, *flags)
    assert (done.returncode, done.stderr) == (2, f"run_eval.py: error: {said}\n")


def test_an_address_without_a_cluster_is_refused_at_once(command):
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    done = command(*RUN, "--ray", address)
    assert done.returncode == 2
    assert f"--ray {address}: no cluster is there (Connection refused)" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_backend_behind_an_api_has_no_replicas(command):
    done = command("--backend", "openai", "--model", "m", "--ray", "local")
    assert done.returncode == 2
    assert "--ray local: the openai backend has no such setting" in done.stderr


@pytest.mark.ray
def test_a_machine_without_room_for_all_replicas_says_how_much_it_has(command):
    done = command(*RUN, "--ray", "local", "--replicas", 4096)
    assert done.returncode == 2
    assert "--replicas 4096: 4096 CPUs needed, this machine has" in done.stderr
