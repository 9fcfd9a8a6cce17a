"""Shows a page of the status widget in Chromium and says what is wrong with it.

A page is a whole document with the widget's HTML in a `div` of one width, as `cargo run --example status` writes it.
judge.js judges what is shown; what only the browser notices is judged here.
"""

import re
import shutil
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
SOURCES = "".join((HERE / name).read_text() for name in ["paint.js", "judge.js"])
SCRIPT = f"(page) => {{\n{SOURCES}\nreturn judge(page);\n}}"
DOCUMENT = re.compile(
    r'<!doctype html>.*<body style="margin:0"><div id="widget" style="width:(\d+)px">(.*)</div></body>\s*(</html>)?\s*',
    re.DOTALL,
)
LARGEST_FRAGMENT = 65_536


@contextmanager
def chromium():
    """A page of the installed Chromium, without a window and without calls of its own."""
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        yield browser.new_page()
        browser.close()


@contextmanager
def shown(page, file, width, fault):
    """A file, as high as its content. `fault` is called with a kind and a detail of what the browser notices."""
    url = file.resolve().as_uri()

    def request(route):
        if route.request.url == url:
            route.continue_()
        else:
            fault("request", route.request.url)
            route.abort()

    def dialog(opened):
        fault("script runs", opened.message)
        opened.dismiss()

    listeners = {
        "dialog": dialog,
        "console": lambda message: message.type == "error" and fault("console error", message.text),
        "pageerror": lambda error: fault("page error", error.message),
    }
    page.set_viewport_size({"width": width, "height": 800})
    page.route("**/*", request)
    for event, listener in listeners.items():
        page.on(event, listener)
    page.goto(url)
    page.set_viewport_size({"width": width, "height": page.evaluate("document.documentElement.scrollHeight")})
    yield
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    page.unroute("**/*", request)


def judge(page, file, theme, width, expected, picture=None):
    """What is wrong with a page, each as "KIND: what and where"."""
    faults = []

    def fault(kind, detail):
        faults.append(f"{kind}: {detail}")

    document = DOCUMENT.fullmatch(file.read_text())
    if not document or int(document[1]) != width:
        fault("document", f"not a page with a fragment in {width} px")
    elif (size := len(document[2].encode())) > LARGEST_FRAGMENT:
        fault("large fragment", f"{size} bytes")
    with shown(page, file, width, fault):
        if picture:
            page.screenshot(path=picture)
        faults += page.evaluate(SCRIPT, {"theme": theme, "width": width, "expected": expected})
    return list(dict.fromkeys(faults))
