// Calls of the server, all relative to the page's address, so that it works under any prefix.

import { bytes, text } from "./words.js";

const BUSY_STATUS = new Set([429, 503]);

/** An answer that isn't a success; `message` is for the person. */
export class ApiError extends Error {
  constructor(message, status, error = {}) {
    super(message);
    this.status = status;
    this.error = error;
  }
}

/**
 * Send a request, again and again where the server is busy or out of reach.
 * @param {string} path relative
 * @param {{method?: string, json?: object, body?: Blob, headers?: object, signal?: AbortSignal}} options
 * @param {(message: string) => void} tell receives what the person has to wait for
 */
export async function call(path, { json, body, headers = {}, method, signal } = {}, tell = () => {}) {
  const key = document.getElementById("key").value;
  const request = {
    method: method ?? (json || body ? "POST" : "GET"),
    headers: { ...headers, ...(json && { "Content-Type": "application/json" }), ...(key && { Authorization: `Bearer ${key}` }) },
    body: json ? JSON.stringify(json) : body,
    signal,
  };
  for (let attempt = 0; ; attempt++) {
    let response;
    try {
      response = await fetch(path, request);
    } catch (error) {
      if (signal?.aborted || attempt >= 20) throw error;
      tell(text("unreachable"));
      await wait(Math.min(1 + attempt, 5), signal);
      continue;
    }
    if (response.ok) return response;
    if (BUSY_STATUS.has(response.status) && attempt < 20) {
      const seconds = Number(response.headers.get("Retry-After")) || 2;
      tell(text("busy", { seconds }));
      await wait(seconds, signal);
      continue;
    }
    throw await apiError(response, body?.size ?? request.body?.length ?? 0);
  }
}

async function apiError(response, size) {
  const error = (await response.json().catch(() => ({}))).error ?? {};
  if (response.status === 401) {
    document.getElementById("key-label").hidden = false;
    return new ApiError(text("unauthorized"), 401, error);
  }
  if (response.status === 413 && error.limit_bytes) {
    return new ApiError(text("too-large", { bytes: bytes(size), limit: bytes(error.limit_bytes) }), 413, error);
  }
  return new ApiError(error.message ?? `HTTP ${response.status}`, response.status, error);
}

/** Yield the events of a stream, as {event, data}; data is parsed JSON. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      let event = "message";
      const data = [];
      for (const line of block.split(/\r?\n/)) {
        if (line.startsWith("event:")) event = line.slice(6).trim();
        if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
      }
      if (data.length && data[0] !== "[DONE]") yield { event, data: JSON.parse(data.join("\n")) };
    }
  }
}

/** Wait some seconds, or until the signal aborts. */
export function wait(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
