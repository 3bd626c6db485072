"""Write the YAML files anew, for a new template."""

from ffprompt.integrations.lm_eval import TASKS, task_files

if __name__ == "__main__":
    TASKS.mkdir(exist_ok=True)
    for old in TASKS.glob("*.yaml"):
        old.unlink()
    for name, text in task_files().items():
        (TASKS / name).write_text(text)
