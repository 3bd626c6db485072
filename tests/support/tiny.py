"""Random causal models of several architectures with a tokenizer of their own, small enough to make in a test."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    RwkvConfig,
)

CORPUS = [
    "Alice turns the light on. Bob eats an apple. Bob eats a banana. Alice turns the light off. The light is turned",
    "Carol closes the door. Dan turns the radio up. At this point the door is closed. The theme here is dark light",
    "Alice puts the keys on the table. Alice puts the keys on the shelf. What happened, step by step: answers 0 1",
    "w 1 i 0 r 1 write 1 ignore 0 read 1 x = 1 y = 0 assert x == 1 memory instruction bit puts replacing",
] * 8


def tokenizer(merges: bool = False, bos: bool = False, size: int = 600) -> PreTrainedTokenizerFast:
    """A byte-level BPE. ``merges`` lets tokens reach from letters into digits, as "r1"; ``bos`` puts <s> in front."""
    backend = Tokenizer(models.BPE())
    split = [] if merges else [pre_tokenizers.Digits(individual_digits=True)]
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not merges)]
    )
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>"]
    corpus = ["w1i0r1w0i1r0w1r1i1r0r1w0" * 4] * 50 if merges else CORPUS
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(corpus, trainer)
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def make(folder: Path, architecture: str, seed: int = 0, context: int = 2048, heads: int = 4, **tokens: bool) -> Path:
    """Write a model folder: gpt2, gpt-neox, llama, qwen2, mistral (sliding window), gemma2 (capped logits) or gemma3.

    bloom (ALiBi) and rwkv (no attention) take no mask of ones own.

    vLLM wants heads of at least 32 dimensions, of which there are 2.
    """
    words = tokenizer(**tokens)
    size = len(words)
    common = {"vocab_size": size, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    wide = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": heads}
    config = {
        "gpt2": lambda: GPT2Config(n_positions=context, n_embd=64, n_layer=2, n_head=heads, **common),
        "gpt-neox": lambda: GPTNeoXConfig(max_position_embeddings=context, **wide, **common),
        "llama": lambda: LlamaConfig(max_position_embeddings=context, num_key_value_heads=2, **wide, **common),
        "mistral": lambda: MistralConfig(
            max_position_embeddings=context, num_key_value_heads=2, sliding_window=32, **wide, **common
        ),
        "gemma2": lambda: Gemma2Config(
            max_position_embeddings=context, num_key_value_heads=2, head_dim=16, sliding_window=32,
            final_logit_softcapping=3.0, **wide, **common,
        ),
        "qwen2": lambda: Qwen2Config(max_position_embeddings=context, num_key_value_heads=2, **wide, **common),
        "gemma3": lambda: Gemma3TextConfig(
            max_position_embeddings=context, num_key_value_heads=2, head_dim=16, sliding_window=32,
            layer_types=["sliding_attention", "full_attention"], **wide, **common,
        ),
        "bloom": lambda: BloomConfig(hidden_size=64, n_layer=2, n_head=heads, **common),
        "rwkv": lambda: RwkvConfig(
            context_length=context, hidden_size=64, attention_hidden_size=64, num_hidden_layers=2, **common
        ),
    }[architecture]()  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():  # far enough from uniform for a wrong position to show
            parameter.data.add_(torch.randn_like(parameter) * 0.15)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
