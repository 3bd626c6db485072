"""Any causal language model that Hugging Face transformers loads, on this machine.

``score`` is teacher-forced: one forward pass a string, of which only the hidden states before the reads go through the
output head. ``complete`` generates. Texts are padded on the right for scoring (causal attention never sees it) and on
the left for generation.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ffprompt._util.formatting import counted
from ffprompt.backends.base import Capabilities, Failure, Reply, Request, Scores
from ffprompt.backends.identity import PART, Identity
from ffprompt.backends.local.answer_tree import AnswerTree, plan_trees
from ffprompt.backends.local.candidate_scores import Row, RowScores, collect_scores, plan_rows
from ffprompt.backends.local.chat_template import TemplateIdentity, Thinking
from ffprompt.backends.local.tokenization import Encoder, Ids, Tokenised, audit, context_of
from ffprompt.backends.local.tree_check import TreeCheck
from ffprompt.backends.local.weights import OFFLINE, first_line, locate, offline, quiet
from ffprompt.backends.prompt_audit import PromptAudit
from ffprompt.backends.spec import BackendSpec, not_installed
from ffprompt.errors import ModelError, RunFailedError, did_you_mean

if TYPE_CHECKING:
    from ffprompt.config.run_config import RunConfig

_DTYPES = ("float32", "bfloat16", "float16", "auto")
# Tokens in one forward pass. On a CPU more does not help. On a GPU the first batch that does not fit halves it.
_CPU_TOKENS, _GPU_TOKENS = 4096, 65536
_HEAD_NUMBERS = 1 << 29  # logits in one batch: reads × vocabulary
# A prefix shared by all prompts of a batch is computed once from this many tokens and this share of the prompt on.
_PREFIX_TOKENS, _PREFIX_SHARE = 24, 0.1
# Nodes of a tree of answers, beyond which it is split, and numbers in the masks of one batch of trees.
_MOST_NODES, _MASK_NUMBERS = 4096, 1 << 28


class OutOfMemoryError(ModelError):
    """A single prompt does not fit the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformersIdentity(Identity):
    """A model in the record of a run."""

    weights: Mapping[str, str | None] = field(metadata=PART)
    revision: str | None
    architecture: str
    parameters: int | None
    dtype: str
    device: str
    transformers: str
    torch: str
    template: TemplateIdentity = field(metadata=PART)


