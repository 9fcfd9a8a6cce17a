"""The pages that `cargo run --example status -- --all target/status` writes, in Chromium.

STATUS_PAGES names another folder. A picture of each page is written beside it.
"""

import json
import os
from itertools import product
from pathlib import Path

import pytest
from judge import judge

ROOT = Path(__file__).resolve().parents[2]
PAGES = Path(os.environ.get("STATUS_PAGES", ROOT / "target/status"))
STATES = ["week", "full", "crowded", "empty", "never", "unreadable"]
THEMES = ["light", "dark"]
WIDTHS = [500, 1160, 1600]


def test_every_page_is_there():
    names = {f"{state}-{theme}-{width}.html" for state, theme, width in product(STATES, THEMES, WIDTHS)}
    assert {file.name for file in PAGES.glob("*.html")} == names
    assert json.loads((PAGES / "expected.json").read_text()).keys() == set(STATES)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("state", STATES)
def test_a_page_shows_everything_legibly_and_runs_nothing(page, state, theme, width):
    file = PAGES / f"{state}-{theme}-{width}.html"
    expected = json.loads((PAGES / "expected.json").read_text())[state]
    faults = judge(page, file, theme, width, expected, picture=file.with_suffix(".png"))
    assert not faults, "\n".join(faults)
