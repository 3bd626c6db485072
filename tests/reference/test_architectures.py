"""Every network of the registry, with every option that changes what it computes: the promises that all make."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize, one_hot, silu, softplus

from ffprompt.cli.main import main
from ffprompt.errors import ConfigError
from ffprompt.reference.checkpoints import checkpoint as files
from ffprompt.reference.networks import delta, ssm
from ffprompt.reference.networks.architectures import ARCHITECTURES, build, configure, name_of
from ffprompt.reference.networks.attention import attend
from ffprompt.reference.networks.base import Network, NetworkConfig, encode
from ffprompt.reference.networks.delta import RULES, DeltaConfig, recall
from ffprompt.reference.networks.handbuilt import HandbuiltConfig
from ffprompt.reference.networks.lstm import LSTMConfig
from ffprompt.reference.networks.positions import POSITIONS
from ffprompt.reference.networks.ssm import SSMConfig, scan
from ffprompt.reference.networks.transformer import ACTIVATIONS, NORMS, TransformerConfig
from ffprompt.reference.training.config import Sharpening, Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.evaluate import evaluate
from ffprompt.reference.training.loop import Trainer, train
from ffprompt.tasks.flipflop import Spec, parse, sample
from tests.conftest import only_run

# More than one block of every fast attention or recurrence, and no multiple of one.
LENGTH = 75
_TINY = TransformerConfig(layers=2, width=16, heads=2, length=80)
CONFIGS: dict[str, NetworkConfig] = {
    "lstm": LSTMConfig(width=8, hidden=8),
    "lstm, two layers": LSTMConfig(width=8, hidden=8, layers=2),
    **{f"positions {name}": replace(_TINY, positions=name) for name in POSITIONS},
    **{f"activation {name}": replace(_TINY, activation=name) for name in ACTIVATIONS},
    **{f"norm {name}": replace(_TINY, norm=name) for name in NORMS},
    **{f"attention {name}": replace(_TINY, attention=name) for name in ("forgetting", "differential", "recurrent")},
    **{f"norms {name}": replace(_TINY, norm_placement=name) for name in ("post", "sandwich")},
    **{f"attention {name}": replace(_TINY, attention=name, positions="none") for name in ("stick-breaking", "path")},
    "attention hybrid": replace(_TINY, attention="hybrid", positions="rope", window=20),
    "a window": replace(_TINY, window=20),
    "normalised queries and keys": replace(_TINY, qk_norm=True),
    "no residual": replace(_TINY, no_residual=True),
    "temperature": replace(_TINY, temperature=3.0),
    "three symbols": replace(_TINY, symbols=3),
    "ssm": SSMConfig(width=8, state=4, heads=2),
    "ssm, one rate a head": SSMConfig(width=8, state=4, heads=2, rates="head"),
    "ssm, Mamba's heads of one channel, two layers": SSMConfig(layers=2, width=8, state=4, heads=16),
    **{f"rule {name}": DeltaConfig(width=8, heads=2, rule=name) for name in RULES},
    "rule gated-delta, two layers": DeltaConfig(layers=2, width=8, heads=2),
    "handbuilt": HandbuiltConfig(length=80),
    "handbuilt, three symbols": HandbuiltConfig(symbols=3, length=80),
}
LEARNING = {name: config for name, config in CONFIGS.items() if not isinstance(config, HandbuiltConfig)}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
each_rule = pytest.mark.parametrize("rule", RULES)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def shaken(config: NetworkConfig) -> Network:
    """A network where nothing is 0 by its beginning, as CoPE's table is, so that every part of it has its effect."""
    model = build(config, seed=1).eval().requires_grad_(False)
    if not isinstance(config, HandbuiltConfig):
        generator = torch.Generator().manual_seed(2)
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return model


def tokens_of(config: NetworkConfig, strings: int = 2, length: int = LENGTH) -> Tensor:
    return encode(sample(Spec.ffl(0.5, length + length % 2, config.symbols), 0, 0, strings))[:, :length]


def test_every_architecture_of_the_registry_is_tested_here() -> None:
    own = {"custom"}  # a layer of the user's, which test_custom.py makes
    assert {name_of(config) for config in CONFIGS.values()} == ARCHITECTURES.keys() - own


# --- what a network is ---


@each_config
@pytest.mark.parametrize("place", [0, 1, 37, 64, LENGTH - 1])
def test_a_token_changes_what_follows_it_and_nothing_before(config: NetworkConfig, place: int) -> None:
    model, tokens = shaken(config), tokens_of(config)
    changed = tokens.clone()
    # From w to i, or from one data symbol to another: tokens that stand there in some string.
    even = place % 2 == 0
    changed[:, place] = (
        torch.where(tokens[:, place] == 2, 0, 2) if even else 3 + (tokens[:, place] - 2) % config.symbols
    )
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(after[:, :place], before[:, :place], rtol=0, atol=1e-5)
    if isinstance(config, HandbuiltConfig):  # it is made to forget what does not matter
        return
    assert (after[:, place:] - before[:, place:]).abs().amax() > 1e-4


