// The models: what each can do, which one is chosen, and how one comes onto the server's machine.

import { call, follow } from "./api.js";
import { button, byId, create, progressBar, setFraction, tell } from "./elements.js";
import { bytes, readSetting, text } from "./words.js";

export const SKILLS = ["query", "caption", "detect", "gaze", "redact", "moderate"];

let server = { models: [], policies: [], preferred: "" };
let skill = SKILLS[0];
const pulls = new Map(); // model -> what shows its download

/** Return the chosen model; undefined before the server has answered. */
export const model = () => server.models.find((one) => one.id === byId("model").value);

/** Ask the server which models and policies it has. */
export async function readServer() {
  server = await (await call("v1/page")).json();
  const before = byId("model").value || readSetting("model");
  byId("model").replaceChildren(...server.models.map((one) => new Option(one.id, one.id)));
  if (server.models.some((one) => one.id === before)) byId("model").value = before;
  byId("policy").replaceChildren(new Option(text("own-words"), ""), ...server.policies.map((name) => new Option(name, name)));
  tell(server.models.length ? "" : text("no-models"));
  showAbility();
  server.models.filter((one) => one.pulling && !pulls.has(one.id)).forEach(pull);
}

/** Whether a model has a skill: others help it to hide and to judge, and the face detector knows where heads turn. */
function able(one, name) {
  if (name === "gaze") return true;
  if (name === "redact" || name === "moderate") return server.models.some((each) => each.here && each.skills.includes("detect"));
  if (name === "query") return one.skills.includes("query") || one.skills.includes("chat");
  return one.skills.includes(name);
}

/** Show the form of a skill. */
export function chooseSkill(name, focus = false) {
  skill = name;
  for (const tab of byId("tabs").children) {
    const chosen = tab.dataset.skill === name;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    if (chosen && focus) tab.focus();
  }
  for (const form of document.querySelectorAll("form[data-skill]")) form.hidden = form.dataset.skill !== name;
  byId("status").textContent = "";
  showAbility();
}

/** Show what the chosen model can do, and the way to one that can do the rest. */
export function showAbility() {
  const chosen = model();
  const notice = byId("unable");
  notice.hidden = true;
  if (!chosen) return;
  for (const tab of byId("tabs").children) tab.classList.toggle("unable", !able(chosen, tab.dataset.skill));
  const ready = chosen.here && able(chosen, skill);
  for (const submit of document.querySelectorAll("form button[type=submit]")) submit.disabled = !ready;
  byId("reasoning").closest("label").hidden = !chosen.reasoning;
  if (ready) return;
  notice.replaceChildren(...(chosen.here ? wayTo(skill, "unable", { model: chosen.id }) : missing(chosen)));
  notice.hidden = false;
}

/** Return what a model can't do, and the way to one that can: one that is here, or the command that gets one. */
export function wayTo(name, why, values) {
  const able = server.models.filter((one) => one.skills.includes(name));
  const other = able.find((one) => one.here) ?? able.find((one) => one.downloaded);
  const way = other ? text("choose-other", { other: other.id }) : text("get-other");
  return [text(why, values), " ", way, ...(other ? [] : [" ", pullCommand(server.preferred)])];
}

const pullCommand = (id) => create("code", {}, `mdtool models pull ${id}`);

/** Return how to get a model that the server does not serve: its weights are on its machine, or have to be pulled. */
function missing(one) {
  const way = pulls.get(one.id) ?? button(one.downloaded ? "serve" : "pull", () => pull(one));
  if (one.downloaded) {
    return [text("not-served", { model: one.id }), " ", create("code", {}, `mdtool serve --model ${one.id}`), " ", way];
  }
  const values = { model: one.id, size: bytes(one.bytes), licence: [one.licence, one.terms].filter(Boolean).join(": ") };
  return [text("not-here", values), " ", pullCommand(one.id), " ", way];
}

async function pull(one) {
  const bar = progressBar("pulling");
  const line = create("span", {}, text("pulling"));
  pulls.set(one.id, create("span", { className: "download" }, bar, line));
  showAbility();
  try {
    await follow(
      () => call(`v1/models/${encodeURIComponent(one.id)}/pull`, { method: "POST" }),
      ({ event, data }) => {
        if (event === "error") throw new Error(data.message);
        setFraction(bar, data.fraction);
        if (data.total) line.textContent = text("pulled", { done: bytes(data.bytes), total: bytes(data.total) });
        return event === "done";
      },
    );
    await readServer();
  } catch (error) {
    tell(error.message);
  }
  pulls.delete(one.id);
  showAbility();
}
