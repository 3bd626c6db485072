"""The configuration of a run: defaults for each kind of model, and mistakes that are said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ffprompt.backends.base import Capabilities
from ffprompt.backends.entry_points import BACKENDS
from ffprompt.config.run_config import RunConfig, digest_of, make
from ffprompt.errors import ConfigError, SpecError
from ffprompt.tasks.flipflop import Spec

SCORES = Capabilities(scores=True, completes=True, chats=False)
CHATS = Capabilities(scores=False, completes=False, chats=True)
BOTH = Capabilities(scores=True, completes=True, chats=True)


def run(**settings: Any) -> RunConfig:
    return make({"backend": "scripted", "model": "oracle", **settings})


def refusal(settings: dict[str, Any], where: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        make(settings, where)
    message = str(caught.value)
    assert message.startswith(where)
    assert "\n" not in message
    return message


# ------------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_and_a_model_are_enough(backend: str) -> None:
    config = make({"backend": backend, "model": "m"})
    assert (config.backend, config.model, config.seed) == (backend, "m", 0)


@pytest.mark.parametrize(
    ("key", "one", "several"),
    [
        ("template", "game", ("game",)),
        ("template", ["game", "door"], ("game", "door")),
        ("shots", 2, (2,)),
        ("shots", 0, (0,)),
        ("shots", [0, 64], (0, 64)),
        ("elicitation", "list", ("list",)),
        ("elicitation", ("next", "forced"), ("next", "forced")),
        ("length", 512, (512,)),
        ("length", [20, 50], (20, 50)),
        ("p_ignore", 0.8, (0.8,)),
        ("p_ignore", [0.8, 0.98], (0.8, 0.98)),
    ],
)
def test_one_value_may_stand_for_a_list_of_one(key: str, one: Any, several: tuple[Any, ...]) -> None:
    assert getattr(run(**{key: one}), key) == several


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shot": 1}, ["shot: unknown setting", "did you mean 'shots'?"]),
        ({"temprature": 1}, ["temprature: unknown setting", "did you mean 'temperature'?"]),
        ({"p_ignored": 1}, ["p_ignored: unknown setting", "did you mean 'p_ignore'?"]),
        ({"zzzz": 1}, ["zzzz: unknown setting"]),
        ({"temperature": "abc"}, ["--temperature abc: expected a number from 0 to 10, or default"]),
        ({"thinking": "maybe"}, ["--thinking maybe: expected on, off, or a number of tokens"]),
        ({"thinking": 0}, ["--thinking 0: expected on, off, or a number of tokens"]),
        ({"backend": "transformer"}, ["--backend transformer: unknown backend; did you mean 'transformers'?"]),
        (
            {"backend": "x"},
            ["--backend x: unknown backend (known: anthropic, openai, reference, scripted, transformers, vllm)"],
        ),
        ({"backend": 5}, ["--backend 5: expected a text"]),
        ({"model": 5}, ["--model 5: expected a text"]),
        ({"template": []}, ["--template []: expected at least one value"]),
        ({"p_ignore": []}, ["--p-ignore []: expected at least one value"]),
        ({"template": ["game", "game"]}, ["--template game game: expected each value once"]),
        ({"shots": [0, 1, 0]}, ["--shots 0 1 0: expected each value once"]),
        ({"length": [20, 20]}, ["--length 20 20: expected each value once"]),
        ({"p_ignore": [0.1, 0.10]}, ["--p-ignore 0.1 0.1: expected each value once"]),
        ({"elicitation": ["list", "list"]}, ["--elicitation list list: expected each value once"]),
        ({"shots": -1}, ["--shots -1: expected a whole number from 0 to 64"]),
        ({"shots": [0, 65]}, ["--shots 65: expected a whole number from 0 to 64"]),
        ({"shots": "many"}, ["--shots many: expected a whole number from 0 to 64"]),
        ({"shots": 1.5}, ["--shots 1.5: expected a whole number from 0 to 64"]),
        ({"elicitation": "lists"}, ["--elicitation lists: expected one of forced, next, list, dialogue"]),
        ({"form": "text"}, ["--form text: expected one of auto, completion, chat"]),
        ({"next_read": 1}, ["--next-read 1: expected one of first, last, random"]),
        ({"length": "long"}, ["--length long: expected an even number of at least 4"]),
        ({"p_ignore": "half"}, ["--p-ignore half: expected a probability"]),
        ({"trials": 0}, ["--trials 0: expected a whole number from 1 to 100000000"]),
        ({"seed": -1}, ["--seed -1: expected a whole number from 0 to 9223372036854775807"]),
        ({"seed": 2**63}, [f"--seed {2**63}: expected a whole number from 0 to"]),
        ({"temperature": -0.1}, ["--temperature -0.1: expected a number from 0 to 10, or default"]),
        ({"temperature": 11}, ["--temperature 11: expected"]),
        ({"temperature": float("nan")}, ["--temperature nan: expected"]),
        ({"max_tokens": 0}, ["--max-tokens 0: expected"]),
        ({"batch_size": 0}, ["--batch-size 0: expected"]),
        ({"shared_shots": "perhaps"}, ["--shared-shots perhaps: expected true or false"]),
        ({"p_write": 0.1}, ["--p-write: also give --p-read"]),
        ({"p_read": 0.1}, ["--p-read: also give --p-write"]),
        ({"p_write": 0.1, "p_read": 0.1, "p_ignore": 0.8}, ["--p-ignore: give either it or --p-write and --p-read"]),
        ({"p_write": 0.0, "p_read": 0.0, "p_ignore": 0.8}, ["--p-ignore: give either it or --p-write and --p-read"]),
        ({"p_write": 0.1, "p_ignore": 0.8}, ["--p-write: also give --p-read"]),
        ({"data": "a.parquet", "length": 20}, ["--data a.parquet: the file has its own strings"]),
        ({"data": "a.parquet", "p_ignore": 0.6}, ["--data a.parquet: the file has its own strings"]),
        ({"data": "a.parquet", "p_ignore": 0.0}, ["--data a.parquet: the file has its own strings"]),
        ({"data": "a.parquet", "p_write": 0.0, "p_read": 0.0}, ["--data a.parquet: the file has its own strings"]),
    ],
)
def test_a_mistake_is_refused_in_one_line_that_names_it(settings: dict[str, Any], said: list[str]) -> None:
    message = refusal({"backend": "scripted", "model": "oracle", **settings}, "here: ")
    assert [part for part in said if part not in message] == []


@pytest.mark.parametrize("missing", ["backend", "model"])
def test_what_is_needed_is_asked_for(missing: str) -> None:
    settings = {"backend": "scripted", "model": "oracle"}
    del settings[missing]
    message = refusal(settings)
    assert message == f"--{missing}: required"


def test_a_misspelt_setting_that_is_needed_gets_a_hint() -> None:
    assert "modle: unknown setting; did you mean 'model'?" in refusal({"backend": "scripted", "modle": "oracle"})


@pytest.mark.parametrize("settings", [{"shots": [[0, 1]]}, {"p_ignore": [{}]}, {"template": {"a": []}}], ids=str)
def test_lists_in_lists_are_refused(settings: dict[str, Any]) -> None:
    (key,) = settings
    assert "--" + key.replace("_", "-") in refusal({"backend": "scripted", "model": "oracle", **settings})


@pytest.mark.parametrize("settings", [{"shots": ["1", 1]}, {"p_ignore": ["0.6", 0.6]}, {"length": [20, "20"]}], ids=str)
def test_values_that_become_the_same_are_refused(settings: dict[str, Any]) -> None:
    assert "expected each value once" in refusal({"backend": "scripted", "model": "oracle", **settings})


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        run().seed = 1


def test_replicas_and_the_number_of_servers_are_no_part_of_the_plan() -> None:
    one = run(backend="openai", base_url="http://a/v1").plain()
    assert run(backend="openai", base_url=["http://a/v1", "http://b/v1"]).plain() == one
    assert run(ray="local", replicas=3, shard="1/2").plain() == run().plain()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"replicas": 2}, "--replicas 2: goes with --ray (local, or a cluster's address)"),
        ({"ray": "local", "replicas": 0}, "--replicas 0: expected a whole number of at least 1"),
        ({"base_url": ["http://a/v1", "http://a/v1"]}, "--base-url http://a/v1: expected each address once"),
        (
            {"base_url": ["http://a/v1", "HTTP://A/v1/"]},
            "--base-url HTTP://A/v1/ is the server of http://a/v1: expected each address once",
        ),
        ({"shard": "0/2"}, "--shard 0/2: expected I/N, such as 1/4 for the first of four parts"),
    ],
)
def test_replicas_servers_and_shards_that_cannot_be_are_refused(settings: dict[str, Any], said: str) -> None:
    assert refusal({"backend": "openai", "model": "m", **settings}) == said


def test_the_experiment_is_every_setting_but_how_the_model_is_reached() -> None:
    later = {"provider": "groq", "thinking": "on", "extra_body": {"top_k": 1}, "extra_header": ["a=b"], "repeats": 2}
    later |= {"reasoning_tags": ["<a>", "</a>"], "answers": "schema"}
    plain = run(seed=3, **later).plain()
    assert plain["seed"] == 3
    assert set(plain) - set(run().plain()) == set(later)  # so that runs made before these settings are found again
    assert set(RunConfig.model_fields) - set(plain) == {
        "key_file", "max_concurrency", "requests_per_minute", "tokens_per_minute",
        "timeout", "connect_timeout", "first_byte_timeout",
        "prices", "max_usd", "max_tokens_total",
        "ray", "replicas", "replica_cpus", "replica_gpus", "replica_timeout", "shard",
        "task", "task_arg",  # another than the flip-flop is among them: tests/tasks/test_second_task.py
    }  # fmt: skip
    assert run(shots=[0]).plain() == run(shots=0).plain() == run(shots=(0,)).plain()


def test_a_digest_of_anything_does_not_depend_on_order() -> None:
    assert digest_of({"a": 1, "b": Path("x")}) == digest_of({"b": Path("x"), "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})


# --------------------------------------------------------------------------------------------------------- specs


def test_every_length_is_combined_with_every_probability() -> None:
    specs = run(length=[20, 50], p_ignore=[0.8, 0.98]).specs()
    assert specs == (Spec.ffl(0.8, 20), Spec.ffl(0.8, 50), Spec.ffl(0.98, 20), Spec.ffl(0.98, 50))


def test_writes_and_reads_leave_the_rest_to_ignores() -> None:
    assert run(length=[20, 50], p_write=0.1, p_read=0.3).specs() == (
        Spec(20, 0.1, 0.3, 0.6),
        Spec(50, 0.1, 0.3, 0.6),
    )
    assert run(length=20, p_write=0.1, p_read=0.1).specs() == (Spec.ffl(0.8, 20),)
    assert run(length=20, p_write=0.0, p_read=0.0).specs() == (Spec.ffl(1.0, 20),)
    assert run(length=20, p_write=1, p_read=0).specs() == (Spec(20, 1.0, 0.0, 0.0),)


def test_the_alphabet_is_that_of_the_run() -> None:
    assert run(length=20, p_ignore=0.6, symbols=16).specs() == (Spec.ffl(0.6, 20, 16),)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"length": 15, "p_ignore": 0.6}, "length 15"),
        ({"length": 20, "p_ignore": -0.5}, r"p_ignore -0\.5"),
        ({"length": 20, "p_write": 0.6, "p_read": 0.6}, r"p_write 0\.6 and p_read 0\.6"),
        ({"length": 20, "p_write": -0.1, "p_read": 0.6}, r"p_write -0\.1"),
        ({"length": 20, "p_ignore": 0.6, "symbols": 300}, "symbols 300"),
    ],
)
def test_what_describes_no_language_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        run(**settings).specs()


# ------------------------------------------------------------------------------------------------------ defaults

SETTLED = ("template", "shots", "elicitation", "trials", "length", "p_ignore")


@pytest.mark.parametrize(
    ("backend", "can", "expected"),
    [
        ("reference", SCORES, (("raw-compact",), (0,), ("forced",), 1000, (512,), (0.8, 0.98, 0.1))),
        (
            "transformers",
            SCORES,
            (("light-switch", "raw-spaced"), (0, 1), ("forced", "next"), 50, (10, 50, 100), (0.6,)),
        ),
        (
            "transformers",
            BOTH,
            (("light-switch", "raw-spaced"), (0, 1), ("forced", "next"), 50, (10, 50, 100), (0.6,)),
        ),
        ("transformers", CHATS, (("game",), (0,), ("list",), 100, (20, 50, 100), (0.6,))),
        ("scripted", BOTH, (("game",), (0,), ("list",), 100, (20, 50, 100), (0.6,))),
        ("scripted", CHATS, (("game",), (0,), ("list",), 100, (20, 50, 100), (0.6,))),
    ],
)
def test_defaults_suit_the_model(backend: str, can: Capabilities, expected: tuple[Any, ...]) -> None:
    settled = make({"backend": backend, "model": "m"}).settled(can)
    assert tuple(getattr(settled, key) for key in SETTLED) == expected
    assert len(settled.specs()) == len(expected[4]) * len(expected[5])


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_was_given_is_kept(backend: str) -> None:
    given: dict[str, Any] = {
        "template": ("door",),
        "shots": (3,),
        "elicitation": ("next",),
        "trials": 7,
        "length": (30,),
        "p_ignore": (0.5,),
    }
    config = make({"backend": backend, "model": "m", "seed": 5, **given})
    assert config.settled(BOTH) == config


@pytest.mark.parametrize("key", SETTLED)
def test_each_default_stands_by_itself(key: str) -> None:
    given: dict[str, Any] = {
        "template": "door",
        "shots": 3,
        "elicitation": "next",
        "trials": 7,
        "length": 30,
        "p_ignore": 0.5,
    }
    settled, usual = run(**{key: given[key]}).settled(BOTH), run().settled(BOTH)
    assert [other for other in SETTLED if getattr(settled, other) != getattr(usual, other)] == [key]


@pytest.mark.parametrize("backend", BACKENDS)
def test_probabilities_of_writes_and_reads_are_not_overruled(backend: str) -> None:
    settled = make({"backend": backend, "model": "m", "p_write": 0.0, "p_read": 0.2}).settled(SCORES)
    assert settled.p_ignore is None
    assert settled.length
    assert {(spec.p_write, spec.p_read, spec.p_ignore) for spec in settled.specs()} == {(0.0, 0.2, 0.8)}


@pytest.mark.parametrize("backend", BACKENDS)
def test_data_leave_no_language_to_sample(backend: str) -> None:
    settled = make({"backend": backend, "model": "m", "data": "a.parquet"}).settled(SCORES)
    assert (settled.length, settled.p_ignore) == (None, None)
    assert settled.template
    assert settled.trials


@pytest.mark.parametrize("can", [SCORES, CHATS, BOTH])
def test_settling_twice_changes_nothing(can: Capabilities) -> None:
    once = run().settled(can)
    assert once.settled(can) == once
    assert make(once.model_dump()) == once


@pytest.mark.parametrize("rule", [{"certify": 0.1}, {"until_width": 0.1}])
def test_no_rule_about_accuracy_stops_prompts_with_blanked_values(rule: dict[str, float]) -> None:
    message = refusal({"backend": "scripted", "model": "m", "trials": 9, "elicitation": ["next", "prior"], **rule})
    assert "prior blanks the values" in message
