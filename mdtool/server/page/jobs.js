// Hiding and judging: pictures at once, videos as jobs of the server.

import { call, events, wait } from "./api.js";
import { chosenFile, clearDrawing, dataUrl, drawBox } from "./picture.js";
import { text } from "./words.js";

const STYLES = ["blur", "pixelate", "solid", "obfuscate"];

const byId = (id) => document.getElementById(id);

/** Hide objects in the picture in every style; the person chooses one to compare and download. */
export async function hidePicture({ prompt }, signal, tell) {
  const json = { image_url: await dataUrl(), prompts: [prompt], styles: STYLES };
  const { objects, images, model } = await (await call("v1/redact", { json, signal }, tell)).json();
  clearDrawing();
  for (const object of objects) drawBox(object, object.label, object.score ?? null);
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
  const item = document.createElement("div");
  const button = document.createElement("button");
  const image = new Image();
  image.src = url;
  image.alt = "";
  button.type = "button";
  button.append(image, text(style));
  button.addEventListener("click", () => {
    for (const other of byId("styles").querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
    byId("after").src = url;
    byId("compare").hidden = false;
  });
  item.append(button, downloadLink(url, `redacted-${style}.jpg`));
  return item;
}

function downloadLink(url, name = "") {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.textContent = text("download");
  return link;
}

/** Judge the picture by a policy. */
export async function judgePicture({ policy, words }, signal, tell) {
  const json = { image_url: await dataUrl(), ...(policy ? { policy } : { prompts: [words] }) };
  const { verdict } = await (await call("v1/moderate", { json, signal }, tell)).json();
  showVerdict(verdict);
  return { by: verdict.model };
}

function showVerdict(verdict) {
  const hits = verdict.rules.filter((rule) => rule.hit);
  const times = (rule) => rule.spans.filter(([from, to]) => to > from).map(([from, to]) => `${from.toFixed(1)}–${to.toFixed(1)} s`);
  const labels = hits.map((rule) => [rule.rule, ...times(rule)].join(" "));
  byId("verdict").textContent = labels.length ? text("flagged", { labels: labels.join(", ") }) : text("allowed");
}

/** Redact the video as a job; afterwards its tracks can be unticked, and the video is redacted again without a model. */
export async function hideVideo({ prompt, style }, signal, tell) {
  const job = await start(`v1/redact?${new URLSearchParams({ prompt, style, name: chosenFile().name })}`, signal, tell);
  await finishHiding(job, signal, tell);
}

async function finishHiding(job, signal, tell) {
  const view = byId("hide-job");
  const end = await follow(job, view, signal, tell);
  const result = `v1/jobs/${end.id}/result`;
  const player = document.createElement("video");
  player.src = result;
  player.controls = player.muted = true;
  player.className = "frame";
  player.setAttribute("aria-label", text("after"));
  view.replaceChildren(player, downloadLink(result));
  if (end.warning) view.prepend(text("warning", end), " ");
  if (end.tracks.length) view.append(trackList(end, signal, tell));
}

function trackList(job, signal, tell) {
  const group = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = text("tracks");
  group.append(legend);
  for (const track of job.tracks) {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.value = JSON.stringify({ track: track.track, stream: track.stream });
    const [from, to] = [track.first_seconds.toFixed(1), track.last_seconds.toFixed(1)];
    label.append(box, " ", text("track", { label: track.label, track: track.track, from, to }));
    const row = document.createElement("div");
    row.append(label);
    group.append(row);
  }
  const again = document.createElement("button");
  again.type = "button";
  again.textContent = text("again");
  again.addEventListener("click", async () => {
    again.disabled = true;
    const left = [...group.querySelectorAll("input:not(:checked)")].map((one) => JSON.parse(one.value));
    try {
      const json = { without_tracks: left };
      await finishHiding(await (await call(`v1/jobs/${job.id}/again`, { json }, tell)).json(), undefined, tell);
    } catch (error) {
      again.disabled = false;
      tell(error.message);
    }
  });
  group.append(again);
  return group;
}

/** Judge the video as a job. */
export async function judgeVideo({ policy, words }, signal, tell) {
  const rules = policy ? { policy } : { prompt: words };
  const job = await start(`v1/moderate?${new URLSearchParams({ ...rules, name: chosenFile().name })}`, signal, tell);
  const end = await follow(job, byId("judge-job"), signal, tell);
  byId("judge-job").replaceChildren();
  showVerdict(end.verdict);
  return { by: end.verdict.model };
}

async function start(path, signal, tell) {
  const file = chosenFile();
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  return (await call(path, { body: file, headers, signal }, tell)).json();
}

/** Show the progress of a job until it ends; a lost connection is taken up again. */
async function follow({ id }, view, signal, tell) {
  const bar = document.createElement("progress");
  const line = document.createElement("p");
  const frame = new Image();
  frame.className = "frame";
  frame.alt = "";
  frame.hidden = true;
  bar.max = 1;
  bar.setAttribute("aria-label", text("work"));
  view.replaceChildren(bar, line, frame);
  signal?.addEventListener("abort", () => call(`v1/jobs/${id}`, { method: "DELETE" }).catch(() => {}));
  for (;;) {
    try {
      for await (const { event, data } of events(await call(`v1/jobs/${id}/events`, { signal }, tell))) {
        tell("");
        if (event === "frame") {
          frame.src = data.url;
          frame.hidden = false;
        } else if (event === "end") {
          return ended(data);
        } else {
          progress(data, bar, line);
        }
      }
    } catch (error) {
      if (signal?.aborted || !(error instanceof TypeError)) throw error;
    }
    tell(text("unreachable"));
    await wait(1, signal);
  }
}

function progress(job, bar, line) {
  if (job.status === "queued") {
    line.textContent = text("queued", { position: job.position });
  } else if (job.fraction === null) {
    bar.removeAttribute("value");
    line.textContent = text("running-frames", { frames: job.frames });
  } else {
    bar.value = job.fraction;
    line.textContent = text("running", { percent: Math.floor(100 * job.fraction) });
  }
}

function ended(job) {
  if (job.status !== "done") throw new Error(text("failed", { error: job.error ?? job.status }));
  return job;
}
