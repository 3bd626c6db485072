"""What happens besides the steps of a training: what is logged, looked at, saved and evaluated, and how often."""

from __future__ import annotations

from dataclasses import dataclass

from ffprompt.errors import ConfigError
from ffprompt.reference.networks.base import whole
from ffprompt.reference.training.certify import STRINGS
from ffprompt.reference.training.data import specs
from ffprompt.tasks.base import Spec, Task


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens besides the steps, and after how many of them. Nothing here changes a weight.

    ``evaluate_every``, ``monitor_every`` and ``keep_every`` (of the model as it is then) may be 0 for never.
    ``strings`` are the most of each test set that is looked at on the way, ``final_strings`` at the end. None is all of
    them. ``test`` names more test sets, ``SPEC+SPEC``. With ``certify`` a sequential test on at most
    ``certify_strings`` strings of each set tells at the end whether the glitch rate is below it.

    The looks of ``monitor_every`` can do more: with ``monitor_layers`` they measure the loss without each layer, with
    ``monitor_length`` the loss on strings of that length, and with ``keep_attention`` the log gets the attention of one
    string at the first look, where warnings begin and at the end.
    """

    log_every: int = 10
    evaluate_every: int = 1_000
    monitor_every: int = 100
    save_every: int = 500
    keep_every: int = 0
    strings: int = 200
    final_strings: int | None = None
    test: str = ""
    certify: float | None = None
    certify_strings: int = STRINGS
    monitor_layers: bool = False
    monitor_length: int = 0
    keep_attention: bool = False

    def __post_init__(self) -> None:
        whole("log-every", self.log_every, 1, 1 << 40)
        whole("save-every", self.save_every, 1, 1 << 40)
        whole("keep-every", self.keep_every, 0, 1 << 40)
        whole("evaluate-every", self.evaluate_every, 0, 1 << 40)
        whole("monitor-every", self.monitor_every, 0, 1 << 40)
        whole("monitor-length", self.monitor_length, 0, 1 << 22)
        whole("strings", self.strings, 1, 1 << 40)
        if self.final_strings is not None:
            whole("final-strings", self.final_strings, 1, 1 << 40)
        whole("certify-strings", self.certify_strings, 1, 1 << 40)
        for name in ("monitor_layers", "monitor_length", "keep_attention"):
            if getattr(self, name) and not self.monitor_every:
                raise ConfigError(f"--{name.replace('_', '-')}: it is done at the looks of --monitor-every, which is 0")

    def tests(self, task: Task) -> tuple[Spec, ...]:
        """The specs that ``test`` names. Raises SpecError."""
        return specs(self.test, task)
