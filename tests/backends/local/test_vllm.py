"""vLLM in this process, with real engines on the CPU. Run with ``pytest -m vllm`` where vLLM is installed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ffprompt.backends.base import AnswerSchema, Failure, Message, Reply, Request, Scores
from ffprompt.backends.local.candidate_scores import NOT_FINITE, Row, plan_rows
from ffprompt.backends.local.tokenization import Encoder
from ffprompt.backends.local.transformers import TransformersBackend
from ffprompt.backends.local.vllm import VllmBackend
from ffprompt.config.run_config import make as make_config
from ffprompt.errors import AuditError, ModelError, RunFailedError
from ffprompt.evaluation.plan import Plan
from ffprompt.scoring.json_reply import parse_json
from tests.support import tiny

pytestmark = pytest.mark.vllm

# An engine in this process starts in seconds where one in its own takes twenty.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")


def forced(can: Any, **settings: Any) -> list[Request]:
    defaults: dict[str, Any] = {
        "backend": "vllm", "model": "m", "template": "light-switch", "shots": 1, "elicitation": "forced",
        "length": 30, "p_ignore": 0.6, "trials": 4,
    }  # fmt: skip
    plan = Plan(make_config(defaults | settings), can)
    return [question.request for question in plan.questions(plan.batch(plan.conditions[0], 0, plan.trials))]


def score(backend: Any, asked: Sequence[Request]) -> list[Scores]:
    found = list(asyncio.run(backend.score(asked)))
    assert all(isinstance(one, Scores) for one in found), found
    return found


def complete(backend: Any, asked: Sequence[Request]) -> list[Reply]:
    found = list(asyncio.run(backend.complete(asked)))
    assert all(isinstance(one, Reply) for one in found), found
    return found


def counted(backend: VllmBackend) -> list[int]:
    """Collects how many prompts each call of the engine was given."""
    assert backend.engine is not None
    run, sizes = backend.engine._run, []

    def counting(prompts: Any, parameters: Any) -> Any:
        sizes.append(len(prompts))
        return run(prompts, parameters)

    backend.engine._run = counting  # type: ignore[method-assign]
    return sizes


CASES = {
    "llama": ("llama", {}, {}, {"single"}),
    "gpt2": ("gpt2", {}, {"template": "raw-spaced"}, {"single"}),
    "gpt-neox": ("gpt-neox", {}, {}, {"single"}),
    "tokens across borders": (
        "gpt2",
        {"merges": True},
        {"template": "raw-compact", "shots": 0},
        {"single", "merged", "suffix"},
    ),
    "answers of two tokens": ("llama", {}, {"template": "raw-spaced", "symbols": 16, "length": 12}, {"suffix"}),
}


@pytest.mark.parametrize(("architecture", "tokens", "settings", "kinds"), CASES.values(), ids=CASES)
def test_forced_equals_transformers_on_the_same_tokens(
    tmp_path: Path, architecture: str, tokens: dict[str, bool], settings: dict[str, Any], kinds: set[str]
) -> None:
    folder = str(tiny.make(tmp_path / "model", architecture, heads=2, **tokens))
    known = TransformersBackend(folder, device="cpu")  # first: vLLM changes GPT-NeoX's class in this process
    asked = forced(known.capabilities, **settings)
    tokenised = [known.encoder.tokenise(request) for request in asked]
    assert {one.kind for one in tokenised} <= kinds
    wanted = score(known, asked)
    backend = VllmBackend(folder, {"max_model_len": 1024})
    sizes = counted(backend)
    found = score(backend, asked)
    backend.close()
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.answers, other.answers, atol=2e-4)
        assert one.argmax.tolist() == other.argmax.tolist()
        assert one.argmax_symbol.tolist() == other.argmax_symbol.tolist()
        assert one.prompt_tokens == other.prompt_tokens
    rows, _ = plan_rows(tokenised)
    assert sizes[0] == len(rows)
    if kinds == {"single"}:
        # One request a string; a random model ranks some answers far down, and their reads are asked by name.
        assert len(rows) == len(asked) and len(sizes) == 2 and 0 < sizes[1] <= sum(len(row.positions) for row in rows)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, TransformersBackend, VllmBackend]]:
    folder = tmp_path_factory.mktemp("llama") / "model"
    tiny.make(folder, "llama", heads=2, bos=True)
    words = tiny.tokenizer(bos=True)
    words.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    words.save_pretrained(folder)
    backend = VllmBackend(str(folder), {"max_model_len": 512})
    yield str(folder), TransformersBackend(str(folder), device="cpu"), backend
    backend.close()


def test_forced_in_turns_equals_transformers(llama: tuple[str, TransformersBackend, VllmBackend]) -> None:
    _, known, backend = llama
    asked = forced(known.capabilities, form="chat", shots=0)
    assert asked[0].is_chat and backend.capabilities.chats
    for one, other in zip(score(backend, asked), score(known, asked), strict=True):
        np.testing.assert_allclose(one.answers, other.answers, atol=2e-4)


def test_greedy_replies_equal_transformers_and_come_back_in_order(
    llama: tuple[str, TransformersBackend, VllmBackend],
) -> None:
    _, known, backend = llama
    asked = [Request(f"k{n}", f"{word} turns the light", max_tokens=6 + n) for n, word in enumerate("DCBA")]
    asked.append(Request("chat", "", messages=(Message("user", "Bob eats"),), max_tokens=5))
    for one, other in zip(complete(backend, asked), complete(known, asked), strict=True):
        assert replace(one, ended=None) == replace(other, ended=None)
        assert (one.ended, other.ended) in (("length", "length"), ("stop", "eos"))


def test_a_reply_ends_at_its_stop_text(llama: tuple[str, TransformersBackend, VllmBackend]) -> None:
    backend = llama[2]
    whole = complete(backend, [Request("k", "Alice turns", max_tokens=20)])[0].text
    mark = next(letter for letter in whole[3:] if letter.isascii())
    cut = complete(backend, [Request("k", "Alice turns", max_tokens=20, stop=(mark,))])[0]
    assert (cut.text, cut.stop, cut.ended) == (whole[: whole.index(mark)], "stop", "stop")


def test_a_schema_is_kept_to(llama: tuple[str, TransformersBackend, VllmBackend]) -> None:
    backend = llama[2]
    assert backend.capabilities.schemas
    schemas = [AnswerSchema(("off", "on"), 3), AnswerSchema(("0", "1"), 1), AnswerSchema(('a "b"', "(c) [d]*"), 2)]
    asked = [
        Request(f"k{n}", "", (Message("user", "Bob eats"),), max_tokens=200, schema=schema, temperature=n % 2, seed=n)
        for n, schema in enumerate(schemas * 2)
    ]
    for request, reply in zip(asked, complete(backend, asked), strict=True):
        assert request.schema is not None
        assert parse_json(reply.text, request.schema).answers is not None, reply


def test_a_model_whose_numbers_are_none_gives_errors_in_every_elicitation(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny.make(tmp_path / "model", "llama", heads=2)
    tensors = load_file(folder / "model.safetensors")
    words = tiny.tokenizer()
    (bob,) = words(" Bob")["input_ids"]
    tensors["model.embed_tokens.weight"][bob] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    backend = VllmBackend(str(folder), {"max_model_len": 512})
    texts = ("Alice turns the light off.", "Alice. Bob eats", "Carol closes the door")
    found = asyncio.run(backend.complete([Request(f"k{n}", text, max_tokens=5) for n, text in enumerate(texts)]))
    reads = [Request(f"k{n}", f"{text} 0", reads=((len(text), len(text) + 2),), surfaces=(" 0", " 1"))
             for n, text in enumerate(texts)]  # fmt: skip
    scored = asyncio.run(backend.score(reads))
    backend.close()
    assert [isinstance(one, Reply) for one in found] == [True, False, True] and found[1] == Failure(NOT_FINITE)
    assert scored[1] == Failure(NOT_FINITE)  # its block of the cache may spoil another's score, and never silently


def test_marks_of_reasoning_stay_in_a_reply(llama: tuple[str, TransformersBackend, VllmBackend]) -> None:
    folder, _, backend = llama
    assert backend.engine is not None
    words = tiny.tokenizer(bos=True)
    ids = words("[THINK]0[/THINK]1")["input_ids"]
    words.add_special_tokens({"additional_special_tokens": [words.decode([ids[1]])]})  # an ordinary token of the model
    encoder = Encoder(words, folder, True, 511, 600)
    output = SimpleNamespace(token_ids=ids[1:], logprobs=None, finish_reason="stop", stop_reason="x", text="")
    made = SimpleNamespace(outputs=[output], prompt_token_ids=[0])
    from ffprompt.backends.local.vllm_model import _reply as reply

    found = reply(encoder, Request("k", "x"), made)
    assert isinstance(found, Reply) and found.text == "[THINK]0[/THINK]1"


def test_a_prompt_that_does_not_fit_is_refused_before_the_engine_sees_it(
    llama: tuple[str, TransformersBackend, VllmBackend],
) -> None:
    with pytest.raises(AuditError, match=r"600 tokens and 6 for the reply do not fit .* context of 511"):
        llama[2].check([Request("k", "a" * 599, max_tokens=6)])


def test_the_record_says_what_the_engine_made_of_its_arguments(
    llama: tuple[str, TransformersBackend, VllmBackend],
) -> None:
    identity = llama[2].identity.to_json()
    assert identity["engine_arguments"]["max_model_len"] == 512
    engine = identity["engine"]
    assert (engine["platform"], engine["dtype"], engine["runner"]) == ("cpu", "float32", "v1")
    assert engine["batch_invariant"] is False and engine["max_model_len"] == 512
    assert engine["vllm"].count(".") >= 2


def adapter(folder: Path, rank: int = 4) -> Path:
    """A LoRA adapter of the query projections of a tiny Llama, in the layout of the peft library."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for layer in range(2):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{name}.lora_A.weight"] = torch.randn(rank, 64, generator=generator)
        tensors[f"{name}.lora_B.weight"] = torch.randn(64, rank, generator=generator)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["q_proj"]}))
    return folder


