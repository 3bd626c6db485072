"""The settings of a training, as flags and as keys of a study. Nothing heavy is imported here."""

from __future__ import annotations

import argparse

ARCHITECTURES = ("transformer", "lstm", "ssm", "delta")
SUPERVISE = ("states", "reads")

EPILOG = """\
The defaults are the recipe of Liu et al. 2023: AdamW, 10,000 steps (an LSTM 500) of 16 fresh strings of FFL(0.8).

  ffprompt train lstm --seed 0
  ffprompt train transformer --layers 6 --width 512 --heads 8 --data "FFL(0.8)" --device cuda --precision bfloat16
  ffprompt train transformer --layers 2 --width 128 --heads 2 --data "FFL(0.8)+FFL(0.98)+FFL(0.1)"
  ffprompt train my_layer.py:MyAttention --layers 2 --width 128 --heads 2
  ffprompt train lstm --task s5 --steps 5000 --learning-rate 3e-3
"""

# Flags that set a field of a model's config: what kind of value, and what it is.
MODEL: dict[str, tuple[type, str, str]] = {
    "layers": (int, "N", "layers (transformer 6, others 1)"),
    "width": (int, "D", "width of the model (transformer 512, others 128)"),
    "heads": (int, "H", "heads (transformer 8, ssm 4, delta 2)"),
    "hidden": (int, "D", "lstm: width of the state (128)"),
    "state": (int, "N", "ssm: numbers that a channel keeps (16)"),
    "rates": (str, "NAME", "ssm: rates of decay, one a number (state, default) or one a head (head)"),
    "rule": (str, "NAME", "delta: gated-delta (default), delta, gated"),
    "convolution": (int, "N", "ssm, delta: tokens that the convolution before the recurrence sees (4)"),
    "positions": (str, "NAME", "learned (default), sinusoidal, rope, alibi, t5, cope, none"),
    "attention": (
        str,
        "NAME",
        "softmax (default), forgetting, differential, hard, recurrent, stick-breaking, path, hybrid",
    ),
    "window": (int, "N", "keys that a query sees (softmax: all, hybrid: 64)"),
    "activation": (str, "NAME", "gelu (default), geglu, swiglu"),
    "norm": (str, "NAME", "layernorm (default), rmsnorm"),
    "expansion": (int, "N", "width of the MLP, in an ssm of the recurrence, over that of the model (4; ssm 2)"),
    "attention_dropout": (float, "P", "on the weights of attention (0)"),
    "mlp_dropout": (float, "P", "inside the MLP (0)"),
    "embedding_dropout": (float, "P", "on the embedded tokens (0)"),
    "softmax_temperature": (float, "X", "divides the scores of attention (1)"),
    "norm_placement": (str, "NAME", "pre (default), post, sandwich"),
    "qk_norm": (bool, "", "normalise queries and keys"),
    "init": (str, "NAME", "default, small, depth (outputs of layers divided by √2L)"),
    "no_residual": (bool, "", "add nothing to the output of a layer"),
}
FIELDS = {"softmax_temperature": "temperature"}  # config fields with another name than their flag

RECIPE: dict[str, tuple[type, str, str]] = {
    "batch": (int, "N", "strings a step (16)"),
    "learning_rate": (float, "X", "after the warm-up (3e-4)"),
    "weight_decay": (float, "X", "of AdamW (0.1)"),
    "beta1": (float, "X", "of AdamW (0.9)"),
    "beta2": (float, "X", "of AdamW (0.999)"),
    "warmup": (int, "N", "steps of linear warm-up (50)"),
    "decay_end": (int, "N", "step at which the rate would be 0 (10,001, or one after the last)"),
    "clip": (float, "X", "largest norm of the gradient (default: any)"),
    "z_loss": (float, "X", "times the square of log Z, added to the loss (0)"),
    "objective": (str, "NAME", "clean (default): predict what is read; noisy: predict every symbol"),
    "precision": (str, "NAME", "float32 (default) or bfloat16, for matrix products"),
    "device": (str, "NAME", "cpu (default), cuda, cuda:1, mps"),
    "threads": (int, "N", "cores a kernel (default: an lstm 1, others all)"),
}

