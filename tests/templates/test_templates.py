"""Templates: the bundled ones, and what is refused about any other before a prompt is made of it."""

from __future__ import annotations

import re
import tomllib
from itertools import count
from pathlib import Path

import pytest

from ffprompt.backends.base import Capabilities
from ffprompt.config.run_config import make
from ffprompt.elicitation.base import find_elicitation
from ffprompt.elicitation.question import PromptParts
from ffprompt.errors import TemplateError
from ffprompt.evaluation.plan import Plan
from ffprompt.tasks import registry
from ffprompt.tasks.flipflop import IGNORE, LETTERS, WRITE, parse
from ffprompt.templates.loading import check, folder, load, names
from ffprompt.templates.new_template import write
from ffprompt.templates.remarks import remarks
from ffprompt.templates.renderer import Renderer
from ffprompt.templates.schema import Chat, Completion, Instructions, Reply, Template
from tests.conftest import ROOT

BUNDLED = [
    "code",
    "door",
    "explain",
    "game",
    "html",
    "keys",
    "light-switch",
    "light-switch-header",
    "raw-compact",
    "raw-spaced",
]

PLAIN = """\
name = "plain"
version = 1
summary = "a template to break"
values = ["off", "on"]

[instructions]
write = "Set it {{ value }}."
ignore = "Say {{ value }}."
read = "It is {{ answer }}."

[completion]
intro = "Values: {{ values|join(', ') }}.\\n"
string = "{{ events }}"
list_string = "{{ events }}\\nAnswers: {{ answers }}"

[chat]
system = "Be exact."
list = "{{ events }}\\n{{ count }} answers?"
list_again = "{{ events }}\\n{{ count }} answers again?"
next = "{{ events }}\\nWhich?"
next_again = "{{ events }}\\nWhich now?"

[reply]
joiner = ", "
"""

_numbers = count()


def file_with(folder: Path, *changes: tuple[str, str]) -> str:
    """The path of the plain template with some of its text replaced; a new path each time, since loading remembers."""
    text = PLAIN
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / f"plain-{next(_numbers)}.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(path: str) -> str:
    """What is said about a template that cannot be used: one line that names the file."""
    with pytest.raises(TemplateError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"template {path}: ")
    assert "\n" not in message
    return message.removeprefix(f"template {path}: ")


def words(tmp_path: Path, *changes: tuple[str, str], symbols: int = 2) -> Renderer:
    return Renderer(load(file_with(tmp_path, *changes)), symbols)


# ------------------------------------------------------------------------------------------------ the bundled ones


def test_the_bundled_templates_of_the_flip_flop_are_these() -> None:
    assert [name for name in names() if load(name).task == "flipflop"] == BUNDLED


@pytest.mark.parametrize("name", names())
def test_nothing_is_wrong_with_a_bundled_template(name: str) -> None:
    assert check(name)[1] == []


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_template_loads_under_its_own_name(name: str) -> None:
    template = load(name)
    assert template.name == name
    assert template.version >= 1
    assert template.summary
    assert load(str(folder() / f"{name}.toml")) == template


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_template_tells_all_its_events_apart(name: str) -> None:
    pieces = Renderer(load(name), 2)
    said = [piece for texts in pieces.pieces for piece in texts]
    assert len(set(said)) == 6
    assert all(len(set(texts)) == 2 for texts in (*pieces.pieces, pieces.surfaces))


def test_digests_of_bundled_templates_differ() -> None:
    digests = [load(name).digest for name in BUNDLED]
    assert len(set(digests)) == len(BUNDLED)
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests)


@pytest.mark.parametrize("symbols", [2, 3, 10, 16, 256])
@pytest.mark.parametrize("name", ["raw-compact", "raw-spaced"])
def test_the_raw_notation_words_any_alphabet_and_no_number_begins_another(name: str, symbols: int) -> None:
    load(name).surfaces(symbols)
    surfaces = Renderer(load(name), symbols).surfaces
    assert [int(surface) for surface in surfaces] == list(range(symbols))
    assert len({len(surface) for surface in surfaces}) == 1


@pytest.mark.parametrize("name", [name for name in BUNDLED if not name.startswith("raw")])
def test_a_template_of_two_words_refuses_a_third(name: str) -> None:
    load(name).surfaces(2)
    with pytest.raises(TemplateError, match=f"template '{name}' words 2 data symbols, not 3"):
        load(name).surfaces(3)


def game_example(key: str) -> tuple[str, str]:
    """The example sequence in the rules of the game, and what follows it."""
    text: str = tomllib.loads((folder() / "game.toml").read_text(encoding="utf-8"))["chat"][key]
    _, example = text.split("For example, in the sequence\n\n")
    sequence, after = example.split("\n\n", 2)[:2]
    return sequence, after


