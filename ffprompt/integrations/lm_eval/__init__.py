"""Tasks of lm-evaluation-harness: every read is scored by log-likelihood, or the reply is generated.

The harness finds the tasks by a folder of YAML files, which ``ffprompt tasks-path`` prints::

    lm_eval run --include_path "$(ffprompt tasks-path)" --tasks flipflop_light_switch --model hf \\
        --model_args pretrained=EleutherAI/pythia-160m --metadata '{"length": 100}' --log_samples --output_path out
    ffprompt import out/*/samples_flipflop_light_switch_*.jsonl

The files are made from the bundled templates by ``python -m ffprompt.integrations.lm_eval``.
"""

from __future__ import annotations

from pathlib import Path

from ffprompt.templates import loading as templates

TASKS = Path(__file__).parent / "tasks"


def task_files() -> dict[str, str]:
    """Return the YAML files by name: for each bundled template one that scores reads and one that generates a list.

    A tag for each task (``flipflop``) stands for all of its scored templates, ``flipflop_list`` for those of lists.
    """
    files = {}
    for name in templates.names():
        task = templates.load(name).task.replace("-", "_")
        for elicitation, ending in (("forced", ""), ("list", "_list")):
            title = f"{task}_{name.replace('-', '_')}{ending}"
            tags = [f"{task}{ending}", *([f"{task}_raw{ending}"] if name.startswith("raw-") else [])]
            files[f"{title}.yaml"] = (
                f"task: {title}\n"
                f"tag: [{', '.join(tags)}]\n"
                "class: !function ffprompt.integrations.lm_eval.task.Reads\n"
                f"metadata:\n  template: {name}\n  elicitation: {elicitation}\n"
            )
    return files
