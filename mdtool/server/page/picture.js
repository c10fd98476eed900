// The chosen picture or video, what is drawn on it, and how it is sent.

import { byId, create, tell } from "./elements.js";
import { bytes, text } from "./words.js";

const SMALL_SIDE = 1024; // pixels
const SMALL_QUALITY = 0.85; // of JPEG
const SVG = "http://www.w3.org/2000/svg";

const GOLDEN_ANGLE = 137.508; // degrees
const LIGHTNESS = [70, 85, 58]; // per cent, in rotation, so that similar hues still differ

let file = null;
let listeners = [];

/** Call a function whenever another picture or video is shown. */
export function onPicture(listener) {
  listeners.push(listener);
}

/** Return the chosen file; null if there is none. */
export const chosenFile = () => file;

// Browsers know no type of some files that the server reads.
const isOfPicture = ({ type, name }) => type.startsWith("image/") || /\.(avif|heic|heif|tiff?)$/i.test(name);
const isOfVideo = ({ type, name }) => type.startsWith("video/") || /\.(avi|flv|m2ts|mkv|mts|mxf|ogv|ts|wmv|y4m)$/i.test(name);

/** Whether a video is chosen. */
export const isVideo = () => file !== null && isOfVideo(file);

/** Show a file. */
export async function show(chosen) {
  file = chosen;
  for (const listener of listeners) listener();
  clearDrawing();
  byId("place").value = "";
  stopCamera();
  const [image, video] = [byId("image"), byId("video")];
  const element = isVideo() ? video : image;
  for (const one of [image, video]) {
    if (one.src) URL.revokeObjectURL(one.src);
    one.removeAttribute("src");
    one.hidden = one !== element;
  }
  element.src = URL.createObjectURL(file);
  byId("stage").hidden = false;
  byId("drop-hint").hidden = true;
  byId("smaller-label").hidden = isVideo();
  if (!isVideo()) await image.decode().catch(() => {}); // a format that the server knows and the browser doesn't
  image.alt = file.name;
  tellSize();
}

/** Say how large the picture is, and as what it is sent. */
export function tellSize() {
  if (!file) return;
  const image = byId("image");
  const name = file.name || "";
  if (isVideo()) {
    byId("picture-info").textContent = text("video-size", { name, bytes: bytes(file.size) });
    return;
  }
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  if (!width) {
    byId("picture-info").textContent = text("unseen", { name, bytes: bytes(file.size) });
    return;
  }
  const sent = sentSize(width, height);
  const how = sent ? text("sent", { width: sent[0], height: sent[1] }) : text("sent-whole");
  byId("picture-info").textContent = `${text("size", { name, width, height, bytes: bytes(file.size) })}; ${how}`;
}

function sentSize(width, height) {
  const scale = SMALL_SIDE / Math.max(width, height);
  return byId("smaller").checked && scale < 1 ? [Math.round(width * scale), Math.round(height * scale)] : null;
}

/** Return the picture as a data URL: as it is, or smaller if the person chose that. */
export async function dataUrl() {
  const image = byId("image");
  const sent = sentSize(image.naturalWidth, image.naturalHeight);
  if (!sent) return readAsDataUrl(file);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = sent;
  canvas.getContext("2d").drawImage(image, 0, 0, ...sent);
  return canvas.toDataURL("image/jpeg", SMALL_QUALITY);
}

function readAsDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Remove boxes, points and lines; the place that was asked about stays. */
export function clearDrawing() {
  byId("labels").replaceChildren();
  for (const shape of byId("overlay").querySelectorAll(":not(.place)")) shape.remove();
}

/** Draw a box with its label; hovering shows the score. */
export function drawBox({ x_min: x, y_min: y, x_max: right, y_max: bottom }, label, score) {
  const rect = svg("rect", { x, y, width: right - x, height: bottom - y });
  const title = svg("title");
  title.textContent = titled(label, score);
  rect.append(title);
  byId("overlay").append(rect);
  const atEnd = x > 0.6; // where the label would not fit into the picture
  mark(atEnd ? right : x, Math.max(y, 0.03), label, { className: atEnd ? "end" : "" });
}

/** Draw a point; hovering shows its label and score. */
export function drawPoint({ x, y }, label, score) {
  mark(x, y, "", { className: "point", title: titled(label, score) });
}

const titled = (label, score) => (score == null ? label : `${label} ${score.toFixed(2)}`);

