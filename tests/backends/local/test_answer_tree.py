"""Answers of several tokens in one pass: the tree itself, its scores against naive ones, and models that refuse it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ffprompt.backends.base import Failure, Request
from ffprompt.backends.local import transformers, transformers_model
from ffprompt.backends.local.answer_tree import plan_trees
from ffprompt.backends.local.candidate_scores import NOT_FINITE, Row, plan_rows
from ffprompt.backends.local.transformers import TransformersBackend
from ffprompt.backends.local.tree_check import TreeCheck
from ffprompt.errors import AuditError, ModelError
from tests.backends.local.test_transformers import naive, requests, score
from tests.support.tiny import make

PLACES = ("tile 7, facing west", "tile 7, facing north", "tile 12")


def walk(key: str, reads: int = 6, answers: tuple[str, ...] = PLACES, seed: int = 0) -> Request:
    """A request with answers of several tokens, some of which begin alike."""
    draw, text, spans = np.random.default_rng(seed), "", []
    for _ in range(reads):
        text += "Alice turns the light on. " * int(draw.integers(0, 3)) + "The robot is on "
        answer = answers[int(draw.integers(len(answers)))]
        spans.append((len(text), len(text) + len(answer)))
        text += answer + ". "
    return Request(key, text, reads=tuple(spans), surfaces=answers)


def walks(count: int, **more: Any) -> list[Request]:
    return [walk(f"k{number}", seed=number, **more) for number in range(count)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make(tmp_path_factory.mktemp("llama") / "model", "llama"))


def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The sizes of the trees of every pass from now on."""
    seen: list[list[int]] = []
    original = transformers_model.Forward.trees

    def counting(self: Any, trees: Any) -> Any:
        seen.append([len(tree.ids) for tree in trees])
        return original(self, trees)

    monkeypatch.setattr(transformers_model.Forward, "trees", counting)
    return seen


@given(
    rows=st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=9), min_size=1, max_size=12),
    most=st.integers(1, 30),
)
@settings(max_examples=60)
def test_every_row_can_be_read_off_its_tree(rows: list[list[int]], most: int) -> None:
    planned = [Row(ids, range(1, len(ids)), [[token] for token in ids[1:]]) for ids in rows]
    reads = [range(first, min(first + 2, len(rows))) for first in range(0, len(rows), 2)]
    trees = plan_trees(planned, reads, most)
    assert [number for tree in trees for number in tree.rows] == list(range(len(rows)))
    for tree in trees:
        assert len(tree.ids) <= most or tree.reads == 1
        assert len({(parent, token) for parent, token in zip(tree.parents, tree.ids, strict=True)}) == len(tree.ids)
        sees = tree.ancestors()
        for number, places in zip(tree.rows, tree.places, strict=True):
            for position, (place, candidate) in enumerate(places, start=1):
                above = np.flatnonzero(sees[tree.nodes[place]])
                assert [tree.ids[node] for node in above] == rows[number][:position]
                assert [tree.depths[node] for node in above] == list(range(position))
                assert tree.candidates[place][candidate] == rows[number][position]


