"""What Inspect imports to know the tasks, solvers, scorers and metrics of ffprompt. It must stay light."""

from ffprompt.integrations.inspect.metrics import (
    accuracy,
    failed,
    floor,
    glitch_rate,
    interval_high,
    interval_low,
    reads,
    strings,
    unanswered,
)
from ffprompt.integrations.inspect.tasks import ask, flipflop, outcomes

__all__ = [
    "accuracy", "ask", "failed", "flipflop", "floor", "glitch_rate", "interval_high", "interval_low", "outcomes",
    "reads", "strings", "unanswered",
]  # fmt: skip
