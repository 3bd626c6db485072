"""TransformerLens sees the same attention, and the same model without a head.

It is no dependency. `pip install transformer-lens==4.3.0` in an environment of its own, then
`pytest -m transformer_lens tests/analysis/diagnosis/test_transformer_lens.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ffprompt.backends.local.attention import Change
from ffprompt.backends.local.transformers import TransformersBackend
from tests.analysis.diagnosis.test_attention import asked
from tests.analysis.diagnosis.test_causes import pairs
from tests.support.tiny import make

pytestmark = pytest.mark.transformer_lens


@pytest.mark.parametrize("architecture", ["gpt2", "gpt-neox", "llama"])
def test_rows_ablations_and_patches_are_those_of_transformer_lens(architecture: str, tmp_path: Path) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    backend = TransformersBackend(str(make(tmp_path, architecture)), device="cpu")
    model, looks, _, strings = asked(backend, length=16, trials=2)
    rows, (without,) = model.look(looks, full=True), model.answers(looks, [Change(heads={1: [2]})])
    bridge = TransformerBridge.boot_transformers(str(tmp_path), device="cpu")
    patterns = [f"blocks.{layer}.attn.hook_pattern" for layer in model.layers]

    def remove(z: torch.Tensor, hook: object) -> torch.Tensor:
        z = z.clone().unflatten(-1, (model.heads, -1)) if z.dim() == 3 else z.clone()
        z[:, :, 2] = 0
        return z

    for look, own, less in zip(looks, rows, without, strict=True):
        ids = torch.from_numpy(look.tokens.ids)[None]
        with torch.inference_mode():
            _, cache = bridge.run_with_cache(ids, names_filter=patterns)
            logits = bridge.run_with_hooks(ids, fwd_hooks=[("blocks.1.attn.hook_z", remove)])
        assert own.full is not None
        for layer, pattern in enumerate(patterns):
            theirs = cache[pattern][0, :, look.tokens.queries].numpy()
            np.testing.assert_allclose(own.full[layer], theirs, atol=1e-4)
        logprobs = logits[0, look.tokens.queries].double().log_softmax(-1).numpy()
        np.testing.assert_allclose(less, np.take_along_axis(logprobs, look.tokens.candidates, 1), atol=1e-3)
    for pair in pairs(model, looks, strings):
        found = model.patch(pair)
        clean, corrupt = (torch.from_numpy(ids)[None] for ids in (pair.clean, pair.corrupt))
        with torch.inference_mode():
            _, cache = bridge.run_with_cache(clean, names_filter=["blocks.1.hook_in"])
            for group, where in enumerate(pair.groups):

                def put(x: torch.Tensor, hook: object, where: tuple[int, ...] = where) -> torch.Tensor:
                    x = x.clone()
                    x[:, list(where)] = cache["blocks.1.hook_in"][:, list(where)]  # noqa: B023
                    return x

                logits = bridge.run_with_hooks(corrupt, fwd_hooks=[("blocks.1.hook_in", put)])[0, -1].double()
                true, false = pair.candidates
                if where:
                    assert found.groups[1, group] == pytest.approx(float(logits[true] - logits[false]), abs=1e-3)
