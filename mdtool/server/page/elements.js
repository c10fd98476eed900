// Elements of the page.

import { text } from "./words.js";

/** Return the element with an id. */
export const byId = (id) => document.getElementById(id);

/** Return a new element with these properties and children. */
export function create(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Return a new element with a text of the page, which changes with the language. */
export function worded(tag, name, properties = {}) {
  const element = create(tag, properties, text(name));
  element.dataset.text = name;
  return element;
}

/** Return a new button that does something. */
export function button(name, action) {
  const element = worded("button", name, { type: "button" });
  element.addEventListener("click", action);
  return element;
}

/** Return a new bar that shows how much of something is done. */
export function progressBar(name) {
  const bar = create("progress", { max: 1 });
  bar.setAttribute("aria-label", text(name));
  return bar;
}

/** Set a bar to a fraction; null: it is not known. */
export function setFraction(bar, fraction) {
  if (fraction === null) bar.removeAttribute("value");
  else bar.value = fraction;
}

/** Tell the person what is wrong, or what is waited for; "" takes it back. */
export function tell(message) {
  byId("notice").hidden = !message;
  byId("notice").textContent = message;
}
