// The page: its tabs and forms.

import { ask, caption, find, gaze, newConversation } from "./answers.js";
import { button, byId, tell } from "./elements.js";
import { hide, judge } from "./jobs.js";
import { SKILLS, chooseSkill, readServer, showAbility } from "./models.js";
import { isVideo, onPicture, tellSize, watchPicture } from "./picture.js";
import { keepSetting, preferredLanguage, speak, text } from "./words.js";
import { run, stop } from "./work.js";

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
  for (const stopper of document.querySelectorAll("[data-stop]")) stopper.addEventListener("click", stop);
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
  stop(); // what it finds would be drawn on the wrong picture
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
