"""A run on a Ray cluster that loses actors, nodes and its driver has the same reads as one that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ffprompt.runs.folder import RunFolder
from ffprompt.runs.log import trials_of
from tests.conftest import ROOT, Command, only_run

pytestmark = pytest.mark.ray
HOOKS = ROOT / "tests" / "support" / "ray_hooks"
TRIALS, CHUNK = 240, 8
RUN = (
    "--backend", "scripted", "--model", "glitch-0.1", "--elicitation", "forced", "--template", "raw-compact",
    "--length", 20, "--shots", 0, "--trials", TRIALS,
)  # fmt: skip


class Nodes:
    """A cluster of three nodes on this machine, each with room for one replica."""

    def __init__(self, faults: Path) -> None:
        from ray.cluster_utils import Cluster

        self.faults = faults
        self.cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        self.others = [self.cluster.add_node(num_cpus=1) for _ in range(2)]
        self.cluster.wait_for_nodes()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def fault(self, name: str, text: str = "") -> None:
        (self.faults / name).write_text(text)

    @property
    def asked(self) -> Counter[str]:
        """How often each trial was asked."""
        path = self.faults / "asked"
        return Counter(path.read_text().splitlines()) if path.exists() else Counter()

    def clear(self) -> None:
        for path in self.faults.iterdir():
            path.unlink()
        while len(self.others) < 2:
            self.others.append(self.cluster.add_node(num_cpus=1))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    pytest.importorskip("ray")
    faults = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{HOOKS}{os.pathsep}{ROOT}")
        patch.setenv("FFPROMPT_FAULTS", str(faults))
        made = Nodes(faults)
        yield made
        made.cluster.shutdown()


@pytest.fixture
def on_ray(nodes: Nodes, command: Command, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Carry out a run on the three nodes and return its folder."""
    nodes.clear()

    def run(*more: object, code: int = 0, name: str = "fleet") -> Path:
        done = command(*RUN, "--ray", nodes.address, "--replicas", 3, "--out", tmp_path / name, *more)
        assert done.returncode == code, done.stderr
        return only_run(tmp_path / name)

    yield run
    nodes.clear()


@pytest.fixture
def driver(nodes: Nodes, tmp_path: Path) -> Callable[[], contextlib.AbstractContextManager[subprocess.Popen[bytes]]]:
    """Begin the same run in a process of its own."""
    nodes.clear()

    @contextlib.contextmanager
    def begin() -> Iterator[subprocess.Popen[bytes]]:
        words = [*RUN, "--ray", nodes.address, "--replicas", 3, "--out", tmp_path / "fleet", "--no-report", "--quiet"]
        process = subprocess.Popen([sys.executable, "run_eval.py", *map(str, words)], cwd=ROOT)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    return begin


@pytest.fixture
def undisturbed(command: Command, tmp_path: Path) -> bytes:
    """The reads of the same run in this process, whose chunks are of another size."""
    assert command(*RUN, "--out", tmp_path / "alone").returncode == 0
    return (only_run(tmp_path / "alone") / "reads.parquet").read_bytes()


def replicas() -> dict[int, str]:
    """The actors that this process has started, however far down: their process ids, and what they do."""
    parents, titles = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            titles[int(path.name)] = (path / "cmdline").read_text()
        except (OSError, ValueError):
            continue

    def is_ours(process: int) -> bool:
        while process > 1:
            if process == os.getpid():
                return True
            process = parents.get(process, 0)
        return False

    return {process: title for process, title in titles.items() if "ray::Replica" in title and is_ours(process)}


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and not condition():
        time.sleep(0.02)


def kill_one_at_work() -> None:
    at_work = [process for process, title in replicas().items() if ".ask" in title]
    os.kill((at_work or list(replicas()))[0], signal.SIGKILL)


def assert_whole(run: Path, undisturbed: bytes, nodes: Nodes, in_flight: int) -> None:
    assert (run / "reads.parquet").read_bytes() == undisturbed
    asked = nodes.asked
    assert len(asked) == TRIALS
    assert sum(asked.values()) - TRIALS <= in_flight
    trials = [trial.trial for _, trial in trials_of(RunFolder.open(run))]
    assert sorted(trials) == list(range(TRIALS)), "no trial is logged twice"


