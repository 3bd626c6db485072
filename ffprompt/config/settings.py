"""The one table of settings of a run. A new setting is one row of ``Settings``, here and nowhere else.

From the table come the fields of ``RunConfig`` and their validation, the flags of ``run``, the refusal of a setting
that a backend does not have, what two runs that are compared may differ in, what belongs to the plan of a run, and the
page docs/reference/settings.md::

    python -m ffprompt.config.settings > docs/reference/settings.md

Nothing heavy is imported here, because ``--help`` needs the table.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_type_hints

from ffprompt._util.secrets import may_hold_secret
from ffprompt.config.setting import Setting, setting
from ffprompt.elicitation.base import elicitation_names

# Groups of flags.
QUESTIONS = "model and questions"
STRINGS = "strings"
MODEL = "how the model runs"
ENGINE = "engine of vLLM, under its own names"
SERVER = "models behind an API"
FLEET = "more machines than one"
GROUPS = (QUESTIONS, STRINGS, MODEL, ENGINE, SERVER, FLEET)

# Backends that honour a setting.
_VLLM = ("vllm",)
_LOCAL = ("transformers", "vllm")
_BATCHED = ("transformers", "reference")
_API = ("openai", "anthropic")
_CHATTY = (*_LOCAL, *_API)
_ON_RAY = ("transformers", "vllm", "reference", "scripted")

_BY_BACKEND = "depends on the backend"


class Settings:
    """The table: one row for each setting of a run, with its type."""

    # fmt: off
    backend: str = setting(
        ..., QUESTIONS, "NAME", "transformers, vllm, openai, anthropic, reference, scripted or another package's",
        identifies_model=True,
    )
    model: str = setting(
        ..., QUESTIONS, "NAME", "short name, folder, GGUF file or hub id; or a scripted rule", identifies_model=True
    )
    template: tuple[str, ...] | None = setting(
        None, QUESTIONS, "NAME", "bundled template (see: ffprompt prompts list) or .toml file", product=True,
        unset=_BY_BACKEND,
    )
    shots: tuple[int, ...] | None = setting(
        None, QUESTIONS, "K", "solved strings shown before the question", product=True, least=0, most=64,
        unset=_BY_BACKEND,
    )
    shot_length: int = setting(16, QUESTIONS, "T", "length of each shot, counted in the same way", used_with="shots")
    shared_shots: bool = setting(False, QUESTIONS, "", "show the same shots before every question", used_with="shots")
    elicitation: tuple[str, ...] | None = setting(
        None, QUESTIONS, "NAME", "how reads are asked", product=True, unset=_BY_BACKEND, names=elicitation_names
    )
    form: Literal["auto", "completion", "chat"] = setting("auto", QUESTIONS, "NAME", "form of the prompt")
    next_read: Literal["first", "last", "random"] = setting(
        "last", QUESTIONS, "WHICH", "the read that next and verify ask", compare="equal", used_with="elicitation"
    )
    turn_instructions: int | None = setting(
        None, QUESTIONS, "N", "instructions in each turn of a dialogue", least=1, unset="all up to the next read",
        used_with="elicitation",
    )
    task: str = setting("flipflop", STRINGS, "NAME", "the automaton whose strings are asked about", compare="strings")
    task_arg: tuple[str, ...] | None = setting(
        None, STRINGS, "KEY=VALUE", "setting of the task, such as read=first; repeatable", compare="strings",
        expected="a list of KEY=VALUE",
    )
    length: tuple[int, ...] | None = setting(
        None, STRINGS, "T", "length of each string; of the flip-flop in symbols, even and at least 4",
        product=True, expected="an even number of at least 4", compare="strings", unset=_BY_BACKEND,
    )
    p_ignore: tuple[float, ...] | None = setting(
        None, STRINGS, "P", "probability of ignore; write and read share the rest", product=True,
        expected="a probability", compare="strings", unset=_BY_BACKEND,
    )
    p_write: float | None = setting(
        None, STRINGS, "P", "probability of write; give it with --p-read instead of --p-ignore",
        expected="a probability", compare="strings",
    )
    p_read: float | None = setting(
        None, STRINGS, "P", "probability of read; in the flip-flop goes with --p-write", expected="a probability",
        compare="strings",
    )
    symbols: int = setting(
        2, STRINGS, "M", "number of data symbols, 2 to 256", expected="a whole number from 2 to 256", compare="equal"
    )
    data: str | None = setting(
        None, STRINGS, "FILE", "strings from a .parquet or .jsonl file, or owner/name:split", compare="strings",
        least=1, expected="a file or owner/name:split",
    )
    trials: int | None = setting(
        None, STRINGS, "N", "strings per condition (a maximum with --certify or --until-width)", least=1,
        most=100_000_000,
        compare="strings", unset=_BY_BACKEND,
    )
    repeats: int = setting(1, STRINGS, "K", "times that each prompt is asked", least=1, most=1000, compare="equal")
    certify: float | None = setting(
        None, STRINGS, "B", "stop when the error rate is shown to be below or above B", above=0, below=1,
        compare="free",
    )
    until_width: float | None = setting(
        None, STRINGS, "W", "stop when the 95% interval is at most W wide", above=0, below=1, compare="free"
    )
    seed: int = setting(
        0, STRINGS, "S", "seed of strings, shots and sampled replies", least=0, most=2**63 - 1, compare="equal"
    )
    temperature: float | Literal["default"] = setting(
        0.0, MODEL, "X", "sampling temperature; 0 is greedy, default is the model's own", least=0, most=10,
        expected="a number from 0 to 10, or default (the model's own)", used_with="elicitation",
    )
    thinking: Literal["on", "off"] | int | None = setting(
        None, MODEL, "on|off|N", "let the model think before it answers; N limits it to N tokens", least=1,
        expected="on, off, or a number of tokens", backends=_CHATTY, identifies_model=True, across_backends="unknown",
    )
    answers: Literal["text", "schema"] = setting(
        "text", MODEL, "NAME", "format of replies, where schema is JSON that the server enforces",
        used_with="elicitation",
    )
    reasoning_tags: tuple[str, str] | None = setting(
        None, MODEL, "OPEN CLOSE", "marks around the reasoning in a reply", backends=(*_CHATTY, "scripted"),
        expected="two marks, the opening and the closing one", identifies_model=True, compare="allow",
    )
    max_tokens: int | None = setting(
        None, MODEL, "N", "most tokens in a reply; in a dialogue, in each turn", least=1, used_with="elicitation"
    )
    batch_size: int | None = setting(
        None, MODEL, "N", "prompts in each forward pass", least=1, backends=_BATCHED, compare="free",
        unset="found automatically",
    )
    device: str | None = setting(
        None, MODEL, "NAME", "cpu, cuda, cuda:1, mps or auto", backends=_BATCHED, compare="free",
        unset="found automatically",
    )
    dtype: str | None = setting(
        None, MODEL, "NAME", "float32, bfloat16, float16 or auto", backends=_LOCAL, engine=True, identifies_model=True,
        across_backends="unknown",
    )
    revision: str | None = setting(
        None, MODEL, "REV", "branch, tag or commit of a model on the hub", backends=_LOCAL, identifies_model=True,
        across_backends="unknown",
    )
    trust_remote_code: bool = setting(
        False, MODEL, "", "run code that comes with the model", backends=_LOCAL, compare="free"
    )
    tensor_parallel_size: int | None = setting(
        None, ENGINE, "N", "GPUs that share each layer", least=1, backends=_VLLM, engine=True, compare="free"
    )
    pipeline_parallel_size: int | None = setting(
        None, ENGINE, "N", "pipeline stages, each with some of the layers", least=1, backends=_VLLM, engine=True,
        compare="free",
    )
    data_parallel_size: int | None = setting(
        None, ENGINE, "N", "copies of the model", least=1, backends=_VLLM, compare="free"
    )
    quantization: str | None = setting(
        None, ENGINE, "NAME", "awq, gptq, fp8 …", backends=_VLLM, engine=True, identifies_model=True,
        unset="the model's own",
    )
    max_model_len: int | None = setting(
        None, ENGINE, "N", "most tokens in a prompt and its reply", least=1, backends=_VLLM, engine=True, compare="free"
    )
    gpu_memory_utilization: float | None = setting(
        None, ENGINE, "X", "share of GPU memory to use", above=0, most=1, backends=_VLLM, engine=True, compare="free"
    )
    enforce_eager: bool | None = setting(
        None, ENGINE, "", "use neither compilation nor CUDA graphs", backends=_VLLM, engine=True, compare="free"
    )
    block_size: int | None = setting(
        None, ENGINE, "N", "tokens in each block of the cache", least=1, backends=_VLLM, engine=True, compare="free"
    )
    lora: str | None = setting(None, ENGINE, "DIR", "folder with a LoRA adapter", backends=_VLLM, identifies_model=True)
    engine_arg: tuple[str, ...] | None = setting(
        None, ENGINE, "NAME=VALUE", "any other engine argument; repeatable", backends=_VLLM, identifies_model=True,
        compare="allow", across_backends="free",
    )
    base_url: str | tuple[str, ...] | None = setting(
        None, SERVER, "URL", "another server with the provider's API; repeatable for replicas", backends=_API,
        identifies_model=True, compare="allow", across_backends="free", least=1,
        expected="an address, such as http://localhost:8000/v1",
    )
    provider: str | None = setting(
        None, SERVER, "NAME", "openai: known provider, which sets the base URL and the key", backends=("openai",),
        compare="free",
    )
    api: Literal["chat", "responses", "completions", "messages", "bedrock", "vertex"] | None = setting(
        None, SERVER, "NAME", "API to call", backends=_API, identifies_model=True, compare="allow",
        across_backends="free",
    )
    key_file: str | None = setting(
        None, SERVER, "FILE", "file that holds the API key", backends=_API, planned=False,
        unset="the environment variable",
    )
    reasoning_effort: str | None = setting(
        None, SERVER, "NAME", "reasoning effort, under the provider's name", backends=_CHATTY, identifies_model=True
    )
    extra_body: dict[str, Any] | None = setting(
        None, SERVER, "JSON", "object that is merged into the body of each request", backends=_API,
        expected='a JSON object, such as {"top_k": 1}', identifies_model=True, compare="allow",
    )
    extra_header: tuple[str, ...] | None = setting(
        None, SERVER, "NAME=VALUE", "header that is sent with each request; repeatable", backends=_API, compare="free"
    )
    max_concurrency: int | None = setting(
        None, SERVER, "N", "most requests in flight", least=1, most=4096, backends=_API, planned=False,
        unset="64 a server",
    )
    requests_per_minute: float | None = setting(
        None, SERVER, "N", "rate limit on requests", above=0, backends=_API, planned=False
    )
    tokens_per_minute: float | None = setting(
        None, SERVER, "N", "rate limit on tokens", above=0, backends=_API, planned=False
    )
    reasoning_room: int | None = setting(
        None, SERVER, "N", "extra tokens for reasoning, on top of the reply", least=0, backends=_CHATTY,
        identifies_model=True, compare="allow", across_backends="unknown",
    )
    top_logprobs: int | None = setting(
        None, SERVER, "N", "forced: number of most likely tokens to ask for", least=2, most=1000, backends=("openai",),
        identifies_model=True, compare="allow", across_backends="unknown", unset="20",
    )
    timeout: float | None = setting(
        None, SERVER, "S", "time limit of a call in seconds", above=0, backends=_API, planned=False,
        unset="180, or 900 for models that think",
    )
    connect_timeout: float | None = setting(
        None, SERVER, "S", "time limit to connect", above=0, backends=_API, planned=False, unset="10"
    )
    first_byte_timeout: float | None = setting(
        None, SERVER, "S", "time limit until a response begins", above=0, backends=_API, planned=False
    )
    max_usd: float | None = setting(
        None, SERVER, "X", "stop before the run costs more, all resumes included", above=0, backends=_API,
        planned=False,
    )
    max_tokens_total: int | None = setting(
        None, SERVER, "N", "stop before the run uses more tokens, prompts and replies", least=1, backends=_API,
        planned=False,
    )
    prices: str | None = setting(
        None, SERVER, "FILE", "prices of tokens, for models that are not known", backends=_API, planned=False
    )
    ray: str | None = setting(
        None, FLEET, "ADDRESS", "Ray cluster: local starts one here; or auto, HOST:PORT, ray://HOST:PORT",
        backends=_ON_RAY, planned=False, least=1, expected="local, auto, HOST:PORT or ray://HOST:PORT",
    )
    replicas: int | None = setting(
        None, FLEET, "N", "with --ray: copies of the model", least=1, backends=_ON_RAY, planned=False, unset="1"
    )
    replica_cpus: float | None = setting(
        None, FLEET, "N", "with --ray: cores of each copy", above=0, backends=_ON_RAY, planned=False, unset="1"
    )
    replica_gpus: float | None = setting(
        None, FLEET, "X", "with --ray: GPUs of each copy, or a share of one", least=0, backends=_ON_RAY, planned=False,
        unset="what the model is split over, where the cluster has GPUs",
    )
    shard: str | None = setting(
        None, FLEET, "I/N", "ask part I of N only; ffprompt merge makes the whole run of all parts", planned=False,
        expected="I/N, such as 1/4 for the first of four parts",
    )
    replica_timeout: float | None = setting(
        None, FLEET, "S", "with --ray: seconds without an answer after which a copy is replaced", above=0,
        backends=_ON_RAY, planned=False, unset="1800",
    )
    # fmt: on


# Settings that the first runs recorded, default or not. Every other one is recorded where it is not at its default, so
# that a run that was made before it existed keeps its digest. Nothing is ever added here.
ALWAYS_RECORDED = {
    "backend", "model", "template", "shots", "shot_length", "shared_shots", "elicitation", "form", "next_read",
    "turn_instructions", "length", "p_ignore", "p_write", "p_read", "symbols", "data", "trials", "certify",
    "until_width", "seed", "temperature", "max_tokens", "batch_size", "device", "dtype", "revision",
    "trust_remote_code", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "quantization",
    "max_model_len", "gpu_memory_utilization", "enforce_eager", "block_size", "lora", "engine_arg", "base_url", "api",
    "reasoning_effort", "reasoning_room", "top_logprobs",
}  # fmt: skip


def recorded_in(row: Setting, config: Mapping[str, Any]) -> Any:
    """Return the value of a setting in the ``config`` of a run's record, which may be older than the setting.

    Raises:
        KeyError: The record is damaged.
    """
    return config[row.name] if row.name in ALWAYS_RECORDED else config.get(row.name, row.default)


def rows(table: type = Settings) -> tuple[Setting, ...]:
    """Return the rows of a table, each with its name and its type."""
    types = get_type_hints(table)
    return tuple(row._replace(name=name, type=types[name]) for name, row in vars(table).items() if name in types)


def page(table: Iterable[Setting]) -> str:
    """Return the page of settings, in Markdown."""
    parts = [_INTRODUCTION]
    listed = list(table)
    for group in GROUPS:
        parts.append(f"\n## {group[0].upper()}{group[1:]}\n\n{_HEADINGS}\n")
        parts += [_line(row) for row in listed if row.group == group]
    return "".join(parts)


_INTRODUCTION = """\
# Settings of a run

