"""Opens a Ray cluster: one that is there, or one that is started on this machine. Everything on Ray begins here."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

from ffprompt._util.extras import needs
from ffprompt.errors import ModelError

LOCAL = "local"
# What a client of gRPC, which Ray speaks, begins with: the preface of HTTP/2 and a frame of settings without any.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_SETTINGS = 4  # the kind of frame that a server begins with, in the fourth byte
_PATIENCE = 10.0  # seconds in which a cluster has to accept a connection; Ray itself waits for minutes


@contextlib.contextmanager
def cluster(address: str, purpose: str) -> Iterator[Any]:
    """Connect to a cluster, hand out the module ``ray``, and disconnect at the end.

    Args:
        address: ``local`` starts a cluster on this machine, which ends with the block. ``auto`` is the cluster of this
            machine. Anything else is HOST:PORT or ray://HOST:PORT.
        purpose: What needs Ray, for the message where it is not installed.

    Raises:
        ModelError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise needs(purpose, "ray", error) from error
    _reach(address)
    here: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **here)
    except Exception as error:  # Ray raises bare exceptions too, where a node does not come up in time
        raise ModelError(f"--ray {address}: {_first_sentence(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def not_a_share(flag: str, gpus: float) -> str:
    """Return why a task cannot have so many GPUs. Empty where it can: a part of one, or a whole number.

    >>> not_a_share("--replica-gpus", 0.5), not_a_share("--replica-gpus", 2)
    ('', '')
    >>> not_a_share("--replica-gpus", 1.5)
    '--replica-gpus 1.5: expected a part of one GPU, or a whole number of them'
    """
    if 0 <= gpus <= 1 or (gpus > 1 and float(gpus).is_integer()):
        return ""
    return f"{flag} {gpus:g}: expected a part of one GPU, or a whole number of them"


def _reach(address: str) -> None:
    """Raise ModelError for an address where nobody listens, or something that is not Ray."""
    if address in (LOCAL, "auto"):
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or "/" in host or not port.isdecimal():
        raise ModelError(f"--ray {address}: expected local, auto, HOST:PORT or ray://HOST:PORT")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _PATIENCE) as connection:
            speaks = _speaks_grpc(connection)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ModelError(f"--ray {address}: no cluster is there ({why}); start one with: ray start --head") from error
    if not speaks:
        raise ModelError(f"--ray {address}: what listens there is no Ray cluster; start one with: ray start --head")


def _speaks_grpc(connection: socket.socket) -> bool:
    """Whether the other end speaks what Ray does. Ray itself would try for a minute, and write about it."""
    if os.environ.get("RAY_USE_TLS", "0") != "0":
        return True  # which only Ray can tell
    try:
        connection.sendall(_PREFACE)
        answer = connection.recv(9)
    except OSError:
        return False
    return len(answer) > 3 and answer[3] == _SETTINGS


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "running Ray instance" in text:
        return "no cluster runs on this machine; start one with: ray start --head"
    return text.partition(". ")[0][:300] or type(error).__name__