def test_an_adapter_scores_as_the_merged_weights(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder, lora = str(tiny.make(tmp_path / "model", "llama", heads=2)), adapter(tmp_path / "lora")
    known = TransformersBackend(folder, device="cpu")
    asked = forced(known.capabilities)
    plain = score(known, asked)
    tensors = load_file(lora / "adapter_model.safetensors")
    for layer, block in enumerate(known.model.model.layers):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        block.self_attn.q_proj.weight.data += tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
    merged = score(known, asked)
    backend = VllmBackend(folder, {"max_model_len": 512}, lora=str(lora))
    found = score(backend, asked)
    backend.close()
    assert np.abs(plain[0].answers - merged[0].answers).max() > 0.05  # the adapter does something
    np.testing.assert_allclose(found[0].answers, merged[0].answers, atol=1e-3)
    assert [one.argmax.tolist() for one in found] == [one.argmax.tolist() for one in merged]
    assert backend.identity.lora["path"] == "lora" and len(backend.identity.lora["sha256"]) == 64


class FixedTokens:
    """Answers as an engine that scores fixed tokens: a number made of the place and the token."""

    def __init__(self, wrong: bool = False) -> None:
        self.wrong = wrong
        self.parameters: list[Any] = []

    def __call__(self, prompts: Sequence[list[int]], parameters: Sequence[Any]) -> list[Any]:
        self.parameters = list(parameters)
        return [self._one(ids, one) for ids, one in zip(prompts, parameters, strict=True)]

    def _one(self, ids: list[int], one: Any) -> Any:
        def value(place: int, token: int) -> float:
            return -(place + token / 100)

        scores, table = None, one.prompt_logprob_token_ids
        if table is not None:
            start = one.prompt_logprob_start + 1
            scores = np.array(
                [[value(start + n, t) if t >= 0 else -np.inf for t in line] for n, line in enumerate(table)]
            )
            assert len(table) == len(ids) - start
            scores = scores - 3 if self.wrong else scores
        shown = [None, *({t: SimpleNamespace(logprob=value(p, t)) for t in range(200)} for p in range(1, len(ids)))]
        named = {t: SimpleNamespace(logprob=value(len(ids), t)) for t in one.logprob_token_ids or ()}
        made = SimpleNamespace(logprobs=[named], token_ids=[0])
        return SimpleNamespace(prompt_token_id_logprobs=scores, prompt_logprobs=shown, outputs=[made])


@pytest.mark.parametrize("wrong", [False, True])
def test_fixed_tokens_are_scored_where_the_engine_can_and_agrees_with_itself(wrong: bool) -> None:
    from ffprompt.backends.local.vllm_model import Engine, SamplingParams

    engine = object.__new__(Engine)
    engine.known = set(SamplingParams.__struct_fields__)
    engine.config = SimpleNamespace(use_v2_model_runner=True, model_config=SimpleNamespace(get_vocab_size=lambda: 200))
    stand_in = FixedTokens(wrong)
    engine._run = stand_in  # type: ignore[method-assign, assignment]
    engine.scoring = "fixed" if engine._scores_fixed_tokens() else "prompt"
    assert (engine.scoring == "fixed") is not wrong
    rows = [Row([5, 6, 7, 8, 9], [3, 5], [[11, 12], [13, 14]])]
    ((answers, first),) = engine.score(rows)
    np.testing.assert_allclose(answers, [[-3.11, -3.12], [-5.13, -5.14]])
    assert first == [0, 0]
    assert (stand_in.parameters[0].prompt_logprob_token_ids is None) is wrong


def test_an_argument_that_the_engine_does_not_have_names_the_nearest(tmp_path: Path) -> None:
    folder = str(tiny.make(tmp_path / "model", "llama", heads=2))
    with pytest.raises(ModelError, match=r"--engine-arg kv_cache_dtyp: .* did you mean 'kv_cache_dtype'\?$"):
        VllmBackend(folder, {"kv_cache_dtyp": "fp8"}, weights=False)
    with pytest.raises(ModelError, match=r"max_model_len \(9999\) is greater than"):
        VllmBackend(folder, {"max_model_len": 9999})


def test_a_model_that_vllm_cannot_run_is_one_line(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "model", "llama", heads=2)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["NobodysForCausalLM"]}))
    with pytest.raises(ModelError, match=r"^model .*NobodysForCausalLM") as error:
        VllmBackend(str(folder), {"max_model_len": 512})
    assert "\n" not in str(error.value)


