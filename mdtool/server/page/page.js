// The page: which model, which skill, and what comes back.

import { call, events } from "./api.js";
import { hidePicture, hideVideo, judgePicture, judgeVideo } from "./jobs.js";
import { chosenFile, clearDrawing, dataUrl, drawBox, drawLine, drawPoint, isVideo, onPicture, place, tellSize, watchPicture } from "./picture.js";
import { bytes, keepSetting, preferredLanguage, readSetting, speak, text } from "./words.js";

const SKILLS = ["query", "caption", "detect", "gaze", "redact", "moderate"];

const byId = (id) => document.getElementById(id);
let server = { models: [], policies: [] };
let skill = "query";
let conversation = []; // messages of the chat API
let running = null; // AbortController of the request under way

function tell(message) {
  byId("notice").hidden = !message;
  byId("notice").textContent = message;
}

const model = () => server.models.find((one) => one.id === byId("model").value);

/** Whether a model has a skill. For hiding and judging the server chooses among its models what finds all. */
function able(one, name) {
  if (name === "redact" || name === "moderate") return server.models.some((each) => each.here && each.skills.includes("detect"));
  if (name === "query") return one.skills.includes("query") || one.skills.includes("chat");
  return one.skills.includes(name);
}

function chooseSkill(name, focus = false) {
  skill = name;
  for (const tab of byId("tabs").children) {
    const chosen = tab.dataset.skill === name;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    if (chosen && focus) tab.focus();
  }
  for (const form of document.querySelectorAll("form[data-skill]")) form.hidden = form.dataset.skill !== name;
  showAbility();
}

function showAbility() {
  const chosen = model();
  const notice = byId("unable");
  notice.hidden = true;
  if (!chosen) return;
  for (const tab of byId("tabs").children) tab.classList.toggle("unable", !able(chosen, tab.dataset.skill));
  for (const submit of document.querySelectorAll("form button[type=submit]")) submit.disabled = !able(chosen, skill);
  byId("reasoning").closest("label").hidden = !chosen.reasoning;
  if (!chosen.here) {
    tellMissing(notice, chosen);
  } else if (!able(chosen, skill)) {
    const other = server.models.find((one) => one.here && able(one, skill));
    notice.replaceChildren(
      ...(other
        ? [text("unable-here", { model: chosen.id, other: other.id })]
        : [text("unable", { model: chosen.id }), " ", code(`mdtool models pull ${server.preferred}`)]),
    );
    notice.hidden = false;
  }
}

function tellMissing(notice, missing) {
  const pull = document.createElement("button");
  pull.type = "button";
  pull.textContent = text("pull");
  pull.addEventListener("click", async () => {
    pull.disabled = true;
    try {
      const stream = await call(`v1/models/${encodeURIComponent(missing.id)}/pull`, { method: "POST" }, tell);
      for await (const { event, data } of events(stream)) {
        if (event === "error") throw new Error(data.message);
        pull.textContent = text("pulling");
      }
      await readServer();
    } catch (error) {
      tell(error.message);
      pull.disabled = false;
    }
  });
  const values = { model: missing.id, size: bytes(missing.bytes), licence: missing.licence };
  notice.replaceChildren(text("not-here", values), " ", code(`mdtool models pull ${missing.id}`), " ", pull);
  notice.hidden = false;
  for (const submit of document.querySelectorAll("form button[type=submit]")) submit.disabled = true;
}

function code(command) {
  const element = document.createElement("code");
  element.textContent = command;
  return element;
}

async function readServer() {
  server = await (await call("v1/page", {}, tell)).json();
  const before = byId("model").value || readSetting("model");
  byId("model").replaceChildren(...server.models.map((one) => new Option(one.id, one.id)));
  if (server.models.some((one) => one.id === before)) byId("model").value = before;
  byId("policy").replaceChildren(new Option(text("own-words"), ""), ...server.policies.map((name) => new Option(name, name)));
  tell(server.models.length ? "" : text("no-models"));
  showAbility();
}

/** Run the work of a form with its buttons set, and say how long it took or what went wrong. */
async function run(form, work) {
  running?.abort();
  running = new AbortController();
  const mine = running;
  const [submit, stop] = [form.querySelector("[type=submit]"), form.querySelector("[data-stop]")];
  submit.disabled = true;
  if (stop) stop.hidden = false;
  tell("");
  byId("status").textContent = "";
  const since = performance.now();
  try {
    const { tokens, finish, by } = (await work(mine.signal)) ?? {};
    const seconds = ((performance.now() - since) / 1000).toFixed(1);
    const parts = [text("took", { model: by ?? model().id, seconds })];
    if (tokens) parts.push(text("tokens", { count: tokens }));
    if (finish === "length") parts.push(text("cut"));
    byId("status").textContent = parts.join(" · ");
    tell("");
  } catch (error) {
    if (mine.signal.aborted) byId("status").textContent = text("stopped");
    else tell(error instanceof TypeError ? text("interrupted") : error.message);
  } finally {
    submit.disabled = false;
    if (stop) stop.hidden = true;
    if (running === mine) running = null;
  }
}

