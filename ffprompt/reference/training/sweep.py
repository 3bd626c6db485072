"""Many trainings, each into its folder: in processes on this machine one after another, or as tasks on Ray.

A task is a process that trains several at once, one core each (``replicates``). It may end in any way without harm to
the others: what a training is worth is in its folder, and what is not finished there is resumed the next time.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ffprompt._util.crash import told
from ffprompt._util.ray_cluster import LOCAL, cluster
from ffprompt.errors import FFPromptError, ModelError
from ffprompt.reference.checkpoints.folder import LOG, read_record
from ffprompt.reference.networks.base import NetworkConfig
from ffprompt.reference.training import run as session
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.plan import Plan
from ffprompt.reference.training.replicates import Alive, side_by_side

_GRACE = 20.0  # seconds for a process to stop by itself


@dataclass(frozen=True, slots=True)
class Job:
    """One training of a sweep, and the absolute path of its folder."""

    folder: Path
    config: NetworkConfig
    training: Training
    plan: Plan

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name


Tell = Callable[[str, session.Event], None]
"""Called with the name of a training and a line of its log."""
Ended = Callable[[str, str | None], None]
"""Called when a training has ended, with its name and, unless it is finished, why."""


def finished(job: Job) -> bool:
    """Whether the folder has this training, finished.

    Raises:
        ConfigError: when it has a finished one of another kind.
    """
    try:
        if read_record(job.folder)["status"] != "finished":
            return False
    except (ModelError, KeyError):
        return False
    session.run(job.folder, job.config, job.training, job.plan, resume=True)
    return True


def tasks(jobs: Sequence[Job], replicates: int) -> list[Sequence[Job]]:
    """``jobs`` in tasks of ``replicates``."""
    return [jobs[low : low + replicates] for low in range(0, len(jobs), replicates)]


def work(
    jobs: Sequence[Job], at_once: int, tell: Tell, stopped: threading.Event | None = None
) -> dict[str, str | None]:
    """Train the jobs of a task, ``at_once`` at a time: why each that is not finished is not, by name."""

    def piece(job: Job) -> Callable[[Alive], None]:
        def run(alive: Alive) -> None:
            def watch(event: session.Event) -> None:
                tell(job.name, event)

            session.run(job.folder, job.config, job.training, job.plan, resume=True, watch=watch, alive=alive)
            tell(job.name, {"event": "finished", "step": job.training.steps})

        return run

    found = side_by_side([piece(job) for job in jobs], at_once, stopped)
    return {job.name: None if one is None else _ended(one) for job, one in zip(jobs, found, strict=True)}


def locally(jobs: Sequence[Job], replicates: int, at_once: int, tell: Tell, ended: Ended) -> None:
    """The tasks one after another, each in a process of its own. On Ctrl-C they stop where they can be resumed."""
    for task in tasks(jobs, replicates):
        whys = _in_process(task, at_once, tell)
        for job in task:
            ended(job.name, whys[job.name])


def on_ray(
    jobs: Sequence[Job],
    replicates: int,
    at_once: int,
    tell: Tell,
    ended: Ended,
    *,
    address: str = LOCAL,
    cpus: int = 1,
    gpus: float = 0.0,
) -> None:
    """The tasks on a Ray cluster. The one at ``local`` is started here.

    Every node needs ffprompt, and the folders on a file system that all of them share, this machine too if ``tell`` is
    to hear of the logs. A task whose node was lost is tried again where it stopped.

    Raises:
        ModelError: when Ray is not installed or the cluster cannot be had.
    """
    with cluster(address, "a sweep on Ray") as ray:
        _room(ray.cluster_resources(), cpus, gpus)
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=2)(_ray_task)
        news = _News(jobs)
        waiting = {remote.remote(list(task), at_once): task for task in tasks(jobs, replicates)}
        while waiting:
            # A wait without end would keep Ctrl-C waiting too.
            done = ray.wait(list(waiting), timeout=1.0)[0]
            news.pass_on(tell)
            for reference in done:
                task = waiting.pop(reference)
                try:
                    whys = ray.get(reference)
                except Exception as error:
                    whys = {job.name: f"its task was lost: {_why(error)}" for job in task}
                for job in task:
                    ended(job.name, whys[job.name])


class _News:
    """What is added to the logs of ``jobs``, by whichever machine."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._read = {job.folder: self._size(job.folder) for job in jobs}

    @staticmethod
    def _size(folder: Path) -> int:
        with suppress(OSError):
            return (folder / LOG).stat().st_size
        return 0

    def pass_on(self, tell: Tell) -> None:
        """Hand ``tell`` every whole line that is new."""
        for folder, read in self._read.items():
            if (size := self._size(folder)) <= read:
                self._read[folder] = size  # a resumed training has dropped what came after its last save
                continue
            with suppress(OSError), (folder / LOG).open("rb") as log:
                log.seek(read)
                whole = log.read().rpartition(b"\n")[0]
                self._read[folder] = read + len(whole) + bool(whole)
                for line in whole.splitlines():
                    with suppress(ValueError):
                        tell(folder.name, json.loads(line))


