// The page: its tabs and forms, and how long their work took.

import { ask, caption, find, gaze, newConversation } from "./answers.js";
import { button, byId, tell } from "./elements.js";
import { hide, judge } from "./jobs.js";
import { SKILLS, chooseSkill, model, readServer, showAbility } from "./models.js";
import { isVideo, onPicture, tellSize, watchPicture } from "./picture.js";
import { keepSetting, preferredLanguage, speak, text } from "./words.js";

let running = null; // AbortController of the request under way

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
    else tell(error.message);
  } finally {
    submit.disabled = false;
    if (stop) stop.hidden = true;
    if (running === mine) running = null;
  }
}

function buildTabs() {
  for (const name of SKILLS) {
    const tab = button(name, () => chooseSkill(name));
    const panel = document.querySelector(`form[data-skill=${name}]`);
    tab.id = `tab-${name}`;
    tab.dataset.skill = name;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    panel.setAttribute("aria-labelledby", tab.id);
    byId("tabs").append(tab);
  }
  byId("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const index = (SKILLS.indexOf(event.target.dataset.skill) + step + SKILLS.length) % SKILLS.length;
    chooseSkill(SKILLS[index], true);
  });
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
  byId("key-label").addEventListener("submit", (event) => {
    event.preventDefault();
    readServer().catch((error) => tell(error.message));
  });
}

function watchSettings() {
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
chooseSkill(SKILLS[0]);
watchForms();
watchSettings();
watchPicture();
onPicture(clearResults);
byId("style-label").hidden = true;
readServer().catch((error) => tell(error.message));
