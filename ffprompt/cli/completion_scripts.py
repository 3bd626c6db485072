"""The scripts for shells, each made from what the parser knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ffprompt.cli.completion import Argument, Words


def bash(words: Words) -> str:
    """Return the script for bash, which needs nothing but bash 4."""
    cases: list[str] = []
    for path, here in _paths(words):
        key = " ".join(path)
        for flag in here.flags:
            if flag.takes:
                for name in flag.names:
                    cases.append(f"    '{key}|{name}') values={_q(' '.join(flag.values))} files={int(flag.files)} ;;")
        names = " ".join(name for flag in here.flags for name in flag.names)
        values = [value for one in here.positionals for value in one.values]
        files = int(any(one.files for one in here.positionals))
        follow = " ".join([*here.actions, *values])
        cases.append(f"    '{key}|') values={_q(follow)} files={files} flags={_q(names)} ;;")
    every = [(" ".join(path), flag) for path, here in _paths(words) for flag in here.flags]
    switches = sorted({name for _, flag in every if not flag.takes for name in flag.names})
    once = sorted({f"'{path}|{name}'" for path, flag in every if flag.takes == 1 for name in flag.names})
    nested = "|".join(name for name, command in words.actions.items() if command.actions)
    return _BASH.format(
        cases="\n".join(cases), switches="|".join(switches), once="|".join(once), nested=nested,
        commands="|".join(words.actions),
    )  # fmt: skip


_BASH = """\
# bash completion of ffprompt, made by: ffprompt completion bash
_ffprompt_words() {{
  case "$1|$2" in
{cases}
    *) values= files=0 flags= ;;
  esac
}}

_ffprompt() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} path= flag= seen=0 word i values= files=0 flags=
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${{COMP_WORDS[i]}}
    case $word in
      {switches}) flag= ;;
      -*) flag=$word seen=0 ;;
      =) ;;
      *)
        if [[ -n $flag ]]; then
          seen=1
          case "$path|$flag" in {once}) flag= ;; esac
        elif [[ -z $path ]]; then
          path=$word
        elif [[ $path == @({nested}) ]]; then
          path="$path $word"
        fi ;;
    esac
  done
  [[ $cur == = ]] && cur=
  _ffprompt_words "$path" "$flag"
  if [[ -n $flag && $cur == -* ]]; then
    _ffprompt_words "$path" ""
    values= files=0
  elif [[ -n $flag ]]; then
    flags=
  elif [[ $cur != -* ]]; then
    flags=
  else
    values= files=0
  fi
  COMPREPLY=($(compgen -W "$values $flags" -- "$cur"))
  if ((files)); then
    compopt -o filenames 2> /dev/null
    local IFS=$'\\n'
    COMPREPLY+=($(compgen -f -- "$cur"))
  fi
}}
shopt -s extglob
complete -F _ffprompt ffprompt
"""


def zsh(words: Words) -> str:
    """Return the script for zsh."""
    functions = [_zsh_function("_ffprompt", words)]
    for path, here in _paths(words):
        if path:
            functions.append(_zsh_function("_".join(["_ffprompt", *path]).replace("-", "_"), here))
    return (
        "#compdef ffprompt\n# zsh completion of ffprompt, made by: ffprompt completion zsh\n\n"
        + "\n".join(functions)
        + "\ncompdef _ffprompt ffprompt\n"
    )


def _zsh_function(name: str, here: Words) -> str:
    specs: list[str] = []
    for flag in here.flags:
        specs += [_zsh_flag(one, flag) for one in flag.names]
    if here.actions:
        listed = " ".join(_q(f"{action}:{_plain(words.help)}") for action, words in here.actions.items())
        specs += ["'1:command:->command'", "'*::argument:->arguments'"]
        cases = "\n".join(f"        {action}) {name}_{action.replace('-', '_')} ;;" for action in here.actions)
        after = (
            "  case $state in\n"
            f"    command) local -a commands; commands=({listed}); _describe command commands ;;\n"
            f"    arguments)\n      case $line[1] in\n{cases}\n      esac ;;\n  esac\n"
        )
    else:
        after = ""
        for number, one in enumerate(here.positionals, start=1):
            place = "*" if one.takes == 2 else str(number)
            specs.append(_q(f"{place}:{_plain(one.help) or 'value'}:{_zsh_values(one)}"))
    body = " \\\n    ".join(["  _arguments -C", *specs])
    return f"{name}() {{\n  local context state state_descr line\n  typeset -A opt_args\n{body}\n{after}}}\n"


def _zsh_flag(name: str, flag: Argument) -> str:
    text = f"{name}[{_plain(flag.help)}]"
    if not flag.takes:
        return _q(text)
    several = "*" if flag.takes == 2 else ""
    return _q(f"{several}{text}:value:{_zsh_values(flag)}")


def _zsh_values(one: Argument) -> str:
    words = " ".join(value.replace(":", "\\:") for value in one.values)
    if one.files and words:
        return f"{{_alternative 'names:name:({words})' 'files:file:_files'}}"
    return f"({words})" if words else "_files" if one.files else " "


def fish(words: Words) -> str:
    """Return the script for fish."""
    lines = ["# fish completion of ffprompt, made by: ffprompt completion fish", "complete -c ffprompt -f"]
    for path, here in _paths(words):
        where = _fish_condition(path, here)
        for action, its in here.actions.items():
            lines.append(f"complete -c ffprompt -n {_q(where)} -a {_q(action)} -d {_q(_plain(its.help))}")
        for flag in here.flags:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
            wanted = f" -a {_q(' '.join(flag.values))}" if flag.values else ""
            value = "" if not flag.takes else f" {'-r -F' if flag.files else '-x'}{wanted}"
            lines.append(f"complete -c ffprompt -n {_q(where)} {names}{value} -d {_q(_plain(flag.help))}")
        for one in here.positionals:
            if one.values or one.files:
                wanted = f" -a {_q(' '.join(one.values))}" if one.values else ""
                lines.append(f"complete -c ffprompt -n {_q(where)}{' -F' if one.files else ''}{wanted}")
    return "\n".join(lines) + "\n"


def _fish_condition(path: tuple[str, ...], here: Words) -> str:
    if not path:
        return "__fish_use_subcommand"
    seen = "; and ".join(f"__fish_seen_subcommand_from {name}" for name in path)
    if here.actions:
        seen += f"; and not __fish_seen_subcommand_from {' '.join(here.actions)}"
    return seen


def _paths(words: Words, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Words]]:
    """Every command and action with the words that lead to it, the whole command line first."""
    yield path, words
    for name, one in words.actions.items():
        yield from _paths(one, (*path, name))


def _plain(text: str) -> str:
    """A help text without what a shell's own notation means something by."""
    return re.sub(r"[\[\]'\"`$\\]|:(?= )|:$", "", " ".join(text.replace("%%", "%").split()))


def _q(text: str) -> str:
    """A text in single quotes, as all three shells read them."""
    return "'" + text.replace("'", "'\\''") + "'"


SHELLS: Mapping[str, Callable[[Words], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