def test_the_tokenizer_audit_runs_without_weights(tmp_path: Path) -> None:
    folder = str(tiny.make(tmp_path / "model", "gpt2", heads=2))
    backend = VllmBackend(folder, {}, weights=False)
    assert isinstance(backend.encoder, Encoder) and backend.engine is None
    found = backend.check(forced(backend.capabilities))
    assert found["answer_tokens"] == {"single": 4} and found["context"] == 2047


def test_copies_of_a_model_answer_as_one(tmp_path: Path) -> None:
    from ffprompt.backends.local.vllm_replicas import ReplicatedVllm

    folder = str(tiny.make(tmp_path / "model", "llama", heads=2))
    known = TransformersBackend(folder, device="cpu")
    asked = forced(known.capabilities, trials=5)
    settings = {"model": folder, "settings": {"max_model_len": 512}}
    backend = ReplicatedVllm(settings, copies=2, gpus=1)
    try:
        assert backend.check(asked)["audited"] == 5
        assert backend.identity.data_parallel_size == 2 and backend.identity.engine["dtype"] == "float32"
        for one, other in zip(score(backend, asked), score(known, asked), strict=True):
            np.testing.assert_allclose(one.answers, other.answers, atol=2e-4)
        few = [Request(f"k{n}", f"{word} turns the light", max_tokens=6) for n, word in enumerate("DCB")]
        texts = [one.text.rstrip("�") for one in complete(backend, few)]
        assert texts == [one.text.rstrip("�") for one in complete(known, few)]
        os.kill(backend.processes[1].pid, signal.SIGKILL)
        with pytest.raises(RunFailedError, match="copy 1 has died"):
            score(backend, asked)
    finally:
        backend.close()
    assert not any(process.is_alive() for process in backend.processes)


def test_a_copy_that_cannot_be_opened_stops_all(tmp_path: Path) -> None:
    from ffprompt.backends.local.vllm_replicas import ReplicatedVllm

    folder = str(tiny.make(tmp_path / "model", "llama", heads=2))
    with pytest.raises(ModelError, match=r"max_model_len \(9999\)"):
        ReplicatedVllm({"model": folder, "settings": {"max_model_len": 9999}}, copies=2, gpus=1)
