"""``verify`` and ``prior``: an answer that is judged, and a prompt without content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ffprompt
from ffprompt.analysis.error_analysis import ConditionErrors, anatomy
from ffprompt.analysis.self_knowledge import OWN, SHOWN
from ffprompt.cli.main import main
from ffprompt.elicitation.base import find_elicitation
from ffprompt.elicitation.question import PromptParts
from ffprompt.errors import ConfigError, TemplateError
from ffprompt.tasks.flipflop import FLIP_FLOP
from ffprompt.templates import loading
from ffprompt.templates.renderer import Renderer

SMALL = {"template": "light-switch", "shots": 0, "length": 20, "progress": False, "form": "completion"}


def asked(
    model: str, out: Path, *elicitations: str, trials: int = 40, **settings: object
) -> tuple[Path, list[ConditionErrors]]:
    given = {"backend": "scripted", **SMALL, "trials": trials, "elicitation": list(elicitations), **settings}
    run = ffprompt.evaluate(model, out=out, **given)  # type: ignore[arg-type]
    return Path(run.path), anatomy(run).conditions


def area(condition: ConditionErrors, name: str, of: str) -> float:
    (one,) = [one for one in condition.self_knowledge if (one.name, one.of) == (name, of)]
    return one.auroc


def test_half_of_the_answers_that_are_shown_are_wrong_and_an_oracle_tells_them_apart(tmp_path: Path) -> None:
    folder, (forced, verify, written) = asked("oracle", tmp_path, "forced", "verify", "verify-reply")
    assert area(verify, "P(True)", SHOWN) == 1.0
    assert forced.self_knowledge == []  # no answer is wrong, so there is nothing to predict
    assert verify.all is not None and written.all is not None
    assert verify.all.accuracy == written.all.accuracy == 1.0
    reads = pd.read_parquet(folder / "reads.parquet")
    for name in ("verify", "verify-reply"):
        shown = reads[reads.elicitation == name]
        right = (shown.proposed == shown.truth).to_numpy()
        assert right.sum() == 20
        assert (right[::2] != right[1::2]).all()  # one of each two strings
        assert 0 < right[::2].sum() < 20  # and a draw says which
    assert reads[reads.elicitation == "forced"].proposed.isna().all()
    before = (folder / "reads.parquet").read_bytes()
    assert main(["score", str(folder)]) == 0
    assert (folder / "reads.parquet").read_bytes() == before


def test_who_always_says_the_same_answer_knows_nothing(tmp_path: Path) -> None:
    _, (verify,) = asked("constant-1", tmp_path, "verify", trials=200)
    (one,) = verify.self_knowledge
    assert one.low is not None and one.high is not None
    assert one.low < 0.5 < one.high


def test_p_true_of_its_own_answers_stands_beside_margin_and_mass(tmp_path: Path) -> None:
    _, (_, verify) = asked("glitch-0.3", tmp_path, "forced", "verify", trials=200)
    own = {one.name: one for one in verify.self_knowledge if one.of == OWN}
    assert set(own) == {"P(True)", "margin", "answer mass"}
    assert own["P(True)"].right + own["P(True)"].wrong == 200
    # Its judgements are right at 0.7 of the reads whatever it answered, and its margins are all the same.
    assert 0.6 < own["P(True)"].auroc < 0.8
    assert own["margin"].auroc == pytest.approx(0.5)


def test_the_words_of_a_prompt_that_asks_for_a_judgement() -> None:
    words = Renderer(loading.load("light-switch"), 2, FLIP_FLOP)
    string = FLIP_FLOP.spec(10).sample(0, 0, 1).string(0)
    verify = find_elicitation("verify")
    parts = PromptParts(words, "completion", string, number=0)
    made = verify.prompt(parts)
    (start, end), shown = made.reads[0], words.surfaces[verify.proposed(string, made.asked[0], 0) or 0]
    assert made.text.endswith(f'{shown}.\nIs the last answer, "{shown}", right? True or False: {made.text[start:end]}')
    other = verify.prompt(PromptParts(words, "completion", string, number=1))
    assert {made.text[slice(*made.reads[0])], other.text[slice(*other.reads[0])]} == {"True", "False"}
    chat = find_elicitation("verify-reply").prompt(PromptParts(words, "chat", string, number=0))
    assert f'proposed by someone else is "{shown}"' in chat.messages[-1].text
    assert not chat.text


def test_more_than_two_answers_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"verify: there are 3 possible answers .*expected 2"):
        asked("oracle", tmp_path, "verify", template="raw-spaced", symbols=3)


def test_a_prompt_without_content_says_nothing_of_the_string(tmp_path: Path) -> None:
    words = Renderer(loading.load("light-switch"), 2, FLIP_FLOP)
    prior = find_elicitation("prior")
    texts = set()
    for string in (FLIP_FLOP.spec(10).sample(0, row, row + 1).string(0) for row in range(8)):
        made = prior.prompt(PromptParts(words, "completion", string))
        (start, end) = made.reads[0]
        before = made.text[:start].replace("turns the light ___", "").replace("is turned ___", "")
        texts |= {word for word in ("on", "off", "apple", "banana") if word in before.replace("turned", "").split()}
        assert made.text[start:end] == words.surfaces[string.truth[made.asked[0]]]
    assert not texts
    _, (one,) = asked("constant-1", tmp_path, "prior")
    assert [prior.word for prior in one.priors] == ["off", "on"]
    assert [prior.share for prior in one.priors] == pytest.approx([0.02, 0.98])


def test_a_template_with_other_answer_words_asks_the_same_strings(tmp_path: Path) -> None:
    folder, _ = asked("oracle", tmp_path, "forced", template=["light-switch", "light-switch=down/up"])
    reads = pd.read_parquet(folder / "reads.parquet")
    first, second = (group for _, group in reads.groupby("template"))
    assert list(reads.template.unique()) == ["light-switch", "light-switch-down-up"]
    assert np.array_equal(first.string.to_numpy(), second.string.to_numpy())
    made = loading.load("light-switch=down/up")
    assert made.values == ["down", "up"]
    assert made.chat.list is not None
    assert '"down" or "up"' not in made.chat.list and '"up" or "down"' in made.chat.list


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("light-switch=down", "1 word; expected 2, one for each of off, on"),
        ("game=foo/bar", "says '0' in a text that would stay as it is"),
        ("light-switch=a/ab", "is a prefix of"),
        ("cups=a/b", "expected a list of words"),
        ("lite-switch=a/b", "did you mean 'light-switch'"),
    ],
)
def test_answer_words_that_do_not_fit_are_refused(name: str, words: str) -> None:
    with pytest.raises(TemplateError, match=words):
        loading.load(name)