def solve(sequence: str) -> list[int]:
    """The symbols that the reads of ``write 1, read ?`` return; those that are shown must be right."""
    kept, found = None, []
    for event in sequence.split(", "):
        name, symbol = event.split(" ")
        if name == "write":
            kept = int(symbol)
        elif name == "read":
            assert kept is not None
            assert symbol in ("?", str(kept))
            found.append(kept)
        else:
            assert name == "ignore"
    return found


def test_the_example_of_the_game_is_right() -> None:
    sequence, after = game_example("list")
    answers = solve(sequence)
    assert sequence.count("?") == len(answers) == 2
    assert after.endswith("So the answers are: " + ", ".join(map(str, answers)))
    assert f"the first read gives {answers[0]}," in after
    assert f"The second read gives {answers[1]}," in after


def test_the_example_of_the_game_for_one_answer_is_right() -> None:
    sequence, after = game_example("next")
    assert sequence.count("?") == 1
    assert sequence.endswith("read ?")
    assert after.startswith(f"the answer is {solve(sequence)[-1]},")


@pytest.mark.parametrize("key", ["list", "next"])
def test_the_examples_of_the_game_are_in_the_language(key: str) -> None:
    sequence, _ = game_example(key)
    answers = iter(solve(sequence))
    full = [f"{event[:-1]}{next(answers)}" if event.startswith("read") else event for event in sequence.split(", ")]
    short = "".join(event[0] + event[-1] for event in full)
    assert set(short) <= {*LETTERS, "0", "1"}
    assert parse(short).texts() == [short]


# --------------------------------------------------------------------------------------------- what a template may


def test_the_plain_template_is_fine(tmp_path: Path) -> None:
    plain = words(tmp_path)
    assert plain.pieces[WRITE] == ("Set it off.", "Set it on.")
    assert plain.pieces[IGNORE] == ("Say off.", "Say on.")
    assert (plain.read_before, plain.read_after) == ("It is ", ".")
    assert (plain.intro, plain.system) == ("Values: off, on.\n", "Be exact.")
    assert plain.around(plain.frame("chat.list"), 7) == ("", "\n7 answers?")


@pytest.mark.parametrize(
    ("intro", "expected"),
    [
        ("{% for value in values %}[{{ value }}]{% endfor %}", "[off][on]"),
        ("{% for value in values if value == 'on' %}{{ value|upper }}{% endfor %}", "ON"),
        ("{% for word in ['a', 'b'] %}{{ word }}{% endfor %}{% for word in ('c',) %}{{ word }}{% endfor %}", "abc"),
        ("{% if values|length == 2 %}two{% elif values %}some{% else %}no{% endif %}", "two"),
        ("{{ 'both' if values|length == 2 and not false else 'x' }}", "both"),
        ("{{ values[0] }} {{ values|first }} {{ values|last|title }} {{ ' x '|trim|capitalize }}", "off off On X"),
        ("{{ 'ON'|lower }}{# a comment #}", "on"),
        ("{% raw %}{{ not this }}{% endraw %}", "{{ not this }}"),
        ("no Jinja at all, 100 %", "no Jinja at all, 100 %"),
        ("", ""),
    ],
)
def test_a_template_may_use_a_little_jinja(tmp_path: Path, intro: str, expected: str) -> None:
    path = file_with(tmp_path, ("\"Values: {{ values|join(', ') }}.\\n\"", f'"{intro}"'))
    assert Renderer(load(path), 2).intro == expected


def test_a_frame_may_depend_on_the_count(tmp_path: Path) -> None:
    plain = words(
        tmp_path, ("{{ count }} answers?", "{% if count == 1 %}Which?{% else %}Which {{ count }}?{% endif %}")
    )
    assert plain.around(plain.frame("chat.list"), 1) == ("", "\nWhich?")
    assert plain.around(plain.frame("chat.list"), 3) == ("", "\nWhich 3?")


def test_instructions_may_be_worded_one_by_one(tmp_path: Path) -> None:
    one_by_one = words(
        tmp_path,
        ('write = "Set it {{ value }}."', 'write = ["Off with it.", "Let there be {{ value }}."]'),
        ('ignore = "Say {{ value }}."', 'ignore = ["A cat.", "A dog."]'),
    )
    assert one_by_one.pieces[WRITE] == ("Off with it.", "Let there be on.")
    assert one_by_one.pieces[IGNORE] == ("A cat.", "A dog.")


def test_a_template_of_three_words_serves_two(tmp_path: Path) -> None:
    path = file_with(
        tmp_path,
        ('["off", "on"]', '["red", "green", "blue"]'),
        ('ignore = "Say {{ value }}."', 'ignore = ["A", "B", "C"]'),
    )
    two, three = Renderer(load(path), 2), Renderer(load(path), 3)
    assert (two.surfaces, three.surfaces) == (("red", "green"), ("red", "green", "blue"))
    assert (two.pieces[IGNORE], three.pieces[IGNORE]) == (("A", "B"), ("A", "B", "C"))


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    path = file_with(
        tmp_path,
        ('intro = "Values: {{ values|join(\', \') }}.\\n"\nstring = "{{ events }}"\n', ""),
        ('system = "Be exact."\n', ""),
        ('[reply]\njoiner = ", "\n', ""),
    )
    template = load(path)
    assert (template.completion.intro, template.completion.string) == ("", "{{ events }}")
    assert (template.completion.between, template.instructions.separator) == ("\n\n", "\n")
    assert (template.chat.system, template.reply.joiner, template.reply.ignore_case) == ("", ", ", False)
    assert template.instructions.blank == "___"


