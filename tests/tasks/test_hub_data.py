"""Strings from a hub are read with the hub's own client, and what it cannot get is said in one line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ffprompt.errors import UsageError
from ffprompt.tasks.datasets import read

COMMIT = "0123456789012345678901234567890123456789"
ROWS = b'{"text": "w1i0r1"}\n{"text": "w0i1r0"}\n'


class _Hub(BaseHTTPRequestHandler):
    """One dataset, me/strings, with one file."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        entry = {"type": "file", "oid": "a" * 40, "size": len(ROWS), "path": "data/val_sparse-0.jsonl"}
        known = {
            "/api/datasets/me/strings/tree/main": json.dumps([entry]).encode(),
            "/datasets/me/strings/resolve/main/data/val_sparse-0.jsonl": ROWS,
        }
        content = known.get(self.path.split("?")[0])
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("ETag", '"abc"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body and content:
            self.wfile.write(content)


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_a_split_is_downloaded_once_and_then_read_without_a_network(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", hub)  # which the client reads once, when it is imported
    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub + template)
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE") as caught:
        read("me/strings:val_sparse")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert read("me/strings:val_sparse").texts() == ["w1i0r1", "w0i1r0"]
    with pytest.raises(UsageError, match=r"val_sparse-0\.jsonl"):
        read("me/strings:train")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert read("me/strings:val_sparse").texts() == ["w1i0r1", "w0i1r0"]
