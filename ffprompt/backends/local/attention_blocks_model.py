"""The blocks of a model, one after the other. A pass may begin at any of them with states that were kept.

In shapes: B prompts, T tokens, d width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn


class Blocks:
    """Modules that each take the hidden states (B, T, d) as their first argument and give out the next ones.

    ``alone`` says for each block whether it gives out the states alone, and not a tuple that begins with them.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = list(modules)
        self.alone = [True] * len(self.modules)

    def __len__(self) -> int:
        return len(self.modules)

    @contextlib.contextmanager
    def kept(self, wanted: Collection[int]) -> Iterator[dict[int, Tensor]]:
        """Keep the states before the blocks ``wanted``; the number of blocks stands for those after the last."""
        found: dict[int, Tensor] = {}
        handles = []

        def before(number: int) -> Any:
            def hook(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
                found[number] = given[0] if given else named["hidden_states"]

            return hook

        def after(_module: nn.Module, _given: Any, output: Any) -> None:
            found[len(self)] = output if isinstance(output, Tensor) else output[0]

        for number in wanted:
            if number < len(self):
                handles.append(self.modules[number].register_forward_pre_hook(before(number), with_kwargs=True))
            else:
                handles.append(self.modules[-1].register_forward_hook(after))
        try:
            yield found
        finally:
            for handle in handles:
                handle.remove()

    @contextlib.contextmanager
    def begun(self, start: int, states: Tensor) -> Iterator[None]:
        """Let a pass begin at block ``start`` with ``states``. Earlier blocks compute nothing."""

        def instead(
            _module: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if given:
                return (states, *given[1:]), dict(named)
            return given, {**named, "hidden_states": states}

        handle = self.modules[start].register_forward_pre_hook(instead, with_kwargs=True)
        own = [module.__dict__.get("forward") for module in self.modules[:start]]
        for module, alone in zip(self.modules[:start], self.alone, strict=False):
            module.forward = _handed_on if alone else _handed_on_in_a_tuple
        try:
            yield
        finally:
            handle.remove()
            for module, forward in zip(self.modules[:start], own, strict=True):
                if forward is None:
                    del module.forward
                else:
                    module.forward = forward

    @contextlib.contextmanager
    def learnt(self) -> Iterator[None]:
        """Learn from a pass what the blocks give out."""

        def hook(number: int) -> Any:
            def note(_module: nn.Module, _given: Any, output: Any) -> None:
                self.alone[number] = isinstance(output, Tensor)

            return note

        handles = [module.register_forward_hook(hook(number)) for number, module in enumerate(self.modules)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _handed_on(hidden_states: Tensor, *_given: Any, **_named: Any) -> Tensor:
    return hidden_states


def _handed_on_in_a_tuple(hidden_states: Tensor, *_given: Any, **_named: Any) -> tuple[Tensor]:
    return (hidden_states,)


def blocks_in(model: nn.Module, count: int) -> Blocks | None:
    """Return the blocks of a model of transformers: its first list of ``count`` modules. None without one."""
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return Blocks(list(module))
    return None
