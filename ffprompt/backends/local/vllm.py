"""Any causal language model that vLLM runs, in this process: ``vllm.LLM`` with its own names for its settings.

``score`` sends one request a string: all reads from one pass over the prompt. ``complete`` hands everything to vLLM's
continuous batching, sorted so that common beginnings are computed once.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.util
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from pydantic import ValidationError

from ffprompt._util.extras import needs
from ffprompt._util.validation import first_problem
from ffprompt.backends.base import Capabilities, Failure, Reply, Request, Scores
from ffprompt.backends.identity import OPTIONAL, PART, Identity
from ffprompt.backends.local.candidate_scores import TOP_LOGPROBS, collect_scores, plan_rows
from ffprompt.backends.local.chat_template import TemplateIdentity, Thinking
from ffprompt.backends.local.tokenization import Encoder, audit, context_of
from ffprompt.backends.local.weight_files import check_adapter
from ffprompt.backends.local.weights import OFFLINE, Located, fingerprint, first_line, locate, offline, quiet
from ffprompt.backends.prompt_audit import PromptAudit
from ffprompt.backends.spec import BackendSpec, not_installed
from ffprompt.config.settings import ROWS
from ffprompt.elicitation.base import find_elicitation
from ffprompt.errors import ModelError, RunFailedError, did_you_mean

if TYPE_CHECKING:
    from ffprompt.backends.base import Backend
    from ffprompt.backends.local.vllm_model import Engine
    from ffprompt.config.run_config import RunConfig

EngineArguments = dict[str, Any]  # vLLM's own, under its names
# Scoring a prompt makes a line of logits for every token of a step, which vLLM does not plan memory for. About three
# float32 copies of them may be there at once. Together they stay below this many bytes.
_LOGITS = 1 << 30
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # sizes of LoRA adapters that vLLM reserves memory for
_DTYPES = ("auto", "half", "float16", "bfloat16", "float", "float32")
# Settings of a run that are engine arguments of the same name.
_ENGINE_SETTINGS = tuple(row.name for row in ROWS if row.engine)
# Ours to decide: what is read from vLLM depends on it.
_OURS = ("model", "tokenizer", "runner", "convert", "logprobs_mode", "skip_tokenizer_init", "data_parallel_size")


class EngineFacts(TypedDict):
    """What an engine has made of its arguments."""

    vllm: str
    torch: str
    platform: str
    runner: str
    scoring: str
    dtype: str
    quantization: str | None
    max_model_len: int
    prefix_caching: bool
    batch_invariant: bool
    tensor_parallel_size: int
    pipeline_parallel_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmIdentity(Identity):
    """A model in the record of a run."""

    weights: Mapping[str, str | None] = field(metadata=PART)
    architecture: str | None
    lora: Mapping[str, str] | None
    engine_arguments: EngineArguments
    engine: EngineFacts | None
    template: TemplateIdentity = field(metadata=PART)
    data_parallel_size: int | None = field(default=None, metadata=OPTIONAL)


class VllmBackend:
    """``model`` is a short name, a folder, a GGUF file or a hub id.

    ``settings`` are vLLM's engine arguments under their own names. One that vLLM does not have is an error that names
    the nearest. ``lora`` is a folder with an adapter. ``scores`` says whether prompts will be scored, which wants
    memory for logits. Without ``weights`` vLLM is not started and need not be installed: prompts can be checked where
    the tokenizer is at hand, and are not counted where it is not. ``chats`` is what is then taken for granted.

    Raises:
        ModelError: the model cannot be opened.
    """

    def __init__(
        self,
        model: str,
        settings: EngineArguments,
        revision: str | None = None,
        trust_remote_code: bool = False,
        lora: str | None = None,
        seed: int = 0,
        scores: bool = True,
        weights: bool = True,
        chats: bool = False,
        thinking: Thinking | None = None,
    ) -> None:
        self.name = model
        there = importlib.util.find_spec("vllm") is not None
        if weights and not there:
            raise needs("the vllm backend", "vllm")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # what is on the terminal is the run's
        located = locate(model, revision, weights)
        adapter = _adapter(lora) if lora is not None else {}
        config, tokenizer = self._tokenizer(located, revision, trust_remote_code, needed=weights)
        on_cpu = _on_cpu() if there else False
        self.arguments: EngineArguments = {"model": located.source, "seed": seed & 0x7FFFFFFF}
        self.arguments |= {"revision": revision, "tokenizer_revision": revision} if revision is not None else {}
        self.arguments |= {"trust_remote_code": True} if trust_remote_code else {}
        self.arguments |= _defaults(on_cpu, config if scores else None) | adapter | dict(settings)
        _check(self.arguments, settings, there)
        context = _context(config, settings.get("max_model_len"))
        # One place is kept free: vLLM writes at least one token, even where prompts are scored.
        context = None if context is None else context - 1
        self.notes = [] if there else ["vLLM is not on this machine, so nobody has checked its arguments"]
        if tokenizer is None:
            self.notes.append(
                f"the tokenizer of {model} is not on this machine: tokens are not counted, and whether it has a chat "
                "template is not known"
            )
        self.encoder: Encoder | None = None
        if tokenizer is not None:
            vocabulary = int(config.get_text_config().vocab_size)
            self.encoder = Encoder(tokenizer, model, located.adds_bos, context, vocabulary, thinking)
            self.encoder.template  # noqa: B018 - a switch that is not there is an error before the engine starts
        self.engine: Engine | None = self._open(lora) if weights else None
        self.capabilities = Capabilities(
            scores=True,
            completes=True,
            chats=self.encoder.chats if self.encoder is not None else chats,
            schemas=self.engine is None or self.engine.takes_schemas,
        )
        self.chunk = 64 if on_cpu else 512
        self.identity = VllmIdentity(
            backend="vllm",
            model=model,
            weights=located.identity,
            architecture=(config.architectures or [config.model_type])[0] if config is not None else None,
            lora={"path": Path(lora).name, **fingerprint(Path(lora))} if lora is not None else None,
            engine_arguments={key: value for key, value in self.arguments.items() if key != "model"},
            engine=_engine_facts(self.engine) if self.engine is not None else None,
            template=self.encoder.identity if self.encoder is not None else {},
        )

    def _tokenizer(
        self, located: Located, revision: str | None, trust_remote_code: bool, needed: bool
    ) -> tuple[Any, Any]:
        """The model's config and tokenizer. (None, None) where they are not needed and cannot be had."""
        try:
            from transformers import AutoConfig, AutoTokenizer
        except ImportError as error:
            if needed:
                raise not_installed("vllm", error) from error
            return None, None
        options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
        try:
            with quiet():
                config = AutoConfig.from_pretrained(located.source, **options)
                return config, AutoTokenizer.from_pretrained(located.source, **options)
        except (OSError, ValueError, KeyError, ImportError) as error:
            if not needed and "hub" in located.identity:
                return None, None
            hub = "hub" in located.identity and offline()
            hint = f"; nothing is downloaded while {OFFLINE} is set" if hub else ""
            raise ModelError(f"model {self.name}: {first_line(error).removesuffix('.')}{hint}") from error

    def _open(self, lora: str | None) -> Engine:
        with self._translated(ModelError), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of vLLM's about torch, which a user can do nothing about
            from ffprompt.backends.local.vllm_model import Engine

            return Engine(self.arguments, lora)

    def check(self, requests: Sequence[Request]) -> PromptAudit:
        """The tokenisation audit of ``requests``. Without a tokenizer, that nothing was counted."""
        if self.encoder is None:
            return {"audited": 0, "notes": self.notes}
        found = audit(self.encoder, requests)
        return found | {"notes": [*self.notes, *found["notes"]]}

    def rendered(self, request: Request) -> str:
        """The text that the model is given. Without a tokenizer, the messages themselves."""
        if self.encoder is None:
            return "\n".join([*(f"{message.role}: {message.text}" for message in request.messages), request.text])
        return self.encoder.text(request)[0]

    def close(self) -> None:
        """Stop the engine."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None

    async def score(self, requests: Sequence[Request]) -> Sequence[Scores | Failure]:
        """Log-probabilities of every answer at every read, one pass over each prompt."""
        return await asyncio.to_thread(self._score, requests)

    async def complete(self, requests: Sequence[Request]) -> Sequence[Reply | Failure]:
        """Generated replies."""
        return await asyncio.to_thread(self._complete, requests)

    def _score(self, requests: Sequence[Request]) -> list[Scores | Failure]:
        assert self.encoder is not None and self.engine is not None
        tokenised = [self.encoder.tokenise(request) for request in requests]
        rows, owners = plan_rows(tokenised)
        with self._translated(RunFailedError):
            row_scores = self.engine.score(rows)
        return collect_scores(tokenised, owners, row_scores)

    def _complete(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        assert self.encoder is not None and self.engine is not None
        prompts = [self.encoder.prompt(request) for request in requests]
        with self._translated(RunFailedError):
            return self.engine.generate(self.encoder, prompts, requests)

    @contextlib.contextmanager
    def _translated(self, kind: type[ModelError] | type[RunFailedError]) -> Iterator[None]:
        """vLLM's errors in one line. Those of an engine in its own process are on its log above."""
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, NotImplementedError) as error:
            hint = ""
            if "out of memory" in str(error).lower() or "No available memory" in str(error):
                hint = "; use a smaller --max-model-len, --tensor-parallel-size or another --gpu-memory-utilization"
            elif "trust_remote_code" in str(error):
                hint = "; its folder brings code of its own, which runs with --trust-remote-code only"
            raise kind(f"model {self.name}: {_told(error)}{hint}") from error


