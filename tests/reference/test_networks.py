"""The reference models: the network, its training, its file, and the backend that asks it."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ffprompt.backends.base import Message, Reply, Request, Scores
from ffprompt.backends.local.reference import ReferenceBackend
from ffprompt.errors import ConfigError, ModelError, RunFailedError
from ffprompt.reference.checkpoints import checkpoint as files
from ffprompt.reference.checkpoints import summary
from ffprompt.reference.networks.base import encode, parameters, predict
from ffprompt.reference.networks.lstm import LSTM, LSTMConfig
from ffprompt.reference.networks.threads import Workers
from ffprompt.reference.tokens import read_positions, tokenise
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.evaluate import Evaluation, evaluate
from ffprompt.reference.training.loop import Progress, Trainer, TrainResult, targets, train
from ffprompt.tasks.flipflop import Spec, parse, sample
from ffprompt.tasks.strings import Strings
from tests.conftest import ROOT

SMALL = LSTMConfig(width=8, hidden=8)
TRAINING_SETS = [0.8, 0.98, 0.1]
# Those of other tasks are named after them.
FLIP_FLOPS = [name for name in sorted(files.bundled()) if not name.endswith(("-parity", "-dihedral-8", "-s5"))]


def train_small(
    seed: int = 0,
    config: LSTMConfig = SMALL,
    data: Spec | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> TrainResult:
    mixture = Mixture.of(data or Spec.ffl(0.8, 16, config.symbols))
    recipe = {"model_seed": seed, "data_seed": seed, "steps": 4, "batch": 2, **settings}
    return train(config, Training(mixture, **recipe), progress)


def requests_for(strings: Strings, separator: str = "") -> list[Request]:
    stride = 1 + len(separator)
    surfaces = tuple(map(str, range(strings.symbols)))
    made = []
    for row, text in enumerate(strings.texts(separator)):
        starts = (2 * np.flatnonzero(strings.is_read[row]) + 1) * stride
        reads = tuple((int(start), int(start) + 1) for start in starts)
        made.append(Request(f"t{row}", text, reads=reads, surfaces=surfaces))
    return made


def score(backend: ReferenceBackend, requests: Sequence[Request]) -> list[Scores]:
    answers = asyncio.run(backend.score(requests))
    assert all(isinstance(answer, Scores) for answer in answers)
    return [answer for answer in answers if isinstance(answer, Scores)]


def complete(backend: ReferenceBackend, requests: Sequence[Request]) -> list[Reply]:
    return [reply for reply in asyncio.run(backend.complete(requests)) if isinstance(reply, Reply)]


@pytest.fixture(scope="module")
def lstm() -> ReferenceBackend:
    return ReferenceBackend("lstm")


@pytest.fixture(scope="module")
def wide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of twelve symbols, whose digits have different lengths."""
    result = train_small(config=LSTMConfig(12, 8, 8), data=Spec.ffl(0.8, 8, 12), steps=1, batch=1)
    path = tmp_path_factory.mktemp("wide") / "wide.safetensors"
    files.save(path, result.model, result.training, result.loss)
    return path


@pytest.fixture(scope="module")
def wide(wide_path: Path) -> ReferenceBackend:
    return ReferenceBackend(str(wide_path))


# --- the network ---


def test_the_lstm_has_the_size_of_the_papers() -> None:
    assert parameters(LSTM(LSTMConfig())) == 133_381
    # 3 + M rows in the embedding and in the head, one bias each
    assert parameters(LSTM(LSTMConfig(symbols=10))) == 133_381 + 8 * (128 + 128 + 1)


def test_encode_worked_example() -> None:
    ids = encode(parse("w1i0r1"))
    assert ids.dtype == torch.int64
    assert ids.tolist() == [[0, 4, 2, 3, 1, 4]]
    assert encode(parse("w11r11", symbols=12)).tolist() == [[0, 14, 1, 14]]


def test_predictions_are_the_rows_of_the_full_forward_pass() -> None:
    model = train_small().model
    tokens = encode(sample(Spec.ffl(0.5, 20), 3, 0, 5))
    full = model(tokens).log_softmax(-1)
    assert full.shape == (5, 20, 5)
    rows, positions = np.array([0, 4, 2, 2]), np.array([1, 19, 20, 7])
    found = predict(model, tokens.numpy(), rows, positions)
    np.testing.assert_allclose(found, full[rows, positions - 1].detach().numpy(), atol=1e-6)
    assert predict(model, tokens.numpy(), rows[:0], positions[:0]).shape == (0, 5)


