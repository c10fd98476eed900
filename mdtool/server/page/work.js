// The work that the person has started: one at a time, which can be stopped.

import { byId, tell } from "./elements.js";
import { model } from "./models.js";
import { text } from "./words.js";

let running = null; // AbortController of the work under way

/**
 * Do the work of a form with its buttons set, and say how long it took or what went wrong.
 * @param {HTMLFormElement} form
 * @param {(signal: AbortSignal) => Promise<{by?: string, tokens?: number, finish?: string} | undefined>} work
 *   returns the model that did it, if it is not the chosen one; "": none did
 */
export async function run(form, work) {
  stop();
  running = new AbortController();
  const mine = running;
  const [submit, stopper] = [form.querySelector("[type=submit]"), form.querySelector("[data-stop]")];
  submit.disabled = true;
  if (stopper) stopper.hidden = false;
  tell("");
  byId("status").textContent = "";
  const since = performance.now();
  try {
    const { tokens, finish, by = model().id } = (await work(mine.signal)) ?? {};
    const seconds = text("seconds", { seconds: ((performance.now() - since) / 1000).toFixed(1) });
    const parts = by ? [by, seconds] : [seconds];
    if (tokens) parts.push(text("tokens", { count: tokens }));
    if (finish === "length") parts.push(text("cut"));
    byId("status").textContent = parts.join(" · ");
    tell("");
  } catch (error) {
    if (mine.signal.aborted) byId("status").textContent = text("stopped");
    else tell(error.message);
  } finally {
    submit.disabled = false;
    if (stopper) stopper.hidden = true;
    if (running === mine) running = null;
  }
}

/** Stop the work under way, if there is any. */
export function stop() {
  running?.abort();
}
