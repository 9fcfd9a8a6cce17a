#!/usr/bin/env python3
"""Draws docs/timeline.svg: what `cargo run --example local -- events/population-requested.json` prints.

    docs/timeline.py           writes the picture
    docs/timeline.py --check   fails if the picture shows something else than the example prints now, except for the times
"""

import re
import subprocess
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "timeline.svg"
EVENT = "events/population-requested.json"
COMMAND = ["cargo", "run", "--quiet", "--locked", "--example", "local", "--", EVENT]

STYLE = """
    rect { fill: #ffffff; stroke: #d0d7de; }
    text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #1f2328; white-space: pre; }
    .command, .heading { font-weight: bold; }
    .time { fill: #656d76; }
    .call { fill: #0969da; }
    @media (prefers-color-scheme: dark) {
      rect { fill: #0d1117; stroke: #30363d; }
      text { fill: #e6edf3; }
      .time { fill: #8d96a0; }
      .call { fill: #4493f8; }
    }
"""

CHARACTER, LINE, MARGIN = 7.9, 20, 16


def span(kind, text):
    return f'<tspan class="{kind}">{escape(text)}</tspan>'


def drawn(line):
    """A line of the example, with its parts marked."""
    if line.startswith(("$ ", "── ")):
        return span("command" if line[0] == "$" else "heading", line)
    if step := re.match(r"( *\d+ ms)(  \w+)(.*)", line):
        time, call, rest = step.groups()
        return span("time", time) + span("call", call) + escape(rest)
    return escape(line)


def picture(lines):
    width = round(max(map(len, lines)) * CHARACTER + 2 * MARGIN)
    height = len(lines) * LINE + 2 * MARGIN
    texts = "\n".join(
        f'  <text x="{MARGIN}" y="{MARGIN + LINE * number - 6}" xml:space="preserve">{drawn(line)}</text>'
        for number, line in enumerate(lines, 1)
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title">
  <title id="title">What the local example prints for {EVENT}</title>
  <style>{STYLE}  </style>
  <rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>
{texts}
</svg>
"""


def without_times(text):
    return re.sub(r" *\d+ ms", "", text)


def main():
    shown = subprocess.run(COMMAND, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    command = f"$ cargo run --example local -- {EVENT}"
    drawing = picture([command, *shown.strip().splitlines()])
    if sys.argv[1:] != ["--check"]:
        PICTURE.write_text(drawing, encoding="utf-8")
    elif without_times(PICTURE.read_text(encoding="utf-8")) != without_times(drawing):
        sys.exit("docs/timeline.svg shows something else than the example: run docs/timeline.py")


if __name__ == "__main__":
    main()