def parse_engine_arguments(given: Sequence[str]) -> EngineArguments:
    """``name=value`` pairs. A value is JSON where it can be, and otherwise a text. Raises ModelError.

    >>> parse_engine_arguments(["swap_space=8", "kv-cache-dtype=fp8", "enable_expert_parallel=true"])
    {'swap_space': 8, 'kv_cache_dtype': 'fp8', 'enable_expert_parallel': True}
    """
    found: EngineArguments = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not equals or not name:
            raise ModelError(f"--engine-arg {pair}: expected name=value")
        if name in found:
            raise ModelError(f"--engine-arg {pair}: {name} is given twice")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def _check(arguments: EngineArguments, given: EngineArguments, there: bool) -> None:
    """Whether vLLM has every argument that was given. Without vLLM on this machine nobody can tell."""
    for name in _OURS:
        if name in given:
            raise ModelError(f"--engine-arg {name}: it has a flag of its own, or is not yours to set")
    if (dtype := given.get("dtype")) is not None and dtype not in _DTYPES:
        raise ModelError(f"dtype {dtype!r} is unknown{did_you_mean(str(dtype), _DTYPES)}")
    if not there:
        return
    from vllm.engine.arg_utils import EngineArgs

    known = [field.name for field in dataclasses.fields(EngineArgs)]
    for name in arguments:
        if name not in known:
            raise ModelError(f"--engine-arg {name}: vLLM has no such argument{did_you_mean(name, known)}")
    try:
        EngineArgs(**arguments)
    except (ValueError, TypeError) as error:
        raise ModelError(f"vLLM refuses its arguments: {_told(error)}") from error


