"""What the judge of the status pages accepts and refuses: a good page, and one for each kind of fault."""

import re
from pathlib import Path

import pytest
from judge import LARGEST_FRAGMENT, judge

WIDTH = 500
EXPECTED = {"rows": 1, "problems": 1, "bars": {"s": 2, "f": 2, "r": 1, "q": 1, "o": 1}}
STYLE = """
.idm { background: #fff; color: #16191f; font: 13px/1.4 sans-serif; padding: 8px }
.p, .e { margin: 0 0 8px; padding: 8px; background: #fff6dd }
.t { width: 100% }
.small { font-size: 11px; color: #545b64 }
.btn { border: 1px solid #545b64; background: #fff }
cwdb-action { display: none }
.c { display: block; font-size: 11px }
.s { fill: #1f6db8 }
.f { fill: url(#h); stroke: #b3261e }
.r { fill: none; stroke: #0a7b53 }
.q { fill: none; stroke: #545b64; stroke-dasharray: 2 2 }
.u { fill: none }
.o { stroke: #16191f; stroke-dasharray: 3 2 }
.b { fill: #545b64 }
.k { fill: #fff }
.x { stroke: #b3261e; stroke-width: 2 }
"""
ACTION = (
    '<cwdb-action action="call" endpoint="arn:aws:lambda:eu-west-1:123456789012:function:populator" display="popup"'
    ' confirmation="Refresh ids?">{"urgent": true, "requestId": "dashboard/1"}</cwdb-action>'
)
CHART = """<svg class="c" width="480" height="90">
<pattern id="h" width="4" height="4" patternUnits="userSpaceOnUse"><line y1="4" x2="4" stroke="#b3261e"/></pattern>
<rect y="20" x="60" width="420" height="62" fill="#f2f4f4"/>
<text class="d" x="62" y="12">Fri 20 Nov</text><text class="d" x="200" y="12">Sat 21 Nov</text>
<line x1="62" x2="62" y1="20" y2="82" stroke="#d5dbdb"/>
<text class="n" x="2" y="36">Job slot</text>
<rect class="b" x="80" y="24" width="30" height="16"><title>busy</title></rect>
<text class="n" x="2" y="70">ids</text>
<rect class="s" x="80" y="58" width="30" height="20"><title>BATCH succeeded</title></rect>
<text class="k" x="91" y="72">B</text>
<path class="s o" d="M140 58h20v20h-20z"><title>started by another caller</title></path>
<rect class="f" x="200" y="58" width="1" height="20"><title>failed</title></rect>
<path class="x" d="M196 47l8 8m0-8l-8 8" fill="none"/>
<rect class="f" x="240" y="58" width="30" height="20"><title>failed for long</title></rect>
<path class="x" d="M251 47l8 8m0-8l-8 8" fill="none"/>
<rect class="r" x="300" y="58" width="10" height="20"><title>running</title></rect>
<rect class="q" x="330" y="58" width="10" height="20"><title>queued</title></rect></svg>"""
PROBLEMS = '<ul class="p"><li>Allow <code>cleanrooms:GetIdMappingTable</code>.</li></ul>'
TABLE = f"""<table class="t"><tbody><tr><td>ids<div class="small">rules</div></td><td>5 min ago</td>
<td><a class="btn">Refresh now</a>{ACTION}</td></tr></tbody></table>"""
LEGEND, FOOTER = '<p class="l">succeeded, failed</p>', '<p class="foot">read 08:40 UTC</p>'
FRAGMENT = f'<div class="idm light"><style>{STYLE}</style>{PROBLEMS}{TABLE}{CHART}{LEGEND}{FOOTER}</div>'
WRAPPER = '<div id="widget" style="width:500px">FRAGMENT</div>'
PAGE = f'<!doctype html><meta charset="utf-8"><body style="margin:0">{WRAPPER}</body>'

LONG = "unbreakable" * 12
DARK = (".idm { background: #fff; color: #16191f;", ".idm { background: #16191f; color: #fff;")
UNREADABLE = {"rows": 0, "problems": 1, "bars": dict.fromkeys("sfrqo", 0)}
SENTENCE = '<p class="e">Nothing can be read. Allow the actions above.</p>'


def style(rule):
    return ("</style>", f"{rule}</style>")


def judged(page, folder, fragment, theme="light", expected=EXPECTED, document=PAGE):
    file = folder / "page.html"
    file.write_text(document.replace("FRAGMENT", fragment))
    return judge(page, file, theme, WIDTH, expected)