@each_config
def test_logits_at_are_rows_of_forward(config: NetworkConfig) -> None:
    model, tokens = shaken(config), tokens_of(config, strings=4)
    # Out of order, one string without a prediction, others with several, the place after the last token among them.
    rows = torch.tensor([3, 0, 3, 0, 1, 3, 0])
    positions = torch.tensor([LENGTH, 1, 9, 66, 64, 2, 33])
    wanted = model(tokens)[rows, positions - 1]
    torch.testing.assert_close(model.logits_at(tokens, rows, positions), wanted, rtol=1e-5, atol=1e-5)


@each_config
def test_what_is_saved_and_loaded_gives_the_same_logits(config: NetworkConfig, tmp_path: Path) -> None:
    model, tokens = shaken(config), tokens_of(config)
    files.save(tmp_path / "model.safetensors", model, None, None)
    loaded = files.load(tmp_path / "model.safetensors")
    assert loaded.model.config == config
    assert (loaded.training, loaded.loss) == (None, None)
    assert torch.equal(loaded.model(tokens), model(tokens))


@pytest.mark.parametrize("config", LEARNING.values(), ids=LEARNING)
def test_a_few_steps_lower_the_loss(config: NetworkConfig) -> None:
    data = Mixture.of(Spec.ffl(0.5, 16, config.symbols))
    recipe = Training(data, 0, 0, steps=20, batch=16, learning_rate=1e-2, warmup=5, decay_end=21)
    losses = train(config, recipe).losses
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


