"""A training as a folder: its log, its model, and while it lasts the state that it can be resumed from.

    training.json      what is trained, how, and how far it has come
    train.jsonl        losses, monitors, warnings and evaluations, one JSON object a line, in order of steps
    model.safetensors  the model once it is finished; after a divergence the last one that was good
    steps/N.safetensors  the model after N steps, with --keep-every
    state.safetensors  weights and optimizer at the last save; gone when the training is finished

A resumed training goes on as if it had never stopped: same weights bit for bit, same lines but for the seconds.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffprompt._util.jsonl import read_lines
from ffprompt._util.storage import LOCK, hold, release, write_atomically
from ffprompt.errors import ConfigError, ModelError, RunFailedError
from ffprompt.reference.checkpoints.checkpoint import WEIGHTS, Checkpoint, load, save
from ffprompt.reference.checkpoints.folder import LOG, RECORD, STATE, STEPS, read_record, writing
from ffprompt.reference.networks.base import NetworkConfig, parameters
from ffprompt.reference.networks.threads import threads
from ffprompt.reference.networks.transformer import Transformer
from ffprompt.reference.training import resume_state as states
from ffprompt.reference.training.attention_record import AttentionLine, AttentionRecord
from ffprompt.reference.training.certify import certify
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.diagnostics import Monitors, layer_norms
from ffprompt.reference.training.error_kinds import STRINGS as KIND_STRINGS
from ffprompt.reference.training.error_kinds import error_kinds, has_kinds
from ffprompt.reference.training.evaluate import TEST_SEED, Evaluation, evaluate, sets_for
from ffprompt.reference.training.identity import identity, refuse_another, refuse_other_evaluation
from ffprompt.reference.training.looks import Looks, agree
from ffprompt.reference.training.loop import DivergedError, Trainer
from ffprompt.reference.training.plan import Plan
from ffprompt.reference.vocabulary import Vocabulary
from ffprompt.tasks.base import Spec

if TYPE_CHECKING:
    from filelock import BaseFileLock

Event = dict[str, Any]
Watch = Callable[[Event], None]

_TOLD = ("data", "p_ignore", "seed", "strings", "reads", "errors", "low", "high", "gaps", "positions", "certificate")
_MOST_LOST = 600.0  # seconds of work that a stop may cost, whatever --save-every says


def run(
    folder: Path,
    config: NetworkConfig,
    training: Training,
    plan: Plan | None = None,
    *,
    resume: bool = False,
    watch: Watch | None = None,
    alive: Callable[[], None] | None = None,
) -> Checkpoint:
    """Train into ``folder`` and evaluate. ``watch`` is handed every line of the log as it is written.

    ``alive`` is called before each step and after each few strings of an evaluation. What it raises ends the training
    there.

    With ``resume`` a training that was stopped goes on from its last save, and a finished one is loaded. Raises
    ConfigError when the folder holds another training or an unfinished one and ``resume`` is off, ModelError when it
    cannot be read or written, DivergedError when the training ends in numbers that are not finite.
    """
    session = _Session(folder, config, training, plan or Plan(), watch, alive)
    try:
        if session.open(resume):
            with threads(training.threads), session.reported():
                session.train()
                session.finish()
    finally:
        session.close()
    return load(folder / WEIGHTS)


@dataclass
class _Session:
    folder: Path
    config: NetworkConfig
    training: Training
    plan: Plan
    watch: Watch | None
    alive: Callable[[], None] | None
    trainer: Trainer = field(init=False)
    monitors: Monitors = field(default_factory=Monitors)
    before: float = 0.0  # seconds spent before this process
    began: float = field(default_factory=time.monotonic)
    looks: Looks = field(init=False)
    told: list[str] = field(default_factory=list)  # monitors that have warned since the last look
    pending: list[float] = field(default_factory=list)  # losses since the last line
    norm: float = 0.0  # of the last gradient
    saved: float = field(default_factory=time.monotonic)  # when the state was last written
    _started: str = ""
    _held: BaseFileLock | None = None  # the folder, locked

    # --- the folder ---

    def open(self, resume: bool) -> bool:
        """Prepare the folder and the trainer; False when everything is there already."""
        agree(self.config, self.training, self.plan)
        self.looks = Looks(self.training, self.plan)
        fresh = not (self.folder / RECORD).exists()
        if fresh:
            if self.folder.exists() and not (
                self.folder.is_dir() and all(path.name == LOCK for path in self.folder.iterdir())
            ):
                raise ConfigError(f"out {self.folder}: it is there already and holds no training")
            self.trainer = Trainer(self.config, self.training)
            with writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
        self._hold()
        if fresh:
            self._started = datetime.now(UTC).isoformat(timespec="seconds")
            self._record("running")
            self._truncate(-1)
            return True
        found = read_record(self.folder)
        refuse_another(self.folder, found, self.config, self.training, self.plan, resume)
        if found["status"] == "finished":
            refuse_other_evaluation(self.folder, found, self.plan)
            return False
        if found["status"] == "diverged":
            raise RunFailedError(
                f"{self.folder}: this training diverged ({found['why']}); train anew with other settings"
            )
        self.trainer = Trainer(self.config, self.training)
        self.before, self._started = float(found["seconds"]), str(found["started"])
        self._restore()
        self._record("running")
        return True

    def _hold(self) -> None:
        """Keep other processes out of a training that is under way. The system lets go when this one ends."""
        with writing(self.folder):
            self._held = hold(self.folder)
        if self._held is None:
            raise ModelError(f"out {self.folder}: another process is training here")

    def close(self) -> None:
        """Let others at the folder."""
        if self._held is not None:
            release(self._held)
            self._held = None

    def _restore(self) -> None:
        path = self.folder / STATE
        if not path.exists():
            self._truncate(-1)
            return
        extra = states.restore(path, self.trainer)
        try:
            self.monitors = Monitors.restore(extra["monitors"])
            self.looks.restore(extra["looks"])
            self.told = [str(name) for name in extra["told"]]
            self.pending = [float(loss) for loss in extra["pending"]]
            self.before = max(self.before, float(extra["seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{path}: not the state of a training by this version ({error}); remove it to begin anew"
            ) from error
        self._truncate(self.trainer.step)

    def _truncate(self, step: int) -> None:
        """Drop the lines after ``step``, and a last evaluation that was not finished: they are about to come again."""
        path = self.folder / LOG
        with writing(path):
            content = path.read_bytes() if path.exists() else b""
            end = content.rfind(b"\n") + 1
            for _, start, event in read_lines(path) if content else ():
                unfinished = event["event"] == "evaluation" and event["step"] == self.training.steps
                if event["step"] > step or unfinished:
                    end = start
                    break
            write_atomically(path, content[:end])

    def _record(self, status: str, why: str | None = None) -> None:
        record = identity(self.config, self.training, self.plan) | {
            "status": status,
            "why": why,
            "parameters": parameters(self.trainer.model),
            "step": self.trainer.step,
            "started": self._started,
            "seconds": round(self.seconds, 3),
        }
        with writing(self.folder / RECORD):
            write_atomically(self.folder / RECORD, json.dumps(record, indent=2).encode() + b"\n")

    @property
    def seconds(self) -> float:
        """Seconds of work on this training, in this process and before."""
        return self.before + time.monotonic() - self.began

    # --- the work ---

    def train(self) -> None:
        """Make the steps that are left, with all that the plan does on the way."""
        plan, trainer = self.plan, self.trainer
        if trainer.step == 0:
            self._keep(self._attention(lambda record, model: record.first(model)))
        for strings in trainer.batches():
            if self.alive:
                self.alive()
            loss, norm = trainer.advance(strings)
            step, last = trainer.step, trainer.step == self.training.steps
            self.pending.append(loss)
            self.norm = norm
            logged = step % plan.log_every == 0 or last
            by_layer = layer_norms(trainer.model) if logged else None
            self._warn(self.monitors.step(step, loss, norm, by_layer))
            if logged:
                self._tell_losses()
            if plan.monitor_every and step % plan.monitor_every == 0:
                self._look()
            if plan.evaluate_every and step % plan.evaluate_every == 0 and not last:
                self._evaluate(plan.strings)
            if last:
                self._keep(self._attention(lambda record, model: record.end(trainer.step, model)))
            if plan.keep_every and step % plan.keep_every == 0:
                self._keep_model()
            if step % plan.save_every == 0 or last or time.monotonic() - self.saved > _MOST_LOST:
                self._save()

    def _keep_model(self) -> None:
        """Keep the model as it is now, for those who look at the course of a training."""
        with writing(self.folder):
            (self.folder / STEPS).mkdir(exist_ok=True)
        loss = self.pending[-1] if self.pending else self._last_loss()
        save(self.folder / STEPS / f"{self.trainer.step}.safetensors", self.trainer.model, self.training, loss)

    def _look(self) -> None:
        """Look at the model, and tell what is seen."""
        model, step, looks = self.trainer.model, self.trainer.step, self.looks
        losses = looks.losses(model)
        readings, warnings = self.monitors.probe(step, model, looks.tokens.to(self.trainer.device), losses)
        self._line("monitor", readings=readings)
        self._warn(warnings)
        self._keep(self._attention(lambda record, model: record.look(step, model, self.told)))
        self.told.clear()

    def _attention(self, of: Callable[[AttentionRecord, Transformer], AttentionLine | None]) -> AttentionLine | None:
        """What ``of`` makes of the record of attention and the model, None where no record is kept."""
        record, model = self.looks.attention, self.trainer.model
        return of(record, model) if record is not None and isinstance(model, Transformer) else None

    def _keep(self, attention: AttentionLine | None) -> None:
        if attention is not None:
            self._line("attention", **attention)

    def _tell_losses(self) -> None:
        """A line on the steps since the line before."""
        self._line(
            "step",
            loss=math.fsum(self.pending) / len(self.pending),
            gradient_norm=self.norm,
            learning_rate=self.training.rate(self.trainer.step),
            seconds=round(self.seconds, 3),
        )
        self.pending.clear()

    def finish(self) -> None:
        """Evaluate, write the model, and let go of what was only for resuming."""
        found = self._evaluate(self.plan.final_strings, self.plan.certify, last=True)
        save(self.folder / WEIGHTS, self.trainer.model, self.training, self._last_loss(), found)
        self._record("finished")
        (self.folder / STATE).unlink(missing_ok=True)

    def _keep_good(self) -> str:
        """After a divergence write the last model whose weights are finite, and say which that is."""
        path, step = self.folder / WEIGHTS, self.trainer.step
        if not all(bool(weight.isfinite().all()) for weight in self.trainer.model.parameters()):
            if not (self.folder / STATE).exists():
                return "nothing was saved before it"
            states.restore(self.folder / STATE, self.trainer)
            step = self.trainer.step
        save(path, self.trainer.model, self.training, None)
        return f"{path} is the model after step {step:,}"

    def _last_loss(self) -> float:
        losses = [line["loss"] for _, _, line in read_lines(self.folder / LOG) if line["event"] == "step"]
        return float(losses[-1])

    def _evaluate(self, most: int | None, bound: float | None = None, last: bool = False) -> list[Evaluation]:
        found = []
        for data, strings in self._sets(most):
            one = evaluate(
                self.trainer.model, data, TEST_SEED, strings,
                progress=self._evaluated_some, scratchpad=self.training.scratchpad,
            )  # fmt: skip
            if bound is not None:
                shown = certify(
                    self.trainer.model, data, bound, self.plan.certify_strings,
                    self.training.scratchpad, self._evaluated_some,
                )  # fmt: skip
                one = replace(one, certificate=shown)
            found.append(one)
            told = one.record() | {"data": str(data), "p_ignore": data.probabilities.get("ignore")}
            self._line("evaluation", **{name: told[name] for name in _TOLD if name in told})
            if last:
                self._tell_kinds(data, strings)
        return found

    def _tell_kinds(self, data: Spec, strings: int) -> None:
        """A line on what the model looks at where it is wrong, if its attention is kept."""
        model = self.trainer.model
        if self.plan.keep_attention and isinstance(model, Transformer) and has_kinds(data):
            vocabulary = Vocabulary(data.task, data.symbols, self.training.scratchpad)
            kinds = error_kinds(model, data, TEST_SEED, min(strings, KIND_STRINGS), vocabulary)
            self._line("kinds", data=str(data), **kinds)

    def _evaluated_some(self, strings: int) -> None:
        if self.alive:
            self.alive()

    def _sets(self, most: int | None) -> list[tuple[Spec, int]]:
        return sets_for(self.training.data, self.plan.tests(self.training.data.task), most)

    def _save(self) -> None:
        extra = {
            "monitors": self.monitors.state(),
            "looks": self.looks.state(),
            "told": self.told,
            "pending": self.pending,
            "seconds": self.seconds,
        }
        states.save(self.folder / STATE, self.trainer, extra)
        self.saved = time.monotonic()

    def _warn(self, warnings: list[Any]) -> None:
        for one in warnings:
            if self.looks.attention is not None:
                self.told.append(one.monitor)
            self._line("warning", monitor=one.monitor, value=one.value, limit=one.limit, text=one.text)

    def _line(self, event: str, **fields: Any) -> None:
        line = {"event": event, "step": self.trainer.step, **fields}
        with writing(self.folder / LOG), (self.folder / LOG).open("a") as log:
            log.write(json.dumps(line) + "\n")
        if self.watch:
            self.watch(line)

    @contextmanager
    def reported(self) -> Iterator[None]:
        """However the work ends, the folder says so. What cannot be written any more is not insisted on."""
        try:
            yield
        except DivergedError as error:
            if self.pending:
                self._tell_losses()
            self._line("warning", monitor="non-finite", value=None, limit=None, text=str(error))
            self._keep(self._attention(lambda record, model: record.broken_off()))
            kept = self._keep_good()
            self._record("diverged", str(error))
            raise DivergedError(f"{error}; {kept}") from error
        except BaseException as error:
            # Where the disk is what failed, the error that is on its way says so.
            with suppress(ModelError):
                self._record("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", _line_of(error))
            if isinstance(error, ModelError):
                raise RunFailedError(f"{error}; what is saved is kept, go on with --resume") from error
            raise


def _line_of(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
