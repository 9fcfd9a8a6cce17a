"""Draws the README's picture of the status widget: screenshot.py target/status docs/status.png"""

import sys
from pathlib import Path

from judge import chromium, shown

PAGE, WIDTH = "week-light-1160.html", 1160
LARGEST_PICTURE = 150_000

with chromium() as page, shown(page, Path(sys.argv[1]) / PAGE, WIDTH, print):
    picture = page.locator("#widget").screenshot(path=sys.argv[2])
if len(picture) > LARGEST_PICTURE:
    sys.exit(f"the picture has {len(picture)} bytes, more than {LARGEST_PICTURE}")
