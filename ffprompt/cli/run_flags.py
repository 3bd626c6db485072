"""The flags of ``ffprompt run``. Nothing heavy is imported here."""

from __future__ import annotations

import argparse

from ffprompt import __version__
from ffprompt.cli import compare_flags

EPILOG = """\
With no flags at all: the bundled reference models, and SmolLM2 where its weights are installed (about two minutes).
Template, shots, elicitation, length and p-ignore take several values; a run is their product.

  run_eval.py --backend transformers --model smollm2-135m
  run_eval.py --backend transformers --model gpt2 --template light-switch --length 10 50 100 --shots 0 1
  run_eval.py --backend scripted --model oracle --trials 20
"""
_TURNS = "instructions a turn of a dialogue (default: all up to the next read)"


def add_flags(parser: argparse.ArgumentParser, submits: bool = False) -> None:
    """Add the flags of ``run``, or with ``submits`` those of ``batch submit``."""
    parser.add_argument("--version", action="version", version=f"ffprompt {__version__}")
    what = parser.add_argument_group("what is asked of which model")
    what.add_argument("--backend", metavar="NAME", help="transformers, vllm, openai, anthropic, reference or scripted")
    what.add_argument("--model", metavar="NAME", help="short name, folder, GGUF file or hub id; a scripted rule")
    what.add_argument("--template", nargs="+", metavar="NAME", help="see: ffprompt prompts list; or a .toml file")
    what.add_argument("--shots", nargs="+", type=int, metavar="K", help="solved strings shown before the question")
    what.add_argument("--shot-length", type=int, metavar="T", help="symbols in a shot (default 16)")
    what.add_argument("--shared-shots", action="store_true", default=None, help="the same shots for every question")
    what.add_argument("--elicitation", nargs="+", metavar="NAME", help="forced, next, list, dialogue")
    what.add_argument("--form", metavar="NAME", help="completion or chat (default: what suits the model)")
    what.add_argument("--next-read", metavar="WHICH", help="the read that next asks: last (default), first or random")
    what.add_argument("--turn-instructions", type=int, metavar="N", help=_TURNS)
    strings = parser.add_argument_group("strings")
    strings.add_argument("--length", nargs="+", type=int, metavar="T", help="symbols in a string: even, at least 4")
    strings.add_argument("--p-ignore", nargs="+", type=float, metavar="P", help="writes and reads share the rest")
    strings.add_argument("--p-write", type=float, metavar="P", help="with --p-read, instead of --p-ignore")
    strings.add_argument("--p-read", type=float, metavar="P")
    strings.add_argument("--symbols", type=int, metavar="M", help="data symbols, 2 to 256 (default 2)")
    strings.add_argument("--data", metavar="FILE", help="strings from a .parquet or .jsonl file, or owner/name:split")
    strings.add_argument("--trials", type=int, metavar="N", help="strings a condition; with the next two, the most")
    strings.add_argument("--repeats", type=int, metavar="K", help="ask each prompt K times (default 1)")
    strings.add_argument("--certify", type=float, metavar="B", help="until its error rate is shown below or above B")
    strings.add_argument("--until-width", type=float, metavar="W", help="until its 95%% interval is no longer than W")
    strings.add_argument("--seed", type=int, metavar="S", help="of strings, shots and sampled replies (default 0)")
    model = parser.add_argument_group("how the model runs")
    model.add_argument("--temperature", metavar="X", help="0 (default) is greedy; default: the model's own")
    model.add_argument("--thinking", metavar="on|off|N", help="let the model think before it answers; N: in N tokens")
    model.add_argument("--answers", metavar="NAME", help="text (default), or schema: JSON that the server enforces")
    model.add_argument("--reasoning-tags", nargs=2, metavar=("OPEN", "CLOSE"), help="around the thoughts in a reply")
    model.add_argument("--max-tokens", type=int, metavar="N", help="the longest reply; in a dialogue, of each turn")
    model.add_argument("--batch-size", type=int, metavar="N", help="prompts a forward pass (default: found by itself)")
    model.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps, auto (default: found by itself)")
    model.add_argument("--dtype", metavar="NAME", help="float32, bfloat16, float16, auto")
    model.add_argument("--revision", metavar="REV", help="of a model on a hub")
    model.add_argument("--trust-remote-code", action="store_true", default=None, help="run code that a model brings")
    _engine_flags(parser.add_argument_group("vLLM's engine, under its own names"))
    _api_flags(parser.add_argument_group("models behind an API"))
    run = parser.add_argument_group("the run")
    run.add_argument("--suite", metavar="FILE", help="runs from a TOML file or a bundled suite; see: suites list")
    run.add_argument("--out", default="results", metavar="DIR", help="where runs are kept (default results)")
    run.add_argument("--resume", action="store_true", help="go on with the newest unfinished run of this plan")
    run.add_argument("--dry-run", action="store_true", help="print the plan, a prompt, tokens and cost, ask nothing")
    if not submits:
        compare_flags.run_flags(parser)
    batch = parser.add_argument_group("batches: half the price, answers within a day (openai and anthropic)")
    if not submits:
        run.add_argument("--no-report", action="store_true", help="write no report.html at the end")
        batch.add_argument("--batch", action="store_true", help="hand everything over, wait, and collect it")
    batch.add_argument("--batch-part", type=int, metavar="N", help="requests a batch (default: what a provider takes)")


