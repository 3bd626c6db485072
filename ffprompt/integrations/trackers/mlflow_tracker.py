"""An entry as a run of MLflow. The server, the experiment and the login are those of MLflow's own environment."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from ffprompt.integrations.trackers.entry import Entry, as_text

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PARAMETERS, _METRICS = 100, 1000  # that MLflow takes in one request
_LONGEST = 6000  # characters of a parameter


def keep(entry: Entry) -> str:
    """Write an entry into ``MLFLOW_EXPERIMENT_NAME`` (default: ffprompt) and return where it is."""
    import mlflow
    from mlflow.entities import Metric, Param, RunTag

    client = mlflow.MlflowClient()
    run = client.create_run(_experiment(client), run_name=entry.name, tags={"kind": entry.kind})
    try:
        now = int(time.time() * 1000)
        stepped = {name for _, these in entry.steps for name in these}
        # A figure with a value by step ends with it. At step 0 as well, it would begin its chart with its end.
        ends = {name: value for name, value in entry.figures.items() if name not in stepped}
        numbers = [(0, ends), *entry.steps]
        metrics = [Metric(name, float(value), now, step) for step, these in numbers for name, value in these.items()]
        parameters = [Param(name, as_text(value)[:_LONGEST]) for name, value in entry.settings.items()]
        tags = [RunTag(name, value[:_LONGEST]) for name, value in entry.tags.items()]
        client.log_batch(run.info.run_id, tags=tags)
        for first in range(0, len(parameters), _PARAMETERS):
            client.log_batch(run.info.run_id, params=parameters[first : first + _PARAMETERS])
        for first in range(0, len(metrics), _METRICS):
            client.log_batch(run.info.run_id, metrics=metrics[first : first + _METRICS])
        if entry.table:
            client.log_table(run.info.run_id, _columns(entry), "table.json")
        for file in entry.artefacts:
            client.log_artifact(run.info.run_id, str(file))
        for name, text in entry.texts.items():
            client.log_text(run.info.run_id, text, name)
    except Exception:
        client.set_terminated(run.info.run_id, "FAILED")
        raise
    client.set_terminated(run.info.run_id, "FINISHED")
    return f"{mlflow.get_tracking_uri()}, run {run.info.run_id}"


def _experiment(client: MlflowClient) -> str:
    if found := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return found
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "ffprompt")
    known = client.get_experiment_by_name(name)
    return str(known.experiment_id if known else client.create_experiment(name))


def _columns(entry: Entry) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in entry.table] for name in entry.table[0]}
