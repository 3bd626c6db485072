"""The task: one sample a string, asked by the elicitation itself and judged as in a run of ffprompt."""

from __future__ import annotations

import dataclasses
from typing import Any

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
from ffprompt.errors import ConfigError
from ffprompt.integrations.harness import HarnessCondition
from ffprompt.integrations.inspect.metrics import ALL
from ffprompt.scoring.response_records import record

_ENDS: dict[str, Stop] = {"stop": "stop", "max_tokens": "length", "model_length": "length", "content_filter": "refusal"}
_TURNS = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
VERSION = 1


@task
def flipflop(
    template: str = "game",
    length: int = 100,
    p_ignore: float = 0.8,
    trials: int = 100,
    seed: int = 0,
    shots: int = 0,
    shot_length: int = 16,
    shared_shots: bool = False,
    elicitation: str = "list",
    next_read: str = "last",
    turn_instructions: int | None = None,
    symbols: int = 2,
    task: str = "flipflop",
    data: str | None = None,
    max_tokens: int | None = None,
) -> Task:
    """How reliably does a model remember one bit? One sample a string, asked for its reads.

    The settings are those of ffprompt, and each sample is the trial of the same number in a run with these settings.

    Raises:
        ConfigError: A setting is unknown or out of range.
    """
    settings = {name: value for name, value in locals().items() if value is not None}
    if data is not None:
        settings = {name: value for name, value in settings.items() if name not in ("length", "p_ignore")}
    condition = HarnessCondition("inspect", {**settings, "form": "chat"})
    if condition.condition.elicitation.scored_by_logprobs:
        raise ConfigError(f"-T elicitation={elicitation}: expected one whose answers are written: list, next, dialogue")
    return Task(
        dataset=MemoryDataset([_sample(condition, document) for document in condition.documents()], name="flipflop"),
        solver=ask(condition),
        scorer=outcomes(condition),
        version=VERSION,
        metadata={"settings": condition.settings},
    )


def _sample(condition: HarnessCondition, document: dict[str, Any]) -> Sample:
    question = condition.question(document["trial"])
    messages = [*question.prompt.messages, *(turn for each in question.prompt.turns[:1] for turn in each.messages)]
    return Sample(
        id=document["trial"],
        input=[_TURNS[message.role](content=message.text) for message in messages],
        target=", ".join(document["truth"]),
        metadata=document,
    )


@solver
def ask(condition: HarnessCondition) -> Solver:
    """Ask the reads of a string, in one call or turn by turn, as the condition's elicitation does."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        replies: dict[str, Any] = {}

        async def one(request: Request) -> Reply | Scores | Failure:
            messages: list[ChatMessage] = [_TURNS[turn.role](content=turn.text) for turn in request.messages]
            model = get_model()
            config = GenerateConfig(
                max_tokens=request.max_tokens,
                temperature=_temperature(model, request.temperature),
                stop_seqs=list(request.stop) or None,
            )
            output = await model.generate(messages, config=config)
            state.messages, state.output = [*messages, output.message], output
            reply = _reply(output, request.max_tokens)
            replies[request.key] = _plain(reply)
            return reply

        question = condition.question(int(state.sample_id))
        response = await condition.condition.elicitation.ask(one, question, [], _nothing)
        state.metadata["replies"] = replies
        state.metadata["response"] = record(response).to_json()
        return state

    return solve


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


def _plain(reply: Reply | Failure) -> dict[str, Any]:
    """A reply as the log keeps it."""
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