class TransformersBackend:
    """``model`` is a short name, a folder, a GGUF file or a hub id. Raises ModelError when it cannot be opened.

    ``batch_size`` is prompts in one forward pass. Without it as many as a budget of tokens allows. No code from the
    model's folder runs unless ``trust_remote_code``, and weights that are not safetensors are refused. Without
    ``weights`` only the tokenizer is loaded, to check and count prompts.
    """

    def __init__(
        self,
        model: str,
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        weights: bool = True,
        thinking: Thinking | None = None,
    ) -> None:
        try:
            import torch
            import transformers
        except ImportError as error:
            raise not_installed("transformers", error) from error
        self.name = model
        self.batch_size = batch_size
        located = locate(model, revision, weights)
        self.device = _device(device)
        self.dtype = _dtype(dtype, self.device)
        opening = _Opening(model, located.source, revision, trust_remote_code)
        config, tokenizer = opening.tokenizer()
        self.model: Any = opening.model(self.device, self.dtype) if weights else None  # None: prompts only
        self.vocabulary = int(config.get_text_config().vocab_size)
        matrix = self.model.get_input_embeddings().weight if self.model is not None else None
        embedded = self.vocabulary if matrix is None else matrix.shape[0]
        self.encoder = Encoder(tokenizer, model, located.adds_bos, context_of(config), int(embedded), thinking)
        self.tokens = _CPU_TOKENS if self.device == "cpu" else _GPU_TOKENS
        self.most_nodes = _MOST_NODES
        self.trees = TreeCheck(torch.finfo(self.model.dtype).eps if self.model is not None else 0.0)
        self.capabilities = Capabilities(scores=True, completes=True, chats=self.encoder.chats)
        self.chunk = 16 if self.device == "cpu" else 256
        self.identity = TransformersIdentity(
            backend="transformers",
            model=model,
            weights=located.identity,
            revision=getattr(config, "_commit_hash", None) or revision,
            architecture=(config.architectures or [config.model_type])[0],
            parameters=sum(p.numel() for p in self.model.parameters()) if self.model else None,
            dtype=str(self.model.dtype).removeprefix("torch.") if self.model else self.dtype,
            device=str(self.model.device) if self.model else self.device,
            transformers=transformers.__version__,
            torch=torch.__version__,
            template=self.encoder.identity,
        )

    def check(self, requests: Sequence[Request]) -> PromptAudit:
        """Audit the tokens of requests, and how answers of several tokens will be scored. Raises AuditError."""
        found = audit(self.encoder, requests)
        if "suffix" not in found["answer_tokens"] or self.model is None:
            return found
        self._check_trees(requests)
        notes = [*found["notes"], *([self.trees.note] if self.trees.note else [])]
        return found | {"answers_of_several_tokens": self.trees.record(), "notes": notes}

    def rendered(self, request: Request) -> str:
        """Return the text that the model is given."""
        return self.encoder.text(request)[0]

    def close(self) -> None:
        """Free the weights."""
        self.model = None

    async def score(self, requests: Sequence[Request]) -> Sequence[Scores | Failure]:
        """Score every answer at every read, in one forward pass per request."""
        return await asyncio.to_thread(self._score, requests)

    async def complete(self, requests: Sequence[Request]) -> Sequence[Reply | Failure]:
        """Generate replies, in order."""
        return await asyncio.to_thread(self._complete, requests)

    @property
    def remarks(self) -> list[str]:
        """What was noticed while asking."""
        return [self.trees.note] if self.trees.note else []

    def _score(self, requests: Sequence[Request]) -> list[Scores | Failure]:
        tokenised = [self.encoder.tokenise(request) for request in requests]
        rows, owners = plan_rows(tokenised)
        scores: dict[int, RowScores] = {}
        several = [number for number, prompt in enumerate(tokenised) if prompt.kind == "suffix"]
        if several:
            scores = self._score_trees(rows, [_by_read(tokenised[number], owners[number]) for number in several])
        others = [number for number in range(len(rows)) if number not in scores]
        if others:
            scores |= zip(others, self._score_rows([rows[number] for number in others]), strict=True)
        return collect_scores(tokenised, owners, [scores[number] for number in range(len(rows))])

    def _score_trees(
        self, rows: Sequence[Row], strings: Sequence[Sequence[Sequence[int]]], only_check: bool = False
    ) -> dict[int, RowScores]:
        """Score the rows of strings by their number, in one pass a string. None are where the model does not allow it.

        ``strings`` are, for each string and each of its reads, the numbers of the rows of its answers. ``only_check``
        finds out whether the model allows it, and scores nothing.
        """
        while True:
            trees = [tree for reads in strings for tree in plan_trees(rows, reads, self.most_nodes)]
            try:
                if not self.trees.passes(trees, rows, self._trees_at_once, self._score_rows) or only_check:
                    return {}
                return {
                    number: row
                    for tree, scores in zip(trees, self._trees_at_once(trees), strict=True)
                    for number, row in zip(tree.rows, scores, strict=True)
                }
            except OutOfMemoryError:
                if all(tree.reads == 1 for tree in trees):
                    raise
                # Smaller trees say the same. What their reads have in common is computed more than once.
                self.most_nodes = max(len(tree.ids) for tree in trees if tree.reads > 1) // 2

    def _trees_at_once(self, trees: Sequence[AnswerTree]) -> list[list[RowScores]]:
        """Every tree through the model, in batches of similar size."""
        from ffprompt.backends.local.transformers_model import Forward

        first = min(min(tree.depths[node] for node in tree.nodes) for tree in trees)
        prefix = min(self._shared_prefix([tree.ids for tree in trees]), first)
        forward = Forward(self.model, trees[0].ids[:prefix])
        found: dict[int, list[RowScores]] = {}

        def run(batch: Sequence[int]) -> None:
            found.update(zip(batch, forward.trees([trees[number] for number in batch]), strict=True))

        largest = max(len(tree.ids) for tree in trees)
        asked = max(len(tree.nodes) for tree in trees)
        most = max(1, min(_HEAD_NUMBERS // (self.vocabulary * asked), _MASK_NUMBERS // largest**2))
        self._in_batches([len(tree.ids) - prefix for tree in trees], most, run)
        return [found[number] for number in range(len(trees))]

    def _check_trees(self, requests: Sequence[Request]) -> None:
        """Find out whether the model scores trees, on the longest of these requests."""
        tokenised = [self.encoder.tokenise(request) for request in requests]
        several = [prompt for prompt in tokenised if prompt.kind == "suffix"]
        rows, owners = plan_rows(several)
        lengths = [max(len(rows[number].ids) for number in owner) for owner in owners]
        longest = lengths.index(max(lengths))
        self._score_trees(rows, [_by_read(several[longest], owners[longest])], only_check=True)

    def _score_rows(self, rows: Sequence[Row]) -> list[RowScores]:
        """Every row through the model, in batches of similar length."""
        from ffprompt.backends.local.transformers_model import Forward

        first = min(row.positions[0] for row in rows) - 1
        prefix = min(self._shared_prefix([row.ids for row in rows]), first)
        forward = Forward(self.model, rows[0].ids[:prefix])
        found: dict[int, RowScores] = {}

        def run(batch: Sequence[int]) -> None:
            answers = forward(
                [rows[i].ids for i in batch], [rows[i].positions for i in batch], [rows[i].candidates for i in batch]
            )
            found.update(zip(batch, answers, strict=True))

        reads = max(len(row.positions) for row in rows)
        most = max(1, _HEAD_NUMBERS // (self.vocabulary * reads))
        self._in_batches([len(row.ids) - prefix for row in rows], most, run)
        return [found[index] for index in range(len(rows))]

    def _shared_prefix(self, rows: Sequence[Ids]) -> int:
        """How many leading tokens all rows share, where computing them once is exact and pays. Otherwise 0."""
        from ffprompt.backends.local.transformers_model import keeps_plain_cache

        if len(rows) < 2:
            return 0
        shortest = min(rows, key=len)
        shared = 0
        for column in zip(*rows, strict=False):
            if len(set(column)) > 1:
                break
            shared += 1
        shared = min(shared, len(shortest) - 2)  # the token before a first read must go through the model itself
        pays = shared >= _PREFIX_TOKENS and shared >= _PREFIX_SHARE * np.mean([len(row) for row in rows])
        return shared if pays and keeps_plain_cache(self.model) else 0

    def _in_batches(self, lengths: Sequence[int], most: int, run: Callable[[Sequence[int]], None]) -> None:
        """Call ``run`` with the indices of each batch, longest first. Halve the batches when memory runs out."""
        import torch

        order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        done = 0
        while done < len(order):
            size = self.batch_size or max(1, self.tokens // max(lengths[order[done]], 1))
            batch = order[done : done + min(size, most)]
            try:
                run(batch)
            except torch.OutOfMemoryError as error:
                if len(batch) == 1 or self.batch_size is not None:
                    raise OutOfMemoryError(
                        f"model {self.name}: out of memory with {counted(len(batch), 'prompt')} of "
                        f"{counted(lengths[batch[0]], 'token')}; use a smaller --batch-size, a "
                        "shorter --length or --dtype bfloat16"
                    ) from error
                self.tokens = max(1, lengths[batch[0]] * (len(batch) // 2))
                torch.cuda.empty_cache()
                continue
            except RuntimeError as error:
                raise RunFailedError(f"model {self.name}: {first_line(error)}") from error
            done += len(batch)

    def _complete(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        from ffprompt.backends.local.transformers_model import generate

        prompts = [self.encoder.prompt(request) for request in requests]
        limits = [self.encoder.limit(request, len(ids)) for ids, request in zip(prompts, requests, strict=True)]
        replies: dict[int, Reply | Failure] = {}

        def run(batch: Sequence[int]) -> None:
            asked = [prompts[i] for i in batch], [requests[i] for i in batch], [limits[i] for i in batch]
            replies.update(zip(batch, generate(self.model, self.encoder, *asked), strict=True))

        lengths = [len(ids) + limit for ids, limit in zip(prompts, limits, strict=True)]
        self._in_batches(lengths, len(requests), run)
        return [replies[index] for index in range(len(requests))]


def _by_read(prompt: Tokenised, owner: Sequence[int]) -> list[Sequence[int]]:
    """The rows of one request, read by read."""
    answers = len(prompt.suffixes[0])
    return [owner[start : start + answers] for start in range(0, len(owner), answers)]


def _device(device: str | None) -> str:
    import torch

    if device is None:
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if device == "auto":
        return device
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"device {device!r}: expected cpu, cuda, cuda:N, mps or auto") from error
    if (wanted.type == "cuda" and not torch.cuda.is_available()) or (
        wanted.type == "mps" and not torch.backends.mps.is_available()
    ):
        raise ModelError(f"device {device!r} is not available on this machine")
    return device


def _dtype(dtype: str | None, device: str) -> str:
    if dtype is None:
        return "float32" if device == "cpu" else "auto"
    if dtype not in _DTYPES:
        raise ModelError(f"dtype {dtype!r} is unknown{did_you_mean(dtype, _DTYPES)}")
    return dtype


class _Opening:
    """Loads the parts of a model. Whatever goes wrong becomes one ModelError."""

    def __init__(self, name: str, source: str, revision: str | None, trust_remote_code: bool) -> None:
        self.name, self.source = name, source
        self.options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}

    def tokenizer(self) -> tuple[Any, Any]:
        """Load the model's config and its tokenizer."""
        from transformers import AutoConfig, AutoTokenizer

        with self._translated():
            config = AutoConfig.from_pretrained(self.source, **self.options)
            return config, AutoTokenizer.from_pretrained(self.source, **self.options)

    def model(self, device: str, dtype: str) -> Any:
        """Load the model onto its device."""
        import torch
        from transformers import AutoModelForCausalLM

        with self._translated():
            model = AutoModelForCausalLM.from_pretrained(
                self.source,
                dtype=dtype if dtype == "auto" else getattr(torch, dtype),
                use_safetensors=True,
                device_map="auto" if device == "auto" else None,
                **self.options,
            )
            placed: Any = model  # its stub for .to() is of another class
            return (placed if device == "auto" else placed.to(device)).eval()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        from safetensors import SafetensorError

        try:
            with quiet():
                yield
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
            hint = ""
            if "trust_remote_code" in str(error):
                hint = "; its folder brings code of its own, which runs with --trust-remote-code only"
            elif "safetensors" in str(error) and self._has_pickles():
                hint = "; pickled weights (.bin) are refused, convert them to safetensors"
            elif not Path(self.source).exists() and offline():
                hint = f"; nothing is downloaded while {OFFLINE} is set"
            raise ModelError(f"model {self.name}: {first_line(error).removesuffix('.')}{hint}") from error

    def _has_pickles(self) -> bool:
        return any(Path(self.source).glob("*.bin")) or any(Path(self.source).glob("*.pt*"))


def _open(config: RunConfig, weights: bool) -> TransformersBackend:
    return TransformersBackend(
        config.model,
        config.device,
        config.dtype,
        config.batch_size,
        config.revision,
        config.trust_remote_code,
        weights,
        Thinking.of(config),
    )


SPEC = BackendSpec("transformers", _open, extra="transformers", docs="transformers.md")
