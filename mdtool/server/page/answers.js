// What a model answers about the picture: text, objects, gazes.

import { call, follow, wait } from "./api.js";
import { byId, create, tell, worded } from "./elements.js";
import { model, wayTo } from "./models.js";
import { chosenFile, clearDrawing, dataUrl, drawBox, drawGaze, drawPoint, isVideo, place } from "./picture.js";
import { text } from "./words.js";

let conversation = []; // messages of the chat API

/** Throw an error that tells what to choose, unless a picture is chosen. */
function needPicture() {
  if (!chosenFile()) throw new Error(text("no-picture"));
  if (isVideo()) throw new Error(text("no-video"));
}

/** Ask the chosen model. While the request waits in the server's queue, its place is told. */
function post(path, json, signal) {
  const id = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  tellPlace(id, signal).catch(() => {}); // the request itself tells what is wrong
  return call(path, { json: { ...json, model: model().id }, headers: { "X-Request-ID": id }, signal });
}

async function tellPlace(id, signal) {
  for (;;) {
    await wait(1, signal);
    const { status, position } = await (await call(`v1/queue/${id}`, { signal })).json();
    if (status === "queued") tell(text("queued", { position }));
    else if (status !== "preparing") return;
  }
}

/**
 * Write a streamed answer into an element. After a lost connection it is asked for again, and goes on where it was.
 * @param {(data: object) => {piece: string, last?: object}} read takes an event's data
 */
async function write(output, path, json, read, signal) {
  let whole;
  const open = () => {
    whole = "";
    return post(path, { ...json, stream: true }, signal);
  };
  const take = ({ data }) => {
    if (data.error) throw new Error(data.error.message);
    const { piece, last } = read(data);
    whole += piece;
    if (!output.textContent.startsWith(whole)) output.textContent = whole;
    return last;
  };
  const last = await follow(open, take, signal);
  output.textContent = whole;
  return last;
}

/** Read an event of the caption and query routes; the last one tells about the whole answer. */
const readPiece = (data) => ({ piece: data.chunk ?? "", last: data.completed && data });

const about = (last) => ({ tokens: last.metrics?.output_tokens, finish: last.finish_reason });

/** Describe the picture. */
export async function caption(signal) {
  needPicture();
  const json = { image_url: await dataUrl(), length: byId("length").value };
  byId("caption-text").textContent = "";
  return about(await write(byId("caption-text"), "v1/caption", json, readPiece, signal));
}

/** Ask a question, in a conversation where the model can chat. */
export async function ask(signal) {
  const question = byId("question").value.trim();
  if (isVideo()) throw new Error(text("no-video"));
  const answer = create("span");
  const turn = create("li", { className: "assistant" }, answer);
  byId("turns").append(create("li", { className: "user" }, question), turn);
  byId("question").value = "";
  const chats = model().skills.includes("chat") && !byId("reasoning").checked;
  return chats ? chat(question, answer, signal) : query(question, answer, signal);
}

async function query(question, answer, signal) {
  const corners = place();
  const json = { question, reasoning: byId("reasoning").checked };
  if (chosenFile()) json.image_url = await dataUrl();
  if (corners) json.spatial_refs = [corners];
  const last = await write(answer, "v1/query", json, readPiece, signal);
  if (last.reasoning?.text) answer.before(reasoning(last.reasoning));
  return about(last);
}

/** Return what the model reasoned; the passages that speak of places show them on the picture. */
function reasoning({ text: thoughts, grounding = [] }) {
  const details = create("details", { open: true }, worded("summary", "thoughts"));
  let at = 0;
  for (const { start_idx: start, end_idx: end, points } of grounding) {
    const passage = create("button", { type: "button", className: "grounded" }, thoughts.slice(start, end));
    passage.addEventListener("click", () => {
      clearDrawing();
      for (const [x, y] of points) drawPoint({ x, y }, passage.textContent);
    });
    details.append(thoughts.slice(at, start), passage);
    at = end;
  }
  details.append(thoughts.slice(at));
  return details;
}

async function chat(question, answer, signal) {
  const content = [{ type: "text", text: question }];
  const corners = place();
  if (corners) content[0].text += ` [${corners.join(", ")}]`;
  const withPicture = conversation.some((message) => Array.isArray(message.content) && message.content.length > 1);
  if (chosenFile() && !withPicture) content.unshift({ type: "image_url", image_url: { url: await dataUrl() } });
  const messages = [...conversation, { role: "user", content }];
  const json = { messages, stream_options: { include_usage: true } };
  let finish = null;
  const read = ({ choices: [choice], usage }) => {
    finish = choice?.finish_reason ?? finish;
    return { piece: choice?.delta.content ?? "", last: usage && { tokens: usage.completion_tokens, finish } };
  };
  const last = await write(answer, "v1/chat/completions", json, read, signal);
  conversation = [...messages, { role: "assistant", content: answer.textContent }];
  return last;
}

/** Forget the turns. */
export function newConversation() {
  conversation = [];
  byId("turns").replaceChildren();
}

/** Find objects, and draw them as boxes or points. */
export async function find(signal) {
  needPicture();
  const object = byId("object").value.trim();
  const as = document.querySelector("[name=as]:checked").value;
  const answer = await (await post(`v1/${as}`, { image_url: await dataUrl(), object }, signal)).json();
  const items = answer.objects ?? answer.points;
  clearDrawing();
  for (const item of items) (as === "detect" ? drawBox : drawPoint)(item, object, item.score);
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
      const where = "x_min" in item ? [item.x_min, item.y_min, item.x_max, item.y_max] : [item.x, item.y];
      const cells = [label, where.map(percent).join(" "), item.score?.toFixed(2) ?? ""];
      return create("tr", {}, ...cells.map((cell) => create("td", {}, cell)));
    }),
  );
}

/** Find the faces, and where each looks; or, without a model that sees that, where each head is turned. */
export async function gaze(signal) {
  needPicture();
  const answer = await (await post("v1/gaze", { image_url: await dataUrl() }, signal)).json();
  const gazes = answer.gazes;
  clearDrawing();
  gazes.forEach(drawGaze);
  const looks = gazes.filter((one) => one.gaze).length;
  const list = create("ul", {}, ...gazes.map((one) => create("li", {}, whereTo(one))));
  byId("gaze-found").replaceChildren(gazes.length ? text("faces", { count: gazes.length, looks }) : text("nothing"), list);
  if (gazes.some((one) => one.method === "head")) {
    byId("gaze-found").append(create("p", { className: "muted" }, ...wayTo("gaze", "head-only")));
  }
  return { by: answer.model };
}

function whereTo({ person, looks_at: other, in_frame: inFrame }) {
  if (other !== null) return text("looks-at", { person, other });
  if (inFrame === null) return text("looks-unknown", { person });
  return text(inFrame ? "looks-somewhere" : "looks-out", { person });
}
