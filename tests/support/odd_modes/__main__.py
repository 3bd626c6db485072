"""Write the page of all modes to standard output."""

import sys

from tests.support.odd_modes import KINDS
from tests.support.odd_modes.page import page

sys.stdout.buffer.write(page(KINDS).encode())
