"""The command line: flags, exit codes, and nothing heavy until a command runs.

Exit codes: 0 done, 1 regression (of a gate) or a rate above its bound, 2 usage or input, 3 incomplete, invalid or
inconclusive run, 4 a defect of ffprompt (its traceback is in a file that is named), 130 interrupted (and resumable).
"""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

from ffprompt import __version__
from ffprompt._util.files import printable
from ffprompt._util.secrets import redact, register_environment, shown_command
from ffprompt.cli import compare_flags as compare_parser
from ffprompt.cli import export as export_command
from ffprompt.cli import sweep_flags as sweep_parser
from ffprompt.cli.streams import prepare
from ffprompt.errors import FFPromptError, did_you_mean
from ffprompt.reference.training import settings as training_settings

_RUN_EPILOG = """\
With no flags at all: the bundled reference models, and SmolLM2 where its weights are installed (about two minutes).
Template, shots, elicitation, length and p-ignore take several values; a run is their product.

  run_eval.py --backend transformers --model smollm2-135m
  run_eval.py --backend transformers --model gpt2 --template light-switch --length 10 50 100 --shots 0 1
  run_eval.py --backend scripted --model oracle --trials 20
"""

_EXIT_CODES = (
    "Exit codes: 0 done, 1 a regression or a rate above its bound, 2 usage or input, 3 an incomplete, invalid or "
    "inconclusive run, 4 a defect of ffprompt (the traceback is in a file that is named), 130 interrupted."
)
_TURNS = "instructions a turn of a dialogue (default: all up to the next read)"


class _Parser(argparse.ArgumentParser):
    """Errors in one line, with the nearest known flag."""

    def error(self, message: str) -> NoReturn:
        _say(f"{self.prog}: error: {redact(message)}")
        raise SystemExit(2)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """As parse_args, but an unknown flag is named together with the one that was probably meant."""
        found, rest = self.parse_known_args(arguments)
        if rest:
            chosen: argparse.ArgumentParser = found.parser
            flag = rest[0].split("=")[0]
            known = [name for action in chosen._actions for name in action.option_strings if name.startswith("--")]
            chosen.error(f"unknown {'flag' if flag.startswith('-') else 'argument'} {flag}{did_you_mean(flag, known)}")
        return found