@pytest.mark.parametrize("field", [{"symbols": 1}, {"symbols": 257}, {"width": 0}, {"layers": 65}, {"hidden": 8.0}])
def test_a_config_out_of_range_is_refused(field: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(field))):
        LSTMConfig(**field)


# --- training ---


def test_training_twice_gives_the_same_weights_and_another_seed_does_not() -> None:
    def weights(**settings: int) -> dict[str, bytes]:
        return {name: w.numpy().tobytes() for name, w in train_small(**settings).model.state_dict().items()}

    first = weights(seed=1)
    assert weights(seed=1) == first
    assert weights(seed=9, model_seed=1, data_seed=1) == first
    for other in (weights(seed=2), weights(seed=1, data_seed=2), weights(seed=1, model_seed=2)):
        assert all(other[name] != first[name] for name in first)


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def threads_here_and_in_a_new_thread() -> tuple[int, int]:
    with ThreadPoolExecutor(1) as pool:
        return torch.get_num_threads(), pool.submit(torch.get_num_threads).result()


def test_training_leaves_global_state_alone(three_threads: None) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    train_small()
    assert torch.equal(torch.rand(3), wanted)
    assert threads_here_and_in_a_new_thread() == (3, 3)


def test_training_learns() -> None:
    # Two symbols on short strings: from chance, log 5, to nearly nothing in a few seconds.
    seen: list[tuple[int, float]] = []
    result = train_small(
        config=LSTMConfig(width=16, hidden=32),
        steps=150,
        batch=16,
        data=Spec.ffl(0.1, 16),
        learning_rate=1e-2,
        progress=lambda step, loss: seen.append((step, loss)),
    )
    assert [step for step, _ in seen] == list(range(1, 151))
    assert tuple(loss for _, loss in seen) == result.losses
    assert abs(result.losses[0] - math.log(5)) < 0.3
    assert result.loss < 0.05
    assert evaluate(result.model, Spec.ffl(0.1, 16), 7, 50).errors == 0


def test_the_learning_rate_warms_up_and_decays_to_zero_at_step_10001() -> None:
    training = train_small().training
    assert training.rate(1) == pytest.approx(3e-4 / 50)
    assert training.rate(50) == pytest.approx(3e-4)
    assert training.rate(500) == pytest.approx(3e-4 * 9501 / 9951)
    assert training.rate(10_001) == 0
    assert training.rate(10_000) > 0


def test_the_clean_loss_looks_at_reads_only() -> None:
    model = train_small().model
    strings = parse("w1i0r1i1r1")
    logp = model(encode(strings)).log_softmax(-1)
    # the symbols after the two r are tokens 5 and 9; each is predicted from the token before
    wanted = -(logp[0, 4, 4] + logp[0, 8, 4]) / 2
    tokens, rows, positions, answers = targets(strings)
    found = torch.nn.functional.cross_entropy(model.logits_at(tokens, rows, positions), answers)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-6)


def test_the_noisy_loss_looks_at_every_token_but_the_first() -> None:
    model = train_small().model
    strings = parse("w1i0r1")
    logp = model(encode(strings)).log_softmax(-1)
    wanted = -sum(logp[0, t, token] for t, token in enumerate([4, 2, 3, 1, 4])) / 5
    tokens, rows, positions, answers = targets(strings, "noisy")
    found = torch.nn.functional.cross_entropy(model.logits_at(tokens, rows, positions), answers)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-6)


def test_a_loss_that_is_no_number_stops_training() -> None:
    # A rate so large that the first step leaves no finite logit.
    trainer = Trainer(SMALL, Training(Mixture.of(Spec.ffl(0.8, 16)), 0, 0, steps=100, learning_rate=1e3, warmup=0))
    with torch.no_grad():
        trainer.model.head.bias.fill_(torch.inf)
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    with pytest.raises(RunFailedError, match=r"training step 1: the loss is (nan|inf)"):
        trainer.advance(sample(Spec.ffl(0.8, 16), 0, 0, 2))
    assert all(torch.equal(before[name], weight) for name, weight in trainer.model.state_dict().items())


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"steps": 10_001}, {"batch": 0}, {"seed": -1}, {"data": Spec.ffl(0.8, 16, 3)}]
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        train_small(**settings)


