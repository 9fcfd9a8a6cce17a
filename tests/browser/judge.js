// Judges the page that it runs in, and returns what is wrong as "KIND: what and where". Each KIND has a page in
// test_judge.py that provokes it.

const CONTRAST_OF_TEXT = 4.5;
const CONTRAST_OF_SHAPES = 3;
// Two greys that a reader tells apart.
const CONTRAST_OF_GREYS = 1.5;
const SMALLEST_FONT = 9;
const SMALLEST_MARK = 4;
// Succeeded, failed, running, queued, and started with an end that is not known.
const OUTCOMES = ["s", "f", "r", "q", "u"];
// CloudWatch removes some of these, and each of them can load or run something.
const FORBIDDEN = "iframe, object, embed, link, base, meta, form, use, image, img, foreignObject, animate, set";

const faults = [];
const fault = (kind, detail) => faults.push(`${kind}: ${detail}`);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function named(element) {
  const name = [element.localName, ...element.classList].join(".");
  const text = (element.querySelector?.(":scope > title") ?? element).textContent.trim();
  return text ? `${name} "${text.slice(0, 40)}"` : name;
}

// How far two boxes overlap, in both directions.
function overlap(a, b) {
  return {
    x: Math.min(a.right, b.right) - Math.max(a.left, b.left),
    y: Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top),
  };
}

function within(inner, outer, x = 0.5, y = x) {
  return (
    inner.left >= outer.left - x &&
    inner.right <= outer.right + x &&
    inner.top >= outer.top - y &&
    inner.bottom <= outer.bottom + y
  );
}

function box(element) {
  return element.getBoundingClientRect();
}

// Every text that is laid out: its element and the boxes of its lines. A text of a chart is one box.
function texts(root) {
  const found = all("svg text", root)
    .filter((element) => element.textContent.trim() && box(element).width > 0)
    .map((element) => ({ element, svg: element.ownerSVGElement, boxes: [box(element)] }));
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const { parentElement: element } = node;
    if (!node.data.trim() || element.closest("svg, style") || !element.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()].filter((rect) => rect.width > 0.5);
    if (boxes.length) found.push({ element, svg: null, boxes });
  }
  return found;
}

function judgeScripts() {
  for (const element of all("*")) {
    if (element.localName === "script") fault("script element", named(element.parentElement));
    for (const { name, value } of element.attributes) {
      if (name.startsWith("on")) fault("event attribute", `${name} of ${named(element)}`);
      const text = value.replace(/[\s\0-\x1f]/g, "").toLowerCase();
      const isUrl = /(href|src|action)$/.test(name);
      if (isUrl && text.startsWith("javascript:")) fault("javascript URL", `${name} of ${named(element)}`);
    }
  }
  for (const element of all(`#widget :is(${FORBIDDEN})`)) fault("forbidden element", named(element));
}

function judgeRoot(theme) {
  const roots = all("body > *").flatMap((child) => (child.id === "widget" ? [...child.children] : [child]));
  if (roots.length !== 1 || !roots[0].matches("div.idm")) {
    fault("not one root", roots.map((root) => [root.localName, ...root.classList].join(".")).join(", "));
  }
  const root = document.querySelector(".idm");
  if (!root) return null;
  if (!root.classList.contains(theme)) fault("other theme", `${root.className} in a page of ${theme}`);
  const background = colour(getComputedStyle(root).backgroundColor);
  if (background[3] < 1) fault("transparent background", getComputedStyle(root).backgroundColor);
  else if (luminance(background) > 0.5 !== (theme === "light")) {
    fault("background of the other theme", getComputedStyle(root).backgroundColor);
  }
  return root;
}

function judgeOverflow(root, width) {
  const { scrollWidth } = document.documentElement;
  if (scrollWidth > width) fault("page overflow", `${scrollWidth} of ${width} px`);
  const inside = box(document.getElementById("widget"));
  for (const element of all("*", root)) {
    if (element.closest("style, svg *") || !element.getClientRects().length) continue;
    const own = box(element);
    const container = box(element.parentElement);
    if (own.left < container.left - 1 || own.right > container.right + 1) {
      fault("wider than its container", `${named(element)} in ${named(element.parentElement)}`);
    }
  }
  for (const { element, boxes } of texts(root)) {
    if (boxes.some(({ left, right }) => left < inside.left - 1 || right > inside.right + 1)) {
      fault("text outside the widget", named(element));
    }
  }
}

