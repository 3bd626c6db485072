"""Print one of the README's two commands: the code block that follows ``<!-- command: NAME -->``."""

import re
import sys
from pathlib import Path

NAME = sys.argv[1]
readme = (Path(__file__).parent.parent / "README.md").read_text()
found = re.search(rf"<!-- command: {NAME} -->\s*```[a-z]*\n(.*?)```", readme, re.DOTALL)
if not found:
    sys.exit(f"README.md has no command named {NAME}")
sys.stdout.write(found[1])