def test_evaluate_counts_every_read_and_every_error() -> None:
    model = LSTM(SMALL)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0]))  # always answers 1
    strings = sample(Spec.ffl(0.5, 24), 11, 0, 70)
    found = evaluate(model, Spec.ffl(0.5, 24), 11, 70)
    assert found.reads == strings.is_read.sum()
    assert found.errors == (strings.values[strings.is_read] == 0).sum() > 0


def test_workers_keep_order_raise_and_leave_the_number_of_threads(three_threads: None) -> None:
    workers = Workers()
    assert threads_here_and_in_a_new_thread() == (3, 3)
    assert workers.map(lambda n: (n, torch.get_num_threads()), range(7)) == [(n, 1) for n in range(7)]
    with pytest.raises(ZeroDivisionError):
        workers.map(lambda n: 1 // n, [1, 0])
    workers.close()


# --- files ---


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    result = train_small(seed=3)
    evaluation = evaluate(result.model, Spec.ffl(0.8, 16), 1, 4)
    path = tmp_path / "small.safetensors"
    files.save(path, result.model, result.training, result.loss, [evaluation])
    assert [p.name for p in tmp_path.iterdir()] == ["small.safetensors"]
    back = files.load(path)
    assert (back.training, back.loss, back.evaluation) == (result.training, result.loss, (evaluation,))
    assert back.model.config == SMALL
    for name, weight in result.model.state_dict().items():
        assert torch.equal(back.model.state_dict()[name], weight)
    again = tmp_path / "again.safetensors"
    files.save(again, back.model, back.training, back.loss, back.evaluation)
    assert again.read_bytes() == path.read_bytes()


def test_a_packed_checkpoint_is_a_quarter_of_the_size_and_gives_what_was_rounded(tmp_path: Path) -> None:
    result = train_small(config=LSTMConfig(width=64, hidden=64))
    exact, path = tmp_path / "exact.safetensors", tmp_path / "packed.safetensors"
    files.save(exact, result.model, result.training, result.loss)
    before = {name: weight.clone() for name, weight in result.model.state_dict().items()}
    model = files.rounded(result.model)
    files.save(path, model, result.training, result.loss, packed=True)
    assert path.stat().st_size < exact.stat().st_size * 0.4
    back = files.load(path).model.state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(back[name], weight)
        step = before[name].abs().amax(-1, keepdim=True) / 127
        assert ((weight - before[name]).abs() <= step / 2 * 1.001).all()
    files.save(exact, files.rounded(files.load(path).model), result.training, result.loss, packed=True)
    assert exact.read_bytes() == path.read_bytes()


def spoil(path: Path, how: str) -> None:
    result = train_small()
    files.save(path, result.model, result.training, result.loss)
    weights = load_file(path)
    with files.safe_open(path, framework="pt") as file:
        record = json.loads(file.metadata()["ffprompt"])
    if how == "pickle":
        torch.save(result.model.state_dict(), path)
    elif how == "bare pickle":
        path.write_bytes(pickle.dumps({"head.bias": [0.0]}))
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("w1r1\n" * 10)
    elif how == "no record":
        save_file(weights, path)
    elif how == "not json":
        save_file(weights, path, {"ffprompt": "{"})
    else:
        if how == "newer":
            record["format"] = 3
        elif how == "other network":
            record["architecture"] = "mamba"
        elif how == "shape":
            weights["head.weight"] = weights["head.weight"][:, :4].contiguous()
        elif how == "config":
            record["config"]["hidden"] = 16
        elif how == "huge config":
            record["config"]["hidden"] = 10**9
        elif how == "missing":
            del weights["head.bias"]
        elif how == "extra":
            weights["surplus"] = torch.zeros(1)
        elif how == "nan":
            weights["head.bias"][0] = torch.nan
        elif how == "scale of nothing":
            weights["head.bias:scale"] = torch.zeros(5)
        elif how == "no scale":
            weights["head.weight"] = weights["head.weight"].to(torch.int8)
        elif how == "half":
            weights["head.bias"] = weights["head.bias"].half()
        elif how == "no training":
            del record["training"]
        elif how == "odd training":
            record["training"]["surplus"] = 1
        save_file(weights, path, {"ffprompt": json.dumps(record)})


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("pickle", "a pickle, which could run code"),
        ("bare pickle", "a pickle, which could run code"),
        ("truncated", "not a whole safetensors file"),
        ("empty", "not a whole safetensors file"),
        ("text", "not a whole safetensors file"),
        ("no record", "not a reference model of ffprompt"),
        ("not json", "record is damaged"),
        ("newer", "format 3 is not known; this ffprompt reads format 2"),
        ("other network", "architecture 'mamba' is not known"),
        ("shape", r"weight 'head.weight' has shape \(5, 4\) where its config asks for \(5, 8\)"),
        ("config", "has shape"),
        ("huge config", "hidden 1000000000"),
        ("missing", "weight 'head.bias' is missing"),
        ("extra", "weight 'surplus' is not one of this model"),
        ("nan", "weight 'head.bias' is not all finite float32"),
        ("half", "weight 'head.bias' is not all finite float32"),
        ("scale of nothing", "weight 'head.bias:scale' is not one of this model"),
        ("no scale", "weight 'head.weight' is not all finite float32"),
        ("no training", "record is damaged"),
        ("odd training", "record is damaged"),
    ],
)
def test_a_file_that_is_not_right_is_refused_in_one_line(tmp_path: Path, how: str, says: str) -> None:
    path = tmp_path / "odd.safetensors"
    spoil(path, how)
    with pytest.raises(ModelError, match=says) as caught:
        ReferenceBackend(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'lstn'.*did you mean 'lstm'"):
        files.resolve("lstn")
    with pytest.raises(ModelError, match="neither a bundled model nor a file"):
        files.resolve(str(tmp_path))
    with pytest.raises(ModelError, match="cannot be read"):
        files.load(tmp_path)
    result = train_small()
    with pytest.raises(ModelError, match="cannot be written"):
        files.save(tmp_path / "nowhere" / "x.safetensors", result.model, result.training, result.loss)


def test_a_save_that_fails_leaves_the_file_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, path = train_small(), tmp_path / "x.safetensors"
    path.write_bytes(b"before")

    def fail(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(ModelError, match="No space left"):
        files.save(path, result.model, result.training, result.loss)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("x.safetensors", b"before")]


# --- the bundled model ---


@pytest.mark.parametrize("p_ignore", TRAINING_SETS)
def test_the_bundled_lstm_makes_no_error(lstm: ReferenceBackend, p_ignore: float) -> None:
    strings = sample(Spec.ffl(p_ignore), 2000, 0, 200)
    for row, one in enumerate(score(lstm, requests_for(strings))):
        answers = strings.values[row][strings.is_read[row]]
        assert (one.argmax_symbol == answers).all()
        assert (one.argmax == answers + 3).all()
        assert (one.answers.argmax(1) == answers).all()
        assert one.answers[np.arange(len(answers)), answers].min() > math.log(0.5)


def test_the_bundled_lstm_says_what_it_is(lstm: ReferenceBackend) -> None:
    identity = lstm.identity.to_json()
    assert identity["model"] == "lstm"
    assert identity["path"] == "lstm.safetensors"
    assert identity["parameters"] == 133_381
    assert identity["trained_on"] == str(Mixture.of(Spec.ffl(0.8)))
    assert identity["steps"] == 500
    assert identity["note"] == "trained on this task"
    assert len(identity["sha256"]) == 64
    json.dumps(identity)
    recorded = files.load(files.resolve("lstm"))
    assert recorded.training is not None
    assert (recorded.training.model_seed, recorded.training.data_seed) == (0, 0)
    assert [(one.data, one.strings, one.reads, one.errors) for one in recorded.evaluation] == [
        (Spec.ffl(0.8), 1_000, 26_208, 0),
        (Spec.ffl(0.98), 100_000, 354_086, 0),
        (Spec.ffl(0.1), 3_000, 345_995, 0),
    ]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if "4x" in name else ()) for name in FLIP_FLOPS]
)
def test_a_bundled_model_errs_as_often_as_its_file_says(name: str) -> None:
    kept = files.load(files.resolve(name))
    assert [one.data for one in kept.evaluation] == [Spec.ffl(p) for p in TRAINING_SETS]
    for recorded in kept.evaluation:
        found = evaluate(kept.model, recorded.data, recorded.seed, 32)
        if not recorded.errors:
            assert found.errors == 0
        elif recorded.errors > 1000:
            # More than ten errors are expected in 32 strings, which tell a rate within a factor of two.
            assert recorded.rate * found.reads > 10
            assert recorded.rate / 2 < found.rate < recorded.rate * 2


