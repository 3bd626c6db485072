"""The settings of a run as keywords of ``evaluate``.

Made by: python -m ffprompt.interface.signature > ffprompt/interface/keywords.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict


class Keywords(TypedDict, total=False):
    """Every setting of a run but the model, by its name. One that is left out has its default."""

    backend: str
    """transformers, vllm, openai, anthropic, reference, scripted or another package's."""

    template: str | Sequence[str] | None
    """bundled template (see: ffprompt prompts list) or .toml file (default: depends on the backend)."""

    shots: int | Sequence[int] | None
    """solved strings shown before the question (default: depends on the backend)."""

    shot_length: int
    """length of each shot, counted in the same way (default: 16)."""

    shared_shots: bool
    """show the same shots before every question."""

    elicitation: str | Sequence[str] | None
    """how reads are asked: forced, next, list, dialogue, trace, verify, verify-reply or prior (default: depends on the
    backend).
    """

    form: Literal["auto", "completion", "chat"]
    """form of the prompt: auto, completion or chat (default: auto)."""

    next_read: Literal["first", "last", "random"]
    """the read that next and verify ask: first, last or random (default: last)."""

    turn_instructions: int | None
    """instructions in each turn of a dialogue (default: all up to the next read)."""

    task: str
    """the automaton whose strings are asked about (default: flipflop)."""

    task_arg: Sequence[str] | None
    """setting of the task, such as read=first; repeatable."""

    length: int | Sequence[int] | None
    """length of each string; of the flip-flop in symbols, even and at least 4 (default: depends on the backend)."""

    p_ignore: float | Sequence[float] | None
    """probability of ignore; write and read share the rest (default: depends on the backend)."""

    p_write: float | None
    """probability of write; give it with p_read instead of p_ignore."""

    p_read: float | None
    """probability of read; in the flip-flop goes with p_write."""

    symbols: int
    """number of data symbols, 2 to 256 (default: 2)."""

    data: str | None
    """strings from a .parquet or .jsonl file, or owner/name:split."""

    trials: int | None
    """strings per condition (a maximum with certify or until_width) (default: depends on the backend)."""

    repeats: int
    """times that each prompt is asked (default: 1)."""

    certify: float | None
    """stop when the error rate is shown to be below or above B."""

    until_width: float | None
    """stop when the 95% interval is at most W wide."""

    seed: int
    """seed of strings, shots and sampled replies (default: 0)."""

    temperature: float | Literal["default"]
    """sampling temperature; 0 is greedy, default is the model's own (default: 0)."""

    thinking: Literal["on", "off"] | int | None
    """let the model think before it answers; N limits it to N tokens."""

    answers: Literal["text", "schema"]
    """format of replies, where schema is JSON that the server enforces: text or schema (default: text)."""

    reasoning_tags: tuple[str, str] | None
    """marks around the reasoning in a reply."""

    max_tokens: int | None
    """most tokens in a reply; in a dialogue, in each turn."""

    batch_size: int | None
    """prompts in each forward pass (default: found automatically)."""

    device: str | None
    """cpu, cuda, cuda:1, mps or auto (default: found automatically)."""

    dtype: str | None
    """float32, bfloat16, float16 or auto."""

    revision: str | None
    """branch, tag or commit of a model on the hub."""

    trust_remote_code: bool
    """run code that comes with the model."""

    tensor_parallel_size: int | None
    """GPUs that share each layer."""

    pipeline_parallel_size: int | None
    """pipeline stages, each with some of the layers."""

    data_parallel_size: int | None
    """copies of the model."""

    quantization: str | None
    """awq, gptq, fp8 … (default: the model's own)."""

    max_model_len: int | None
    """most tokens in a prompt and its reply."""

    gpu_memory_utilization: float | None
    """share of GPU memory to use."""

    enforce_eager: bool | None
    """use neither compilation nor CUDA graphs."""

    block_size: int | None
    """tokens in each block of the cache."""

    lora: str | None
    """folder with a LoRA adapter."""

    engine_arg: Sequence[str] | None
    """any other engine argument; repeatable."""

    base_url: str | Sequence[str] | None
    """another server with the provider's API; repeatable for replicas."""

    provider: str | None
    """openai: known provider, which sets the base URL and the key."""

    api: Literal["chat", "responses", "completions", "messages", "bedrock", "vertex"] | None
    """API to call: chat, responses, completions, messages, bedrock or vertex."""

    key_file: str | None
    """file that holds the API key (default: the environment variable)."""

    reasoning_effort: str | None
    """reasoning effort, under the provider's name."""

    extra_body: Mapping[str, Any] | None
    """object that is merged into the body of each request."""

    extra_header: Sequence[str] | None
    """header that is sent with each request; repeatable."""

    max_concurrency: int | None
    """most requests in flight (default: 64 a server)."""

    requests_per_minute: float | None
    """rate limit on requests."""

    tokens_per_minute: float | None
    """rate limit on tokens."""

    reasoning_room: int | None
    """extra tokens for reasoning, on top of the reply."""

    top_logprobs: int | None
    """forced: number of most likely tokens to ask for (default: 20)."""

    timeout: float | None
    """time limit of a call in seconds (default: 180, or 900 for models that think)."""

    connect_timeout: float | None
    """time limit to connect (default: 10)."""

    first_byte_timeout: float | None
    """time limit until a response begins."""

    max_usd: float | None
    """stop before the run costs more, all resumes included."""

    max_tokens_total: int | None
    """stop before the run uses more tokens, prompts and replies."""

    prices: str | None
    """prices of tokens, for models that are not known."""

    ray: str | None
    """Ray cluster: local starts one here; or auto, HOST:PORT, ray://HOST:PORT."""

    replicas: int | None
    """with ray: copies of the model (default: 1)."""

    replica_cpus: float | None
    """with ray: cores of each copy (default: 1)."""

    replica_gpus: float | None
    """with ray: GPUs of each copy, or a share of one (default: what the model is split over, where the cluster has
    GPUs).
    """

    shard: str | None
    """ask part I of N only; ffprompt merge makes the whole run of all parts."""

    replica_timeout: float | None
    """with ray: seconds without an answer after which a copy is replaced (default: 1800)."""