@pytest.mark.parametrize(
    "change",
    [
        ("version = 1", "version = 2"),
        ("a template to break", "a template"),
        ("Set it {{ value }}.", "Set it {{ value }}!"),
        ('joiner = ", "', 'joiner = "; "'),
        ('["off", "on"]', '["on", "off"]'),
        ("Which now?", "Which then?"),
    ],
)
def test_a_digest_changes_with_any_text(tmp_path: Path, change: tuple[str, str]) -> None:
    assert load(file_with(tmp_path, change)).digest != load(file_with(tmp_path)).digest


def test_a_digest_does_not_change_with_comments_order_and_layout(tmp_path: Path) -> None:
    moved = file_with(
        tmp_path,
        ("version = 1\n", ""),
        ('name = "plain"', '# A comment.\n\nversion   =   1\nname = "plain"'),
        ('joiner = ", "', "joiner = ', '"),
    )
    assert load(moved).digest == load(file_with(tmp_path)).digest


# ------------------------------------------------------------------------------------------------ what it may not


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # keys
        ('summary = "', 'sumary = "x"\nsummary = "', ["sumary: unknown key", "did you mean 'summary'?", "version"]),
        ("[completion]", '[completion]\nintros = ""', ["completion.intros: unknown key", "did you mean 'intro'?"]),
        ("[chat]", '[chat]\nlist_agin = ""', ["chat.list_agin: unknown key", "did you mean 'list_again'?"]),
        ("[reply]", "[reply]\nignorecase = true", ["reply.ignorecase: unknown key", "did you mean 'ignore_case'?"]),
        ("[reply]", "[extra]\n[reply]", ["extra: unknown key", "known: chat, completion"]),
        ('read = "', 'qqqq = 1\nread = "', ["instructions.qqqq: unknown key", "known: blank, ignore, read"]),
        ('name = "plain"\n', "", ["name is missing"]),
        ("version = 1\n", "", ["version is missing"]),
        ('values = ["off", "on"]\n', "", ["values is missing"]),
        ('write = "Set it {{ value }}."\n', "", ["instructions.write is missing"]),
        ('read = "It is {{ answer }}."\n', "", ["instructions.read is missing"]),
        # types
        ('name = "plain"', "name = 5", ["name 5: expected a text"]),
        ('name = "plain"', 'name = "Plain One"', ["name 'Plain One': expected a text that matches"]),
        ('name = "plain"', 'name = ""', ["name '': expected a text that matches"]),
        ("version = 1", 'version = "1"', ["version '1': expected a whole number"]),
        ("version = 1", "version = 1.0", ["version 1.0: expected a whole number"]),
        ("version = 1", "version = 0", ["version 0: expected at least 1"]),
        ('["off", "on"]', '"letters"', ["values", "letters"]),
        ('["off", "on"]', '["off", 1]', ["values[1] 1: expected a text"]),
        ('["off", "on"]', "[0, 1]", ["values[0] 0: expected a text"]),
        ('write = "Set it {{ value }}."', "write = 1", ["instructions.write", "1"]),
        ('write = "Set it {{ value }}."', 'write = ["a", 2]', ["instructions.write"]),
        (
            'read = "It is {{ answer }}."',
            'read = ["a {{ answer }}", "b {{ answer }}"]',
            ["instructions.read [", "expected a text"],
        ),
        ('joiner = ", "', 'ignore_case = "yes"', ["reply.ignore_case 'yes': expected true or false"]),
        ('joiner = ", "', "ignore_case = 1", ["reply.ignore_case 1: expected true or false"]),
        ('[reply]\njoiner = ", "\n', '[[reply]]\njoiner = ", "\n', ["reply [", "expected a table of keys"]),
        # values
        ('["off", "on"]', '["on", "on"]', ["values: 'on' stands for two"]),
        ('["off", "on"]', '["on", "one"]', ["values: 'on' is a prefix of 'one'"]),
        ('["off", "on"]', '["one", "on"]', ["values: 'on' is a prefix of 'one'"]),
        ('["off", "on"]', '["1", "10"]', ["values: '1' is a prefix of '10'"]),
        ('["off", "on"]', '["", "on"]', ["values: '' is empty"]),
        ('["off", "on"]', '[" off", "on"]', ["values: ' off'", "space around"]),
        ('["off", "on"]', '["off", "on "]', ["values: 'on '", "space around"]),
        ('["off", "on"]', '["off", "o\\nn"]', ["values: 'o\\nn'", "not printable"]),
        ('["off", "on"]', '["off", "\\uE001"]', ["values: '\\ue001'", "not printable"]),
        ('["off", "on"]', '["on"]', ["values: 1 of them"]),
        ('["off", "on"]', "[]", ["values: 0 of them"]),
        # wording
        ("Say {{ value }}.", "Set it {{ value }}.", ["instructions", "write 'off' and ignore 'off'", "'Set it off.'"]),
        ('"Say {{ value }}."', '["A", "Set it off."]', ["write 'off' and ignore 'on'"]),
        ("Set it {{ value }}.", "Set it.", ["instructions", "write 'off' and write 'on'", "'Set it.'"]),
        ("Say {{ value }}.", "Say it.", ["instructions", "ignore 'off' and ignore 'on'"]),
        ('"Set it {{ value }}."', '["Set it off."]', ["instructions.write: 1 texts for 2 values"]),
        ('"Set it {{ value }}."', "[]", ["instructions.write: 0 texts for 2 values"]),
        ('"Say {{ value }}."', '["A", "B", "C"]', ["instructions.ignore: 3 texts for 2 values"]),
        ('read = "', 'blank = "on"\nread = "', ["instructions.blank: 'on' is also an answer"]),
        # what has to stand once
        ("It is {{ answer }}.", "It is what it is.", ["instructions.read", "{{ answer }}", "exactly once, not 0"]),
        ("It is {{ answer }}.", "{{ answer }} or {{ answer }}.", ["instructions.read", "exactly once, not 2"]),
        ("It is {{ answer }}.", "{% if answer %}{{ answer }}{% endif %}", ["instructions.read", "not 2 times"]),
        ('\nstring = "{{ events }}"', '\nstring = "x"', ["completion.string", "{{ events }}", "exactly once, not 0"]),
        ('\nstring = "{{ events }}"', '\nstring = "{{ events }}{{ events }}"', ["completion.string", "not 2 times"]),
        (
            '\nstring = "{{ events }}"',
            '\nstring = "{% if count == 1 %}{{ events }}{% endif %}"',
            ["completion.string", "outside if"],
        ),
        (
            '\nstring = "{{ events }}"',
            '\nstring = "{% for v in values %}{{ events }}{% endfor %}"',
            ["completion.string", "outside if, for and filters"],
        ),
        ('\nstring = "{{ events }}"', '\nstring = "{{ events|length }}"', ["completion.string", "exactly once"]),
        ("{{ events }}\\nWhich now?", "Which now?", ["chat.next_again", "{{ events }}", "not 0 times"]),
        ("{{ events }}\\nWhich?", "Which?", ["chat.next:", "{{ events }}", "not 0 times"]),
        ("{{ count }} answers?", "{{ events }}?", ["chat.list:", "not 2 times"]),
        ("{{ count }} answers again?", "{{ events }}?", ["chat.list_again:", "not 2 times"]),
        (
            "Answers: {{ answers }}",
            "Answers:",
            ["completion.list_string", "{{ answers }} must stand in it exactly once"],
        ),
        (
            "Answers: {{ answers }}",
            "{{ answers }}.",
            ["completion.list_string", "must end with {{ answers }}"],
        ),
        ("{{ events }}\\nAnswers: {{ answers }}", "{{ answers }}", ["completion.list_string", "{{ events }}"]),
        # names
        ("Be exact.", "{{ foo }}", ["chat.system: unknown name 'foo'", "known: values"]),
        ("Be exact.", "{{ value }}", ["chat.system: unknown name 'value'", "did you mean 'values'?"]),
        ("Be exact.", "{{ events }}", ["chat.system: unknown name 'events'"]),
        ("Set it {{ value }}.", "{{ valeu }}", ["instructions.write: unknown name 'valeu'", "did you mean 'value'?"]),
        ("Set it {{ value }}.", "{{ answer }}", ["instructions.write: unknown name 'answer'"]),
        ("It is {{ answer }}.", "{{ value }} {{ answer }}", ["instructions.read: unknown name 'value'"]),
        ("{{ count }} answers?", "{{ answers }}", ["chat.list: unknown name 'answers'"]),
        ('\nstring = "{{ events }}"', '\nstring = "{{ events }} {{ answers }}"', ["completion.string: unknown name"]),
        # syntax
        ("Be exact.", "{{ values", ["chat.system", "line 1"]),
        ("Be exact.", "\\n\\n{% if %}", ["chat.system", "line 3"]),
        ("Be exact.", "{% for v in values %}", ["chat.system", "line 1"]),
        ("Be exact.", "{% foo %}", ["chat.system", "foo", "line 1"]),
        ("Be exact.", "{{ }}", ["chat.system", "line 1"]),
        ("Be exact.", "{% endif %}", ["chat.system", "endif"]),
        # reserved characters
        ("Be exact.", "\\uE000", ["chat.system", "U+E000", "reserved"]),
        ("It is {{ answer }}.", "\\uE001 {{ answer }}", ["instructions.read", "U+E001", "reserved"]),
        ("{{ count }} answers?", "\\uE001", ["chat.list:", "reserved"]),
        ("Answers: {{ answers }}", "\\uE001", ["completion.list_string", "reserved"]),
    ],
)
def test_a_mistake_is_refused_in_one_line_with_file_and_key(
    tmp_path: Path, old: str, new: str, said: list[str]
) -> None:
    message = refusal(file_with(tmp_path, (old, new)))
    assert [part for part in said if part not in message] == []


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ("{{ ''.__class__ }}", "Getattr"),
        ("{{ values.__class__.__mro__ }}", "Getattr"),
        ("{{ values.count }}", "Getattr"),
        ("{{ ''['__class__'] }}", "takes a number only"),
        ("{{ values[values] }}", "takes a number only"),
        ("{{ values[0:1] }}", "takes a number only"),
        ("{{ range(10**9) }}", "Call"),
        ("{{ values() }}", "Call"),
        ("{% for i in range(10**9) %}x{% endfor %}", "for (line 1) may run over values only"),
        ("{% for i in 'abc' %}x{% endfor %}", "for (line 1) may run over values only"),
        ("{% for i in values|first %}x{% endfor %}", "for (line 1) may run over values only"),
        ("{% for a in values %}{% for b in values %}x{% endfor %}{% endfor %}", "not be nested"),
        ("{% for a in values %}{% if a %}{% for b in values %}x{% endfor %}{% endif %}{% endfor %}", "not be nested"),
        ("{% for a in values %}a{% else %}{% for b in values %}x{% endfor %}{% endfor %}", "not be nested"),
        ("{% for a in values recursive %}x{% endfor %}", "for (line 1)"),
        ("{% macro m() %}x{% endmacro %}", "Macro"),
        ("{% call values() %}x{% endcall %}", "CallBlock"),
        ("{% set x = 1 %}", "Assign"),
        ("{% set x %}y{% endset %}", "AssignBlock"),
        ("{% with x = 1 %}y{% endwith %}", "With"),
        ("{% filter upper %}x{% endfilter %}", "FilterBlock"),
        ("{% block b %}x{% endblock %}", "Block"),
        ("{% include 'x' %}", "Include"),
        ("{% import 'x' as y %}", "Import"),
        ("{% from 'x' import y %}", "FromImport"),
        ("{% extends 'x' %}", "Extends"),
        ("{% autoescape true %}x{% endautoescape %}", "Scope"),
        ("{{ 'x' * 1000000000 }}", "Mul"),
        ("{{ 10 ** 10 ** 10 }}", "Pow"),
        ("{{ 1 + 1 }}", "Add"),
        ("{{ values ~ values }}", "Concat"),
        ("{{ '%1000000000d' % 1 }}", "Mod"),
        ("{{ {'a': 1} }}", "Dict"),
        ("{{ values is defined }}", "Test"),
        ("{{ values|join(attribute='x') }}", "filter 'join'"),
        ("{{ '%1000000000d'|format(1) }}", "filter 'format'"),
        ("{{ 'x'|center(1000000000) }}", "filter 'center'"),
        ("{{ values|attr('count') }}", "filter 'attr'"),
        ("{{ values|map('upper') }}", "filter 'map'"),
        ("{{ values|random }}", "filter 'random'"),
        ("{{ values|uper }}", "filter 'uper' (line 1); did you mean 'upper'?"),
        ("{{ values|foo }}", "filter 'foo'"),
    ],
)
def test_what_could_run_or_grow_without_end_or_reach_out_is_refused(tmp_path: Path, system: str, said: str) -> None:
    message = refusal(file_with(tmp_path, ('"Be exact."', f"'''{system}'''")))
    assert message.startswith("chat.system: ")
    assert said in message