@pytest.mark.parametrize("name", ["transformer-4x128", "transformer-4x256"])
def test_a_bundled_transformer_is_perfect_in_distribution_and_its_twin_better_on_the_tails(name: str) -> None:
    kept, twin = files.load(files.resolve(name)), files.load(files.resolve(f"{name}-mixture"))
    assert kept.training is not None and twin.training is not None
    assert twin.model.config == kept.model.config
    assert str(kept.training.data) == "FFL(512, 0.8)"
    assert str(twin.training.data) == "FFL(512, 0.8)+FFL(512, 0.98)+FFL(512, 0.1)"
    inside, sparse, dense = kept.evaluation
    assert inside.errors == 0 and sparse.errors > 0 and dense.errors > 0
    assert twin.evaluation[0].high < 0.005
    for mine, other in zip((sparse, dense), twin.evaluation[1:], strict=True):
        assert other.high < mine.low / 10, "an order of magnitude, both intervals considered"


# --- the backend ---


def test_scores_equal_one_forward_pass_per_prefix(lstm: ReferenceBackend) -> None:
    strings = sample(Spec.ffl(0.5, 64), 5, 0, 40)
    request = requests_for(strings)[17]
    [alone] = score(lstm, [request])
    together = score(lstm, requests_for(strings))[17]
    model, tokens = files.load(files.resolve("lstm")).model, encode(strings[17:18])
    naive = np.array([model(tokens[:, :start])[0, -1].log_softmax(-1).numpy() for start, _ in request.reads])
    np.testing.assert_allclose(alone.answers, naive[:, 3:], atol=1e-5)
    np.testing.assert_allclose(together.answers, naive[:, 3:], atol=1e-5)
    assert (alone.argmax == naive.argmax(1)).all()
    assert alone.prompt_tokens == 64


