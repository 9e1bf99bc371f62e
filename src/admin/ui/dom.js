// Builds and updates elements. Text from the API is only ever set as text: there is no markup from
// strings here, and attributes that could run or load something are refused.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "circle", "line", "polyline", "polygon", "rect", "text", "title"]);
const REFUSED = /^(on|src|style|action|formaction|xlink)/i;

// An element; children are nodes, texts, numbers, lists of them, or nothing.
export function h(tag, attributes, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (REFUSED.test(name)) throw new Error(`attribute ${name}`);
    if (name === "href" && !/^[#/]/.test(value)) throw new Error("only links within the dashboard");
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

export const $ = (selector) => document.querySelector(selector);

// Makes the children of `target` equal to `fresh`. Elements that stay keep their focus, selection,
// scroll position and what was typed into them.
export function update(target, ...fresh) {
  const box = document.createElement("div");
  append(box, fresh);
  updateChildren(target, box);
}

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null);

const alike = (one, other) =>
  one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

function updateChildren(old, fresh) {
  const keyed = new Map();
  for (const node of old.childNodes) if (keyOf(node) !== null) keyed.set(keyOf(node), node);
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = keyOf(wanted);
    let found = key === null ? place : keyed.get(key);
    if (!found || !alike(found, wanted)) found = null;
    if (!found) {
      old.insertBefore(wanted, place);
      continue;
    }
    if (found === place) place = place.nextSibling;
    else old.insertBefore(found, place);
    updateNode(found, wanted);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function updateNode(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  // What a reader opened or closed stays so.
  const kept = old.nodeName === "DETAILS" ? "open" : null;
  for (const { name, value } of [...fresh.attributes]) {
    if (name !== kept && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (name !== kept && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  if (!old.hasAttribute("data-own")) updateChildren(old, fresh);
}