def _run_parser(parser: argparse.ArgumentParser, submits: bool = False) -> None:
    parser.add_argument("--version", action="version", version=f"ffprompt {__version__}")
    what = parser.add_argument_group("what is asked of which model")
    what.add_argument("--backend", metavar="NAME", help="transformers, vllm, openai, anthropic, reference or scripted")
    what.add_argument("--model", metavar="NAME", help="short name, folder, GGUF file or hub id; a scripted rule")
    what.add_argument("--template", nargs="+", metavar="NAME", help="see: ffprompt prompts list; or a .toml file")
    what.add_argument("--shots", nargs="+", type=int, metavar="K", help="solved strings shown before the question")
    what.add_argument("--shot-length", type=int, metavar="T", help="symbols in a shot (default 16)")
    what.add_argument("--shared-shots", action="store_true", default=None, help="the same shots for every question")
    what.add_argument("--elicitation", nargs="+", metavar="NAME", help="forced, next, list, dialogue")
    what.add_argument("--form", metavar="NAME", help="completion or chat (default: what suits the model)")
    what.add_argument("--next-read", metavar="WHICH", help="the read that next asks: last (default), first or random")
    what.add_argument("--turn-instructions", type=int, metavar="N", help=_TURNS)
    strings = parser.add_argument_group("strings")
    strings.add_argument("--length", nargs="+", type=int, metavar="T", help="symbols in a string: even, at least 4")
    strings.add_argument("--p-ignore", nargs="+", type=float, metavar="P", help="writes and reads share the rest")
    strings.add_argument("--p-write", type=float, metavar="P", help="with --p-read, instead of --p-ignore")
    strings.add_argument("--p-read", type=float, metavar="P")
    strings.add_argument("--symbols", type=int, metavar="M", help="data symbols, 2 to 256 (default 2)")
    strings.add_argument("--data", metavar="FILE", help="strings from a .parquet or .jsonl file, or owner/name:split")
    strings.add_argument("--trials", type=int, metavar="N", help="strings a condition; with the next two, the most")
    strings.add_argument("--repeats", type=int, metavar="K", help="ask each prompt K times (default 1)")
    strings.add_argument("--certify", type=float, metavar="B", help="until its error rate is shown below or above B")
    strings.add_argument("--until-width", type=float, metavar="W", help="until its 95%% interval is no longer than W")
    strings.add_argument("--seed", type=int, metavar="S", help="of strings, shots and sampled replies (default 0)")
    model = parser.add_argument_group("how the model runs")
    model.add_argument("--temperature", metavar="X", help="0 (default) is greedy; default: the model's own")
    model.add_argument("--thinking", metavar="on|off|N", help="let the model think before it answers; N: in N tokens")
    model.add_argument("--answers", metavar="NAME", help="text (default), or schema: JSON that the server enforces")
    model.add_argument("--reasoning-tags", nargs=2, metavar=("OPEN", "CLOSE"), help="around the thoughts in a reply")
    model.add_argument("--max-tokens", type=int, metavar="N", help="the longest reply; in a dialogue, of each turn")
    model.add_argument("--batch-size", type=int, metavar="N", help="prompts a forward pass (default: found by itself)")
    model.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps, auto (default: found by itself)")
    model.add_argument("--dtype", metavar="NAME", help="float32, bfloat16, float16, auto")
    model.add_argument("--revision", metavar="REV", help="of a model on a hub")
    model.add_argument("--trust-remote-code", action="store_true", default=None, help="run code that a model brings")
    _engine_flags(parser.add_argument_group("vLLM's engine, under its own names"))
    _api_flags(parser.add_argument_group("models behind an API"))
    run = parser.add_argument_group("the run")
    run.add_argument("--suite", metavar="FILE", help="runs from a TOML file or a bundled suite; see: suites list")
    run.add_argument("--out", default="results", metavar="DIR", help="where runs are kept (default results)")
    run.add_argument("--resume", action="store_true", help="go on with the newest unfinished run of this plan")
    run.add_argument("--dry-run", action="store_true", help="print the plan, a prompt, tokens and cost, ask nothing")
    if not submits:
        compare_parser.run_flags(parser)
    batch = parser.add_argument_group("batches: half the price, answers within a day (openai and anthropic)")
    if not submits:
        run.add_argument("--no-report", action="store_true", help="write no report.html at the end")
        batch.add_argument("--batch", action="store_true", help="hand everything over, wait, and collect it")
    batch.add_argument("--batch-part", type=int, metavar="N", help="requests a batch (default: what a provider takes)")


def _engine_flags(vllm: argparse._ArgumentGroup) -> None:
    vllm.add_argument("--tensor-parallel-size", type=int, metavar="N", help="GPUs that share each layer")
    vllm.add_argument("--pipeline-parallel-size", type=int, metavar="N", help="groups of GPUs that hold layers in turn")
    vllm.add_argument("--data-parallel-size", type=int, metavar="N", help="copies of the model")
    vllm.add_argument("--quantization", metavar="NAME", help="awq, gptq, fp8 … (default: what the model says)")
    vllm.add_argument("--max-model-len", type=int, metavar="N", help="most tokens of a prompt with its reply")
    vllm.add_argument("--gpu-memory-utilization", type=float, metavar="X", help="share of the GPU's memory, 0 to 1")
    vllm.add_argument("--enforce-eager", action="store_true", default=None, help="no compilation, no CUDA graphs")
    vllm.add_argument("--block-size", type=int, metavar="N", help="tokens in a block of the cache")
    vllm.add_argument("--lora", metavar="DIR", help="a folder with a LoRA adapter")
    vllm.add_argument(
        "--engine-arg", action="append", metavar="NAME=VALUE", help="any other of vLLM's engine arguments, repeatable"
    )


