"""What a run has spent, read back from its folder, and what it may still spend.

Every line of ``trials.jsonl`` says what its calls were counted at. A process that is killed leaves no line about the
calls that are on the wire, so before an attempt is sent, ``sent.tsv`` says what it can use at most: one line an
attempt, tokens of the prompt, a tab, tokens of the reply. Attempts that stand there and in no line of the log have an
unknown end and count in full, but for those of which a later line says ``free`` and their number. The lines are handed
to the system one by one but not synced, so they outlive the process and not the machine: after a power failure, the
last calls on the wire may be missing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ffprompt._util.formatting import dollars
from ffprompt.backends.base import Backend, RemoteBackend
from ffprompt.backends.call_record import CallRecord
from ffprompt.config.run_config import RunConfig
from ffprompt.cost.prices import PICO, Allowance, Price, Spent, find, unknown, usd
from ffprompt.cost.usage import Bound
from ffprompt.errors import ConfigError, RunFailedError, StoreError
from ffprompt.runs.folder import RunFolder
from ffprompt.runs.log import trials_of
from ffprompt.runs.records import SpentRecord
from ffprompt.scoring.condition_result import ConditionResult
from ffprompt.scoring.response_records import SingleRecord


class Journal:
    """``sent.tsv``, open for appending by the process that holds the run's log.

    Raises:
        StoreError: the file cannot be opened.
        RunFailedError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            kept = path.read_bytes() if path.exists() else b""
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            os.truncate(path, kept.rfind(b"\n") + 1)  # an unfinished last line is of an attempt that was never sent
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror})") from error
        self.attempts = kept.count(b"\n") - kept.count(b"free\t")

    def sent(self, bound: Bound) -> int:
        """Write down an attempt that is about to be sent. Returns its number in the run, from 0."""
        self._write(f"{bound.prompt}\t{bound.reply}\n".encode())
        self.attempts += 1
        return self.attempts - 1

    def free(self, attempt: int) -> None:
        """Write down that an attempt has cost nothing."""
        self._write(b"free\t%d\n" % attempt)

    def _write(self, text: bytes) -> None:
        try:
            whole = os.write(self._file, text) == len(text)
        except OSError as error:
            raise RunFailedError(f"{self.path}: cannot be written ({error.strerror})") from error
        if not whole:
            raise RunFailedError(f"{self.path}: cannot be written (no space left); make room and go on with --resume")

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def spent(folder: RunFolder, price: Price | None) -> Spent:
    """Return what all calls of a run were counted at: answered, failed, asked again, and those without an end.

    Raises:
        StoreError: a line of the log is damaged.
    """
    tokens = made = answers = silent = 0
    ended = bytearray()  # of each attempt by number: 1 where a line tells its end
    costs = _Sum(None if price is None else 0)
    for _, trial in trials_of(folder):
        answers += trial.error is None
        for response in trial.response.calls:
            if response.call is None:
                continue
            if not _mark(ended, [attempt.sent for attempt in response.call.attempts if attempt.sent is not None]):
                continue  # a turn of a dialogue, which stands in several lines
            counted = _counted(response, response.call, price)
            made += 1
            silent += counted is None
            tokens += counted[0] if counted else 0
            costs.add(counted[1] if counted else 0)
    _mark(ended, [attempt for attempt, bound in _sent(folder.sent_path) if bound is None])
    for attempt, bound in _sent(folder.sent_path):
        if bound is not None and (attempt >= len(ended) or not ended[attempt]):
            made += 1
            tokens += bound.tokens
            costs.add(None if price is None else price.max_cost(bound))
    return Spent(costs.picos, tokens, made, answers, silent)


@dataclass(slots=True)
class _Sum:
    """A sum that is None as soon as a part of it is."""

    picos: int | None

    def add(self, picos: int | None) -> None:
        self.picos = None if picos is None or self.picos is None else self.picos + picos


def _mark(ended: bytearray, numbers: Sequence[int]) -> bool:
    """Mark attempts by their numbers. Returns False where they were all marked already."""
    known = [number < len(ended) and ended[number] for number in numbers]
    for number in numbers:
        ended.extend(bytes(max(0, number + 1 - len(ended))))
        ended[number] = 1
    return not numbers or not all(known)


