"""An entry as a run of Weights & Biases. The project, the mode and the login are those of its own environment."""

from __future__ import annotations

import os
import re

from ffprompt.integrations.trackers.entry import Entry, as_text


def keep(entry: Entry) -> str:
    """Write an entry into ``WANDB_PROJECT`` (default: ffprompt) and return where it is.

    Nobody is asked for a key: without one the client raises its error.
    """
    import wandb

    mode = os.environ.get("WANDB_MODE", "online")
    if mode == "online" and not wandb.login(prompt=False):
        raise RuntimeError("no key; set WANDB_API_KEY, or WANDB_MODE=offline and send it later with: wandb sync")
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "ffprompt"),
        name=entry.name,
        job_type=entry.kind,
        config={**entry.settings, "tags": dict(entry.tags)},
        reinit="create_new",
        settings=wandb.Settings(console="off", silent=True, init_timeout=60),
    )
    try:
        for step, numbers in entry.steps:
            run.log(dict(numbers), step=step)
        if entry.table:
            names = list(entry.table[0])
            rows = [[_plain(row.get(name)) for name in names] for row in entry.table]
            run.log({"table": wandb.Table(columns=names, data=rows)})
        run.summary.update(dict(entry.figures))
        if entry.artefacts or entry.texts:
            kept = wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]", "-", entry.name)[:120], type=f"ffprompt-{entry.kind}")
            for file in entry.artefacts:
                kept.add_file(str(file))
            for name, text in entry.texts.items():
                with kept.new_file(name, encoding="utf-8") as out:
                    out.write(text)
            run.log_artifact(kept)
    except Exception:
        run.finish(exit_code=1)
        raise
    where = run.url or run.dir
    run.finish()
    return str(where)


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (str, int, float, bool)) else as_text(value)
