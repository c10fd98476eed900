// Calls of the server, all relative to the page's address, so that it works under any prefix.

import { byId, tell } from "./elements.js";
import { bytes, text } from "./words.js";

const BUSY_STATUS = new Set([429, 503]);
const ATTEMPTS = 20;
const LONGEST_WAIT = 30; // seconds until a lost connection is taken up again
const LASTING = 10; // seconds after which a connection was a good one

/** A stream ended before its last event. */
class ConnectionLost extends Error {}

/**
 * Send a request, again and again where the server is busy or out of reach.
 * @param {string} path relative
 * @param {{method?: string, json?: object, body?: Blob, headers?: object, signal?: AbortSignal}} options
 */
export async function call(path, { json, body, headers = {}, method, signal } = {}) {
  const key = byId("key").value;
  const request = {
    method: method ?? (json || body ? "POST" : "GET"),
    headers: { ...headers, ...(json && { "Content-Type": "application/json" }), ...(key && { Authorization: `Bearer ${key}` }) },
    body: json ? JSON.stringify(json) : body,
    signal,
  };
  for (let attempt = 1; ; attempt++) {
    let response;
    try {
      response = await fetch(path, request);
    } catch (error) {
      if (signal?.aborted) throw error;
      if (attempt === ATTEMPTS) throw new Error(text("gone"));
      tell(text("unreachable"));
      await wait(Math.min(attempt, 5), signal);
      continue;
    }
    if (response.ok) return response;
    if (!BUSY_STATUS.has(response.status) || attempt === ATTEMPTS) {
      throw await apiError(response, body?.size ?? request.body?.length ?? 0);
    }
    const seconds = Number(response.headers.get("Retry-After")) || 2;
    tell(text("busy", { seconds }));
    await wait(seconds, signal);
  }
}

async function apiError(response, size) {
  const error = (await response.json().catch(() => ({}))).error ?? {};
  if (response.status === 401) {
    byId("key-label").hidden = false;
    return new Error(text("unauthorized"));
  }
  if (response.status === 413 && error.limit_bytes) {
    return new Error(text("too-large", { bytes: bytes(size), limit: bytes(error.limit_bytes) }));
  }
  return new Error(error.message ?? `HTTP ${response.status}`);
}

/**
 * Read a stream of events until the last one; a lost connection is taken up again, ever later if it is lost soon.
 * @param {() => Promise<Response>} open begins the stream, again where it was lost
 * @param {(event: {event: string, data: object}) => any} handle takes an event; what it returns for the last one is returned
 */
export async function follow(open, handle, signal) {
  for (let lost = 0; ; lost++) {
    const since = performance.now();
    try {
      for await (const event of events(await open())) {
        tell("");
        const last = handle(event);
        if (last) return last;
      }
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error;
    }
    tell(text("lost"));
    if (performance.now() - since > LASTING * 1000) lost = 0;
    await wait(Math.min(2 ** lost, LONGEST_WAIT), signal);
  }
}

/** Yield the server-sent events of a response; their data is JSON. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await read(reader);
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
  } finally {
    reader.cancel().catch(() => {}); // one that was lost
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    throw error.name === "AbortError" ? error : new ConnectionLost();
  }
}

/** Wait some seconds, or until the signal aborts. */
export function wait(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