@pytest.mark.parametrize("key", ["write", "ignore", "read", "intro", "\nstring", "list_string", "system", "\nnext"])
def test_every_text_of_a_template_is_checked(tmp_path: Path, key: str) -> None:
    message = refusal(file_with(tmp_path, (f'{key} = "', f'{key} = "{{{{ [].x }}}}')))
    assert f".{key.strip()}: Getattr" in message


def test_a_mistake_in_a_list_of_texts_is_found_in_any_of_them(tmp_path: Path) -> None:
    assert "instructions.ignore: " in refusal(file_with(tmp_path, ('"Say {{ value }}."', '["A", "B {{ foo }}"]')))


def test_a_text_that_grows_too_large_is_refused(tmp_path: Path) -> None:
    message = refusal(file_with(tmp_path, ("Be exact.", "x" * 100_001)))
    assert message == "chat.system: renders to 100001 characters; 100000 are allowed"
    assert words(tmp_path, ("Be exact.", "x" * 100_000)).system == "x" * 100_000


def test_case_counts_only_where_the_template_says_so(tmp_path: Path) -> None:
    changes = ('["off", "on"]', '["On", "ON"]'), ('joiner = ", "', "ignore_case = true")
    assert words(tmp_path, changes[0]).surfaces == ("On", "ON")
    assert "'On' stands for two" in refusal(file_with(tmp_path, *changes))
    longer = ('["off", "on"]', '["on", "ONE"]')
    assert words(tmp_path, longer).surfaces == ("on", "ONE")
    assert "'on' is a prefix of 'ONE'" in refusal(file_with(tmp_path, longer, changes[1]))


