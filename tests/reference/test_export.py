"""Reference Transformers as Hugging Face folders: the same numbers, a tokenizer of raw symbols, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import ffprompt
from ffprompt.cli.main import main
from ffprompt.errors import ConfigError, ModelError
from ffprompt.reference.checkpoints import checkpoint
from ffprompt.reference.export import export as exporting
from ffprompt.reference.export.export import export
from ffprompt.reference.networks.architectures import build
from ffprompt.reference.networks.base import Network, NetworkConfig, encode
from ffprompt.reference.networks.lstm import LSTMConfig
from ffprompt.reference.networks.transformer import TransformerConfig
from ffprompt.reference.tokens import tokenise
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.loop import train
from ffprompt.report.data import _origin
from ffprompt.tasks.flipflop import Spec, sample
from tests.conftest import only_run

T = 48
SMALL = TransformerConfig(layers=2, width=64, heads=2, length=T, temperature=1.7)
KINDS = {
    "learned": SMALL,
    "sinusoidal": replace(SMALL, positions="sinusoidal", expansion=3),
    "none": replace(SMALL, positions="none"),
    "neox": replace(SMALL, positions="rope"),
    "llama": replace(SMALL, positions="rope", norm="rmsnorm", activation="swiglu", symbols=12),
}


def far_from_uniform(config: NetworkConfig) -> Network:
    """A network whose every weight matters: zeros and ones of a fresh one would hide what is left out."""
    model = build(config, 1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.15)
    return model.eval()


def saved(folder: Path, config: NetworkConfig, name: str = "mine") -> Path:
    path = folder / f"{name}.safetensors"
    checkpoint.save(path, far_from_uniform(config), None, None)
    return path


def trained(folder: Path, config: TransformerConfig, steps: int = 40) -> Path:
    recipe = Training(Mixture.parse("FFL(0.6)", T), 0, 0, steps=steps, learning_rate=1e-3, warmup=5)
    result = train(config, recipe)
    path = folder / "trained.safetensors"
    checkpoint.save(path, result.model, result.training, result.loss)
    return path


def exported(path: Path, folder: Path, **options: Any) -> Path:
    return export(checkpoint.load(path), folder, **options).folder


def words_of(out: Path, backend: str, model: object, *flags: object) -> list[object]:
    """The command of a run, zero-shot on raw symbols."""
    return [
        "run", "--backend", backend, "--model", model, "--shots", 0, "--p-ignore", 0.6, "--length", T, "--trials", 6,
        "--template", "raw-compact", "raw-spaced", "--no-report", "--out", out, *flags,
    ]  # fmt: skip


def reads_of(out: Path, backend: str, model: object, *flags: object) -> Any:
    """The table of reads of that run."""
    assert main([str(word) for word in words_of(out, backend, model, *flags)]) == 0
    return ffprompt.load(only_run(out)).reads


def assert_same_reads(one: Any, other: Any) -> None:
    assert one[["string", "template", "read_index"]].equals(other[["string", "template", "read_index"]])
    np.testing.assert_allclose(np.stack(one["answer_logprobs"]), np.stack(other["answer_logprobs"]), atol=1e-4, rtol=0)
    assert one["argmax_token"].tolist() == other["argmax_token"].tolist()
    assert one["outcome"].tolist() == other["outcome"].tolist()
    np.testing.assert_allclose(one["answer_mass"], other["answer_mass"], atol=1e-5)


def logits_differ(path: Path, folder: Path, config: TransformerConfig) -> float:
    """The largest difference in log-probability over all tokens of some strings; no weight missing or left over."""
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    assert model.config.tie_word_embeddings is False  # transformers looks at the weights, vLLM at this
    ids = encode(sample(Spec.ffl(0.6, T, config.symbols), 0, 0, 8))
    with torch.inference_mode():
        found = model.eval()(ids).logits.log_softmax(-1)
        wanted = checkpoint.load(path).model(ids).log_softmax(-1)
    return float((found - wanted).abs().max())


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_transformers_computes_what_the_reference_model_computes(tmp_path: Path, config: TransformerConfig) -> None:
    path = saved(tmp_path, config)
    assert logits_differ(path, exported(path, tmp_path / "hf"), config) < 2e-5


def test_a_trained_model_keeps_its_numbers_and_its_record(tmp_path: Path) -> None:
    path = trained(tmp_path, replace(SMALL, positions="rope", embedding_dropout=0.1))
    folder = exported(path, tmp_path / "hf")
    assert logits_differ(path, folder, SMALL) < 2e-5
    record = json.loads((folder / "ffprompt.json").read_text())
    kept = checkpoint.load(path)
    assert kept.training is not None
    assert record["identity"]["checkpoint_sha256"] == kept.sha256 and record["loss"] == kept.loss
    assert record["training"] == json.loads(json.dumps(kept.training.record()))
    assert record["config"]["positions"] == "rope" and record["config"]["embedding_dropout"] == 0.1
    assert "trained for 40 steps on FFL(48, 0.6)" in (folder / "README.md").read_text()


@pytest.mark.parametrize("kind", ["learned", "llama"])
def test_runs_through_both_backends_agree_on_every_read(tmp_path: Path, kind: str) -> None:
    config = KINDS[kind]
    path = saved(tmp_path, config)
    flags = ("--elicitation", "forced", "--symbols", config.symbols)
    wanted = reads_of(tmp_path / "a", "reference", path, *flags)
    folder = exported(path, tmp_path / "hf")
    assert_same_reads(reads_of(tmp_path / "b", "transformers", folder, *flags), wanted)
    run = json.loads((only_run(tmp_path / "b") / "run.json").read_text())
    assert all(one["answer_tokens"] == {"single": 6} and one["bos"] is None for one in run["audit"])
    assert run["model"]["checkpoint_sha256"] == checkpoint.load(path).sha256
    assert run["model"]["note"] == "built for this task"
    assert _origin(run) == "built for this task", "in a report it is no language model"


def test_the_token_after_an_r_is_written_as_the_reference_model_writes_it(tmp_path: Path) -> None:
    path = saved(tmp_path, replace(KINDS["llama"], positions="rope"))
    flags = ("--elicitation", "next", "--symbols", 12, "--max-tokens", 1)
    wanted = reads_of(tmp_path / "a", "reference", path, *flags)
    found = reads_of(tmp_path / "b", "transformers", exported(path, tmp_path / "hf"), *flags)
    assert found["answer"].tolist() == wanted["answer"].tolist() and found["answer"].notna().any()


@pytest.mark.parametrize("symbols", [2, 10, 12, 101])
def test_a_symbol_is_a_token_however_a_string_is_spaced_or_filled_up(tmp_path: Path, symbols: int) -> None:
    words = AutoTokenizer.from_pretrained(exported(saved(tmp_path, replace(SMALL, symbols=symbols)), tmp_path / "hf"))
    strings = sample(Spec.ffl(0.6, 40, symbols), 0, 0, 20)
    ids = encode(strings).tolist()
    width = len(str(symbols - 1))
    filled = [
        "".join(f"{letter}{bit:0{width}d}" for letter, bit in zip(np.array(list("wri"))[ops], bits, strict=True))
        for ops, bits in zip(strings.events, strings.values.tolist(), strict=True)
    ]
    for texts in (strings.texts(), strings.texts(" "), filled):
        assert words(texts)["input_ids"] == ids
        assert [one.ids.tolist() for one in tokenise(texts, symbols)] == ids
    assert [words.decode(one).replace(" ", "") for one in ids] == filled
    assert len(words) == 3 + symbols and not words.all_special_tokens and words("")["input_ids"] == []


@pytest.mark.parametrize("text", ["Alice", "w1i0r1\nw1r", "w2", "w01", "w1?", "<s>"])
def test_what_is_no_symbol_is_an_error_and_not_left_out(tmp_path: Path, text: str) -> None:
    words = AutoTokenizer.from_pretrained(exported(saved(tmp_path, SMALL), tmp_path / "hf"))
    with pytest.raises(Exception, match="Missing"):
        words(text)


def test_a_prompt_in_words_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = exported(saved(tmp_path, SMALL), tmp_path / "hf")
    words = ["--template", "light-switch", "--shots", "0", "--length", "20", "--trials", "2"]
    assert main(["run", "--backend", "transformers", "--model", str(folder), *words, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "no token for something in 'Alice turns" in said[0]
    assert said[0].endswith("--template raw-compact --shots 0")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (replace(SMALL, positions="alibi"), r"positions 'alibi' cannot be exported"),
        (replace(SMALL, positions="t5"), r"positions 't5' cannot"),
        (replace(SMALL, positions="cope"), r"positions 'cope' cannot"),
        (replace(SMALL, activation="geglu"), r"activation 'geglu' with positions 'learned'"),
        (replace(SMALL, activation="swiglu", norm="rmsnorm"), r"activation 'swiglu' with positions 'learned'"),
        (replace(SMALL, positions="none", norm="rmsnorm"), r"norm 'rmsnorm' with positions 'none'"),
        (replace(SMALL, positions="rope", activation="geglu"), r"activation 'geglu' with positions 'rope'"),
        (replace(SMALL, positions="rope", activation="swiglu"), r"norm 'layernorm' with activation 'swiglu'"),
        (replace(SMALL, positions="rope", norm="rmsnorm"), r"norm 'rmsnorm' with activation 'gelu'"),
        (replace(SMALL, attention="forgetting", temperature=1.0), r"attention 'forgetting' cannot"),
        (replace(SMALL, norm_placement="post"), r"norm placement 'post' cannot"),
        (replace(SMALL, qk_norm=True), r"option qk-norm cannot"),
        (replace(SMALL, window=4), r"window 4 cannot"),
        (replace(SMALL, no_residual=True), r"option no-residual cannot"),
        (LSTMConfig(width=8, hidden=8), r"architecture 'lstm' cannot"),
    ],
)
def test_what_no_architecture_holds_exactly_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: NetworkConfig, named: str
) -> None:
    path = saved(tmp_path, config)
    with pytest.raises(ModelError, match=rf"{named}.*what can be is .*\(GPT-2\).*\(GPT-NeoX\).*\(Llama\)"):
        export(checkpoint.load(path), tmp_path / "hf")
    assert main(["export", str(path), str(tmp_path / "hf")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_every_option_of_the_transformer_is_accounted_for() -> None:
    # An option that is added must be written out or refused by the layouts; or an export computes something else.
    assert {one.name for one in fields(TransformerConfig)} == {
        "symbols", "layers", "width", "heads", "length", "positions", "activation", "norm", "expansion",
        "attention_dropout", "mlp_dropout", "embedding_dropout", "temperature",
        "events",  # models of other tasks are refused
        "attention", "norm_placement", "qk_norm", "no_residual", "window",  # refused but for the usual
        "init",  # no part of the model once it is there
    }  # fmt: skip


def test_a_folder_with_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, folder = saved(tmp_path, SMALL), tmp_path / "hf"
    folder.mkdir()
    assert main(["export", str(path), str(folder)]) == 0  # an empty one is taken
    said = capsys.readouterr().out
    assert "GPT-2, strings of up to 48 symbols" in said and f"--backend transformers --model {folder}" in said
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    assert main(["export", str(path), str(folder)]) == 2
    assert "has files in it; expected a new or empty folder" in capsys.readouterr().err
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before
    with pytest.raises(ConfigError, match="is a file; expected a new or empty folder"):
        export(checkpoint.load(path), path)


def test_an_export_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, SMALL)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for broken in ("save_file", "_card"):
        with monkeypatch.context() as patch:
            patch.setattr(exporting, broken, full)
            with pytest.raises(ConfigError, match="hf: cannot be written: No space left on device"):
                export(checkpoint.load(path), tmp_path / "hf")
        assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_strings_longer_than_the_model_are_refused_and_the_longest_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported(saved(tmp_path, KINDS["learned"]), tmp_path / "hf")
    words = ["--template", "raw-compact", "--shots", "0", "--elicitation", "forced", "--trials", "2", "--no-report"]

    def run(length: int, out: str, model: Path) -> int:
        flags = ["--length", str(length), "--out", str(tmp_path / out)]
        return main(["run", "--backend", "transformers", "--model", str(model), *words, *flags])

    assert run(T, "a", folder) == 0
    assert run(T + 2, "b", folder) == 2
    assert "50 tokens do not fit" in capsys.readouterr().err
    path = saved(tmp_path, KINDS["neox"], "rope")
    assert run(2 * T, "c", exported(path, tmp_path / "longer", length=2 * T)) == 0


@pytest.mark.parametrize(
    ("length", "said"), [(49, "has learnt 48 positions"), (1, "length 1: expected a whole number between")]
)
def test_a_length_that_the_model_does_not_have_is_refused(tmp_path: Path, length: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        exported(saved(tmp_path, KINDS["learned"]), tmp_path / "hf", length=length)
    assert not (tmp_path / "hf").exists()


def test_the_folder_of_a_training_is_exported_under_its_own_name(tmp_path: Path, command: Callable[..., Any]) -> None:
    (tmp_path / "seed-3").mkdir()
    saved(tmp_path / "seed-3", SMALL, "model")
    done = command("export", tmp_path / "seed-3", tmp_path / "new" / "hf", prog="ffprompt")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "new" / "hf" / "ffprompt.json").read_text())
    assert record["identity"]["checkpoint"] == "seed-3" and record["training"] is None
