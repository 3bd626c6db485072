"""What a model behind an API costs on this side: requests a second beside the bare SDK and Inspect AI, and memory.

python -m venv /tmp/inspect && /tmp/inspect/bin/pip install inspect_ai openai
python benchmarks/api.py --inspect /tmp/inspect/bin/python

All three ask the same local server, in a process of its own, the same questions, with 200 in flight. The server counts:
requests a second are those between the first question that reaches it and the last answer that leaves it, so loading
packages is left out, and stands in a column of its own (seconds of the whole process).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
IN_FLIGHT = 200
MODEL = "a-model"
LENGTH = 50
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "sk-benchmark", "LOCAL_API_KEY": "sk-benchmark"}
ANSWER = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdef", "object": "chat.completion", "created": 1750000000, "model": "a-model-1",
        "choices": [
            {
                "index": 0, "finish_reason": "stop", "logprobs": None,
                "message": {"role": "assistant", "content": "1, 0, 1, 1, 0", "refusal": None, "annotations": []},
            }
        ],
        "usage": {
            "prompt_tokens": 300, "completion_tokens": 9, "total_tokens": 309,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default", "system_fingerprint": "fp_0123456789",
    }
).encode()  # fmt: skip


class Server(asyncio.Protocol):
    """One connection, kept alive: reads a question, answers after a while. ``window`` is what all of them have seen."""

    latency = 0.0
    window: dict[str, float] = {}  # noqa: RUF012

    def connection_made(self, transport: Any) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            if head.startswith(b"get /window"):
                self.send(json.dumps(Server.window).encode())
                Server.window = {}
            elif head.startswith(b"get"):
                self.send(b'{"object": "list", "data": []}')
            else:
                Server.window.setdefault("first", time.monotonic())
                asyncio.get_running_loop().call_later(self.latency, self.answer)

    def answer(self) -> None:
        Server.window["requests"] = Server.window.get("requests", 0) + 1
        Server.window["last"] = time.monotonic()
        self.send(ANSWER)

    def send(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


async def serve(latency: float) -> None:
    Server.latency = latency
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def bare(url: str, questions: list[dict[str, Any]]) -> None:
    """The SDK as its README uses it, behind a semaphore."""
    import openai

    places = asyncio.Semaphore(IN_FLIGHT)
    async with openai.AsyncOpenAI(base_url=url, max_retries=0) as client:

        async def one(question: dict[str, Any]) -> None:
            async with places:
                await client.chat.completions.create(**question)

        await asyncio.gather(*(one(question) for question in questions))


def inspect(url: str, questions: list[dict[str, Any]], folder: str) -> None:
    """The same questions as an Inspect task, its log on disk; without the live view, which costs it much."""
    from inspect_ai import Task
    from inspect_ai import eval as evaluate
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ChatMessageSystem, ChatMessageUser
    from inspect_ai.scorer import match
    from inspect_ai.solver import generate

    kinds = {"system": ChatMessageSystem, "user": ChatMessageUser}
    samples = [
        Sample(input=[kinds[turn["role"]](content=turn["content"]) for turn in question["messages"]], target="1, 0")
        for question in questions
    ]
    (log,) = evaluate(
        Task(MemoryDataset(samples), solver=generate(), scorer=match()), model=f"openai-api/local/{MODEL}",
        model_base_url=url, max_connections=IN_FLIGHT, max_samples=IN_FLIGHT, temperature=0.0,
        max_tokens=questions[0]["max_tokens"], log_dir=folder, display="none", log_realtime=False,
    )  # fmt: skip
    assert log.status == "success", log.error


@contextlib.contextmanager
def server(latency: float) -> Iterator[str]:
    words = [sys.executable, __file__, "serve", str(latency)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait()


def window(url: str) -> dict[str, float]:
    """What the server has seen since it was asked last."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/window") as answer:
        found: dict[str, float] = json.load(answer)
    return found


def run_words(url: str, folder: str, trials: int) -> list[str]:
    return [
        "run", "--backend", "openai", "--model", MODEL, "--base-url", url, "--template", "game",
        "--trials", str(trials), "--length", str(LENGTH), "--elicitation", "list",
        "--max-concurrency", str(IN_FLIGHT), "--out", folder,
    ]  # fmt: skip


