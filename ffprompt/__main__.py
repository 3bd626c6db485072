"""``python -m ffprompt …`` is ``ffprompt …``."""

import sys

from ffprompt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
