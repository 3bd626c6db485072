"""``ffprompt export``: a reference Transformer as a folder for Hugging Face transformers and vLLM."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ffprompt._util.extras import needs
from ffprompt._util.formatting import counted
from ffprompt.cli.console import line


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of ``export``."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a bundled name, a checkpoint or a training's folder")
    parser.add_argument("folder", metavar="DIR", help="a new or empty folder")
    parser.add_argument("--length", type=int, metavar="T", help="longest string it takes (default: the model's length)")


def execute(options: Namespace) -> int:
    """Write the folder and say how it is evaluated. Returns 0.

    Raises:
        ModelError: The model cannot be exported. Nothing was written.
        ConfigError: The folder is not empty, or the length is out of range. Nothing was written.
    """
    try:
        from ffprompt.reference.checkpoints.checkpoint import load, resolve
        from ffprompt.reference.export.export import check_free, export
    except ImportError as error:
        raise needs("an export", "reference", error) from error

    check_free(Path(options.folder))  # before seconds go into a large checkpoint
    made = export(load(resolve(options.checkpoint)), Path(options.folder), options.length)
    line(f"{made.folder}: {made.architecture}, strings of up to {counted(made.length, 'symbol')}")
    line(
        f"evaluate it with: ffprompt run --backend transformers --model {made.folder} --dtype float32 "
        "--template raw-compact --shots 0 --elicitation forced"
    )
    return 0
