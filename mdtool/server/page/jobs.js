// Hiding and judging: pictures at once, videos as jobs of the server.

import { call, follow } from "./api.js";
import { button, byId, create, progressBar, setFraction, worded } from "./elements.js";
import { chosenFile, clearDrawing, dataUrl, drawBox, isVideo } from "./picture.js";
import { text } from "./words.js";
import { run } from "./work.js";

const STYLES = ["blur", "pixelate", "solid", "obfuscate"];

/** Hide objects. */
export async function hide(signal) {
  if (!chosenFile()) throw new Error(text("no-picture"));
  const prompt = byId("hidden-object").value.trim();
  return isVideo() ? hideInVideo({ prompt, style: byId("style").value }, signal) : hideInPicture(prompt, signal);
}

/** Judge the picture or video by a policy, or by what is not allowed in one's own words. */
export async function judge(signal) {
  if (!chosenFile()) throw new Error(text("no-picture"));
  const work = isVideo() ? judgeVideo : judgePicture;
  return work(byId("policy").value, byId("not-allowed").value.trim(), signal);
}

/** Hide objects in the picture in every style; the person chooses one to compare and download. */
async function hideInPicture(prompt, signal) {
  const json = { image_url: await dataUrl(), prompts: [prompt], styles: STYLES };
  const { objects, images, model } = await (await call("v1/redact", { json, signal })).json();
  clearDrawing();
  for (const object of objects) drawBox(object, object.label, object.score);
  byId("hide-found").textContent = objects.length ? text("found", { count: objects.length }) : text("nothing");
  byId("before").src = byId("image").src;
  byId("before").alt = text("before");
  byId("after").alt = text("after");
  const choices = STYLES.map((style) => choice(style, images[style]));
  byId("styles").replaceChildren(...choices);
  choices[0].querySelector("button").click();
  return { by: model };
}

function choice(style, url) {
  const choose = create("button", { type: "button" }, create("img", { src: url, alt: "" }), worded("span", style));
  choose.addEventListener("click", () => {
    for (const other of byId("styles").querySelectorAll("button")) other.setAttribute("aria-pressed", other === choose);
    byId("after").src = url;
    byId("compare").hidden = false;
  });
  return create("div", {}, choose, downloadLink(url, `${stem()}.${style}.redacted.${suffix(url)}`));
}

const stem = () => chosenFile().name.replace(/\.[^.]*$/, "");

const suffix = (url) => /^data:image\/(\w+)/.exec(url)[1].replace("jpeg", "jpg");

function downloadLink(href, download = "") {
  return worded("a", "download", { href, download });
}

/** Hide objects in the video as a job; afterwards its tracks can be unticked, and it is redacted again without a model. */
async function hideInVideo(parameters, signal) {
  await finishHiding(await start("v1/redact", parameters, signal), signal);
}

async function finishHiding(job, signal) {
  const view = byId("hide-job");
  const end = await followJob(job, view, signal);
  const result = `v1/jobs/${end.id}/result`;
  const player = create("video", { src: result, controls: true, muted: true, className: "frame" });
  player.setAttribute("aria-label", text("after"));
  view.replaceChildren(player, downloadLink(result));
  if (end.warning) view.prepend(text("warning", end), " ");
  if (end.tracks.length) view.append(trackList(end));
}

function trackList(job) {
  const boxes = job.tracks.map(({ track, stream }) =>
    create("input", { type: "checkbox", checked: true, value: JSON.stringify({ track, stream }) }),
  );
  const rows = job.tracks.map(({ label, track, first_seconds, last_seconds }, index) => {
    const seconds = { from: first_seconds.toFixed(1), to: last_seconds.toFixed(1) };
    return create("div", {}, create("label", {}, boxes[index], " ", text("track", { label, track, ...seconds })));
  });
  const again = button("again", () => {
    const without = boxes.filter((box) => !box.checked).map((box) => JSON.parse(box.value));
    run(byId("hide"), (signal) => hideAgain(job, without, signal));
  });
  return create("fieldset", {}, worded("legend", "tracks"), ...rows, again);
}

/** Redact the video again without some tracks; what was made before comes back if that is stopped or fails. */
async function hideAgain({ id }, without, signal) {
  const [file, before] = [chosenFile(), [...byId("hide-job").childNodes]];
  try {
    await finishHiding(await (await call(`v1/jobs/${id}/again`, { json: { without_tracks: without }, signal })).json(), signal);
  } catch (error) {
    if (chosenFile() === file) byId("hide-job").replaceChildren(...before);
    throw error;
  }
  return { by: "" };
}

async function judgePicture(policy, words, signal) {
  const json = { image_url: await dataUrl(), ...(policy ? { policy } : { prompts: [words] }) };
  const { verdict } = await (await call("v1/moderate", { json, signal })).json();
  return showVerdict(verdict);
}

async function judgeVideo(policy, words, signal) {
  const job = await start("v1/moderate", policy ? { policy } : { prompt: words }, signal);
  const { verdict } = await followJob(job, byId("judge-job"), signal);
  byId("judge-job").replaceChildren();
  return showVerdict(verdict);
}

function showVerdict(verdict) {
  const hits = verdict.rules.filter((rule) => rule.hit);
  const times = (rule) => rule.spans.filter(([from, to]) => to > from).map(([from, to]) => `${from.toFixed(1)}–${to.toFixed(1)} s`);
  const labels = hits.map((rule) => [rule.rule, ...times(rule)].join(" "));
  byId("verdict").textContent = labels.length ? text("flagged", { labels: labels.join(", ") }) : text("allowed");
  return { by: verdict.model };
}

async function start(path, parameters, signal) {
  const file = chosenFile();
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  const query = new URLSearchParams({ ...parameters, name: file.name });
  return (await call(`${path}?${query}`, { body: file, headers, signal })).json();
}

/** Show the progress of a job until it ends, and return what it has made. */
async function followJob({ id }, view, signal) {
  const bar = progressBar("work");
  const line = create("p");
  const frame = create("img", { className: "frame", alt: "", hidden: true });
  view.replaceChildren(bar, line, frame);
  signal?.addEventListener("abort", () => call(`v1/jobs/${id}`, { method: "DELETE" }).catch(() => {}));
  const open = () => call(`v1/jobs/${id}/events`, { signal });
  const take = ({ event, data }) => {
    if (event === "end") return data;
    if (event === "frame") Object.assign(frame, { src: data.url, hidden: false });
    if (event === "progress") showProgress(data, bar, line);
  };
  try {
    const job = await follow(open, take, signal);
    if (job.status !== "done") throw new Error(text("failed", { error: job.error ?? job.status }));
    return job;
  } catch (error) {
    if (bar.isConnected) view.replaceChildren();
    throw error;
  }
}

function showProgress(job, bar, line) {
  setFraction(bar, job.status === "queued" ? null : job.fraction);
  if (job.status === "queued") line.textContent = text("queued", { position: job.position });
  else if (job.fraction === null) line.textContent = text("running-frames", { frames: job.frames });
  else line.textContent = text("running", { percent: Math.floor(100 * job.fraction) });
}