def _api_flags(api: argparse._ArgumentGroup) -> None:
    api.add_argument("--base-url", metavar="URL", help="another server that speaks the provider's API")
    api.add_argument("--provider", metavar="NAME", help="openai: a provider's base URL and key by its name")
    api.add_argument("--api", metavar="NAME", help="openai: chat, responses, completions; anthropic: bedrock, vertex")
    api.add_argument("--key-file", metavar="FILE", help="holds the key, instead of the environment")
    api.add_argument("--reasoning-effort", metavar="NAME", help="for models that reason, under its provider's name")
    api.add_argument("--extra-body", metavar="JSON", help="an object that is added to the body of every request")
    api.add_argument("--extra-header", action="append", metavar="NAME=VALUE", help="sent each time, repeatable")
    api.add_argument("--max-concurrency", type=int, metavar="N", help="most requests on the wire (default 64)")
    api.add_argument("--requests-per-minute", type=float, metavar="N")
    api.add_argument("--tokens-per-minute", type=float, metavar="N")
    api.add_argument("--reasoning-room", type=int, metavar="N", help="tokens for reasoning on top of the reply")
    api.add_argument("--top-logprobs", type=int, metavar="N", help="openai, forced: likeliest tokens asked for (20)")
    api.add_argument("--timeout", type=float, metavar="S", help="longest call (default 180, 900 for models that think)")
    api.add_argument("--connect-timeout", type=float, metavar="S", help="longest wait for a connection (default 10)")
    api.add_argument("--first-byte-timeout", type=float, metavar="S", help="longest wait for an answer to begin")
    api.add_argument("--max-usd", type=float, metavar="X", help="stop before the run has cost more, over all resumes")
    api.add_argument("--max-tokens-total", type=int, metavar="N", help="likewise in tokens, of prompts and replies")
    api.add_argument("--prices", metavar="FILE", help="what tokens cost, for models and servers that are not known")


