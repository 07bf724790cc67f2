// Images of a seed, and a walk between two seeds.
import {$, sharpen} from "./dom.js";
import {call, latest} from "./server.js";

const NO_LIMIT = 3; // the end of the truncation's slider

export function startGeneration(facts) {
  $("generation").hidden = false;
  sharpen($("generation"), Math.max(facts.width, facts.height));
  addClasses(facts);
  const images = latest((signal) => showImages(signal, facts)), walk = latest((signal) => showWalk(signal, facts));
  for (const [form, show] of [["images-choice", images], ["walk-choice", walk]]) {
    const later = debounce(show);
    $(form).addEventListener("input", later);
    $("choice").addEventListener("input", later);
    $(form).addEventListener("submit", (event) => event.preventDefault());
  }
  $("choice").addEventListener("submit", (event) => event.preventDefault());
  for (const button of document.querySelectorAll("[data-random]")) {
    button.addEventListener("click", () => {
      const field = button.form.elements[button.dataset.random];
      field.value = crypto.getRandomValues(new Uint32Array(1))[0];
      field.dispatchEvent(new Event("input", {bubbles: true}));
    });
  }
  startPlaying();
  images();
  walk();
}

function addClasses({takes_label: takesLabel, classes}) {
  const select = $("choice").elements.label;
  $("classes").hidden = !takesLabel;
  if (classes.length) select.append(new Option("all, in turns", ""));
  const names = classes.length ? classes : ["0"];
  names.forEach((name) => select.append(new Option(name, name)));
  if (takesLabel && !classes.length) {
    const index = Object.assign(document.createElement("input"), {name: "label", type: "number", min: 0, value: 0});
    select.replaceWith(index); // the export does not name its classes
  }
}

// The query of a form together with what both share. Empty fields are left out, so that the server's defaults hold.
function query(form) {
  if (!$(form).checkValidity()) {
    const wrong = [...$(form).elements].find((field) => field.willValidate && !field.checkValidity());
    throw new Error(`${wrong.labels[0]?.firstChild.textContent.trim() ?? wrong.name}: ${wrong.validationMessage}`);
  }
  const values = new URLSearchParams([...new FormData($(form)), ...new FormData($("choice"))]);
  const limit = Number($("truncation").value);
  $("limit").textContent = limit < NO_LIMIT ? limit.toFixed(1) : "none";
  if (limit < NO_LIMIT) values.set("truncation", limit);
  if (!values.get("label")) values.delete("label");
  return values;
}

async function busy(place, links, work) {
  place.classList.add("busy");
  links.forEach((id) => $(id).removeAttribute("href"));
  try {
    await work();
  } finally {
    place.classList.remove("busy");
  }
}

const showImages = (signal, facts) => busy($("images"), ["zip", "sheet"], async () => {
  const values = query("images-choice");
  const {images} = await (await call(`api/images?${values}`, {signal})).json();
  const shown = images.map((src, index) => {
    const label = values.get("label") ?? facts.classes[index % facts.classes.length];
    const title = label === undefined ? `image ${index}` : `image ${index}, class ${label}`;
    return Object.assign(new Image(), {src, title, alt: title});
  });
  $("images").replaceChildren(...shown);
  $("zip").href = `api/images.zip?${values}`;
  $("sheet").href = `api/images.png?${values}`;
});

let frames = [];

const showWalk = (signal, facts) => busy($("frame"), ["gif", "webp"], async () => {
  const values = query("walk-choice");
  frames = (await (await call(`api/walk?${values}`, {signal})).json()).images;
  const allClasses = facts.classes.length > 1 && !values.has("label");
  $("frame").style.setProperty("width", allClasses ? "100%" : "");
  $("step").max = frames.length - 1;
  $("step").value = Math.min($("step").value, frames.length - 1);
  showFrame();
  for (const kind of ["gif", "webp"]) $(kind).href = `api/walk.${kind}?${values}`;
});

function showFrame() {
  const index = Number($("step").value);
  if (!frames.length) return;
  $("frame").src = frames[index];
  $("frame").alt = `Frame ${index + 1} of ${frames.length}`;
  $("frame").hidden = false;
  $("position").textContent = `${index + 1} / ${frames.length}`;
}

// Plays there and back, as the animations do.
function startPlaying() {
  let timer = null, forward = 1;
  $("step").addEventListener("input", showFrame);
  $("play").addEventListener("click", () => {
    const plays = timer === null;
    $("play").textContent = plays ? "Pause" : "Play";
    $("play").setAttribute("aria-pressed", plays);
    clearInterval(timer);
    timer = !plays ? null : setInterval(() => {
      const index = Number($("step").value);
      if (index >= frames.length - 1) forward = -1;
      if (index <= 0) forward = 1;
      $("step").value = index + forward;
      showFrame();
    }, 80);
  });
}

function debounce(work) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, 200);
  };
}
