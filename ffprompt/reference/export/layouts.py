"""The architectures of Hugging Face that a reference Transformer is a case of, and its weights under their names.

    learned, sinusoidal, none   layernorm   gelu      GPT-2      positions are a table of what ours adds to embeddings
    rope                        layernorm   gelu      GPT-NeoX   one layer after the other, all columns turned
    rope                        rmsnorm     swiglu    Llama      with biases in the MLP

Nothing is approximated. Where an architecture has a bias and ours has none, it is zero. The temperature of attention,
which none of them has, divides the weights of the queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ffprompt.reference.networks.base import NetworkConfig
from ffprompt.reference.networks.positions import sinusoids
from ffprompt.reference.networks.transformer import Attention, Block, Transformer, TransformerConfig

Weights = dict[str, Tensor]
EPSILON = 1e-5
"""Of every norm of ours."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A name, and from a model and the number of its positions what differs in config.json, and the weights."""

    name: str
    write: Callable[[Transformer, int], tuple[dict[str, Any], Weights]]


def layout_of(config: NetworkConfig, architecture: str) -> Layout | str:
    """The layout for a config, or else the option that no layout has, in words."""
    if type(config) is not TransformerConfig:
        return f"architecture {architecture!r}"
    if config.attention != "softmax":
        return f"attention {config.attention!r}"
    if config.norm_placement != "pre":
        return f"norm placement {config.norm_placement!r}"
    for name in ("qk_norm", "no_residual"):
        if getattr(config, name):
            return f"option {name.replace('_', '-')}"
    if config.window is not None:
        return f"window {config.window}"
    positions, norm, activation = config.positions, config.norm, config.activation
    if (found := LAYOUTS.get((positions, norm, activation))) is not None:
        return found
    near = [(n, a) for p, n, a in LAYOUTS if p == positions]
    if not near:
        return f"positions {positions!r}"
    if activation not in {a for _, a in near}:
        return f"activation {activation!r} with positions {positions!r}"
    if norm not in {n for n, _ in near}:
        return f"norm {norm!r} with positions {positions!r}"
    return f"norm {norm!r} with activation {activation!r}"


def _gpt2(model: Transformer, places: int) -> tuple[dict[str, Any], Weights]:
    c = model.config
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_embd": c.width,
        "n_layer": c.layers,
        "n_head": c.heads,
        "n_inner": c.width * c.expansion,
        "n_positions": places,
        "activation_function": "gelu",  # the exact one; GPT-2's own is an approximation
        "layer_norm_epsilon": EPSILON,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }
    weights = {"transformer.wte.weight": model.embedding.weight, "transformer.wpe.weight": _table(model, places)}
    weights |= _both("transformer.ln_f", model.norm) | _both("lm_head", model.head)
    for at, block in _blocks(model, "transformer.h"):
        attention, mlp = block.attention, block.mlp
        qkv = torch.cat([_query(attention), attention.key.weight, attention.value.weight])  # (3 d, d)
        weights |= _both(f"{at}.ln_1", block.attention_norm) | _both(f"{at}.ln_2", block.mlp_norm)
        # GPT-2's layers hold their weights the other way round, (in, out).
        for name, weight, bias in (
            ("attn.c_attn", qkv, None),
            ("attn.c_proj", attention.out.weight, None),
            ("mlp.c_fc", mlp.up.weight, mlp.up.bias),
            ("mlp.c_proj", mlp.down.weight, mlp.down.bias),
        ):
            weights[f"{at}.{name}.weight"] = weight.T
            weights[f"{at}.{name}.bias"] = weight.new_zeros(len(weight)) if bias is None else bias
    return config, weights