def _told(error: BaseException) -> str:
    """One line. What pydantic found in vLLM's settings stands after its heading."""
    if isinstance(error, ValidationError):
        return first_problem(error).expected.splitlines()[0]
    return first_line(error)


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def _defaults(on_cpu: bool, config: Any) -> EngineArguments:
    """What is set unless the user says otherwise. ``config`` is the model's where prompts will be scored."""
    defaults: EngineArguments = {"max_logprobs": TOP_LOGPROBS}
    if on_cpu:
        # Compiling takes longer than it saves there, and blocks of 128 tokens keep short prompts out of the cache.
        # float32 weights would be cut to half of their precision without a word.
        defaults |= {"dtype": "float32", "enforce_eager": True, "block_size": 32}
    if config is not None:
        fitting = _LOGITS // (12 * int(config.get_text_config().vocab_size))
        defaults["max_num_batched_tokens"] = max(256, min(8192, 1 << (fitting.bit_length() - 1)))
        defaults["max_num_seqs"] = min(256, defaults["max_num_batched_tokens"])
    return defaults


def _context(config: Any, wanted: int | None) -> int | None:
    """The most tokens of a prompt with its reply."""
    own = context_of(config) if config is not None else None
    return min((length for length in (own, wanted) if length is not None), default=None)


