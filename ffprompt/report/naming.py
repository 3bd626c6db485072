"""Names of cells: what the study's file or the folder calls them, and the settings that tell them apart."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ffprompt._util.files import read_text
from ffprompt._util.formatting import exact
from ffprompt._util.records import JsonObject
from ffprompt.errors import SpecError
from ffprompt.tasks.flipflop import Spec

STUDY = "sweep.json"


@dataclass(frozen=True, slots=True)
class Home:
    """Where a training stands: its folder, the study that it is of, the cell's name there and its place in the file.

    Of a training that is of no study ``group`` is None and ``study`` the folder around its own. A study of one cell
    has no name for it, so that ``group`` is empty.
    """

    folder: str
    study: str
    group: str | None
    place: int
    around: str

    @property
    def name(self) -> str:
        """The study's name for the cell, or that of the training's folder."""
        return self.folder if self.group is None else self.group or self.study

    @property
    def full(self) -> str:
        """The name with the study's, or with that of the folder around it."""
        return self.name if self.group == "" else f"{self.study} · {self.name}"


def study_cells(folder: Path) -> tuple[str, list[Any]]:
    """The name of a study and its cells, as far as its sweep.json has them."""
    path = folder / STUDY
    try:
        stamp = path.stat()
    except OSError:
        return folder.name, []
    return _study(path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=8)  # every training of a study asks for it
def _study(path: Path, changed: int, size: int) -> tuple[str, list[Any]]:
    try:
        record = json.loads(read_text(path))
        return str(record.get("name") or path.parent.name), list(record.get("cells", []))
    except (OSError, ValueError, AttributeError, TypeError):
        return path.parent.name, []


def home(folder: Path) -> Home:
    """Where the training in a folder stands."""
    folder = folder.resolve()
    study, cells = study_cells(folder.parent)
    for place, cell in enumerate(cells):
        if isinstance(cell, Mapping) and cell.get("name") == folder.name and isinstance(cell.get("group"), str):
            return Home(folder.name, study, cell["group"], place, str(folder.parent))
    return Home(folder.name, folder.parent.name, None, 0, str(folder.parent))


def names(homes: Sequence[Sequence[Home]], settings: Sequence[str]) -> list[str]:
    """A name for each cell, given where its trainings stand and its settings. No two are the same.

    Where two would be, they are told with their study, then with the folder around them, then with their settings.
    """
    levels = [
        [
            _joined([one.name for one in mine]),
            _joined([one.full for one in mine]),
            _joined([f"{Path(one.around).name} · {one.name}" for one in mine]),
            f"{_joined([one.full for one in mine])} · {text}",
        ]
        for mine, text in zip(homes, settings, strict=True)
    ]
    level = [0] * len(homes)
    while True:
        found = [_at(one, n) for one, n in zip(levels, level, strict=True)]
        counts = Counter(found)
        if len(counts) == len(found):
            return found
        # Of a clash that nothing ends, the first keeps its name and the others are counted on.
        seen: set[str] = set()
        for n, name in enumerate(found):
            if counts[name] > 1 and (level[n] < len(levels[n]) - 1 or name in seen):
                level[n] += 1
            seen.add(name)


def _at(levels: Sequence[str], n: int) -> str:
    return levels[n] if n < len(levels) else f"{levels[-1]} ({n - len(levels) + 2})"


def _joined(found: Sequence[str]) -> str:
    """One name for trainings of one cell that stand under several."""
    different = list(dict.fromkeys(found))
    return " and ".join(different) if len(different) < 3 else f"{different[0]} and {len(different) - 1} more"


def differing(cells: Sequence[Any]) -> list[str]:
    """What tells each cell, (architecture, config, training), from the others: the settings that differ, as text."""
    architectures = [cell[0] for cell in cells]
    flat = [_flat(cell[1]) for cell in cells], [_flat(cell[2]) for cell in cells]
    found = []
    for number, architecture in enumerate(architectures):
        alike = [n for n, other in enumerate(architectures) if other == architecture]
        parts = [architecture] if len(set(architectures)) > 1 else []
        # A setting of the network means something among networks of one kind alone; one of the training, to all.
        for settings, among in zip(flat, (alike, range(len(cells))), strict=True):
            for name, value in settings[number].items():
                if any(settings[other].get(name) != value for other in among):
                    parts.append(value if name == "data" else f"{name} {value}")
        found.append(" · ".join(parts) or architecture)
    return found


def _flat(settings: JsonObject) -> dict[str, str]:
    """Settings as text, those inside another under both names. A mixture of languages as one writes it."""
    found = {}
    for name, value in settings.items():
        text = name.replace("_", "-")
        if isinstance(value, dict) and "parts" in value and "shares" in value:
            found[text] = _mixture(value)
        elif isinstance(value, dict):
            found |= {f"{text} {inner}": one for inner, one in _flat(value).items()}
        else:
            found[text] = "none" if value is None else exact(value) if isinstance(value, float) else str(value)
    return found


def _mixture(data: JsonObject) -> str:
    """``FFL(0.8)+FFL(0.98)``, with shares where they are not equal, and with T where it is not the paper's."""
    try:
        parts = [str(Spec(**part)).replace("(512, ", "(") for part in data["parts"]]
    except (TypeError, SpecError):
        return json.dumps(data)
    if max(data["shares"]) - min(data["shares"]) < 1e-9:
        return "+".join(parts)
    return "+".join(f"{share:.6g}*{part}" for share, part in zip(data["shares"], parts, strict=True))


def natural(name: str) -> list[tuple[int, float, str]]:
    """A key that puts 2 before 10."""
    pieces = re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?|[^\d]+", name)
    return [(0, float(one), "") if one[0].isdigit() else (1, 0.0, one) for one in pieces]