function judgeClipping(root) {
  for (const { element, svg, boxes } of texts(root)) {
    for (let e = svg ? svg.parentElement : element; e && e !== document.body; e = e.parentElement) {
      const style = getComputedStyle(e);
      if (style.overflowX === "visible" && style.overflowY === "visible") continue;
      // A line's box is taller than its letters.
      const isCut = boxes.some((line) => !within(line, box(e), 1, line.height / 4));
      if (isCut) fault("clipped text", `${named(element)} in ${named(e)}`);
    }
  }
}

function judgeOverlaps(found) {
  const lines = found.flatMap((text) => text.boxes.map((line) => ({ ...text, line })));
  lines.sort((a, b) => a.line.top - b.line.top);
  lines.forEach((a, i) => {
    for (let j = i + 1; j < lines.length && lines[j].line.top < a.line.bottom; j += 1) {
      const b = lines[j];
      if (a.element.matches(".x") && b.element.matches(".x")) continue;
      const { x, y } = overlap(a.line, b.line);
      // A line's box is taller than its letters, and a chart's text stands alone.
      const most = a.svg && b.svg ? 1 : Math.min(a.line.height, b.line.height) / 4;
      if (x > 1 && y > most) fault("texts overlap", `${named(a.element)} and ${named(b.element)}`);
    }
  });
}

function judgeText({ element, svg, boxes }) {
  const style = getComputedStyle(element);
  const scale = svg ? Math.abs(element.getScreenCTM().d) : 1;
  const size = parseFloat(style.fontSize) * scale;
  if (size < SMALLEST_FONT) fault("small text", `${size.toFixed(1)} px: ${named(element)}`);
  const ink = svg ? faded(style.fill, opacity(element) * style.fillOpacity) : faded(style.color, opacity(element));
  const points = boxes.flatMap(({ left, right, top, bottom }) =>
    [left + 1, (left + right) / 2, right - 1].map((x) => [x, (top + bottom) / 2]),
  );
  // What is beyond an edge of the page is reported as such.
  const seen = points.filter(([x]) => x >= 0 && x < innerWidth).map(([x, y]) => {
    const found = layers(element, x, y);
    if (!found || found.above.some((e) => paintsAt(e, x, y).length)) return "covered";
    if (!found.below.every((e) => isPlainAt(e, x, y))) return "image";
    const background = shown(found.below, x, y);
    return contrast(over(ink, background), background);
  });
  if (seen.includes("covered")) fault("covered text", named(element));
  if (seen.includes("image")) fault("text on a pattern", named(element));
  const worst = Math.min(...seen.filter(Number.isFinite));
  if (worst < CONTRAST_OF_TEXT) fault("low contrast", `${worst.toFixed(2)} of ${named(element)}`);
}

// The bars of a chart, those of the slot lane with them.
function bars(svg) {
  return all(["b", ...OUTCOMES].map((name) => `:is(path, rect).${name}`).join(), svg);
}

function judgeTextsOfChart(svg, found) {
  for (const { element, boxes } of found.filter((text) => text.svg === svg)) {
    const [own] = boxes;
    // The browser rounds the box of letters that begin at an edge up to whole pixels.
    if (!within(own, box(svg), 1)) fault("text outside the chart", named(element));
    const touched = bars(svg).filter((bar) => {
      const { x, y } = overlap(own, box(bar));
      return x > 0.5 && y > 0.5;
    });
    if (element.classList.contains("k")) {
      // The letters are lower than their box.
      if (touched.length !== 1 || !within(own, box(touched[0]), 0.5, 2)) fault("label outside its bar", named(element));
    } else if (touched.some((bar) => !element.classList.contains("x") || !bar.classList.contains("f"))) {
      fault("text on a bar", `${named(element)} on ${named(touched[0])}`);
    }
    for (const mark of all(".x", svg)) {
      const { x, y } = overlap(own, box(mark));
      if (!element.closest(".x") && x > 0.5 && y > 1) fault("text on a mark", named(element));
    }
  }
}

