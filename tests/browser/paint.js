// What is painted at a point: colours are [red, green, blue, alpha], each from 0 to 1.

const CANVAS = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const COLOURS = new Map();
const OPACITIES = new Map();

// A computed colour in any notation.
function colour(text) {
  if (!COLOURS.has(text)) {
    CANVAS.clearRect(0, 0, 1, 1);
    CANVAS.fillStyle = text;
    CANVAS.fillRect(0, 0, 1, 1);
    COLOURS.set(text, [...CANVAS.getImageData(0, 0, 1, 1).data].map((channel) => channel / 255));
  }
  return COLOURS.get(text);
}

// The colour of a translucent layer on an opaque one.
function over(top, bottom) {
  return [0, 1, 2].map((i) => top[i] * top[3] + bottom[i] * (1 - top[3])).concat(1);
}

// https://www.w3.org/TR/WCAG22/#dfn-relative-luminance
function luminance(opaque) {
  const [r, g, b] = opaque.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one, other) {
  const [dark, bright] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
}

// The opacity of an element with that of its ancestors.
function opacity(element) {
  if (!element) return 1;
  if (!OPACITIES.has(element)) {
    OPACITIES.set(element, opacity(element.parentElement) * getComputedStyle(element).opacity);
  }
  return OPACITIES.get(element);
}

function faded(text, alpha) {
  const [r, g, b, a] = colour(text);
  return [r, g, b, a * alpha];
}

// The fill or the stroke of a shape: its colours, which are several in a pattern and none if nothing is painted.
function paint(shape, property) {
  const style = getComputedStyle(shape);
  const value = style[property];
  const alpha = opacity(shape) * style[`${property}Opacity`];
  // A line has no area.
  if (property === "fill" && shape instanceof SVGLineElement) return [];
  if (value === "none" || (property === "stroke" && parseFloat(style.strokeWidth) === 0)) return [];
  const pattern = /^url\("?#([^")]+)/.exec(value);
  if (!pattern) return [faded(value, alpha)].filter(([, , , a]) => a > 0);
  const parts = [...(document.getElementById(pattern[1])?.querySelectorAll("*") ?? [])];
  return parts.flatMap((part) => [...paint(part, "fill"), ...paint(part, "stroke")]);
}

function isPattern(shape) {
  return getComputedStyle(shape).fill.startsWith("url");
}

// What one element paints at a point, from the bottom up, without its text.
function paintsAt(element, x, y) {
  if (element instanceof SVGGeometryElement) {
    const point = new DOMPoint(x, y).matrixTransform(element.getScreenCTM().inverse());
    return [
      ...(element.isPointInFill(point) ? paint(element, "fill") : []),
      ...(element.isPointInStroke(point) ? paint(element, "stroke") : []),
    ];
  }
  if (element instanceof SVGElement && !(element instanceof SVGSVGElement)) return [];
  return [faded(getComputedStyle(element).backgroundColor, opacity(element))].filter(([, , , a]) => a > 0);
}

// Whether what the element paints at a point is one colour.
function isPlainAt(element, x, y) {
  if (element instanceof SVGGeometryElement) return !isPattern(element) || !paintsAt(element, x, y).length;
  return getComputedStyle(element).backgroundImage === "none";
}

// The elements at a point that are above and below an element, the topmost first. The element itself is below its text.
function layers(element, x, y) {
  const stack = document.elementsFromPoint(x, y);
  const own = stack.findIndex((e) => element.contains(e));
  return own < 0 ? null : { above: stack.slice(0, own), below: stack.slice(own) };
}

// The colour that elements, the topmost first, show together at a point.
function shown(elements, x, y) {
  const paints = elements.toReversed().flatMap((e) => paintsAt(e, x, y));
  return paints.reduce((bottom, top) => over(top, bottom), [1, 1, 1, 1]);
}