@pytest.mark.parametrize("config", LEARNING.values(), ids=LEARNING)
def test_the_same_seed_gives_the_same_weights_and_another_one_others(config: NetworkConfig) -> None:
    one, again, other = (build(config, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("architecture", "fields", "said"),
    [
        ("mamba", {}, r"architecture 'mamba' is unknown \(known: custom, delta, handbuilt, lstm, ssm, transformer\)"),
        ("ssm", {"symbols": 1}, "symbols 1: expected a whole number between 2 and"),
        ("ssm", {"layers": 0}, "layers 0: expected a whole number between 1 and 256"),
        ("ssm", {"state": 1.5}, "state 1.5: expected a whole number between 1 and 4096"),
        ("ssm", {"expansion": 0}, "expansion 0: expected a whole number between 1 and 64"),
        ("ssm", {"convolution": True}, "convolution True: expected a whole number between 1 and 256"),
        ("ssm", {"width": 9, "heads": 4}, r"heads 4: they must divide the 18 channels \(width · expansion\)"),
        (
            "delta",
            {"rule": "gated_delta"},
            r"rule 'gated_delta' is unknown; did you mean 'gated-delta'\? \(known: delta, gated, gated-delta\)",
        ),
        ("delta", {"width": 9}, "width 9: it must divide into 2 heads"),
        ("delta", {"heads": 0}, "heads 0: expected a whole number between 1 and 1024"),
        ("handbuilt", {"length": 4096}, "length 4096: expected a whole number between 1 and 2048"),
        ("transformer", {"positions": "rotary"}, r"positions 'rotary' is unknown \(known: alibi, "),
        ("transformer", {"width": 10, "heads": 4}, "width 10: it must divide into 4 heads"),
        ("transformer", {"width": 6, "heads": 2, "positions": "rope"}, "rope needs an even width per head"),
        ("lstm", {"hidden": "128"}, "hidden '128': expected a whole number between 1 and"),
    ],
)
def test_an_odd_value_is_refused_in_one_line(architecture: str, fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        configure(architecture, fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("config", [DeltaConfig(), SSMConfig(), LSTMConfig()], ids=["delta", "ssm", "lstm"])
def test_sharpening_is_refused_where_there_is_no_softmax_attention(config: NetworkConfig) -> None:
    training = Training(Mixture.parse("FFL(0.8)", 16), 0, 0, sharpening=Sharpening("entropy", 0.1))
    with pytest.raises(ConfigError, match="only a transformer has attention to sharpen"):
        Trainer(config, training)


def test_what_is_written_by_hand_is_not_trained() -> None:
    with pytest.raises(ConfigError, match="'handbuilt': its weights are written down; there is nothing to train"):
        Trainer(HandbuiltConfig(), Training(Mixture.parse("FFL(0.8)", 16), 0, 0))


@pytest.mark.parametrize(
    "flags", [["ssm", "--state", "4", "--heads", "2", "--convolution", "3"], ["delta", "--rule", "delta"]]
)
def test_a_recurrent_model_is_trained_from_the_command_line(flags: list[str], tmp_path: Path) -> None:
    small = ["--width", "8", "--length", "16", "--steps", "2", "--batch", "2", "--final-strings", "4", "--seed", "3"]
    assert main(["train", *flags, *small, "--monitor-every", "1", "--out", str(tmp_path / "made")]) == 0
    made = files.load(files.resolve(str(tmp_path / "made")))
    assert name_of(made.model.config) == flags[0]
    assert getattr(made.model.config, flags[1].removeprefix("--")) in (4, "delta")
    assert made.training is not None
    assert made.training.steps == 2


# --- fast forms against plain ones ---


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_fast_attention_has_the_outputs_and_gradients_of_the_plain_formula(length: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v, weight = (torch.randn(2, 3, length, 4, generator=generator, dtype=torch.float64) for _ in range(4))
    inputs = [x.requires_grad_() for x in (q, k, v)]
    scores = (q @ k.transpose(2, 3) * 0.7).masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf"))
    plain, fast = scores.softmax(-1) @ v, attend(q, k, v, 0.7)
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)
    wanted = torch.autograd.grad((plain * weight).sum(), inputs)
    # Gradients of keys and values are summed in float32.
    for found, want in zip(torch.autograd.grad((fast * weight).sum(), inputs), wanted, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-5)


def plain_scan(x: Tensor, delta: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> Tensor:
    state, out = x.new_zeros(*x[:, 0].shape, rate.shape[1]), []
    for t in range(x.shape[1]):
        kept = (delta[:, t, :, None] * rate).exp()[:, :, None]  # (B, H, 1, N)
        state = state * kept + (delta[:, t, :, None] * x[:, t])[..., None] * write[:, t, None, None]
        out.append((state * read[:, t, None, None]).sum(-1))
    return torch.stack(out, 1)


@pytest.mark.parametrize("length", [1, ssm._CHUNK, 3 * ssm._CHUNK + 5])
def test_the_scan_is_the_recurrence_token_by_token(length: int) -> None:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    step = random(2, length, 3).exp()
    step[:, length // 2] = 0.0  # keeps all
    step[:, length // 3] = 1e4  # forgets all: exp(-1e4) is 0, its inverse no number
    inputs = [random(2, length, 3, 4), step, -random(3, 5).exp(), random(2, length, 5), random(2, length, 5)]
    inputs = [x.requires_grad_() for x in inputs]
    fast, plain, weight = scan(*inputs), plain_scan(*inputs), random(2, length, 3, 4)
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)
    wanted = torch.autograd.grad((plain * weight).sum(), inputs)
    for found, want in zip(torch.autograd.grad((fast * weight).sum(), inputs), wanted, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-8, atol=1e-8)


@torch.no_grad()
def test_the_state_space_layer_is_the_recurrence_of_mamba_2_token_by_token() -> None:
    config = SSMConfig(width=8, state=5, heads=4, rates="head")
    one = ssm.Mixer(config)
    one.log_rate.data = torch.tensor([0.0, 1.0, 3.0, 9.0])  # the last forgets all: exp(-Δ e⁹)
    u = torch.randn(2, 70, 8, generator=torch.Generator().manual_seed(0))
    x, gate = one.input(u).chunk(2, -1)
    x = silu(one.convolution(x))
    step, write, read = one.select(x).split([4, 5, 5], -1)
    delta = softplus(step + one.step)
    state, rows = x.new_zeros(2, 4, 4, 5), []  # (B, H, P, N)
    for t in range(u.shape[1]):
        kept = torch.exp(-delta[:, t] * one.log_rate.exp())[:, :, None, None]
        own = x[:, t].view(2, 4, 4)
        state = state * kept + (delta[:, t, :, None] * own)[..., None] * write[:, t, None, None]
        rows.append((state @ read[:, t, None, :, None]).flatten(1) + one.skip * x[:, t])
    wanted = one.output(one.norm(torch.stack(rows, 1) * silu(gate)))
    torch.testing.assert_close(one(u), wanted, rtol=1e-4, atol=1e-5)


def plain_recall(q: Tensor, k: Tensor, v: Tensor, fade: Tensor | None, strength: Tensor | None) -> Tensor:
    memory, out = q.new_zeros(*q[:, 0].shape, v.shape[-1]), []  # (B, H, D, D)
    for t in range(q.shape[1]):
        if fade is not None:
            memory = memory * fade[:, t, :, None, None].exp()
        written = v[:, t]
        if strength is not None:
            known = torch.einsum("bhkv,bhk->bhv", memory, k[:, t])
            written = strength[:, t, :, None] * (v[:, t] - known)
        memory = memory + k[:, t, :, :, None] * written[:, :, None]
        out.append(torch.einsum("bhkv,bhk->bhv", memory, q[:, t]))
    return torch.stack(out, 1)


@each_rule
@pytest.mark.parametrize("length", [1, delta._CHUNK, 2 * delta._CHUNK + 7])
def test_a_rule_in_chunks_is_the_recurrence_token_by_token(rule: str, length: int) -> None:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    q, k, v = random(2, length, 3, 4), normalize(random(2, length, 3, 4), dim=-1), random(2, length, 3, 4)
    fade = logsigmoid(3 * random(2, length, 3)) if rule != "delta" else None
    strength = random(2, length, 3).sigmoid() if rule != "gated" else None
    if fade is not None:
        fade[:, length // 3] = -1e4  # forgets all
    inputs = [x.requires_grad_() for x in (q, k, v, fade, strength) if x is not None]
    fast, plain = recall(q, k, v, fade, strength), plain_recall(q, k, v, fade, strength)
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)
    weight = random(2, length, 3, 4)
    wanted = torch.autograd.grad((plain * weight).sum(), inputs)
    for found, want in zip(torch.autograd.grad((fast * weight).sum(), inputs), wanted, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("config", "module", "name"),
    [
        (SSMConfig(width=8), ssm, "scan"),
        (SSMConfig(width=8, rates="head"), ssm, "recall"),
        (DeltaConfig(width=8), delta, "recall"),
    ],
)
def test_the_memory_is_kept_in_float32_where_a_training_computes_in_bfloat16(
    config: NetworkConfig, module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = getattr(module, name), []

    def watched(*tensors: Tensor | None) -> Tensor:
        seen.extend([*(one for one in tensors if one is not None), plain(*tensors)])
        return seen[-1]

    monkeypatch.setattr(module, name, watched)
    recipe = Training(Mixture.parse("FFL(0.5)", 16), 0, 0, batch=4, precision="bfloat16")
    trainer = Trainer(config, recipe)
    trainer.advance(recipe.source.batch(1, 4))
    assert {tensor.dtype for tensor in seen} == {torch.float32}


# --- the hand-built one ---


@pytest.mark.parametrize(("p_ignore", "symbols"), [(0.8, 2), (0.98, 2), (0.1, 2), (0.8, 5)])
def test_the_handbuilt_transformer_makes_no_error_at_full_length(p_ignore: float, symbols: int) -> None:
    model = build(HandbuiltConfig(symbols=symbols), 0).eval()
    assert evaluate(model, Spec.ffl(p_ignore, 512, symbols), 5, 32).errors == 0


def test_the_handbuilt_transformer_knows_what_may_follow_and_how_likely_it_is() -> None:
    model = build(HandbuiltConfig(), 0).eval()
    found = model(encode(parse("w1i0r1w0r0"))).softmax(-1)[0]
    free, instruction = [0, 0, 0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3, 0, 0]
    wanted = torch.tensor([free, instruction] * 5)
    wanted[4], wanted[8] = one_hot(torch.tensor([4, 3]), 5)  # after r: the bit of the latest write
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_a_string_longer_than_its_positions_is_refused() -> None:
    with pytest.raises(ConfigError, match="12 tokens: this model has 10 positions"):
        build(HandbuiltConfig(length=10), 0)(torch.zeros(1, 12, dtype=torch.long))


def test_the_bundled_handbuilt_transformer_is_what_the_code_builds_and_made_no_error() -> None:
    bundled = files.load(files.resolve("handbuilt"))
    built = build(HandbuiltConfig(), 0).state_dict()
    assert all(torch.equal(built[name], weight) for name, weight in bundled.model.state_dict().items())
    assert (bundled.training, bundled.loss) == (None, None)
    assert [(one.data.p_ignore, one.errors) for one in bundled.evaluation] == [(0.8, 0), (0.98, 0), (0.1, 0)]
    assert bundled.path.stat().st_size < 300_000


def test_the_bundled_handbuilt_transformer_runs_as_a_backend(tmp_path: Path) -> None:
    asked = ["--backend", "reference", "--model", "handbuilt", "--length", "32", "--trials", "5", "--no-report"]
    assert main(["run", *asked, "--out", str(tmp_path / "run")]) == 0
    results = json.loads((only_run(tmp_path / "run") / "run.json").read_text())["results"]
    assert [row["accuracy"] for row in results] == [1.0, 1.0, 1.0]
