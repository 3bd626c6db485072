"""``python run_eval.py …`` is ``ffprompt run …``."""

import sys

from ffprompt.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]], prog="run_eval.py"))