def changed(text, changes):
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def test_a_good_page_is_accepted(page, tmp_path):
    assert judged(page, tmp_path, FRAGMENT) == []


def test_a_good_dark_page_is_accepted(page, tmp_path):
    rules = style(".p { background: #3a2f10 } .small { color: #d5dbdb } .btn, .c { background: #fff; color: #000 }")
    fragment = changed(FRAGMENT, [DARK, ("idm light", "idm dark"), rules])
    assert judged(page, tmp_path, fragment, theme="dark") == []


def test_a_good_page_without_a_chart_is_accepted(page, tmp_path):
    fragment = changed(FRAGMENT, [(TABLE, SENTENCE), (CHART, ""), (LEGEND, "")])
    assert judged(page, tmp_path, fragment, expected=UNREADABLE) == []


FIRST_BAR, FOREIGN = '<rect class="s" x="80" y="58" width="30"', '<path class="s o"'
FIRST_FAILED, RUNNING = '<rect class="f" x="200" y="58" width="1"', '<rect class="r" x="300"'
FIRST_MARK = '<path class="x" d="M196 47l8 8m0-8l-8 8" fill="none"/>'
SECOND_MARK = '<path class="x" d="M251 47l8 8m0-8l-8 8" fill="none"/>'
DAY, LANE = '<text class="d" x="200" y="12">', '<text class="n" x="2" y="70">'
LABEL = '<text class="k" x="91" y="72">B</text>'
CELL, END = "<td>5 min ago", "</svg>"
SHORT_BAR = '<rect class="b" x="{x}" y="{y}" width="5" height="16"><title>busy</title></rect>'
FAILED_TOO = '<rect class="f" x="204" y="58" width="1" height="20"><title>failed too</title></rect>'