def test_log_probabilities_normalise(lstm: ReferenceBackend) -> None:
    strings = sample(Spec.ffl(0.5, 64), 5, 0, 4)
    rows, reads = np.nonzero(strings.is_read)
    logp = predict(files.load(files.resolve("lstm")).model, encode(strings).numpy(), rows, 2 * reads + 1)
    np.testing.assert_allclose(np.exp(logp).sum(1), 1, atol=1e-12)
    # the answers are two of the five tokens: less than all, and here nearly all
    mass = np.exp(np.concatenate([one.answers for one in score(lstm, requests_for(strings))])).sum(1)
    assert (mass < 1).all()
    assert (mass > 0.9).all()


def test_a_later_symbol_changes_no_earlier_score(lstm: ReferenceBackend) -> None:
    [request] = requests_for(parse("w1i0r1i1r1w0i0r0"))
    [plain] = score(lstm, [request])
    [changed] = score(lstm, [replace(request, text="w1i0r1i1r1w1i0r0")])
    assert (plain.answers[:2] == changed.answers[:2]).all()
    assert (abs(plain.answers[2] - changed.answers[2]) > 1).all()


def test_spaced_and_compact_text_agree(lstm: ReferenceBackend) -> None:
    strings = sample(Spec.ffl(0.5, 32), 6, 0, 9)
    compact, spaced = requests_for(strings), requests_for(strings, " ")
    # a span may begin at the space before the symbol, and the surface be written with it
    leading = [
        replace(r, reads=tuple((start - 1, end) for start, end in r.reads), surfaces=(" 0", " 1")) for r in spaced
    ]
    uneven = [replace(r, text=r.text.replace("r ", "r"), reads=()) for r in spaced[:1]]
    for one, two, three in zip(score(lstm, compact), score(lstm, spaced), score(lstm, leading), strict=True):
        assert (one.answers == two.answers).all()
        assert (one.answers == three.answers).all()
    assert score(lstm, uneven)[0].answers.shape == (0, 2)


