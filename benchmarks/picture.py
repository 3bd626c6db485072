"""The README's picture of a report; it needs Chromium.

python -m benchmarks.picture results/quick.html results/quick.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.browser import opened


def main() -> None:
    report, picture = map(Path, sys.argv[1:])
    with opened() as page:
        page.open(report, width=1280, height=1440)
        page.shot(picture)
    print(f"{picture}: {picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