SHARPENING: dict[str, tuple[type, str, str]] = {
    "sharpen": (str, "NAME", "penalty on soft attention: entropy, l2, linf"),
    "sharpen_coefficient": (float, "X", "what it is multiplied by"),
    "sharpen_schedule": (str, "NAME", "constant (default), linear, oscillating"),
    "sharpen_start": (int, "STEP", "steps before it begins (0)"),
    "sharpen_period": (int, "STEPS", "of an oscillating one (1000)"),
}

PLAN: dict[str, tuple[type, str, str]] = {
    "log_every": (int, "N", "steps a line of the log (10)"),
    "evaluate_every": (int, "N", "steps between evaluations on the three test sets, 0: only at the end (1000)"),
    "monitor_every": (int, "N", "steps between looks at attention and hidden states, 0: never (100)"),
    "monitor_layers": (bool, "", "look also at the loss without each layer"),
    "monitor_length": (int, "T", "look also at the loss on strings of this length, 0: not (0)"),
    "keep_attention": (bool, "", "keep one string's attention where warnings begin, and at both ends"),
    "save_every": (int, "N", "steps between saves to resume from (500)"),
    "keep_every": (int, "N", "steps between models that are kept in steps/, 0: none (0)"),
    "strings": (int, "N", "most strings of each test set on the way (200)"),
    "final_strings": (int, "N", "most at the end (500; 0: the paper's 1,000, 100,000 and 3,000)"),
    "certify": (float, "RATE", "test at the end whether each glitch rate is below this, such as 1e-4"),
    "certify_strings": (int, "N", "most strings of each set for that (200,000)"),
    "test": (str, "SPECS", "more test sets, SPEC+SPEC; what they leave out is as in the training"),
}


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of ``train``."""
    parser.add_argument(
        "architecture", metavar="ARCHITECTURE", help=f"{', '.join(ARCHITECTURES)}, or FILE.py:CLASS of your own"
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the training (default results/models/NAME)")
    parser.add_argument("--resume", action="store_true", help="go on with the training in that folder")
    _flags(parser.add_argument_group("the model"), MODEL)
    data = parser.add_argument_group("the strings")
    data.add_argument("--task", default="flipflop", metavar="NAME", help="the automaton whose strings are learnt")
    data.add_argument(
        "--task-arg", action="append", metavar="KEY=VALUE", help="a setting of the task; may be given several times"
    )
    data.add_argument(
        "--supervise", metavar="WHERE", help="of another task: after every input (states, default), or at its reads"
    )
    data.add_argument("--data", metavar="MIX", help="FFL(0.8), or a mixture: FFL(0.8)+2*FFL(0.1); specs of the task")
    data.add_argument("--length", type=int, metavar="T", help="length of a string (512, of other tasks 100)")
    data.add_argument("--symbols", type=int, metavar="M", help="data symbols (2, or what the task has)")
    data.add_argument("--scratchpad", action="store_true", help="the model sees the true answers to earlier reads")
    data.add_argument("--data-size", type=int, metavar="N", help="a fixed set of N strings, again and again")
    recipe = parser.add_argument_group("the recipe")
    recipe.add_argument("--steps", type=int, metavar="N", help="(10,000; lstm 500)")
    recipe.add_argument("--seed", type=int, default=0, metavar="S", help="of initial weights and of strings (0)")
    recipe.add_argument("--model-seed", type=int, metavar="S", help="of initial weights and dropout alone")
    recipe.add_argument("--data-seed", type=int, metavar="S", help="of strings alone")
    _flags(recipe, RECIPE)
    recipe.add_argument("--compile", action="store_true", help="let torch.compile make the model's kernels")
    _flags(parser.add_argument_group("sharpening of attention"), SHARPENING)
    _flags(parser.add_argument_group("on the way"), PLAN)


def _flags(group: argparse._ArgumentGroup, table: dict[str, tuple[type, str, str]]) -> None:
    for name, (kind, metavar, text) in table.items():
        flag = f"--{name.replace('_', '-')}"
        if kind is bool:
            group.add_argument(flag, action="store_true", default=None, help=text)
        else:
            group.add_argument(flag, type=kind, metavar=metavar, help=text)