@pytest.mark.parametrize("text", ["name = ", "a b", "[chat", 'name = "x"\nname = "y"', "name = 'x"])
def test_what_is_not_toml_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text)
    message = refusal(str(path))
    assert message.startswith("not readable as TOML: ")
    assert "(at " in message


def test_what_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes('name = "é"'.encode("latin-1"))
    assert refusal(str(path)).startswith("not readable as TOML: ")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gmae", r"'gmae' is unknown; did you mean 'game'\? \(known: .*code"),
        ("light_switch", r"did you mean 'light-switch'\?"),
        ("", "'' is unknown"),
        ("no/such/file.toml", "no/such/file.toml: no such file"),
    ],
)
def test_a_name_that_is_not_bundled_is_refused(name: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        load(name)


def test_a_folder_is_no_template(tmp_path: Path) -> None:
    (tmp_path / "x.toml").mkdir()
    with pytest.raises(TemplateError, match="no such file"):
        load(str(tmp_path / "x.toml"))


def test_a_template_cannot_be_changed_after_loading() -> None:
    template: Template = load("game")
    with pytest.raises(ValueError, match="frozen"):
        template.name = "other"


# ------------------------------------------------------------------------------------------------- known to be wrong


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('summary = "', 'sumary = "', "sumary: unknown key; did you mean 'summary'?"),
        ('list_again = "', 'list_agian = "', "chat.list_agian: unknown key; did you mean 'list_again'?"),
        ("[instructions]", "[instruction]", "instruction: unknown key; did you mean 'instructions'?"),
    ],
)
def test_a_misspelt_key_that_is_needed_gets_a_hint(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert said in refusal(file_with(tmp_path, (old, new)))


@pytest.mark.parametrize("name", ["range", "dict", "lipsum", "cycler", "joiner", "namespace"])
def test_what_jinja_brings_along_is_unknown(tmp_path: Path, name: str) -> None:
    assert f"unknown name '{name}'" in refusal(file_with(tmp_path, ("Be exact.", f"{{{{ {name} }}}}")))


@pytest.mark.parametrize("attribute", ["upper", "__class__"])
def test_an_attribute_cannot_be_had_through_a_filter(tmp_path: Path, attribute: str) -> None:
    path = file_with(tmp_path, ("Be exact.", f"{{{{ values|join(', ', '{attribute}') }}}}"))
    assert refusal(path).startswith("chat.system: ")


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'xx'|join('1234567890')|join('1234567890')|join('1234567890') }}",
        "{{ 'xx'|join('12345'|join('12345'|join('12345'))) }}",
        "{{ values|join(values|join(values|join(values|join))) }}",
    ],
)
def test_joins_of_joins_are_refused(tmp_path: Path, text: str) -> None:
    assert refusal(file_with(tmp_path, ("Be exact.", text))).startswith("chat.system: ")