def _counted(response: SingleRecord, call: CallRecord, price: Price | None) -> tuple[int, int | None] | None:
    """(tokens, picodollars) that a call was counted at. None where neither the record nor a usage says."""
    counted = call.counted
    if counted is not None and counted.usd is not None:
        return counted.prompt_tokens + counted.reply_tokens, round(counted.usd * PICO)
    if counted is not None:  # when it was made, its price was not known
        bound = Bound(counted.prompt_tokens, counted.reply_tokens)
        return bound.tokens, None if price is None else price.max_cost(bound)
    if (used := response.usage) is not None:
        return used.tokens, None if price is None else price.picos(used)
    # A request that failed in a batch is not charged for; an answer of it that could not be read may have been.
    failed = bool(call.batch) and response.error is not None
    return (0, 0) if failed and all(attempt.status != 200 for attempt in call.attempts) else None


def _sent(path: Path) -> Iterator[tuple[int, Bound | None]]:
    """(attempt, what it can use at most), and (attempt, None) where it turned out free."""
    if not path.exists():
        return
    attempts = 0
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if not text.endswith(b"\n"):
                return
            first, _, second = text.partition(b"\t")
            try:
                found = (int(second), None) if first == b"free" else (attempts, Bound(int(first), int(second)))
            except ValueError as error:
                raise StoreError(f"{path}, line {number}: not two numbers ({text[:40]!r})") from error
            attempts += first != b"free"
            yield found


def price_of(config: RunConfig, identity: Mapping[str, object], before: Price | None = None) -> Price | None:
    """The price of a run's model where it is served.

    ``before`` is the price that an earlier part of the run has recorded. Only a file of the user's replaces it.

    Raises:
        ConfigError: where a budget needs one and none is known.
    """
    price, base_url = before, str(identity.get("base_url") or "")
    if price is None or config.prices is not None:
        price = find(config.model, base_url, config.prices) or price
    if price is None and config.max_usd is not None:
        raise ConfigError(f"--max-usd {config.max_usd:g}: {unknown(config.model, base_url)}")
    return price


def unlimited(config: RunConfig) -> None:
    """Raises ConfigError for a budget where requests are handed over all at once."""
    for name in ("max_usd", "max_tokens_total"):
        if (limit := getattr(config, name)) is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')} {limit}: batches cannot be held to a budget; --dry-run --batch says what "
                "they cost at most"
            )


def enough(config: RunConfig, price: Price | None, least: Bound) -> None:
    """Whether a budget is enough for a call that may use ``least``.

    Raises:
        ConfigError: the budget is not enough.
    """
    most = None if price is None else price.max_cost(least)
    if config.max_usd is not None and most is not None and most > config.max_usd * PICO:
        raise ConfigError(
            f"--max-usd {config.max_usd:g}: too little for a single call, which may cost {dollars(usd(most))} "
            f"({least.reply:,} tokens of reply at most)"
        )
    if config.max_tokens_total is not None and least.tokens > config.max_tokens_total:
        raise ConfigError(
            f"--max-tokens-total {config.max_tokens_total}: too few for a single call, which may take "
            f"{least.tokens:,} ({least.reply:,} of them for the reply)"
        )


@contextlib.contextmanager
def held(folder: RunFolder, config: RunConfig, backend: Backend) -> Iterator[None]:
    """Hold the calls of a run to its budget, and keep a journal of them. For other backends there is nothing to do."""
    if not isinstance(backend, RemoteBackend):
        yield
        return
    price = folder.info.price
    before = spent(folder, price)
    if before.silent and (config.max_usd is not None or config.max_tokens_total is not None):
        raise ConfigError(
            f"run {folder.path}: what {before.silent:,} of its calls cost is not in its log, so it cannot be held to a "
            "budget; go on without one, or begin a new run"
        )
    if before.picos is None and config.max_usd is not None:
        raise ConfigError(f"run {folder.path}: some of its calls are longer than its price is for; see --prices")
    journal = Journal(folder.sent_path)
    try:
        backend.set_allowance(Allowance(price, config.max_usd, config.max_tokens_total, before, journal))
        yield
    finally:
        journal.close()


def record(folder: RunFolder, results: Iterable[ConditionResult]) -> SpentRecord | None:
    """Return what a run has spent, as ``run.json`` keeps it. None for a model that is not behind an API."""
    if not folder.sent_path.exists() and not any(result.calls for result in results):
        return None
    found = spent(folder, folder.info.price)
    return SpentRecord(calls=found.calls, answers=found.answers, tokens=found.tokens, usd=usd(found.picos))