def test_a_killed_actor_loses_nothing(nodes, driver, undisturbed, tmp_path):
    nodes.fault("slow")
    with driver() as process:
        wait_for(lambda: len(nodes.asked) > 3 * CHUNK)
        kill_one_at_work()
        assert process.wait(120) == 0
    run = only_run(tmp_path / "fleet")
    assert_whole(run, undisturbed, nodes, in_flight=2 * CHUNK)
    devices = {trial.response.device for _, trial in trials_of(RunFolder.open(run))}
    assert len(devices) == 1
    assert None not in devices


def test_a_node_may_leave_and_another_one_join(nodes, driver, undisturbed, tmp_path):
    nodes.fault("slow")
    with driver() as process:
        wait_for(lambda: len(nodes.asked) > 3 * CHUNK)
        nodes.cluster.remove_node(nodes.others.pop(), allow_graceful=False)
        nodes.others.append(nodes.cluster.add_node(num_cpus=1))
        assert process.wait(120) == 0
    assert_whole(only_run(tmp_path / "fleet"), undisturbed, nodes, in_flight=2 * CHUNK)


def test_an_actor_that_hangs_is_replaced(nodes, on_ray, undisturbed):
    nodes.fault("hang")
    assert_whole(on_ray("--replica-timeout", 4), undisturbed, nodes, in_flight=2 * CHUNK)


def test_a_trial_that_ends_every_actor_is_logged_as_an_error_and_asked_again(nodes, on_ray, undisturbed):
    nodes.fault("poison", "/seed-0/20")
    run = on_ray(code=3)
    table = RunFolder.open(run).info.results[0]
    failed = [trial for _, trial in trials_of(RunFolder.open(run)) if trial.error is not None]
    assert [trial.trial for trial in failed] == [20]
    assert "every replica that was asked this was lost" in failed[0].error
    assert table.outcomes["error"] == len(failed[0].outcomes)
    nodes.clear()
    assert on_ray("--resume") == run
    assert (run / "reads.parquet").read_bytes() == undisturbed


def test_a_driver_that_was_killed_goes_on_with_resume(nodes, driver, on_ray, undisturbed):
    nodes.fault("slow")
    with driver() as process:
        wait_for(lambda: len(nodes.asked) > 8 * CHUNK)
        process.kill()
    (nodes.faults / "slow").unlink()
    assert_whole(on_ray("--resume"), undisturbed, nodes, in_flight=3 * 2 * CHUNK)


def test_a_certificate_stops_where_it_would_without_replicas(nodes, on_ray, command, tmp_path):
    rule = ("--model", "oracle", "--trials", 2000, "--certify", 0.01)
    run = on_ray(*rule)
    assert command(*RUN, *rule, "--out", tmp_path / "alone").returncode == 0
    alone = only_run(tmp_path / "alone")
    assert (run / "reads.parquet").read_bytes() == (alone / "reads.parquet").read_bytes()
    assert RunFolder.open(run).info.plan_digest == RunFolder.open(alone).info.plan_digest


def test_replicas_that_disagree_stop_the_run_in_one_line(nodes, on_ray, command, tmp_path):
    nodes.fault("other")
    done = command(*RUN, "--ray", nodes.address, "--replicas", 3)
    assert done.returncode == 2
    (error,) = [line for line in done.stderr.splitlines() if not line.startswith("waiting")]
    assert "replicas disagree on note: " in error


def test_replicas_can_be_asked_in_one_event_loop_after_another(nodes):
    from ffprompt.config.run_config import make
    from ffprompt.evaluation.fleet import open_model
    from ffprompt.evaluation.runner import make_plan

    nodes.clear()
    config = make(
        {
            "backend": "scripted", "model": "oracle", "elicitation": "forced", "template": "raw-compact", "length": 20,
            "shots": 0, "trials": 4, "ray": nodes.address,
        }
    )  # fmt: skip
    backend = open_model(config)
    try:
        plan = make_plan(config, backend)
        requests = [question.request for question in plan.questions(plan.batch(plan.conditions[0], 0, 4))]
        first, second = (asyncio.run(backend.score(requests)) for _ in range(2))
    finally:
        backend.close()
    assert [scores.answers.tolist() for scores in first] == [scores.answers.tolist() for scores in second]
    assert len(first) == 4