@pytest.mark.parametrize(
    "text",
    [
        "{{ values[9] }}",
        "{{ 5|first }}",
        "{{ 5|length }}",
        "{{ values < 5 }}",
        "{% for a, b in values %}x{% endfor %}",
        "{{ values|first(1, 2) }}",
    ],
)
def test_what_fails_while_rendering_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(file_with(tmp_path, ("Be exact.", text))).startswith("chat.system: ")


def test_brackets_without_end_are_refused(tmp_path: Path) -> None:
    text = "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}"
    assert refusal(file_with(tmp_path, ("Be exact.", text))).startswith("chat.system: ")


@pytest.mark.parametrize(
    "text",
    [
        "{{ answer|length }}",
        "{% if answer %}x{% endif %}",
        "{% for x in [1, 2] %}{{ answer }}{% endfor %}",
    ],
)
def test_an_answer_that_is_not_shown_once_is_refused(tmp_path: Path, text: str) -> None:
    assert refusal(file_with(tmp_path, ("It is {{ answer }}.", text))).startswith("instructions.read: ")


@pytest.mark.parametrize("condition", ["count == 2", "count > 1", "count < 3"])
@pytest.mark.parametrize("key", ["string", "list_string"])
def test_events_under_a_condition_are_refused(tmp_path: Path, condition: str, key: str) -> None:
    rest = "\\nAnswers: {{ answers }}" if key == "list_string" else ""
    text = f'\n{key} = "{{% if {condition} %}}{{{{ events }}}}{{% endif %}}{rest}"'
    message = refusal(file_with(tmp_path, (f'\n{key} = "{{{{ events }}}}{rest}"', text)))
    assert message.startswith(f"completion.{key}: ")