# What is not a fault, though it may look like one, and how many bars more have failed.
ACCEPTED = {
    "markup in a name": (0, (CELL, "<td>&lt;script>alert(1)&lt;/script> onclick=x <b title='javascript:x'>y</b>")),
    "one mark for two failures": (1, (RUNNING, FAILED_TOO + RUNNING)),
    "letters as marks, close together": (
        1,
        (RUNNING, FAILED_TOO + RUNNING),
        (FIRST_MARK, ""),
        (END, f'<text class="x" x="196" y="60">X</text><text class="x" x="201" y="60">X</text>{END}'),
    ),
    "a mark that hides its bar": (0, (FIRST_MARK, '<path class="x" d="M196 50h8v20h-8z"/>')),
    "a pattern in place of a colour": (0, style(".s { fill: #b3261e } .r { fill: url(#h); stroke: none }")),
    "a label that the mouse does not notice": (0, style(".k { pointer-events: none }")),
    "a closed part": (0, (FOOTER, f"<details><summary>More</summary><p>Closed.</p></details>{FOOTER}")),
    "letters that begin at the edge": (0, (LANE, LANE.replace('x="2"', 'x="0"')), ("ids</text>", "web_ids</text>")),
    "an outcome in the slot lane": (0, ('class="b"', 'class="b s"')),
    "bars that overlap": (0, (END, SHORT_BAR.format(x=90, y=24) + END)),
    "a line across a bar": (0, (END, f'<line x1="305" x2="305" y1="20" y2="82" stroke="#0a7b53" />{END}')),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_may_look_like_a_fault_is_accepted(page, tmp_path, name):
    more, *changes = ACCEPTED[name]
    expected = {**EXPECTED, "bars": {**EXPECTED["bars"], "f": EXPECTED["bars"]["f"] + more}}
    assert judged(page, tmp_path, changed(FRAGMENT, changes), expected=expected) == []


# The kinds of fault that a change of the good page makes, and the change.
BROKEN = [
    # What the page runs and loads.
    ("script element, script runs", (CELL, f"{CELL}<script>alert(1)</script>")),
    ("script element, page error", (CELL, f"{CELL}<script>nothing()</script>")),
    ("script element, console error", (CELL, f"{CELL}<script>console.error(1)</script>")),
    ("event attribute", (CELL, f'{CELL}<b onclick="alert(1)">b</b>')),
    ("javascript URL", ('<a class="btn"', '<a class="btn" href=" java\nscript:alert(1)"')),
    ("forbidden element", (CELL, f"{CELL}<iframe hidden></iframe>")),
    ("forbidden element", (END, f'<use href="#h"/>{END}')),
    ("request, console error", (CELL, f'{CELL}<hr style="background: url(https://example.com/a.png)">')),
    ("request, console error", ("<style>", "<style>@import url(other.css);")),
    # Its root, and its parts.
    ("not one root", (FOOTER, f"{FOOTER}</div><div>")),
    ("other theme", ("idm light", "idm dark")),
    ("background of the other theme, low contrast", DARK),
    ("transparent background", (".idm { background: #fff;", ".idm {")),
    ("large fragment", (FOOTER, FOOTER + "<!--" + "é" * (LARGEST_FRAGMENT // 2) + "-->")),
    ("no sentence", (TABLE, ""), (CHART, ""), (LEGEND, "")),
    ("no sentence", (TABLE, '<p class="e"> </p>'), (CHART, ""), (LEGEND, "")),
    ("no sentence", (TABLE, '<p class="e" style="font-size: 0; padding: 0">Allow it.</p>'), (CHART, ""), (LEGEND, "")),
    ("no legend", (LEGEND, '<p class="l"></p>')),
    ("no footer", (FOOTER, "")),
    ("empty list of problems, count of problems", (PROBLEMS, '<ul class="p"></ul>')),
    ("problems not on top", (PROBLEMS, ""), (FOOTER, PROBLEMS + FOOTER)),
    ("count of rows, row without a button", ("</tr>", "</tr><tr><td>other</td></tr>")),
    ("count of problems", ("</li>", "</li><li>Another one.</li>")),
    ("count of s, count of r", (FOREIGN, '<path class="r o"')),
    ("count of f", (FIRST_FAILED, "<rect"), (FIRST_MARK, "")),
    ("count of r, count of q", (RUNNING, '<rect class="q" x="300"')),
    ("count of s, count of u", (FOREIGN, '<path class="u o"')),
    ("count of o", (FOREIGN, '<path class="s"')),
    # The room that a text has.
    ("page overflow, wider than its container", style(".foot { width: 600px }")),
    ("wider than its container", style(".small { width: 300px } td { width: 150px } .t { table-layout: fixed }")),
    ("wider than its container", style(".small { margin-left: -4px }")),
    ("page overflow, text outside the widget", ("read 08:40", LONG)),
    ("text outside the widget", style(".foot { direction: rtl }"), ("read 08:40", LONG)),
    (
        "clipped text, text outside the widget, texts overlap",
        style(".foot { overflow: hidden; text-overflow: ellipsis }"),
        ("read 08:40", LONG),
    ),
    ("clipped text, covered text", style(".foot { overflow: hidden; height: 8px }")),
    ("covered text", style(".foot { clip-path: inset(0 0 0 90%) }")),
    ("texts overlap", style(".foot { margin-top: -26px }")),
    ("texts overlap", (DAY, DAY.replace("200", "100"))),
    ("texts overlap", (LANE, LANE.replace("70", "40"))),
    ("text on a bar", (END, f'<text x="85" y="86">ids</text>{END}')),
    ("text on a mark", (DAY, '<text class="d" x="245" y="56">')),
    ("text outside the chart", (DAY, DAY.replace("12", "8"))),
    ("label outside its bar, low contrast", (LABEL, LABEL.replace("91", "107"))),
    ("label outside its bar, low contrast", (LABEL, LABEL.replace("91", "120"))),
    ("label outside its bar", (LABEL, SHORT_BAR.format(x=90, y=58) + LABEL)),
    ("covered text", (END, f'<rect x="1" y="60" width="30" height="14" fill="#fff"/>{END}')),
    ("small text", style(".small { font-size: 8px }")),
    ("small text, bar too thin", ('height="90"', 'height="67.5" viewBox="0 0 640 90"')),
    # Its contrast.
    ("low contrast", style(".small { color: #888 }")),
    ("low contrast", style(".small { opacity: 0.6 }")),
    ("low contrast", style(".n { fill: #888 }")),
    ("low contrast", style(".n { fill-opacity: 0.5 }")),
    ("low contrast", style("code { background: #555 }")),
    ("low contrast", style(".k { fill: #16191f }")),
    ("low contrast", (LANE, f'<rect x="11" y="56" width="47" height="20" fill="#444"/>{LANE}')),
    ("text on a pattern", style(".foot { background: linear-gradient(#fff, #fff) }")),
    ("text on a pattern", style(".s { fill: url(#h) }")),
    # The bars.
    ("two outcomes, count of q", (FOREIGN, '<path class="s q o"')),
    ("bar without a title", ("<title>running</title>", "")),
    ("bar outside the chart", (RUNNING, '<rect class="r" x="475"')),
    ("bar too thin", (FIRST_FAILED, FIRST_FAILED.replace('"1"', '"0"')), style(".f { stroke: none; fill: #b3261e }")),
    ("bar too thin", (RUNNING + ' y="58" width="10" height="20"', RUNNING + ' y="58" width="10" height="3"')),
    ("faint bar", style(".r { stroke: #bbb }")),
    ("faint bar", (END, f'<rect x="296" y="56" width="18" height="24" fill="#f2f4f4"/>{END}')),
    ("faint bar", style(".b { fill: #f2f4f4 }")),
    ("faint bar", style(".f { fill: url(#missing); stroke: none }")),
    ("only the hue differs", style(".r { fill: #8a4b10; stroke: none }")),
    ("only the hue differs", style(".r { stroke: #545b64; stroke-dasharray: 2 2 }")),
    ("only the hue differs", style(".o { stroke: none }")),
    # The marks of failed jobs.
    ("failure without a mark", (FIRST_MARK, "")),
    ("failure without a mark, mark without a failure", (FIRST_MARK, FIRST_MARK.replace("196 47", "170 47"))),
    ("failure without a mark, mark without a failure", (FIRST_MARK, FIRST_MARK.replace("196 47", "196 74"))),
    ("failure without a mark, mark without a failure", (FIRST_MARK, FIRST_MARK.replace("196 47", "196 30"))),
    ("mark without a failure", (SECOND_MARK, SECOND_MARK + SECOND_MARK.replace("251", "310"))),
    ("small mark", (FIRST_MARK, '<path class="x" d="M199 50h2v5h-2z" style="stroke: none"/>')),
    (
        "mark outside the chart",
        (FIRST_FAILED, '<rect class="f" x="150" y="2" width="1"'),
        (FIRST_MARK, FIRST_MARK.replace("196 47", "146-9")),
        style(".c { overflow: visible }"),
    ),
    ("hidden mark", style(".x { stroke: none }")),
    ("hidden mark", style(".x { stroke-opacity: 0 }")),
    ("hidden mark", (FIRST_MARK, f'{FIRST_MARK}<rect x="194" y="45" width="12" height="12" fill="#fff"/>')),
    ("faint mark", style(".x { stroke: #f4c7c3 }")),
    # The buttons.
    ("row without a button", (ACTION, "")),
    ("action without a button, row without a button", ('<a class="btn">Refresh now</a>', "")),
    ("action without a button", ("Refresh now</a>", "</a>")),
    ("visible action", style("cwdb-action { display: block }")),
    ("action is not a call", ('action="call"', 'action="html"')),
    ("endpoint", ('endpoint="arn:', 'endpoint="')),
    ("no confirmation", ('confirmation="Refresh ids?"', "")),
    ("display", ('display="popup"', 'display="window"')),
    ("payload is not JSON", ('{"urgent"', '{urgent')),
    ("payload is not urgent", ("true", '"true"')),
    ("payload without its request id", ("dashboard/1", "other/1")),
    ("payload without its request id", ("dashboard/1", "dashboard/")),
]


@pytest.mark.parametrize("kinds, changes", [(kinds, changes) for kinds, *changes in BROKEN])
def test_a_broken_page_is_refused(page, tmp_path, kinds, changes):
    expected = UNREADABLE if kinds == "no sentence" else EXPECTED
    faults = judged(page, tmp_path, changed(FRAGMENT, changes), expected=expected)
    assert {fault.split(":")[0] for fault in faults} == set(kinds.split(", ")), faults


def test_a_page_of_another_form_is_refused(page, tmp_path):
    for document in [PAGE.replace("500px", "600px"), PAGE.replace("<!doctype html>", "")]:
        faults = judged(page, tmp_path, FRAGMENT, document=document)
        assert any(fault.startswith("document: ") for fault in faults), faults


def test_each_kind_of_fault_is_provoked():
    sources = "".join((Path(__file__).parent / name).read_text() for name in ["judge.py", "judge.js"])
    kinds = set(re.findall(r'\bfault\(\s*"([^"]+)"', sources))
    kinds |= {f"count of {name}" for name in ["rows", "problems", *"sfrquo"]}
    assert kinds == {"document"} | {kind for kinds, *_ in BROKEN for kind in kinds.split(", ")}