def questions(trials: int) -> list[dict[str, Any]]:
    """What the run sends."""
    from ffprompt.backends.api.openai_payloads import PayloadSettings, chat_payload
    from ffprompt.backends.base import Capabilities
    from ffprompt.config.run_config import make
    from ffprompt.evaluation.plan import Plan

    settings = {"backend": "openai", "model": MODEL, "template": "game", "length": LENGTH, "elicitation": "list"}
    plan = Plan(make(settings | {"trials": trials}), Capabilities(scores=False, completes=False, chats=True))
    batch = plan.batch(plan.conditions[0], 0, trials)
    return [chat_payload(PayloadSettings(MODEL), question.request) for question in plan.questions(batch)]


def one_round(words: list[str], url: str, requests: int) -> tuple[float, float, float]:
    """(requests a second at the server, seconds of the process, seconds of the processor that it took)."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    spent = time.monotonic() - began
    assert done.returncode == 0, done.stderr[-2000:]
    after, found = resource.getrusage(resource.RUSAGE_CHILDREN), window(url)
    assert found["requests"] == requests, found
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return requests / (found["last"] - found["first"]), spent, busy


def compare(rounds: int, requests: int, python: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder, server(0.1) as url:
        asked = Path(folder, "questions.json")
        asked.write_text(json.dumps(questions(requests)))
        main_line = "import sys; from ffprompt.cli.main import main; sys.exit(main(sys.argv[1:]))"
        contenders = {
            "bare AsyncOpenAI": [sys.executable, __file__, "bare", url, str(asked)],
            "run_eval.py": [sys.executable, "-c", main_line, *run_words(url, folder, requests)],
        }
        if python:
            contenders["Inspect AI"] = [python, __file__, "inspect", url, str(asked), folder]
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contenders}
        for number in range(rounds):
            names = list(contenders)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                found[name].append(one_round(contenders[name], url, requests))
    medians = {name: [statistics.median(values) for values in zip(*each, strict=True)] for name, each in found.items()}
    ours = medians["run_eval.py"][0]
    print(f"{requests:,} requests, {IN_FLIGHT} in flight, answered after 100 ms; median of {rounds} rounds in turn")
    print(
        f"{'':18}{'requests/s':>12}{'run_eval.py is':>16}{'whole process':>15}{'processor':>11}  all rounds, requests/s"
    )
    for name, (rate, spent, busy) in medians.items():
        rates = ", ".join(f"{each[0]:.0f}" for each in found[name])
        print(f"{name:18}{rate:12.0f}{ours / rate:15.2f}x{spent:13.1f} s{busy:9.1f} s  {rates}")


def memory() -> None:
    """Peak memory of whole runs against a server that answers at once."""
    measured = (
        "import resource, sys; from ffprompt.cli.main import main; code = main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024); sys.exit(code)"
    )
    for trials in (10_000, 100_000):
        with tempfile.TemporaryDirectory() as folder, server(0.0) as url:
            words = [sys.executable, "-c", measured, *run_words(url, folder, trials)]
            began = time.monotonic()
            done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False)
            spent = time.monotonic() - began
            assert done.returncode == 0, done.stderr[-2000:]
            peak = float(done.stdout.splitlines()[-1])
            print(f"{trials:,} trials: {peak:.0f} MiB at most, {trials / spent:.0f} trials/s of the whole process")


def versions(python: str | None) -> str:
    found = {name: importlib.metadata.version(name) for name in ("openai", "httpx2")}
    if python:
        words = [python, "-c", "import importlib.metadata as m; print(m.version('inspect_ai'), m.version('openai'))"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found["inspect_ai (its openai)"] = done.stdout.strip()
    return ", ".join(f"{name} {version}" for name, version in ({"python": platform.python_version()} | found).items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--inspect", metavar="PYTHON", help="an interpreter that has inspect_ai")
    parser.add_argument("--only", choices=["speed", "memory"])
    options = parser.parse_args()
    print(versions(options.inspect))
    if options.only != "memory":
        compare(options.rounds, options.requests, options.inspect)
    if options.only != "speed":
        memory()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", latency]:
            asyncio.run(serve(float(latency)))
        case ["bare", url, path]:
            asyncio.run(bare(url, json.loads(Path(path).read_text())))
        case ["inspect", url, path, folder]:
            inspect(url, json.loads(Path(path).read_text()), folder)
        case _:
            main()
