"""The flags of the commands that set runs beside each other: compare, gate, baseline, trend, power."""

from __future__ import annotations

import argparse

_COMPARE = """\
The first run is compared with each of the others, condition by condition, on the reads that both answered. What may
differ is what --by names; anything else that differs is refused.

  ffprompt compare results/RUN-A results/RUN-B
  ffprompt compare --by shots results/RUN          # few-shot against zero-shot
  ffprompt compare --by backend results/RUN-HF results/RUN-VLLM
"""
_GATE = """\
Exit codes: 0 pass, 1 regression, 3 inconclusive or an incomplete run, 2 usage. It passes if, in every condition, a loss
of the margin or more is ruled out; that no difference was found is not enough.
"""


def _compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders under results/")
    what = "model (default), shots, template, elicitation, backend, quantization …; repeatable"
    parser.add_argument("--by", action="append", default=[], metavar="NAME", help=what)
    _allow(parser)
    parser.add_argument("--incomplete", action="store_true", help="compare what there is of unfinished runs, marked")
    _level(parser)
    parser.add_argument("--tests", action="store_true", help="p-values of sign flips and clustered McNemar, too")
    parser.add_argument("--json", metavar="FILE", help="write every number there, too")


def _gate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--baseline", required=True, metavar="RUN", help="a run, or the name of a stored baseline")
    parser.add_argument("--candidate", required=True, nargs="+", metavar="RUN", help="a run, or those of a suite")
    parser.add_argument("--margin", required=True, type=float, metavar="X", help="a loss of accuracy that is too much")
    _level(parser)
    _allow(parser)
    _stored(parser)
    parser.add_argument("--json", metavar="FILE", help="every number")
    parser.add_argument("--junit", metavar="FILE", help="XML, one test case a condition")
    parser.add_argument("--markdown", metavar="FILE", help="a summary for a pull request")


def _baseline(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="set|show")
    put = actions.add_parser("set", help="make a complete run the baseline of a name", allow_abbrev=False)
    put.set_defaults(parser=put)
    put.add_argument("runs", nargs="+", metavar="RUN", help="a run, or all runs of a suite")
    put.add_argument("--name", default="default", metavar="NAME", help="default: default")
    _stored(put)
    show = actions.add_parser("show", help="all baselines of a results folder", allow_abbrev=False)
    show.set_defaults(parser=show)
    show.add_argument("--out", default="results", metavar="DIR", help="the results folder (default results)")


def _trend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "results", nargs="?", default="results", metavar="DIR", help="a results folder (default results)"
    )
    parser.add_argument("--model", metavar="NAME", help="only this one")
    parser.add_argument("--json", metavar="FILE", help="write it there, too")
    parser.add_argument("--csv", metavar="FILE", help="write it there, too")


def _power(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the pilot: a folder under results/")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--half-width", type=float, metavar="X", help="of the interval for the accuracy")
    asked.add_argument("--difference", type=float, metavar="X", help="between two models, to be told from none")
    asked.add_argument("--margin", type=float, metavar="X", help="of a gate that a model just as good is to pass")
    parser.add_argument("--against", metavar="RUN", help="the pilot of the second model, on the same strings")
    parser.add_argument("--power", type=float, default=0.8, metavar="X", help="chance to succeed (default 0.8)")
    _level(parser)
    _allow(parser)
    parser.add_argument("--incomplete", action="store_true", help="take what there is of an unfinished run, marked")
    parser.add_argument("--json", metavar="FILE", help="write it there, too")


def run_flags(parser: argparse.ArgumentParser) -> None:
    """What ``run`` takes to gate its result."""
    gate = parser.add_argument_group("the gate")
    gate.add_argument("--gate", action="store_true", help="compare with the stored baseline; see: ffprompt gate --help")
    gate.add_argument("--baseline", metavar="NAME", help="which baseline of the suite (default: default)")
    gate.add_argument("--margin", type=float, metavar="X", help="a loss that is too much (default: the suite's)")


def _stored(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--suite", metavar="NAME", help="whose baseline it is")
    parser.add_argument("--out", default="results", metavar="DIR", help="where baselines.json is (default results)")


def _allow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--allow", action="append", default=[], metavar="KEY", help="a setting that may differ, too")


def _level(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--level", type=float, default=0.95, metavar="X", help="confidence (default 0.95)")


FLAGS = {"compare": _compare, "gate": _gate, "baseline": _baseline, "trend": _trend, "power": _power}
EPILOGS = {"compare": _COMPARE, "gate": _GATE}