/** Draw a face and where it looks, as `mdtool gaze` does: a line of dashes for the direction of a head. */
export function drawGaze({ person, face, eye, gaze, method, in_frame: inFrame }) {
  const colour = `lch(${LIGHTNESS[person % LIGHTNESS.length]}% 56 ${GOLDEN_ANGLE * person - 15})`;
  const states = [method === "head" && inFrame !== null && "head", inFrame === false && "out"].filter(Boolean);
  drawBox(face, [`P${person}`, ...states.map((state) => text(state))].join(" "), face.score);
  byId("overlay").lastChild.style.stroke = byId("labels").lastChild.style.background = colour;
  byId("labels").lastChild.classList.add("person");
  if (gaze) {
    const line = { x1: eye.x, y1: eye.y, x2: gaze.x, y2: gaze.y, class: method };
    byId("overlay").append(svg("line", { ...line, class: `${method} edge` }), svg("line", line));
    byId("overlay").lastChild.style.stroke = colour;
    if (method === "model") mark(gaze.x, gaze.y, "", { className: "point gaze" }).style.borderColor = colour;
  }
  if (inFrame === false) mark(face.x_max, face.y_max, "", { className: "point out" }).style.backgroundColor = colour;
}

function mark(x, y, label, properties = {}) {
  const span = create("span", properties, label);
  span.style.left = `${x * 100}%`;
  span.style.top = `${y * 100}%`;
  byId("labels").append(span);
  return span;
}

function svg(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** Return the place that the question is about, [x0, y0, x1, y1] as fractions; null: there is none. */
export function place() {
  const numbers = byId("place").value.split(/[\s,]+/).filter(Boolean).map(Number);
  return numbers.length === 4 && numbers.every((n) => n >= 0 && n <= 1) ? numbers : null;
}

function drawPlace() {
  byId("overlay").querySelector(".place")?.remove();
  const corners = place();
  if (!corners) return;
  const [x, y, right, bottom] = corners;
  byId("overlay").append(svg("rect", { x, y, width: right - x, height: bottom - y, class: "place" }));
}

let stream = null;

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  byId("video").srcObject = null;
  byId("snap").hidden = true;
}

async function startCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch {
    tell(text("no-camera"));
    return;
  }
  const video = byId("video");
  clearDrawing();
  byId("image").hidden = true;
  video.hidden = byId("stage").hidden = byId("snap").hidden = false;
  byId("drop-hint").hidden = true;
  video.srcObject = stream;
  await video.play();
}

async function takePicture() {
  const video = byId("video");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  await show(new File([blob], "camera.jpg", { type: "image/jpeg" }));
}

/** Take pictures from the file dialog, by dropping, by pasting and from the camera; draw a place with the pointer. */
export function watchPicture() {
  const takeFirst = (files) => {
    const first = [...files].find((one) => isOfPicture(one) || isOfVideo(one));
    if (first) show(first);
    else if (files.length) tell(text("no-media", { name: files[0].name }));
    return Boolean(first);
  };
  byId("file").addEventListener("change", (event) => takeFirst(event.target.files));
  document.addEventListener("paste", (event) => {
    if (takeFirst(event.clipboardData.files)) event.preventDefault();
  });
  const drop = byId("drop");
  for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", type === "dragenter" || type === "dragover");
      if (type === "drop") takeFirst(event.dataTransfer.files);
    });
  }
  byId("smaller").addEventListener("change", tellSize);
  byId("camera").addEventListener("click", startCamera);
  byId("snap").addEventListener("click", takePicture);
  byId("place").addEventListener("input", drawPlace);
  byId("place-clear").addEventListener("click", () => {
    byId("place").value = "";
    drawPlace();
  });
  watchPointer();
}

function watchPointer() {
  const overlay = byId("overlay");
  let start = null;
  const at = (event) => {
    const area = overlay.getBoundingClientRect();
    const inside = (value) => Math.min(1, Math.max(0, value));
    return [inside((event.clientX - area.left) / area.width), inside((event.clientY - area.top) / area.height)];
  };
  overlay.addEventListener("pointerdown", (event) => {
    start = at(event);
    overlay.setPointerCapture(event.pointerId);
  });
  overlay.addEventListener("pointermove", (event) => {
    if (!start) return;
    const end = at(event);
    const corners = [0, 1].map((i) => Math.min(start[i], end[i])).concat([0, 1].map((i) => Math.max(start[i], end[i])));
    if (corners[2] - corners[0] < 0.01 || corners[3] - corners[1] < 0.01) return; // a click, not a box
    byId("place").value = corners.map((n) => n.toFixed(3)).join(", ");
    byId("place").closest("details").open = true;
    drawPlace();
  });
  overlay.addEventListener("pointerup", () => {
    start = null;
  });
}
