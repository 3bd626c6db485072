"""A layer from outside: checked before the first step, trained, saved, and refused where it is none."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from ffprompt.cli.main import main
from ffprompt.errors import ConfigError, ModelError
from ffprompt.reference.checkpoints.checkpoint import load, resolve
from ffprompt.reference.networks.architectures import build, configure
from ffprompt.reference.networks.custom import check, describe
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "guides" / "own-layer.md"
TINY = ("--layers=1", "--width=8", "--heads=2", "--length=16", "--steps=3", "--final-strings=4", "--evaluate-every=0")

BROKEN = {
    "mean of all tokens": ("x + x.mean(1, keepdim=True)", "not causal: its output at tokens before 1 changes"),
    "the future of long strings": ("x + x.mean(1, keepdim=True) * (x.shape[1] > 12)", "not causal: its output at"),
    "the future where gradients are": (
        "x + x.mean(1, keepdim=True) * (self.training and torch.is_grad_enabled())",
        "not causal while training",
    ),
    "norm over larger batches": (
        "x - x.mean(0, keepdim=True) * (x.shape[0] > 2)",
        "its output for one string changes with another string",
    ),
    "an end": ("exit(0)", "it fails on an input of"),
    "weights of its first call": (
        "x + self.__dict__['_modules'].setdefault('late', nn.Linear(8, 8))(x)",
        "it has other weights after it has run",
    ),
    "the token after": ("torch.roll(x, -1, 1)", "not causal"),
    "the last token": ("x + 0 * x + x[:, -1:]", "not causal"),
    "norm over the batch": ("x - x.mean(0, keepdim=True)", "its output for one string changes with another string"),
    "another shape": ("x[..., :1]", "expected the same shape"),
    "two things": ("(x, x)", "it gives tuple for"),
    "no numbers": ("x / 0", "its output is not all finite numbers"),
    "an error": ("x @ x", "it fails on an input of"),
    "an error at the trained length": ("x[:, :12] + 0 * x", "it fails on an input of (1, 16, 8)"),
    "another type": ("x.double()", "it gives float64 for float32"),
    "the future while training": (
        "x + x.mean(1, keepdim=True) * self.training",
        "not causal while training: its output at tokens before 1 changes",
    ),
    "norm over the batch while training": (
        "x - x.mean(0, keepdim=True) * self.training",
        "its output for one string changes while training with another string",
    ),
    "batch norm": ("nn.BatchNorm1d(8).train(self.training)(x.mT).mT", "not causal while training"),
    "chance outside of training": ("nn.functional.dropout(x, 0.5)", "its output is random outside of training"),
    "a memory of its own": ("x + self.calls.add_(1)", "it gives another output for the same input; expected the same"),
    "in place": ("given.mul_(2)", "it changes its input in place"),
    "no gradient": ("x.detach()", "no gradient comes through it"),
    "a gradient that is no number": ("(x - x).sqrt() + x", "its gradient is not all finite numbers"),
}
GOOD = {
    "itself": "x",
    "the mean so far": "x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]",
    "dropout": "nn.functional.dropout(x, 0.5, self.training)",
}


def layer(tmp_path: Path, body: str, takes: str = "width") -> str:
    path = tmp_path / "my_layer.py"
    path.write_text(
        "import torch\nfrom torch import nn\n\n\nclass Mine(nn.Module):\n"
        f"    def __init__(self, {takes}):\n        super().__init__()\n"
        "        self.scale = nn.Parameter(torch.ones(8))\n"
        "        self.register_buffer('calls', torch.zeros(1))\n"
        f"    def forward(self, given):\n        x = given * self.scale\n        return {body}\n"
    )
    return f"{path}:Mine"


@pytest.mark.parametrize(("body", "said"), BROKEN.values(), ids=BROKEN)
def test_a_layer_that_is_not_causal_or_no_layer_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, said: str
) -> None:
    out = tmp_path / "m"
    assert main(["train", layer(tmp_path, body), *TINY, "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert "my_layer.py:Mine" in line
    assert not out.exists()


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_a_causal_layer_is_trained_saved_and_loaded(tmp_path: Path, body: str) -> None:
    out = tmp_path / "m"
    name = layer(tmp_path, body, "width, heads=1, length=1")
    assert main(["train", name, *TINY, "--out", str(out)]) == 0
    kept = load(resolve(str(out)))
    tokens = torch.tensor([[0, 3, 1, 3, 2, 4, 1]])
    assert kept.model(tokens).shape == (1, 7, 5)
    rows, positions = torch.tensor([0, 0]), torch.tensor([3, 7])
    torch.testing.assert_close(kept.model.logits_at(tokens, rows, positions), kept.model(tokens)[0, [2, 6]])


@pytest.mark.parametrize(
    ("built", "said"),
    [
        ("self.register_buffer('mask', torch.ones(4, 4).tril().bool())", "mask is bool; a checkpoint holds float32"),
        ("self.norm = nn.BatchNorm1d(8)", "norm.num_batches_tracked is int64; a checkpoint holds float32 alone"),
        ("self.inner = nn.LazyLinear(8)", "inner.weight has no shape yet"),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_said_before_the_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], built: str, said: str
) -> None:
    name = layer(tmp_path, "x")
    path = Path(name.rpartition(":")[0])
    path.write_text(path.read_text().replace("    def forward", f"        {built}\n    def forward"))
    assert main(["train", name, *TINY, "--out", str(tmp_path / "m")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("flag", ["--length=0", "--symbols=0"])
def test_a_training_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    for task in ("parity", "flipflop"):
        out = tmp_path / "m"
        small = ("--layers=1", "--width=8", "--heads=1", "--steps=1", "--final-strings=1", "--evaluate-every=0")
        assert main(["train", "transformer", "--task", task, *small, flag, "--out", str(out)]) == 2
        assert " 0: " in capsys.readouterr().err
        assert not out.exists()


def test_a_layer_that_draws_gives_the_same_numbers_with_the_same_seed(tmp_path: Path) -> None:
    name = layer(tmp_path, GOOD["dropout"])
    before = torch.random.get_rng_state()
    losses = []
    for out in (tmp_path / "one", tmp_path / "two"):
        assert main(["train", name, *TINY, "--log-every=1", "--out", str(out)]) == 0
        losses.append([line["loss"] for line in map(json.loads, (out / "train.jsonl").open()) if "loss" in line])
        torch.rand(3)
    assert losses[0] == losses[1]
    torch.random.set_rng_state(before)


def test_a_file_that_has_changed_is_not_run(tmp_path: Path) -> None:
    out = tmp_path / "m"
    assert main(["train", layer(tmp_path, "x"), *TINY, "--out", str(out)]) == 0
    layer(tmp_path, "2 * x")
    with pytest.raises(ModelError, match="the file has changed since the training; it is not run"):
        load(resolve(str(out)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.py:Mine", "cannot be read: No such file"),
        ("my_layer.py:Mind", "it has no torch module 'Mind'; did you mean 'Mine'?"),
        ("broken.py:Mine", "cannot be imported (SyntaxError"),
        ("other.py:Mine", "its __init__ has no parameter 'width'"),
    ],
)
def test_a_layer_that_is_not_there_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    layer(tmp_path, "x", "size=8")
    (tmp_path / "my_layer.py").rename(tmp_path / "other.py")
    layer(tmp_path, "x")
    (tmp_path / "broken.py").write_text("class Mine(:\n")
    assert main(["train", str(tmp_path / name), *TINY, "--out", str(tmp_path / "m")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


def test_sharpening_is_refused_where_weights_are_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--sharpen=entropy", "--sharpen-coefficient=0.1", "--out", str(tmp_path / "m"))
    assert main(["train", layer(tmp_path, "x"), *TINY, *flags]) == 2
    assert "only a transformer has attention to sharpen" in capsys.readouterr().err


def test_the_layer_of_the_documentation_reaches_zero_error(tmp_path: Path) -> None:
    page = PAGE.read_text()
    (code,) = re.findall(r"```python[^\n]*\n(.*?)```", page, re.DOTALL)
    (command,) = re.findall(r"ffprompt (train my_layer.py:LastWrite (?:.|\\\n)*?)\n```", page)
    path = tmp_path / "my_layer.py"
    path.write_text(code)
    words = command.replace("\\\n", " ").replace("my_layer.py", str(path)).split()
    assert main([*words, "--out", str(tmp_path / "m"), "--evaluate-every=0", "--final-strings=200"]) == 0
    found = load(resolve(str(tmp_path / "m"))).evaluation
    assert [one.errors for one in found] == [0, 0, 0]
    assert min(one.reads for one in found) > 200


def test_the_check_leaves_the_mode_of_the_model(tmp_path: Path) -> None:
    config = configure("custom", {"layers": 1, "width": 8, "heads": 2, "length": 16, **describe(layer(tmp_path, "x"))})
    model = build(config, 0).train()
    check(model)  # type: ignore[arg-type]
    assert model.training
    with pytest.raises(ConfigError, match=r"expected FILE\.py:CLASS"):
        configure("custom", {"layer": "my_layer.py"})