function needPicture() {
  if (!chosenFile()) throw new Error(text("no-picture"));
  if (isVideo()) throw new Error(text("no-video"));
}

async function post(path, json, signal) {
  return call(path, { json: { ...json, model: model().id }, signal }, tell);
}

/** Yield the pieces of a streamed answer of the caption and query routes; the last event has the whole. */
async function* streamed(path, json, signal) {
  for await (const { data } of events(await post(path, { ...json, stream: true }, signal))) {
    if (data.error) throw new Error(data.error.message);
    yield data;
    if (data.completed) return;
  }
  throw new TypeError("the stream ended early");
}

async function caption(signal) {
  needPicture();
  const output = byId("caption-text");
  output.textContent = "";
  let last = {};
  for await (const data of streamed("v1/caption", { image_url: await dataUrl(), length: byId("length").value }, signal)) {
    output.textContent += data.chunk ?? "";
    last = data;
  }
  return { tokens: last.metrics?.output_tokens, finish: last.finish_reason };
}

function addTurn(role, content) {
  const turn = document.createElement("li");
  turn.className = role;
  turn.textContent = content;
  byId("turns").append(turn);
  return turn;
}

async function ask(signal) {
  const question = byId("question").value.trim();
  if (isVideo()) throw new Error(text("no-video"));
  addTurn("user", question);
  const turn = addTurn("assistant", "");
  byId("question").value = "";
  return model().skills.includes("chat") && !byId("reasoning").checked
    ? chat(question, turn, signal)
    : query(question, turn, signal);
}

async function query(question, turn, signal) {
  const corners = place();
  const json = { question, reasoning: byId("reasoning").checked };
  if (chosenFile()) json.image_url = await dataUrl();
  if (corners) json.spatial_refs = [corners];
  const answer = document.createElement("span");
  turn.append(answer);
  let last = {};
  for await (const data of streamed("v1/query", json, signal)) {
    answer.textContent += data.chunk ?? "";
    last = data;
  }
  if (last.reasoning?.text) turn.prepend(reasoning(last.reasoning));
  return { tokens: last.metrics?.output_tokens, finish: last.finish_reason };
}

/** Return what the model reasoned; the passages that speak of places show them on the picture. */
function reasoning({ text: thoughts, grounding = [] }) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = text("thoughts");
  details.append(summary);
  let at = 0;
  for (const { start_idx: start, end_idx: end, points } of grounding) {
    const passage = document.createElement("button");
    passage.type = "button";
    passage.className = "grounded";
    passage.textContent = thoughts.slice(start, end);
    passage.addEventListener("click", () => {
      clearDrawing();
      for (const [x, y] of points) drawPoint({ x, y }, passage.textContent);
    });
    details.append(thoughts.slice(at, start), passage);
    at = end;
  }
  details.append(thoughts.slice(at));
  details.open = true;
  return details;
}

async function chat(question, turn, signal) {
  const content = [{ type: "text", text: question }];
  const corners = place();
  if (corners) content[0].text += ` [${corners.join(", ")}]`;
  const withPicture = conversation.some((message) => Array.isArray(message.content) && message.content.length > 1);
  if (chosenFile() && !withPicture) content.unshift({ type: "image_url", image_url: { url: await dataUrl() } });
  const messages = [...conversation, { role: "user", content }];
  const response = await post("v1/chat/completions", { messages, stream: true, stream_options: { include_usage: true } }, signal);
  let [finish, tokens] = [null, 0];
  for await (const { data } of events(response)) {
    if (data.error) throw new Error(data.error.message);
    const choice = data.choices[0];
    turn.append(choice?.delta.content ?? "");
    finish = choice?.finish_reason ?? finish;
    tokens = data.usage?.completion_tokens ?? tokens;
  }
  if (!finish) throw new TypeError("the stream ended early");
  conversation = [...messages, { role: "assistant", content: turn.textContent }];
  return { tokens, finish };
}

async function find(signal) {
  needPicture();
  const object = byId("object").value.trim();
  const as = document.querySelector("[name=as]:checked").value;
  const response = await post(`v1/${as}`, { image_url: await dataUrl(), object }, signal);
  const answer = await response.json();
  const items = answer.objects ?? answer.points;
  clearDrawing();
  for (const item of items) {
    if (as === "detect") drawBox(item, object, item.score ?? null);
    else drawPoint(item, object);
  }
  byId("found").textContent = items.length ? text("found", { count: items.length }) : text("nothing");
  listObjects(items, object);
  byId("copy").hidden = !items.length;
  byId("copy").onclick = async () => {
    await navigator.clipboard.writeText(JSON.stringify(items, null, 2));
    byId("copy").textContent = text("copied");
    setTimeout(() => (byId("copy").textContent = text("copy")), 1500);
  };
  return { tokens: answer.metrics?.output_tokens };
}