def _parser(prog: str, run_only: bool) -> _Parser:
    text = "How reliably does a language model remember one bit?"
    parser = _Parser(prog=prog, description=text, epilog=_EXIT_CODES, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"ffprompt {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, epilog: str | None = None) -> argparse.ArgumentParser:
        wrapped = argparse.RawDescriptionHelpFormatter
        shown = prog if run_only else None  # run_eval.py has one command and does not name it
        made = commands.add_parser(
            name, help=text, description=text, allow_abbrev=False, formatter_class=wrapped, prog=shown, epilog=epilog
        )
        made.set_defaults(parser=made)
        return made

    _run_parser(add("run", "Evaluate a model.", epilog=_RUN_EPILOG))
    if run_only:
        return parser
    score = add("score", "Compute every number of a run again from its raw lines.")
    score.add_argument("run", metavar="RUN", help="a folder under results/")
    anatomy = add("anatomy", "Show what the errors of a run have in common.")
    anatomy.add_argument("run", metavar="RUN", help="a folder under results/")
    anatomy.add_argument("--json", metavar="FILE", help="also write every number to a file")
    _batch_parsers(add("batch", "Run by a provider's batches: submit, status, collect, cancel."))
    compare_parser.add_parsers(add)
    _report_parser(add("report", "One HTML file: tables, figures, trials, prompts and provenance of runs."))
    suites = add("suites", "List the bundled suites.")
    suites.add_subparsers(dest="action", required=True, metavar="list").add_parser(
        "list", help="every bundled suite, and whether it needs a model"
    ).set_defaults(parser=suites)
    prompts = add("prompts", "List the templates, or show what a model will see.")
    actions = prompts.add_subparsers(dest="action", required=True, metavar="list|show")
    actions.add_parser("list", help="every bundled template").set_defaults(parser=prompts)
    show = actions.add_parser("show", help="one prompt, every read marked", allow_abbrev=False)
    show.set_defaults(parser=show)
    show.add_argument("template", metavar="NAME", help="a bundled template or a .toml file")
    show.add_argument("--length", type=int, default=20, metavar="T")
    show.add_argument("--p-ignore", type=float, default=0.6, metavar="P")
    show.add_argument("--symbols", type=int, default=2, metavar="M")
    show.add_argument("--seed", type=int, default=0, metavar="S")
    show.add_argument("--index", type=int, default=0, metavar="I", help="which string of the seed")
    show.add_argument("--shots", type=int, default=0, metavar="K")
    show.add_argument("--shot-length", type=int, default=16, metavar="T")
    elicitations = "forced, next, list or dialogue (default: forced, and list as chat)"
    show.add_argument("--elicitation", metavar="NAME", help=elicitations)
    show.add_argument("--turn-instructions", type=int, metavar="N", help=_TURNS)
    show.add_argument("--form", metavar="NAME", help="completion or chat")
    training_settings.add(add("train", "Train a reference model from scratch.", epilog=training_settings.EPILOG))
    export_command.add_parser(add)
    sweep_parser.add(add("sweep", "Train every cell of a study, with every seed.", epilog=sweep_parser.EPILOG))
    sample = add("sample", "Write strings to a file in the format of the released data.")
    sample.add_argument(
        "--spec",
        default="FFL(0.8)",
        metavar="SPEC",
        help="FFL(0.8), FFL(100, 0.6) or FFL(100, 0.2, 0.2, 0.6): T, write, read, ignore",
    )
    sample.add_argument("--strings", type=int, default=1000, metavar="N")
    sample.add_argument("--seed", type=int, default=0, metavar="S")
    sample.add_argument("--symbols", type=int, default=2, metavar="M")
    sample.add_argument("--out", required=True, metavar="FILE", help=".parquet or .jsonl")
    return parser


def _report_parser(report: argparse.ArgumentParser) -> None:
    report.add_argument(
        "run",
        nargs="+",
        metavar="RUN",
        help="folders of runs and of trainings, results folders and folders of a study; any number of them",
    )
    report.add_argument("-o", "--output", metavar="FILE", help="default: report.html in the one folder named, or here")
    report.add_argument("--figures", metavar="DIR", help="also write every figure as PNG and SVG")
    report.add_argument("--table", metavar="FILE", help="also write the table, as .tex or .md")
    report.add_argument("--incomplete", action="store_true", help="also report runs that lack answers, and mark them")


def _batch_parsers(batch: argparse.ArgumentParser) -> None:
    actions = batch.add_subparsers(dest="action", required=True, metavar="submit|status|collect|cancel")
    submit = actions.add_parser(
        "submit", help="hand over what has no answer yet, of a run or of a new one with these flags", allow_abbrev=False
    )
    submit.set_defaults(parser=submit, batch=True)
    submit.add_argument("run", nargs="?", metavar="RUN", help="a folder under results/; without it flags make a run")
    _run_parser(submit, submits=True)
    for name, text in (
        ("status", "one line a part; exit code 3 while one is not to be collected yet"),
        ("collect", "log what the ended batches hold; exit code 3 while the run is not complete"),
        ("cancel", "ask the provider to stop; what was answered stays to be collected"),
    ):
        made = actions.add_parser(name, help=text, description=text.capitalize(), allow_abbrev=False)
        made.set_defaults(parser=made)
        made.add_argument("run", metavar="RUN", help="a folder under results/")
        made.add_argument("--key-file", metavar="FILE", help="holds the key, instead of the environment")


def main(arguments: Sequence[str] | None = None, prog: str = "ffprompt") -> int:
    """Run a command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    prepare()
    try:
        register_environment()
        shown_command(given)  # which remembers the secrets in it
        options = _parser(prog, run_only=prog == "run_eval.py").parse(given)
        from ffprompt.cli import commands

        return commands.execute(options)
    except SystemExit as end:  # argparse: --help, --version, errors
        return 0 if end.code is None else end.code if end.code in (0, 2) else _failed(end, given, prog)
    except KeyboardInterrupt:
        _say(f"{prog}: interrupted{_going_on(given, prog)}")
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:  # libraries raise some that are no Exception
        return _failed(error, given, prog)


def _going_on(given: Sequence[str], prog: str) -> str:
    """How an interrupted command goes on, without the secrets that may be in it."""
    words = given[1:] if prog == "run_eval.py" else given
    if given[:1] in (["run"], ["train"]):
        words = [*(word for word in words if word != "--resume"), "--resume"]
    elif given[:1] != ["sweep"]:
        return ""
    return f"; go on with: {shlex.join([prog, *shown_command(words)])}"


def _failed(error: BaseException, given: Sequence[str], prog: str) -> int:
    """Say what ended a command in one line. Returns the exit code."""
    from ffprompt._util.crash import leaf, named, told

    found = leaf(error)
    if isinstance(found, FFPromptError):
        _say(f"{prog}: error: {redact(' '.join(str(found).split()))}")
        return found.exit_code
    if isinstance(found, OSError) and found.errno in _OF_THE_MACHINE:
        where = f"{found.filename}: " if found.filename is not None else ""
        _say(f"{prog}: error: {where}{named(found)}")
        return 2
    _say(f"{prog}: internal error: {told(error, given)}{_KEPT.get(given[0] if given else '', '')}")
    return 4


# Errors that are of the disk or of permissions, and no defect.
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE)
_KEPT = {
    "run": "; what was answered is kept, go on with --resume",
    "batch": "; what was answered is kept, go on with: ffprompt batch collect RUN",
    "train": "; what was saved is kept, go on with --resume",
    "sweep": "; what was saved is kept, the same command goes on",
}


def _say(text: str) -> None:
    """One line on standard error."""
    print(printable(" ".join(text.split())), file=sys.stderr)  # noqa: T201