def test_texts_of_different_lengths_keep_their_order(lstm: ReferenceBackend) -> None:
    mixed = [requests_for(sample(Spec.ffl(0.5, length), 6, 0, 1))[0] for length in (32, 8, 32, 20, 8)]
    for request, one in zip(mixed, score(lstm, mixed), strict=True):
        [alone] = score(lstm, [request])
        # Batches of other shapes are summed in another order, which float32 shows in its last bits.
        np.testing.assert_allclose(one.answers, alone.answers, atol=1e-6, rtol=1e-6)
        assert one.prompt_tokens == len(request.text)
    assert lstm.check(mixed) == {"tokens": "one per symbol", "longest": 32, "notes": []}
    assert lstm.check([]) == {"tokens": "one per symbol", "longest": 0, "notes": []}
    assert score(lstm, []) == []


def test_the_fast_and_the_careful_reading_of_text_agree() -> None:
    for symbols in (2, 10):
        strings = sample(Spec.ffl(0.5, 32, symbols), 6, 0, 9)
        for separator in ("", " "):
            for cut in (0, 1):
                texts = [text[: len(text) - cut] for text in strings.texts(separator)]
                fast = tokenise(texts, symbols)
                careful = tokenise([f" {text}\n" for text in texts], symbols)  # a space in front: not the plain form
                for one, two in zip(fast, careful, strict=True):
                    assert one.ids.tolist() == two.ids.tolist()
                    assert (one.starts + 1).tolist() == two.starts.tolist()
                    assert (one.ends + 1).tolist() == two.ends.tolist()
                assert [one.ids.tolist() for one in fast] == encode(strings)[:, : 32 - cut].tolist()


def test_symbols_of_two_digits(wide: ReferenceBackend) -> None:
    text = "w11i3r11 w0 r0"
    [one] = tokenise([text], 12)
    assert one.ids.tolist() == [0, 14, 2, 6, 1, 14, 0, 3, 1, 3]
    assert read_positions(one, [(6, 8), (13, 14)], text).tolist() == [5, 9]
    request = Request("k", text, reads=((6, 8), (13, 14)), surfaces=tuple(map(str, range(12))))
    [found] = score(wide, [request])
    assert found.answers.shape == (2, 12)
    with pytest.raises(ModelError, match="are not one data symbol"):
        wide.check([replace(request, reads=((6, 7),))])


@pytest.mark.parametrize(
    "text",
    [
        "w1r1\nw0r0",
        "Continue the string: w1i0r1",
        "w1r1\n\nw0i1r0",
        "w1r1. w0r0",
        "1r1",
        "ww1r1",
        "w11r1 1",
        "w1 0 r1",
        "",
        "  \n",
        "w①r①",
    ],
)
def test_text_that_is_not_one_string_is_refused(lstm: ReferenceBackend, text: str) -> None:
    with pytest.raises(ModelError, match=r"raw symbols zero-shot|data symbol '11'") as caught:
        lstm.check([Request("k", "w1r1"), Request("k", text)])
    assert "\n" not in str(caught.value)


def test_requests_a_reference_model_cannot_answer(lstm: ReferenceBackend) -> None:
    good = Request("k", "w1r1", reads=((3, 4),), surfaces=("0", "1"))
    lstm.check([good])
    with pytest.raises(ModelError, match="does not chat"):
        lstm.check([replace(good, messages=(Message("user", "hello"),))])
    with pytest.raises(ModelError, match=r"answers A, B: this reference model knows 0 … 1: .*--template raw-compact"):
        lstm.check([replace(good, surfaces=("A", "B"))])
    with pytest.raises(ModelError, match=r"answers 0, 1, 2: this reference model knows 0 … 1$"):
        lstm.check([replace(good, surfaces=("0", "1", "2"))])
    with pytest.raises(ModelError, match="data symbol '2'"):
        lstm.check([replace(good, text="w2r2")])
    for span in ((2, 3), (2, 4), (3, 5), (4, 4), (9, 10), (-1, 4), (0, 4)):
        with pytest.raises(ModelError, match="are not one data symbol"):
            lstm.check([replace(good, reads=(span,))])
    with pytest.raises(ModelError, match=r"ends with 'w1r1'"):
        complete(lstm, [good])
    with pytest.raises(ModelError, match=r"ends with 'w1i'"):
        complete(lstm, [replace(good, text="w1i", reads=())])