<!-- Made by: python -m ffprompt.config.settings > docs/reference/settings.md -->

Each setting is a flag of `ffprompt run` and of `ffprompt batch submit`, a key of a `[[run]]` table in a suite, and, if
it belongs to the plan, a key of `config` in `run.json`. Keys have underscores: `--p-ignore` is `p_ignore`.

- **Value**: what a value must be. A setting with "several" takes more than one, and a run is the product of them.
- **Backends**: those that honour the setting. Every other backend refuses it.
- **Plan**: whether a run with another value is another run. `--resume` continues a run only if its plan is the same.
- **Compare**: what `ffprompt compare` and `ffprompt gate` do with two runs that differ in it. *by*: they are refused,
  unless they are compared `--by` it or it is given with `--allow`. *allow*: they are refused, unless it is given with
  `--allow`. *equal*: they are refused. *strings*: strings are paired by themselves. *free*: they are compared.
  Settings marked † say which model answers, and may differ when models are compared.
"""
_HEADINGS = "| Setting | What it is | Value | Default | Backends | Plan | Compare |\n|---|---|---|---|---|---|---|"


def _line(row: Setting) -> str:
    several = " (several)" if row.product else ""
    default = "required" if row.default is ... else "" if row.shown_default is None else row.shown_default
    secret = ". Secrets in it are left out of records" if may_hold_secret(row.name) else ""
    backends = "all" if row.backends is None else ", ".join(row.backends)
    cells = [
        f"`{row.flag}`", row.help + secret, row.expectation + several, default, backends,
        "yes" if row.planned else "no", row.compare + (" †" if row.identifies_model else ""),
    ]  # fmt: skip
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


ROWS = rows()
BY_NAME = {row.name: row for row in ROWS}

if __name__ == "__main__":
    sys.stdout.write(page(ROWS))