@pytest.mark.parametrize(
    "text",
    [
        "{{ answers }} {{ events }} {{ answers }}",
        "{{ events }} {{ answers }} {{ answers }}",
        "{{ events }} {% if count == 2 %}{{ answers }}{% endif %}",
    ],
)
def test_answers_that_do_not_stand_once_are_refused(tmp_path: Path, text: str) -> None:
    message = refusal(file_with(tmp_path, ("{{ events }}\\nAnswers: {{ answers }}", text)))
    assert message.startswith("completion.list_string: ")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("[completion]", '[completion]\nbetween = "\\uE000"', "completion.between"),
        ("[instructions]", '[instructions]\nseparator = "\\uE001"', "instructions.separator"),
        ("[instructions]", '[instructions]\nblank = "\\uE001"', "instructions.blank"),
        ('joiner = ", "', 'joiner = "\\uE001"', "reply.joiner"),
    ],
)
def test_reserved_characters_are_refused_in_every_text(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert refusal(file_with(tmp_path, (old, new))).startswith(f"{key}: ")


@pytest.mark.parametrize("key", ["Set it", "Say"])
def test_a_read_that_reads_like_another_instruction_is_refused(tmp_path: Path, key: str) -> None:
    path = file_with(tmp_path, ("It is {{ answer }}.", f"{key} {{{{ answer }}}}."))
    assert refusal(path).startswith("instructions: ")


NUMBERS = ('["off", "on"]', '"numbers"')


def test_numbers_cannot_be_worded_one_by_one(tmp_path: Path) -> None:
    path = file_with(tmp_path, NUMBERS, ('ignore = "Say {{ value }}."', 'ignore = ["A", "B"]'))
    with pytest.raises(TemplateError, match=r"instructions\.ignore: 2 texts"):
        Renderer(load(path), 16)


def test_numbers_that_read_the_same_are_refused(tmp_path: Path) -> None:
    path = file_with(tmp_path, NUMBERS, ("Set it {{ value }}.", "Set it {{ value|last }}."))
    with pytest.raises(TemplateError, match=r"both read 'Set it 0\.'"):
        Renderer(load(path), 16)


# --------------------------------------------------------------------------------------------- everything at once


def test_everything_that_is_wrong_with_keys_is_said_at_once(tmp_path: Path) -> None:
    path = file_with(
        tmp_path,
        ('name = "plain"', 'name = "Plain"'),
        ("version = 1\n", ""),
        ("ignore = ", "ignor = "),
        ('list = "', 'lst = "'),
        ('joiner = ", "', "ignore_case = 1"),
    )
    _, problems = check(path)
    assert [problem.split(":")[0] for problem in problems] == [
        "chat.lst", "instructions.ignor", "name 'Plain'", "version is missing", "reply.ignore_case 1",
    ]  # fmt: skip
    message = refusal(path)
    assert message.startswith("5 problems: (1) chat.lst: unknown key; did you mean 'list'?")
    assert all(problem in message for problem in problems)


def test_everything_that_is_wrong_with_texts_is_said_at_once(tmp_path: Path) -> None:
    path = file_with(
        tmp_path,
        ('["off", "on"]', '["on", "on"]'),
        ("Set it {{ value }}.", "Set it {{ valeu }}."),
        ("It is {{ answer }}.", "It is."),
        ("Be exact.", "{{ foo }}"),
        ("{{ events }}\\nWhich?", "Which?"),
        ('joiner = ", "', 'joiner = "\\n"'),
    )
    _, problems = check(path)
    assert [problem.split(":")[0] for problem in problems] == [
        "values", "reply.joiner", "instructions.write", "instructions.read", "chat.next", "chat.system",
    ]  # fmt: skip


def test_a_value_of_no_possible_type_is_one_problem(tmp_path: Path) -> None:
    assert check(file_with(tmp_path, ('["off", "on"]', '["off", 1]')))[1] == ["values[1] 1: expected a text"]


def test_a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    path = file_with(tmp_path)
    assert load(path).version == 1
    Path(path).write_text(PLAIN.replace("version = 1", "version = 2"), encoding="utf-8")
    assert load(path).version == 2


def test_a_name_of_a_file_without_its_ending_gets_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(PLAIN, encoding="utf-8")
    with pytest.raises(TemplateError, match=r"'mine' is unknown; its file is given with its ending: mine\.toml"):
        load("mine")


@pytest.mark.parametrize("name", ["", "..", "../prompts/game", ".toml", "game.toml", "a\0b", "a\0b.toml", "é" * 300])
def test_what_is_no_name_is_refused_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TemplateError) as caught:
        load(name)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------- what nobody uses is no need

AGAIN = (
    ('list_again = "{{ events }}\\n{{ count }} answers again?"\n', ""),
    ('next_again = "{{ events }}\\nWhich now?"\n', ""),
)


def plan(template: str, **settings: object) -> Plan:
    config = make({"backend": "scripted", "model": "oracle", "template": template, "length": 20, **settings})
    return Plan(config, Capabilities(scores=True, completes=True, chats=True))


