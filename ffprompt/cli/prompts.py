"""``ffprompt prompts``: list the templates, show what a model will see, start a template of one's own and check it."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence

from rich.markup import escape

from ffprompt._util.formatting import counted
from ffprompt.cli.console import line, make_console, new_table, show
from ffprompt.elicitation.base import Elicitation, Form, elicitation_names, find_elicitation
from ffprompt.elicitation.question import Prompt, PromptParts
from ffprompt.errors import ConfigError, did_you_mean
from ffprompt.tasks import registry
from ffprompt.tasks.shots import sample_shots
from ffprompt.templates import loading as templates
from ffprompt.templates import new_template
from ffprompt.templates.remarks import remarks
from ffprompt.templates.renderer import Renderer
from ffprompt.templates.schema import Template


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``prompts``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="every bundled template").set_defaults(parser=parser)
    one = actions.add_parser("show", help="one prompt, every read marked", allow_abbrev=False)
    one.set_defaults(parser=one)
    one.add_argument("template", metavar="NAME", help="a bundled template or a .toml file")
    one.add_argument("--length", type=int, default=20, metavar="T", help="length of the string (default: 20)")
    one.add_argument("--p-ignore", type=float, metavar="P", help="probability of ignore (default: 0.6)")
    one.add_argument("--task", metavar="NAME", help="a task of the template's family (default: one of them)")
    one.add_argument(
        "--task-arg", action="append", default=[], metavar="KEY=VALUE", help="setting of the task; repeatable"
    )
    one.add_argument("--symbols", type=int, default=2, metavar="M", help="data symbols (default: 2)")
    one.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the string (default: 0)")
    one.add_argument("--index", type=int, default=0, metavar="I", help="which string of the seed (default: 0)")
    one.add_argument("--shots", type=int, default=0, metavar="K", help="solved strings before it (default: 0)")
    one.add_argument("--shot-length", type=int, default=16, metavar="T", help="length of the shots (default: 16)")
    names = elicitation_names()
    elicitations = f"{', '.join(names[:-1])} or {names[-1]} (default: forced, and list as chat)"
    one.add_argument("--elicitation", metavar="NAME", help=elicitations)
    one.add_argument(
        "--turn-instructions",
        type=int,
        metavar="N",
        help="instructions a turn of a dialogue (default: all up to the next read)",
    )
    one.add_argument("--form", metavar="NAME", help="completion or chat")
    text = "write a small file with comments, which is a valid template"
    new = actions.add_parser("new", help=text, description=text, allow_abbrev=False)
    new.set_defaults(parser=new)
    new.add_argument("name", metavar="NAME", help="its name, or the path of the new .toml file")
    new.add_argument("--task", default=registry.DEFAULT, metavar="NAME", help="task to word (default: flipflop)")
    text = "say everything that is wrong with templates, and what is worth a second look"
    check = actions.add_parser("check", help=text, description=text, allow_abbrev=False)
    check.set_defaults(parser=check)
    check.add_argument("template", nargs="+", metavar="NAME", help="bundled templates or .toml files")


def execute(options: argparse.Namespace) -> int:
    """Carry out an action. Returns 2 where ``check`` finds a mistake."""
    if options.action == "list":
        _list([templates.load(name) for name in templates.names()])
        return 0
    if options.action == "new":
        path = new_template.write(options.name, options.task)
        line(f"{path}: change its words, then look at it with: ffprompt prompts show {path}")
        return 0
    if options.action == "check":
        return max([_check(name) for name in options.template])
    return _show(options)


def _check(name: str) -> int:
    """Print what is wrong with a template and what is worth a second look."""
    template, problems = templates.check(name)
    for problem in problems:
        line(f"{name}: error: {problem}")
    noted = remarks(template) if template is not None and not problems else []
    for remark in noted:
        line(f"{name}: remark: {remark}")
    if not problems and not noted:
        line(f"{name}: fine")
    return 2 if problems else 0


def _show(options: argparse.Namespace) -> int:
    elicitation = find_elicitation(options.elicitation) if options.elicitation is not None else None
    if options.form not in (None, "completion", "chat"):
        raise ConfigError(f"form {options.form!r} is unknown{did_you_mean(options.form, ('completion', 'chat'))}")
    _check_turns(options, elicitation)
    if not 0 <= options.shots <= 64:
        raise ConfigError(f"shots {options.shots}: 0 to 64 are possible")
    if options.index < 0:
        raise ConfigError(f"index {options.index}: expected a whole number from 0 on")
    template = templates.load(options.template)
    name = options.task or registry.example(template.task).name
    task = registry.get(name, options.task_arg)
    if not registry.is_worded_by(task, template.task):
        raise ConfigError(f"--task {name}: template {options.template} words task {template.task}")
    symbols = options.symbols if task.symbols is None else task.symbols
    words = Renderer(template, symbols, task)
    spec = task.spec(options.length, symbols, {} if options.p_ignore is None else {"ignore": options.p_ignore})
    strings = spec.sample(options.seed, options.index, options.index + 1)
    shot_spec = spec.with_length(options.shot_length) if options.shots else spec
    shots = sample_shots(shot_spec, options.seed, options.index, strings, options.shots)
    solved = [shot.string(0) for shot in shots]
    line(f"{spec}, seed {options.seed}, string {options.index}: {strings.texts()[0]}")
    for shown, form in _shown(elicitation, options.form):
        if elicitation is None and (missing := [key for key in shown.texts(form, bool(shots)) if not words.has(key)]):
            line(f"{shown.name}, {form}: the template has no {' and no '.join(missing)}")
            continue
        shown.check_wording(words, form, bool(shots))
        parts = PromptParts(words, form, strings.string(0), solved, turn_instructions=options.turn_instructions)
        prompt = shown.prompt(parts)
        show_prompt(f"{shown.name}, {form}", prompt)
    for remark in remarks(template) if template.name not in templates.names() else ():
        line(f"remark: {remark}")
    return 0


def _shown(elicitation: Elicitation | None, form: Form | None) -> list[tuple[Elicitation, Form]]:
    """Return the elicitations to show, each with a form."""
    if elicitation is None:
        return [(find_elicitation("forced"), form or "completion"), (find_elicitation("list"), form or "chat")]
    if elicitation.has_turns:
        return [(elicitation, "chat")]
    return [(elicitation, form)] if form else [(elicitation, "completion"), (elicitation, "chat")]


def _check_turns(options: argparse.Namespace, elicitation: Elicitation | None) -> None:
    if elicitation is not None and elicitation.has_turns:
        if options.form == "completion":
            raise ConfigError("form completion: a dialogue is held with a chat model")
        if options.turn_instructions is not None and options.turn_instructions < 1:
            raise ConfigError(f"turn-instructions {options.turn_instructions}: expected at least 1")
    elif options.turn_instructions is not None:
        raise ConfigError(f"turn-instructions {options.turn_instructions}: only dialogue has turns")


def _list(found: Sequence[Template]) -> None:
    """Print one line for each template."""
    shown = new_table("template", "version", "task", "answers", "summary")
    for template in found:
        shown.add_row(template.name, str(template.version), template.task, _answers(template), escape(template.summary))
    show(shown)


def _answers(template: Template) -> str:
    """How the answers look: a few of them."""
    if template.values == "numbers":
        return "numbers"
    task = registry.example(template.task)
    surfaces = template.values if isinstance(template.values, list) else template.surfaces(task.symbols or 2)
    return " / ".join(surfaces) if len(surfaces) <= 2 else f"{surfaces[0]} / …"


def show_prompt(title: str, made: Prompt) -> None:
    """Print a prompt as the model will see it; scored answers stand in ⟦ ⟧, and so do the blanks to be filled in."""
    console = make_console()
    marks = (
        f"{counted(len(made.reads), 'read')}, scored where ⟦ ⟧ stands" if made.reads else "the model writes the answer"
    )
    if made.turns:
        marks = (
            f"{counted(len(made.asked), 'read')} in {counted(len(made.turns), 'turn')}, each of which the model answers"
        )
    console.rule(escape(f"{title} ({marks})"), align="left")
    messages = [*made.messages, *(message for turn in made.turns for message in turn.messages)]
    blanks = [[(start, end) for where, start, end in made.blanks if where == n] for n in range(-1, len(messages))]
    asked = {len(made.messages) + last - 1: turn for turn, last in zip(made.turns, _ends(made), strict=True)}
    for number, (message, spans) in enumerate(zip(messages, blanks[1:], strict=True)):
        console.print(f"[bold]<{message.role}>[/bold]\n{escape(_marked(message.text, spans))}", soft_wrap=True)
        if number in asked:
            console.print(f"[bold]<assistant>[/bold]\n[bold]▌[/bold] (right: {escape(asked[number].answer)})")
    if made.turns:
        return
    if made.messages:
        console.print("[bold]<assistant>[/bold]")
    body = _marked(made.text, made.reads or blanks[0])
    console.print(escape(body) + ("" if made.reads else "[bold]▌[/bold]"), soft_wrap=True)


def _ends(made: Prompt) -> list[int]:
    """After how many messages of the dialogue each of its turns ends."""
    return list(itertools.accumulate(len(turn.messages) for turn in made.turns))


def _marked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    parts, position = [], 0
    for start, end in spans:
        parts += [text[position:start], "⟦", text[start:end], "⟧"]
        position = end
    return "".join([*parts, text[position:]])
