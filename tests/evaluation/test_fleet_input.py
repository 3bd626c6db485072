"""What is wrong with a cluster, or with asking for one, is one line with exit code 2, said at once."""

from __future__ import annotations

import socket
import threading

import pytest

RUN = ("--backend", "scripted", "--model", "oracle", "--elicitation", "list", "--length", 20, "--trials", 3)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--replicas", 0, "--ray", "local"), "--replicas 0: expected a whole number of at least 1"),
        (("--replicas", 2), "--replicas 2: goes with --ray (local, or a cluster's address)"),
        (("--ray", "http://host:6379"), "--ray http://host:6379: expected local, auto, HOST:PORT or ray://HOST:PORT"),
        (("--ray", "local", "--replica-cpus", 0), "--replica-cpus 0: expected a number above 0"),
        (("--ray", "local", "--replica-cpus", "nan"), "--replica-cpus nan: expected a number above 0"),
        (("--ray", "local", "--replica-gpus", -1), "--replica-gpus -1: expected a number of at least 0"),
        (
            ("--ray", "local", "--replica-gpus", 1.5),
            "--replica-gpus 1.5: expected a part of one GPU, or a whole number of them",
        ),
        (("--ray", "local", "--replicas", 1.5), "--replicas 1.5: expected a whole number of at least 1"),
        (("--replica-timeout", 5), "--replica-timeout 5: goes with --ray (local, or a cluster's address)"),
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


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_something_else_listens_is_refused_at_once(command, answer, scheme):
    pytest.importorskip("ray")

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(64)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        address = f"{scheme}127.0.0.1:{listening.getsockname()[1]}"
        done = command(*RUN, "--ray", address)
    assert done.returncode == 2
    assert done.stderr == (
        f"run_eval.py: error: --ray {address}: what listens there is no Ray cluster; start one with: ray start --head\n"
    )


def test_a_backend_behind_an_api_has_no_replicas(command):
    done = command("--backend", "openai", "--model", "m", "--ray", "local")
    assert done.returncode == 2
    assert "--ray local: the openai backend has no such setting" in done.stderr


@pytest.mark.ray
def test_a_machine_without_room_for_all_replicas_says_how_much_it_has(command):
    done = command(*RUN, "--ray", "local", "--replicas", 4096)
    assert done.returncode == 2
    assert "--replicas 4096: 4096 CPUs needed, this machine has" in done.stderr


@pytest.mark.ray
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--replica-cpus", 4096), "--replicas 1: 4096 CPUs needed, this machine has"),
        (("--replicas", 2, "--replica-gpus", 4096), "--replicas 2: 8192 GPUs needed, this machine has"),
    ],
)
def test_a_replica_larger_than_this_machine_is_refused(command, flags, said):
    done = command(*RUN, "--ray", "local", *flags)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