def _room(has: dict[str, float], cpus: int, gpus: float) -> None:
    """Raise ModelError for tasks that the cluster could never begin; Ray would wait for a larger one."""
    for name, wanted in (("CPU", float(cpus)), ("GPU", gpus)):
        if wanted > has.get(name, 0.0):
            raise ModelError(f"--{name.lower()}s-per-task {wanted:g}: this Ray has {has.get(name, 0.0):g} {name}s")


def _ray_task(jobs: Sequence[Job], at_once: int) -> dict[str, str | None]:
    return work(jobs, at_once, lambda name, event: None)


def _in_process(task: Sequence[Job], at_once: int, tell: Tell) -> dict[str, str | None]:
    """Work on a task in another process: why each training that is not finished is not, by name."""
    # spawn: a forked child of a process with threads may hang, and one with a GPU does not work.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_child, args=(there, list(task), at_once), name="ffprompt-sweep")
    with _deaf():
        process.start()
    there.close()
    whys: dict[str, str | None] | None = None
    try:
        for kind, *rest in _messages(here):
            if kind == "event":
                tell(*rest)
            else:
                whys = rest[0]
        process.join()
    except BaseException:
        with suppress(OSError):
            here.send("stop")
        process.join(_GRACE)
        raise
    finally:
        process.kill()
        process.join()
        here.close()
    if whys is None:
        gone = f"its process ended with code {process.exitcode}"
        whys = {job.name: None if _is_finished(job) else gone for job in task}
    return whys


def _messages(pipe: Connection) -> Iterator[Any]:
    """What the other end sends until it is closed."""
    while True:
        wait([pipe])
        try:
            yield pipe.recv()
        except (EOFError, OSError):
            return


def _is_finished(job: Job) -> bool:
    with suppress(FFPromptError):
        return finished(job)
    return False


def _child(pipe: Connection, jobs: Sequence[Job], at_once: int) -> None:
    """The process of a task. It ends early when the parent says so or is no more."""
    stopped, turn = threading.Event(), threading.Lock()

    def listen() -> None:
        with suppress(EOFError, OSError):
            pipe.recv()
        stopped.set()

    def send(*message: Any) -> None:
        # Where nobody reads any more the training goes on until it is told to stop.
        with turn, suppress(OSError):
            pipe.send(message)

    threading.Thread(target=listen, daemon=True).start()
    with suppress(KeyboardInterrupt):
        try:
            whys = work(jobs, at_once, lambda name, event: send("event", name, event), stopped)
        except Exception as error:
            whys = dict.fromkeys((job.name for job in jobs), _ended(error))
        send("whys", whys)


@contextmanager
def _deaf() -> Iterator[None]:
    """A process started here does not hear Ctrl-C, which a terminal sends to all. The parent tells it to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _ended(error: Exception) -> str:
    """Why a training is not finished. For a defect it names the file with the traceback."""
    return _why(error) if isinstance(error, FFPromptError) else f"internal error: {told(error)}"


def _why(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, FFPromptError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