def _adapter(lora: str) -> EngineArguments:
    """The engine arguments that an adapter wants. Raises ModelError for a folder that holds none."""
    path = Path(lora) / "adapter_config.json"
    check_adapter(Path(lora), f"--lora {lora}")
    try:
        rank = int(json.loads(path.read_text())["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"--lora {lora}: no LoRA adapter there ({path.name}: {first_line(error)})") from error
    fitting = [size for size in _RANKS if size >= rank]
    if not fitting:
        raise ModelError(f"--lora {lora}: rank {rank}; vLLM takes at most {_RANKS[-1]}")
    return {"enable_lora": True, "max_lora_rank": fitting[0]}


def _engine_facts(engine: Engine) -> EngineFacts:
    """What the engine has made of its arguments, for the record."""
    import torch
    import vllm
    from vllm.platforms import current_platform

    config = engine.config
    return {
        "vllm": vllm.__version__,
        "torch": torch.__version__,
        "platform": str(current_platform.device_type),
        "runner": "v2" if getattr(config, "use_v2_model_runner", False) else "v1",
        "scoring": engine.scoring,
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "quantization": config.model_config.quantization,
        "max_model_len": config.model_config.max_model_len,
        "prefix_caching": bool(config.cache_config.enable_prefix_caching),
        "batch_invariant": os.environ.get("VLLM_BATCH_INVARIANT", "0") not in ("", "0"),
        "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
        "pipeline_parallel_size": config.parallel_config.pipeline_parallel_size,
    }


def _open(config: RunConfig, weights: bool) -> Backend:
    settings = {name: value for name in _ENGINE_SETTINGS if (value := getattr(config, name)) is not None}
    for name, value in parse_engine_arguments(config.engine_arg or ()).items():
        if name in settings:
            raise ModelError(f"--engine-arg {name}: --{name.replace('_', '-')} is given too")
        settings[name] = value
    asked = [find_elicitation(name) for name in config.elicitation or ("forced",)]
    opening: dict[str, Any] = {
        "model": config.model,
        "settings": settings,
        "revision": config.revision,
        "trust_remote_code": config.trust_remote_code,
        "lora": config.lora,
        "seed": config.seed,
        "scores": any(elicitation.scored_by_logprobs for elicitation in asked),
        "weights": weights,
        "chats": config.form == "chat" or any(elicitation.has_turns for elicitation in asked),
        "thinking": Thinking.of(config),
    }
    copies = config.data_parallel_size or 1
    if copies == 1 or not weights:
        return VllmBackend(**opening)
    from ffprompt.backends.local.vllm_replicas import ReplicatedVllm

    each = (config.tensor_parallel_size or 1) * (config.pipeline_parallel_size or 1)
    return ReplicatedVllm(opening, copies, each)


SPEC = BackendSpec("vllm", _open, extra="vllm", docs="vllm.md")