def test_completion_is_the_best_scored_symbol(lstm: ReferenceBackend) -> None:
    strings = sample(Spec.ffl(0.8, 40), 8, 0, 20)
    for separator, ending in (("", ""), (" ", ""), (" ", " ")):
        requests = requests_for(strings, separator)
        ranked = [int(one.argmax_symbol[-1]) for one in score(lstm, requests)]
        cut = [replace(r, text=r.text[:-1].rstrip() + ending, reads=()) for r in requests]
        replies = complete(lstm, cut)
        assert [reply.text for reply in replies] == [str(symbol) for symbol in ranked]
        assert all(r.stop == "stop" and r.prompt_tokens == 39 and r.reply_tokens == 1 for r in replies)


def test_sampled_completions_belong_to_their_seed(wide: ReferenceBackend, wide_path: Path) -> None:
    requests = [Request("k", "w1i0r", temperature=1.0, seed=seed) for seed in range(400)]
    together = [reply.text for reply in complete(wide, requests)]
    assert together[:20] == [complete(wide, [request])[0].text for request in requests[:20]]
    # drawn from the model's own distribution over all 15 tokens, instructions included
    names = [*"wri", *map(str, range(12))]
    logp = predict(files.load(wide_path).model, np.array([[0, 4, 2, 3, 1]]), np.array([0]), np.array([5]))[0]
    counts = np.array([together.count(name) for name in names])
    assert counts.sum() == 400
    assert abs(counts - 400 * np.exp(logp)).max() < 5 * math.sqrt(400 * np.exp(logp).max())
    cold = complete(wide, [replace(request, temperature=1e-6) for request in requests[:20]])
    assert {reply.text for reply in cold} == {names[int(logp.argmax())]}


def test_a_batch_size_changes_nothing_that_matters(lstm: ReferenceBackend) -> None:
    requests = requests_for(sample(Spec.ffl(0.5, 64), 4, 0, 7))
    small = ReferenceBackend("lstm", device="cpu", batch_size=2)
    for one, two in zip(score(lstm, requests), score(small, requests), strict=True):
        np.testing.assert_allclose(one.answers, two.answers, atol=1e-6)
    small.close()
    with pytest.raises(ConfigError, match="batch size 0"):
        ReferenceBackend("lstm", batch_size=0)
    for device in ("toaster", "cuda:99"):
        with pytest.raises(ModelError, match=f"device '{device}'"):
            ReferenceBackend("lstm", device=device)


def test_torch_is_imported_late_and_missed_politely() -> None:
    code = (
        "import sys, ffprompt.backends.local.reference as r; assert 'torch' not in sys.modules\n"
        "sys.modules['torch'] = None\n"
        "try: r.ReferenceBackend('lstm')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("ModelError ")
    assert '[reference]"' in ran.stdout


# --- what the documentation says of them ---


def test_the_documentation_tells_of_the_bundled_models_what_their_files_do() -> None:
    rows = summary.table().splitlines()
    assert len(rows) == 2 + len(FLIP_FLOPS)
    page = (ROOT / "docs" / "results" / "reference-models.md").read_text()
    for row in rows:
        assert row in page


@pytest.mark.parametrize(
    ("errors", "reads", "low", "high", "says"),
    [
        (0, 26_208, 0.0, 0.0038001, "0 / 26,208 (< 0.38 %)"),
        (3, 30_000, 0.00002, 0.00031, "3 / 30,000: 0.01 % (0.002–0.031)"),
        (4, 26_208, 3.9e-9, 0.00204, "4 / 26,208: 0.0153 % (< 0.204)"),
        (60_000, 354_086, 0.1663, 0.1731, "60,000 / 354,086: 16.9 % (16.6–17.3)"),
    ],
)
def test_a_cell_of_the_table(errors: int, reads: int, low: float, high: float, says: str) -> None:
    assert summary.cell(Evaluation(Spec.ffl(0.8), 1000, 10, reads, errors, low, high)) == says