function listObjects(items, label) {
  byId("objects").hidden = !items.length;
  const percent = (value) => `${Math.round(100 * value)}%`;
  byId("objects").tBodies[0].replaceChildren(
    ...items.map((item) => {
      const row = document.createElement("tr");
      const where = "x_min" in item ? [item.x_min, item.y_min, item.x_max, item.y_max] : [item.x, item.y];
      for (const cell of [label, where.map(percent).join(" "), item.score?.toFixed(2) ?? ""]) {
        row.insertCell().textContent = cell;
      }
      return row;
    }),
  );
}

async function gaze(signal) {
  needPicture();
  const image_url = await dataUrl();
  const { objects: faces } = await (await post("v1/detect", { image_url, object: "face" }, signal)).json();
  const targets = await Promise.all(
    faces.map(async (face) => {
      const eye = { x: (face.x_min + face.x_max) / 2, y: (face.y_min + face.y_max) / 2 };
      return (await (await post("v1/gaze", { image_url, eye }, signal)).json()).gaze;
    }),
  );
  clearDrawing();
  for (const [index, face] of faces.entries()) {
    drawBox(face);
    if (!targets[index]) continue;
    drawLine(face, targets[index]);
    drawPoint(targets[index], "", "gaze");
  }
  const looks = targets.filter(Boolean).length;
  byId("gaze-found").textContent = faces.length ? text("faces", { count: faces.length, looks }) : text("nothing");
}

async function hide(signal) {
  if (!chosenFile()) throw new Error(text("no-picture"));
  const prompt = byId("hidden-object").value.trim();
  const work = isVideo() ? hideVideo : hidePicture;
  return work({ prompt, style: byId("style").value }, signal, tell);
}

async function judge(signal) {
  if (!chosenFile()) throw new Error(text("no-picture"));
  const work = isVideo() ? judgeVideo : judgePicture;
  return work({ policy: byId("policy").value, words: byId("not-allowed").value.trim() }, signal, tell);
}

function buildTabs() {
  byId("tabs").replaceChildren(
    ...SKILLS.map((name) => {
      const tab = document.createElement("button");
      const panel = document.querySelector(`form[data-skill=${name}]`);
      tab.type = "button";
      tab.id = `tab-${name}`;
      tab.dataset.skill = name;
      tab.dataset.text = name;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", panel.id);
      panel.setAttribute("aria-labelledby", tab.id);
      tab.addEventListener("click", () => chooseSkill(name));
      return tab;
    }),
  );
  byId("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const index = (SKILLS.indexOf(skill) + step + SKILLS.length) % SKILLS.length;
    chooseSkill(SKILLS[index], true);
  });
}

function newConversation() {
  conversation = [];
  byId("turns").replaceChildren();
}

function watchForms() {
  const work = { ask, caption, find, gaze, hide, judge };
  for (const [id, task] of Object.entries(work)) {
    byId(id).addEventListener("submit", (event) => {
      event.preventDefault();
      run(byId(id), task);
    });
  }
  for (const stop of document.querySelectorAll("[data-stop]")) stop.addEventListener("click", () => running?.abort());
  byId("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId("ask").requestSubmit();
  });
  byId("new-chat").addEventListener("click", newConversation);
  byId("slider").addEventListener("input", (event) => {
    byId("compare").style.setProperty("--split", `${event.target.value}%`);
  });
  byId("policy").addEventListener("change", (event) => {
    byId("own-words").hidden = event.target.value !== "";
  });
  byId("model").addEventListener("change", (event) => {
    keepSetting("model", event.target.value);
    newConversation();
    showAbility();
  });
  byId("language").addEventListener("change", (event) => {
    keepSetting("language", event.target.value);
    speak(event.target.value);
    byId("policy").options[0].textContent = text("own-words");
    tellSize();
    showAbility();
  });
  byId("key-label").addEventListener("submit", (event) => {
    event.preventDefault();
    readServer().catch((error) => tell(error.message));
  });
}

function clearResults() {
  running?.abort(); // what it finds would be drawn on the wrong picture
  newConversation();
  for (const id of ["caption-text", "found", "gaze-found", "hide-found", "verdict", "styles", "hide-job", "judge-job"]) {
    byId(id).replaceChildren();
  }
  for (const id of ["objects", "copy", "compare"]) byId(id).hidden = true;
  byId("style-label").hidden = !isVideo();
}

buildTabs();
byId("language").value = preferredLanguage();
speak(byId("language").value);
chooseSkill("query");
watchForms();
watchPicture(tell);
onPicture(clearResults);
byId("style-label").hidden = true;
document.body.dataset.ready = "true";
readServer().catch((error) => tell(error.message));