@pytest.mark.parametrize("architecture", ["gpt2", "gpt-neox", "llama", "qwen2", "mistral", "gemma2", "gemma3"])
def test_answers_scored_together_are_those_scored_one_by_one(
    tmp_path: Path, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = TransformersBackend(str(make(tmp_path, architecture)))
    asked = walks(3)
    found = backend.check(asked)
    record = found["answers_of_several_tokens"]
    assert record["passes"] == "one a string" and record["largest_difference"] < 1e-4 and not found["notes"]
    assert record["checked_tokens"] > 32  # beyond the sliding windows
    seen = passes(monkeypatch)
    monkeypatch.setattr(backend, "_score_rows", lambda rows: pytest.fail("a pass of its own"))
    for request, scores in zip(asked, score(backend, asked), strict=True):
        np.testing.assert_allclose(scores.answers, naive(backend, request), atol=1e-4)
    assert [len(sizes) for sizes in seen] == [3]


def test_ranks_are_those_of_single_passes(llama: str) -> None:
    together, apart = TransformersBackend(llama), TransformersBackend(llama)
    apart.trees.refusal = "not to be used"
    for one, other in zip(score(together, walks(4)), score(apart, walks(4)), strict=True):
        assert one.argmax.tolist() == other.argmax.tolist()
        assert one.argmax_symbol.tolist() == other.argmax_symbol.tolist()
        assert one.prompt_tokens == other.prompt_tokens


@pytest.mark.parametrize("architecture", ["bloom", "rwkv"])
def test_a_model_that_takes_no_tree_is_scored_one_by_one_and_the_record_says_why(
    tmp_path: Path, architecture: str
) -> None:
    backend = TransformersBackend(str(make(tmp_path, architecture)))
    asked = walks(2)
    found = backend.check(asked)
    assert found["answers_of_several_tokens"]["passes"] == "one an answer"
    (note,) = found["notes"]
    assert note.startswith("answers of several tokens take a pass of their own each, which is slower: ")
    for request, scores in zip(asked, score(backend, asked), strict=True):
        np.testing.assert_allclose(scores.answers, naive(backend, request), atol=1e-4)


def test_a_model_that_shows_only_on_longer_texts_that_it_takes_no_tree_is_caught_there(
    llama: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its attention looks back a little way, which its configuration does not say."""
    backend = TransformersBackend(llama)
    short, long = walk("short", reads=1), walk("long", reads=12)
    limit = len(backend.encoder.tokenise(short).ids) + 2
    original = transformers_model.Forward._mask

    def blind(self: Any, sees: Any) -> Any:
        sees = sees.copy()
        sees[:, limit:, 0] = False
        return original(self, sees)

    monkeypatch.setattr(transformers_model.Forward, "_mask", blind)
    assert backend.check([short])["answers_of_several_tokens"]["passes"] == "one a string"
    assert backend.remarks == []
    (scores,) = score(backend, [long])
    np.testing.assert_allclose(scores.answers, naive(backend, long), atol=1e-4)
    (remark,) = backend.remarks
    assert "nats from scores one by one" in remark


@pytest.mark.parametrize("spoilt", ["mask", "positions"])
def test_the_check_notices_a_mask_or_positions_that_a_model_leaves_out(
    llama: str, spoilt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = TransformersBackend(llama)
    key = {"mask": "attention_mask", "positions": "position_ids"}[spoilt]
    original = backend.model.forward
    monkeypatch.setattr(
        backend.model, "forward", lambda **given: original(**{name: given[name] for name in given if name != key})
    )
    assert backend.check(walks(2))["answers_of_several_tokens"]["passes"] == "one an answer"


def test_an_answer_whose_score_changes_with_other_branches_is_noticed() -> None:
    """A comparison with rows alone would not see it: it begins only when other branches are changed."""
    rows = [Row([1, *[2] * read, token], [1 + read, 2 + read], [[token], [7]]) for read in range(5) for token in (3, 4)]
    (tree,) = plan_trees(rows, [range(first, first + 2) for first in range(0, 10, 2)], 50)

    def by_row(rows: Any) -> Any:
        return [([[0.0], [0.0]], [0, 0])] * len(rows)

    def leaking(trees: Any) -> Any:
        return [[([[0.01 * (one.ids != tree.ids)], [0.0]], [0, 0])] * 10 for one in trees]

    check = TreeCheck(torch.finfo(torch.float32).eps)
    assert not check.passes([tree], rows, leaking, by_row)
    assert check.record()["passes"] == "one an answer" and "differ by 0.01 nats" in check.note
    sound = TreeCheck(torch.finfo(torch.float32).eps)
    assert sound.passes([tree], rows, lambda trees: [by_row(rows) for _ in trees], by_row)
    assert sound.record() == {"passes": "one a string", "checked_tokens": 6, "largest_difference": 0.0}


def test_memory_is_bounded_by_smaller_trees(llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TransformersBackend(llama)
    asked = walks(3, reads=12)
    whole = score(backend, asked)
    seen = passes(monkeypatch)
    backend.most_nodes = 150
    for one, other in zip(whole, score(backend, asked), strict=True):
        np.testing.assert_allclose(one.answers, other.answers, atol=1e-5)
    sizes = [size for sizes in seen for size in sizes]
    longest = max(len(backend.encoder.tokenise(request).ids) for request in asked)
    assert longest > 150 and len(sizes) > 6
    # A read far behind has all that stands before it in its tree, and little more.
    assert max(sizes) < longest + 30


def out_of_memory(monkeypatch: pytest.MonkeyPatch, nodes: int) -> list[list[int]]:
    """Let memory run out for passes of more nodes than these, as a device does."""
    seen: list[list[int]] = []
    original = transformers_model.Forward.trees

    def small(self: Any, trees: Any) -> Any:
        sizes = [len(tree.ids) for tree in trees]
        if sum(sizes) > nodes:
            raise torch.OutOfMemoryError("out of memory")
        seen.append(sizes)
        return original(self, trees)

    monkeypatch.setattr(transformers_model.Forward, "trees", small)
    return seen


def test_batches_are_halved_and_then_trees_where_memory_runs_out(llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TransformersBackend(llama)
    asked = walks(6, reads=8)
    whole = score(backend, asked)
    rows, _ = plan_rows([backend.encoder.tokenise(request) for request in asked])
    longest = max(len(row.ids) for row in rows)
    seen = out_of_memory(monkeypatch, longest + 20)
    for one, other in zip(whole, score(backend, asked), strict=True):
        np.testing.assert_allclose(one.answers, other.answers, atol=1e-5)
    assert len(seen) > 6
    out_of_memory(monkeypatch, longest // 2)
    with pytest.raises(ModelError, match=r"out of memory with 1 prompt of .*--batch-size"):
        score(backend, asked)


def test_scores_do_not_depend_on_the_batch(llama: str) -> None:
    asked = [walk(f"k{reads}", reads=reads, seed=reads) for reads in (1, 9, 4)]
    many, one = TransformersBackend(llama, batch_size=3), TransformersBackend(llama, batch_size=1)
    alone = [score(TransformersBackend(llama), [request])[0] for request in asked]
    for a, b, c in zip(score(many, asked), score(one, asked), alone, strict=True):
        np.testing.assert_allclose(a.answers, b.answers, atol=1e-5)
        np.testing.assert_allclose(a.answers, c.answers, atol=1e-5)


def test_a_shared_beginning_is_computed_once(llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TransformersBackend(llama)
    shots = "Carol closes the door. At this point the door is closed. " * 8
    asked = []
    for request in walks(4):
        spans = tuple((start + len(shots), end + len(shots)) for start, end in request.reads)
        asked.append(Request(request.key, shots + request.text, reads=spans, surfaces=request.surfaces))
    prefixes: list[int] = []
    original = transformers_model.Forward.trees

    def noting(self: Any, trees: Any) -> Any:
        prefixes.append(len(self.prefix))
        return original(self, trees)

    monkeypatch.setattr(transformers_model.Forward, "trees", noting)
    for request, scores in zip(asked, score(backend, asked), strict=True):
        np.testing.assert_allclose(scores.answers, naive(backend, request), atol=1e-4)
    assert prefixes[-1] > 100


def test_a_single_short_prompt_of_long_answers_is_scored(llama: str) -> None:
    """Its rows have everything up to the first read in common."""
    backend = TransformersBackend(llama)
    backend.trees.refusal = "not to be used"
    text = "Alice turns the light on. Bob eats an apple. " * 3 + "The robot is on tile 12"
    request = Request("k", text, reads=((len(text) - 7, len(text)),), surfaces=("tile 12", "a chair by the door"))
    (scores,) = score(backend, [request])
    np.testing.assert_allclose(scores.answers, naive(backend, request), atol=1e-4)


@pytest.mark.parametrize("answers", [("1", "0i1r0w"), ("0w1r", "1"), ("0r1", "1")])
def test_tokens_across_the_border_of_an_answer_are_scored_exactly(tmp_path: Path, answers: tuple[str, str]) -> None:
    backend = TransformersBackend(str(make(tmp_path, "gpt2", merges=True)))
    text, spans = "", []
    for number in range(8):
        text += "w1i0r"
        answer = answers[number % 3 == 0]
        spans.append((len(text), len(text) + len(answer)))
        text += answer
    request = Request("k", text, reads=tuple(spans), surfaces=answers)
    tokenised = backend.encoder.tokenise(request)
    assert tokenised.kind == "suffix"
    # What stands before a read is not always the beginning of the whole prompt's tokens.
    beginnings = [common == tokenised.ids[: len(common)] for read in tokenised.suffixes for common, _ in read]
    assert not all(beginnings)
    (scores,) = score(backend, [request])
    np.testing.assert_allclose(scores.answers, naive(backend, request), atol=1e-4)


def test_an_answer_whose_tokens_begin_another_is_refused(llama: str) -> None:
    backend = TransformersBackend(llama)
    with pytest.raises(AuditError, match="does not tell the answers apart at a read"):
        backend.check(walks(1, answers=("tile 1", "tile 1 0")))


def test_requests_of_both_kinds_keep_their_order(llama: str) -> None:
    backend = TransformersBackend(llama)
    single = requests(backend, trials=2)
    several = walks(2)
    asked = [single[0], several[0], single[1], several[1]]
    for request, scores in zip(asked, score(backend, asked), strict=True):
        np.testing.assert_allclose(scores.answers, naive(backend, request), atol=1e-4)


def test_a_model_without_numbers_fails_as_ever(llama: str) -> None:
    backend = TransformersBackend(llama)
    backend.model.model.norm.weight.data[3] = float("nan")
    assert list(asyncio.run(backend.score(walks(2)))) == [Failure(NOT_FINITE)] * 2


def test_without_weights_nothing_is_said_of_passes(llama: str) -> None:
    backend = TransformersBackend(llama, weights=False)
    assert "answers_of_several_tokens" not in backend.check(walks(1))
    assert backend.most_nodes == transformers._MOST_NODES
