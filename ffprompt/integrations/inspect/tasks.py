"""The task: one sample a string, asked by the elicitation itself and judged as in a run of ffprompt."""

from __future__ import annotations

import dataclasses
from typing import Any

import inspect_ai
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from ffprompt.backends.base import Failure, Reply, Request, Scores, Stop, Talk
from ffprompt.elicitation.forced import FORCED
from ffprompt.errors import ConfigError, FFPromptError
from ffprompt.integrations.harness import Document, HarnessCondition, refuse, refuse_other_version
from ffprompt.integrations.inspect.metrics import ALL
from ffprompt.integrations.inspect.prompt_scores import TOP, scores
from ffprompt.scoring.response_records import record
from ffprompt.tasks.registry import DEFAULT

_ENDS: dict[str, Stop] = {"stop": "stop", "max_tokens": "length", "model_length": "length", "content_filter": "refusal"}
_TURNS = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
VERSION = 1
KNOWN = ("0.3.285", "0.4")  # the releases whose interfaces were tried: from, below


@task
def flipflop(
    template: str | None = None,
    length: int | None = None,
    p_ignore: float | None = None,
    trials: int = 100,
    seed: int = 0,
    shots: int = 0,
    shot_length: int = 16,
    shared_shots: bool = False,
    elicitation: str = "list",
    next_read: str = "last",
    turn_instructions: int | None = None,
    symbols: int | None = None,
    task: str = "flipflop",
    task_arg: str | list[str] | None = None,
    data: str | None = None,
    max_tokens: int | None = None,
) -> Task:
    """How reliably does a model remember one bit? One sample a string, asked for its reads.

    The settings are those of ffprompt, and each sample is the trial of the same number in a run with these settings.

    Raises:
        ConfigError: A setting is unknown or out of range.
    """
    settings = {name: value for name, value in locals().items() if value is not None}
    if isinstance(task_arg, str):
        settings["task_arg"] = [task_arg]
    # The reads of a text are scored in it. Everything else is asked of a chat model.
    form = "completion" if elicitation == FORCED.name else "chat"
    if template is None and task == DEFAULT and form == "chat":
        settings["template"] = "game"
    try:
        refuse_other_version("inspect-ai", inspect_ai.__version__, *KNOWN)
        condition = HarnessCondition("inspect", {**settings, "form": form})
    except FFPromptError as error:
        refuse(error, "inspect")
    return Task(
        dataset=MemoryDataset([_sample(condition, document) for document in condition.documents()], name=task),
        solver=ask(condition),
        scorer=outcomes(condition),
        version=VERSION,
        metadata={"settings": condition.settings},
    )


def _sample(condition: HarnessCondition, document: Document) -> Sample:
    question = condition.question(document["trial"])
    target = ", ".join(document["truth"])
    if not question.is_chat:
        return Sample(id=document["trial"], input=question.prompt.text, target=target, metadata=dict(document))
    messages = [*question.prompt.messages, *(turn for each in question.prompt.turns[:1] for turn in each.messages)]
    return Sample(
        id=document["trial"],
        input=[_TURNS[message.role](content=message.text) for message in messages],
        target=target,
        metadata=dict(document),
    )


@solver
def ask(condition: HarnessCondition) -> Solver:
    """Ask the reads of a string, in one call or turn by turn, as the condition's elicitation does."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        replies: dict[str, Any] = {}

        async def one(request: Request) -> Reply | Scores | Failure:
            response = await (_score if request.reads else _write)(request, state)
            replies[request.key] = _plain(response)
            return response

        question = condition.question(int(state.sample_id))
        response = await condition.condition.elicitation.ask(one, question, [], _nothing)
        state.metadata["replies"] = replies
        state.metadata["response"] = record(response).to_json()
        return state

    return solve


async def _write(request: Request, state: TaskState) -> Reply | Failure:
    """Let the model write a reply."""
    messages: list[ChatMessage] = [_TURNS[turn.role](content=turn.text) for turn in request.messages]
    model = get_model()
    config = GenerateConfig(
        max_tokens=request.max_tokens,
        temperature=_temperature(model, request.temperature),
        stop_seqs=list(request.stop) or None,
    )
    output = await model.generate(messages, config=config)
    state.messages, state.output = [*messages, output.message], output
    return _reply(output, request.max_tokens)


async def _score(request: Request, state: TaskState) -> Scores | Failure:
    """Let the provider say how probable the prompt is, with the answers in it."""
    model = get_model()
    config = GenerateConfig(max_tokens=1, temperature=0, prompt_logprobs=TOP)
    state.output = await model.generate([ChatMessageUser(content=request.text)], config=config)
    return scores(state.output, request, str(model))


def _temperature(model: Model, wanted: float | None) -> float | None:
    """The temperature to ask for. Hugging Face models know no 0, and are greedy only where they do not sample."""
    samples = getattr(model.api, "do_sample", None)
    if wanted != 0 or samples is None:
        return wanted
    if samples:
        raise ConfigError(f"model {model.name}: Inspect lets it sample, expected greedy; also give -M do_sample=false")
    return None


def _nothing(_: Talk) -> None:
    """An answer that more are to follow needs no keeping: Inspect logs every call."""


def _plain(reply: Reply | Scores | Failure) -> dict[str, Any]:
    """A response as the log keeps it."""
    if isinstance(reply, Scores):
        return record(reply).to_json()
    return {name: value for name, value in dataclasses.asdict(reply).items() if value is not None}


def _reply(output: ModelOutput, limit: int) -> Reply | Failure:
    """What the model wrote in at most ``limit`` tokens.

    Some providers do not say why a reply ended. Then its number of tokens tells, and without that the call has failed,
    because the reply may lack its end.
    """
    usage = output.usage
    end = _ENDS.get(output.stop_reason)
    if output.stop_reason == "unknown" and usage is not None and usage.output_tokens:
        end = "length" if usage.output_tokens >= limit else "stop"
    if end is None:
        return Failure(f"the reply ended by {output.stop_reason!r}")
    return Reply(
        output.completion,
        end,
        served_model=output.model or None,
        prompt_tokens=usage.input_tokens if usage else None,
        reply_tokens=usage.output_tokens if usage else None,
        ended=output.stop_reason,
    )


@scorer(metrics=[each() for each in ALL])
def outcomes(condition: HarnessCondition) -> Scorer:
    """Return what became of each read: correct, wrong, invalid, refused, truncated or error."""
    from ffprompt.scoring.response_records import read_response

    async def score(state: TaskState, target: Target) -> Score:
        trial = int(state.sample_id)
        judged = condition.judge(trial, read_response(state.metadata["response"]))
        counts = condition.counts(trial, judged)
        scored = counts.reads - counts.outcomes["error"]
        return Score(
            value=counts.outcomes["correct"] / scored if scored else float("nan"),
            answer=", ".join("?" if symbol is None else str(symbol) for symbol in judged.answers),
            explanation=judged.reason,
            metadata={
                "counts": counts.to_json(),
                "outcomes": [str(outcome) for outcome in judged.outcomes],
                "replies": state.metadata["replies"],
            },
        )

    return score