// How a bar looks on its lane, where it is seen best: a line may cross a part of it, and bars may overlap.
function look(bar) {
  const { left, right, top, bottom } = box(bar);
  const y = (top + bottom) / 2;
  const neighbours = new Set(bars(bar.ownerSVGElement));
  const looks = [left + 0.5, (left + right) / 2, right - 0.5].map((x) => {
    const stack = document.elementsFromPoint(x, y).filter((e) => !neighbours.has(e));
    const before = (e) => e.compareDocumentPosition(bar) & Node.DOCUMENT_POSITION_FOLLOWING;
    const below = shown(stack.filter(before), x, y);
    const above = stack.filter((e) => !before(e) && !e.closest(".x"));
    const covered = above.some((e) => paintsAt(e, x, y).length);
    const [fill, stroke] = ["fill", "stroke"].map((property) => paint(bar, property).map((c) => over(c, below)));
    const seen = covered ? 0 : Math.max(0, ...[...fill, ...stroke].map((ink) => contrast(ink, below)));
    return { fill, stroke, below, seen };
  });
  const { fill, stroke, below, seen } = looks.sort((a, b) => b.seen - a.seen)[0];
  const kind = fill.length ? (isPattern(bar) ? "pattern" : "solid") : "none";
  const dashes = stroke.length ? getComputedStyle(bar).strokeDasharray : "none";
  return { kind, dashes, fill: fill[0] ?? below, stroke: stroke[0] ?? fill[0] ?? below, seen };
}

function judgeBars(svg) {
  for (const bar of bars(svg)) {
    const own = box(bar);
    const outcomes = OUTCOMES.filter((name) => bar.classList.contains(name));
    if (outcomes.length !== 1 && !bar.classList.contains("b")) fault("two outcomes", named(bar));
    if (!bar.querySelector(":scope > title")?.textContent.trim()) fault("bar without a title", named(bar));
    if (!within(own, box(svg))) fault("bar outside the chart", named(bar));
    if (own.width < 0.99 || own.height < 4) fault("bar too thin", `${own.width} × ${own.height} px: ${named(bar)}`);
    const { seen } = look(bar);
    if (seen < CONTRAST_OF_SHAPES) fault("faint bar", `${seen.toFixed(2)} of ${named(bar)}`);
  }
}

// Bars of different outcomes, or of different origins, must differ without their hue. Failed ones have their marks.
function judgeHues(svg) {
  const looks = new Map();
  for (const bar of bars(svg).filter((bar) => !bar.classList.contains("b"))) {
    const name = [...OUTCOMES, "o"].filter((name) => bar.classList.contains(name)).join(".");
    const { seen, ...parts } = look(bar);
    const one = { ...parts, name, failed: bar.classList.contains("f") };
    looks.set(JSON.stringify(one), one);
  }
  const told = (a, b) =>
    a.kind !== b.kind ||
    a.dashes !== b.dashes ||
    a.failed !== b.failed ||
    contrast(a.fill, b.fill) >= CONTRAST_OF_GREYS ||
    contrast(a.stroke, b.stroke) >= CONTRAST_OF_GREYS;
  const distinct = [...looks.values()];
  for (const a of distinct) {
    const alike = distinct.find((b) => a.name < b.name && !told(a, b));
    if (alike) fault("only the hue differs", `${a.name} and ${alike.name}`);
  }
}

// Points of a mark that it paints, with whether it is on top there and how well it is seen.
function pointsOf(mark) {
  const parts = [mark, ...all("*", mark)];
  const own = box(mark);
  const steps = [...Array(9).keys()].map((i) => (i + 0.5) / 9);
  return steps.flatMap((down) =>
    steps.flatMap((right) => {
      const [x, y] = [own.left + own.width * right, own.top + own.height * down];
      const inks = parts.flatMap((e) => (e instanceof SVGTextElement ? paint(e, "fill") : paintsAt(e, x, y)));
      if (!inks.length) return [];
      const stack = document.elementsFromPoint(x, y);
      const below = shown(stack.filter((e) => !e.closest(".x")), x, y);
      const top = stack.length > 0 && stack[0].closest(".x") !== null;
      return [{ top, contrast: contrast(over(inks.at(-1), below), below) }];
    }),
  );
}

// Whether a mark is at a bar: over it, and not below its middle.
function marks(mark, bar) {
  const [m, b] = [box(mark), box(bar)];
  const isBeside = m.left > b.right + 6 || m.right < b.left - 6;
  return !isBeside && m.bottom >= b.top - 8 && m.top + m.bottom <= b.top + b.bottom;
}