def _engine_flags(vllm: argparse._ArgumentGroup) -> None:
    vllm.add_argument("--tensor-parallel-size", type=int, metavar="N", help="GPUs that share each layer")
    vllm.add_argument("--pipeline-parallel-size", type=int, metavar="N", help="groups of GPUs that hold layers in turn")
    vllm.add_argument("--data-parallel-size", type=int, metavar="N", help="copies of the model")
    vllm.add_argument("--quantization", metavar="NAME", help="awq, gptq, fp8 … (default: what the model says)")
    vllm.add_argument("--max-model-len", type=int, metavar="N", help="most tokens of a prompt with its reply")
    vllm.add_argument("--gpu-memory-utilization", type=float, metavar="X", help="share of the GPU's memory, 0 to 1")
    vllm.add_argument("--enforce-eager", action="store_true", default=None, help="no compilation, no CUDA graphs")
    vllm.add_argument("--block-size", type=int, metavar="N", help="tokens in a block of the cache")
    vllm.add_argument("--lora", metavar="DIR", help="a folder with a LoRA adapter")
    vllm.add_argument(
        "--engine-arg", action="append", metavar="NAME=VALUE", help="any other of vLLM's engine arguments, repeatable"
    )


def _api_flags(api: argparse._ArgumentGroup) -> None:
    api.add_argument("--base-url", metavar="URL", help="another server that speaks the provider's API")
    api.add_argument("--provider", metavar="NAME", help="openai: a provider's base URL and key by its name")
    api.add_argument("--api", metavar="NAME", help="openai: chat, responses, completions; anthropic: bedrock, vertex")
    api.add_argument("--key-file", metavar="FILE", help="holds the key, instead of the environment")
    api.add_argument("--reasoning-effort", metavar="NAME", help="for models that reason, under its provider's name")
    api.add_argument("--extra-body", metavar="JSON", help="an object that is added to the body of every request")
    api.add_argument("--extra-header", action="append", metavar="NAME=VALUE", help="sent each time, repeatable")
    api.add_argument("--max-concurrency", type=int, metavar="N", help="most requests on the wire (default 64)")
    api.add_argument("--requests-per-minute", type=float, metavar="N")
    api.add_argument("--tokens-per-minute", type=float, metavar="N")
    api.add_argument("--reasoning-room", type=int, metavar="N", help="tokens for reasoning on top of the reply")
    api.add_argument("--top-logprobs", type=int, metavar="N", help="openai, forced: likeliest tokens asked for (20)")
    api.add_argument("--timeout", type=float, metavar="S", help="longest call (default 180, 900 for models that think)")
    api.add_argument("--connect-timeout", type=float, metavar="S", help="longest wait for a connection (default 10)")
    api.add_argument("--first-byte-timeout", type=float, metavar="S", help="longest wait for an answer to begin")
    api.add_argument("--max-usd", type=float, metavar="X", help="stop before the run has cost more, over all resumes")
    api.add_argument("--max-tokens-total", type=int, metavar="N", help="likewise in tokens, of prompts and replies")
    api.add_argument("--prices", metavar="FILE", help="what tokens cost, for models and servers that are not known")