def _neox(model: Transformer, places: int) -> tuple[dict[str, Any], Weights]:
    c = model.config
    config = {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_size": c.width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "intermediate_size": c.width * c.expansion,
        "max_position_embeddings": places,
        "hidden_act": "gelu",
        "layer_norm_eps": EPSILON,
        "use_parallel_residual": False,
        "rotary_pct": 1.0,
        "rotary_emb_base": 10_000,
        "attention_bias": True,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
    }
    weights = {"gpt_neox.embed_in.weight": model.embedding.weight} | _both("embed_out", model.head)
    weights |= _both("gpt_neox.final_layer_norm", model.norm)
    for at, block in _blocks(model, "gpt_neox.layers"):
        attention = block.attention
        heads = [
            weight.view(c.heads, -1, c.width)  # (H, D, d)
            for weight in (_query(attention), attention.key.weight, attention.value.weight)
        ]
        weights |= _both(f"{at}.input_layernorm", block.attention_norm)
        weights |= _both(f"{at}.post_attention_layernorm", block.mlp_norm)
        # Head after head, each with its query, key and value.
        weights[f"{at}.attention.query_key_value.weight"] = torch.stack(heads, 1).reshape(3 * c.width, c.width)
        weights[f"{at}.attention.query_key_value.bias"] = torch.zeros(3 * c.width)
        weights[f"{at}.attention.dense.weight"] = attention.out.weight
        weights[f"{at}.attention.dense.bias"] = torch.zeros(c.width)
        weights |= _both(f"{at}.mlp.dense_h_to_4h", block.mlp.up) | _both(f"{at}.mlp.dense_4h_to_h", block.mlp.down)
    return config, weights


def _llama(model: Transformer, places: int) -> tuple[dict[str, Any], Weights]:
    c = model.config
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": c.width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.heads,
        "head_dim": c.width // c.heads,
        "intermediate_size": c.width * c.expansion,
        "max_position_embeddings": places,
        "hidden_act": "silu",
        "rms_norm_eps": EPSILON,
        "rope_theta": 10_000.0,
        "attention_bias": False,
        "mlp_bias": True,
        "attention_dropout": 0.0,
    }
    weights = {"model.embed_tokens.weight": model.embedding.weight} | _both("model.norm", model.norm)
    weights |= _both("lm_head", model.head)
    for at, block in _blocks(model, "model.layers"):
        attention, mlp = block.attention, block.mlp
        assert mlp.gate is not None, "swiglu has a gate"
        weights |= _both(f"{at}.input_layernorm", block.attention_norm)
        weights |= _both(f"{at}.post_attention_layernorm", block.mlp_norm)
        weights[f"{at}.self_attn.q_proj.weight"] = _query(attention)
        weights[f"{at}.self_attn.k_proj.weight"] = attention.key.weight
        weights[f"{at}.self_attn.v_proj.weight"] = attention.value.weight
        weights[f"{at}.self_attn.o_proj.weight"] = attention.out.weight
        weights |= _both(f"{at}.mlp.up_proj", mlp.up) | _both(f"{at}.mlp.gate_proj", mlp.gate)
        weights |= _both(f"{at}.mlp.down_proj", mlp.down)
    return config, weights


def _blocks(model: Transformer, name: str) -> Iterator[tuple[str, Block]]:
    for number, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        yield f"{name}.{number}", block


def _both(name: str, layer: nn.Module) -> Weights:
    """All numbers of a layer under a new name: its weight, and its bias where it has one."""
    return {f"{name}.{part}": weight for part, weight in layer.state_dict().items()}


def _query(attention: Attention) -> Tensor:
    """The weights (d, d) of the queries for scores that are divided by √D alone."""
    weight = attention.query.weight
    return (weight.double() / attention.config.temperature).to(weight.dtype)


def _table(model: Transformer, places: int) -> Tensor:
    """What is added to the embedding at each place, (places, d). Zero where the model has no place."""
    config = model.config
    match config.positions:
        case "learned":
            assert model.positions is not None
            table = model.positions.weight[:places]
        case "sinusoidal":
            table = sinusoids(places, config.width).to(model.embedding.weight)
        case _:
            table = model.embedding.weight.new_zeros(places, config.width)
    return F.pad(table * config.width**-0.5, (0, 0, 0, places - len(table)))


_GPT2, _NEOX, _LLAMA = Layout("GPT-2", _gpt2), Layout("GPT-NeoX", _neox), Layout("Llama", _llama)
LAYOUTS = {
    ("learned", "layernorm", "gelu"): _GPT2,
    ("sinusoidal", "layernorm", "gelu"): _GPT2,
    ("none", "layernorm", "gelu"): _GPT2,
    ("rope", "layernorm", "gelu"): _NEOX,
    ("rope", "rmsnorm", "swiglu"): _LLAMA,
}
"""By positions, norm and activation of a config."""
EXPORTED = (
    "learned, sinusoidal or no positions with layernorm and gelu (GPT-2), "
    "rope with layernorm and gelu (GPT-NeoX) or with rmsnorm and swiglu (Llama)"
)