function judgeMarks(svg) {
  const failed = bars(svg).filter((bar) => bar.classList.contains("f"));
  const found = all(".x", svg);
  for (const bar of failed) {
    if (!found.some((mark) => marks(mark, bar))) fault("failure without a mark", named(bar));
  }
  for (const mark of found) {
    if (!failed.some((bar) => marks(mark, bar))) fault("mark without a failure", named(mark));
    const own = box(mark);
    if (Math.min(own.width, own.height) < SMALLEST_MARK) fault("small mark", `${own.width} × ${own.height} px`);
    if (!within(own, box(svg))) fault("mark outside the chart", named(mark));
    const points = pointsOf(mark);
    if (points.filter((point) => point.top).length * 2 <= points.length) fault("hidden mark", named(mark));
    else if (Math.max(...points.map((point) => point.contrast)) < CONTRAST_OF_SHAPES) fault("faint mark", named(mark));
  }
}

function judgeCounts(root, expected) {
  const shown = bars(root).filter((bar) => !bar.classList.contains("b"));
  // Tables that have no room are counted in a sentence.
  const noRoom = all("p.e", root).map((e) => /^(\d+) more tables have no room here/.exec(e.textContent)).find(Boolean);
  const rows = all("table.t tbody tr", root).length + (noRoom ? Number(noRoom[1]) : 0);
  const counts = { rows, problems: all("ul.p > li", root).length };
  for (const name of ["o", ...OUTCOMES]) counts[name] = shown.filter((bar) => bar.matches(`svg.c .${name}`)).length;
  const wanted = { rows: expected.rows, problems: expected.problems, ...expected.bars };
  for (const [name, count] of Object.entries(counts)) {
    if (count !== (wanted[name] ?? 0)) fault(`count of ${name}`, `${count}, expected ${wanted[name] ?? 0}`);
  }
}

// The parts of the page, and their order.
function judgeParts(root, expected) {
  const empty = !expected.rows || !OUTCOMES.some((name) => expected.bars[name]);
  const sentences = all("p.e", root).filter((p) => p.textContent.trim() && box(p).height > 0);
  if (empty && !sentences.length) fault("no sentence", "nothing to show, and no p.e that says what to do");
  if (!empty && !root.querySelector(".l")?.textContent.trim()) fault("no legend", "no text in .l");
  if (!root.querySelector(".foot")?.textContent.trim()) fault("no footer", "no text in .foot");
  const problems = root.querySelector("ul.p");
  const below = root.querySelector("table.t, svg.c, p.e");
  if (problems && !problems.querySelector("li")) fault("empty list of problems", named(problems));
  if (problems && below && box(problems).bottom > box(below).top) fault("problems not on top", named(below));
}

function judgeAction(action) {
  const button = action.previousElementSibling;
  if (!button?.matches("a.btn") || !button.textContent.trim()) fault("action without a button", named(action));
  if (action.getClientRects().length) fault("visible action", named(action));
  if (action.getAttribute("action") !== "call") fault("action is not a call", action.getAttribute("action"));
  if (!action.getAttribute("endpoint")?.startsWith("arn:")) fault("endpoint", action.getAttribute("endpoint"));
  if (!action.getAttribute("confirmation")?.trim()) fault("no confirmation", named(action));
  if (!["popup", "widget"].includes(action.getAttribute("display"))) fault("display", action.getAttribute("display"));
  try {
    const payload = JSON.parse(action.textContent);
    if (payload?.urgent !== true) fault("payload is not urgent", action.textContent);
    if (!/^dashboard\/./.test(payload?.requestId)) fault("payload without its request id", action.textContent);
  } catch (error) {
    fault("payload is not JSON", error.message);
  }
}

function judgeActions(root) {
  all("cwdb-action", root).forEach(judgeAction);
  for (const row of all("table.t tbody tr", root)) {
    if (all("a.btn + cwdb-action", row).length !== 1) fault("row without a button", named(row));
  }
}

function judge({ theme, width, expected }) {
  judgeScripts();
  const root = judgeRoot(theme);
  if (!root) return faults;
  judgeCounts(root, expected);
  judgeParts(root, expected);
  judgeActions(root);
  // `elementsFromPoint` must see everything that is painted, and nothing else.
  const style = document.createElement("style");
  style.textContent = "* { pointer-events: auto !important }";
  document.head.append(style);
  judgeOverflow(root, width);
  judgeClipping(root);
  const found = texts(root);
  judgeOverlaps(found);
  found.forEach(judgeText);
  for (const svg of all("svg.c", root)) {
    judgeTextsOfChart(svg, found);
    judgeBars(svg);
    judgeHues(svg);
    judgeMarks(svg);
  }
  return faults;
}