def test_texts_after_shots_are_needed_with_shots_alone(tmp_path: Path) -> None:
    path = file_with(tmp_path, *AGAIN)
    assert plan(path, elicitation=["list", "next"], form="chat", shots=0)
    with pytest.raises(TemplateError, match=r"no chat\.list_again, which list in chat form needs with shots"):
        plan(path, elicitation="list", form="chat", shots=[0, 2])
    with pytest.raises(TemplateError, match=r"chat\.next_again"):
        plan(path, elicitation="next", form="chat", shots=1)
    assert plan(path, elicitation=["forced", "next", "list"], form="completion", shots=2)


def test_a_template_for_base_models_needs_no_words_for_chat_models(tmp_path: Path) -> None:
    text = PLAIN[: PLAIN.index("[completion]")]
    path = tmp_path / "base.toml"
    path.write_text(text, encoding="utf-8")
    assert plan(str(path), elicitation=["forced", "next"], form="completion", shots=[0, 1])
    for elicitation, form, key in (
        ("list", "completion", "completion.list_string"), ("list", "chat", "chat.list"),
        ("forced", "chat", "chat.list"), ("next", "chat", "chat.next"), ("dialogue", "chat", "chat.dialogue"),
    ):  # fmt: skip
        with pytest.raises(TemplateError, match=re.escape(f"has no {key}, which {elicitation} in {form} form needs")):
            plan(str(path), elicitation=elicitation, form=form, shots=0)


# ----------------------------------------------------------------------------------------------------- a second look


@pytest.mark.parametrize("name", ["code", "explain", "game", "html", "raw-compact", "raw-spaced"])
def test_nothing_is_remarked_on(name: str) -> None:
    assert remarks(load(name)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("It is {{ answer }}.", "Is it {{ answer }} now?", ["instructions.read: 'now?' follows the answer"]),
        ('"Say {{ value }}."', '["A cat.", "A dog."]', ["one text for each symbol ('A cat.' for 'off', 'A dog.'"]),
        (
            '"Say {{ value }}."', '["On and on.", "A cat now."]',
            ["one text for each symbol", "'On and on.' names an answer and 'A cat now.' does not"],
        ),
        (
            '"Say {{ value }}."', '["A cat.", "A dog that barks at the moon."]',
            ["one text for each symbol", "4.8 times as long as 'A cat.'"],
        ),
        ('"Say {{ value }}."', '["A cat, {{ value }}.", "A dog, {{ value }}."]', []),
    ],
)  # fmt: skip
def test_what_may_measure_something_else_is_remarked_on(tmp_path: Path, old: str, new: str, said: list[str]) -> None:
    found = remarks(load(file_with(tmp_path, (old, new))))
    assert len(found) == len(said)
    assert all(part in remark for part, remark in zip(said, found, strict=True)), found


# -------------------------------------------------------------------------------------------------- a file to change


@pytest.mark.parametrize("task", [*registry.names(), "counter", "symmetric"])
def test_a_new_file_is_a_valid_template_of_its_task(tmp_path: Path, task: str) -> None:
    path = write("mine", task, tmp_path)
    assert path == tmp_path / "mine.toml"
    template = load(str(path))
    assert (template.name, template.task) == ("mine", task)
    assert remarks(template) == []
    one = registry.example(task)
    words = Renderer(template, one.symbols or 2)
    string = one.spec(20, one.symbols or 2, {}).sample(0, 0, 1).string(0)
    for elicitation in map(find_elicitation, ("forced", "next", "list")):
        elicitation.check_wording(words, "chat", shots=False)
        assert elicitation.prompt(PromptParts(words, "completion", string)).text
        assert elicitation.prompt(PromptParts(words, "chat", string)).messages


@pytest.mark.parametrize(
    ("name", "task", "said"),
    [
        ("Mine", "flipflop", "'Mine': expected small letters"),
        ("game", "flipflop", "'game': a bundled template has this name"),
        ("", "flipflop", "'.toml': expected small letters"),
        ("mine", "flipfolp", "did you mean 'flipflop'?"),
        ("there", "flipflop", "there.toml: is there already"),
        ("no/such/folder/mine.toml", "flipflop", "cannot be written"),
    ],
)
def test_a_new_file_replaces_nothing(tmp_path: Path, name: str, task: str, said: str) -> None:
    (tmp_path / "there.toml").write_text("mine")
    with pytest.raises(TemplateError, match=re.escape(said)):
        write(name, task, tmp_path)
    assert (tmp_path / "there.toml").read_text() == "mine"


def test_every_key_is_on_the_page_about_templates() -> None:
    page = (ROOT / "docs" / "reference" / "templates.md").read_text(encoding="utf-8")
    sections = {"instructions": Instructions, "completion": Completion, "chat": Chat, "reply": Reply}
    keys = [*Template.model_fields, *(f"{name}.{key}" for name, one in sections.items() for key in one.model_fields)]
    assert [key for key in keys if f"`{key}`" not in page and f"`[{key}]`" not in page] == []
