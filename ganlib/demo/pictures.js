// One's own picture: chosen, masked with a brush, and translated or repaired.
import {Brush} from "./brush.js";
import {$, sharpen} from "./dom.js";
import {call, latest} from "./server.js";

const BROKEN = "the server stopped before the picture was done";
const urls = {};
let functions, limit, chosen = null, picture = null, remarks = [], brush; // `remarks` are those of the picture

export function startPictures({functions: all, most_bytes: bytes}) {
  [functions, limit] = [all, bytes];
  $("pictures").hidden = false;
  brush = new Brush($("mask"));
  all.forEach(({name}) => $("function").append(new Option(name, name)));
  $("functions").hidden = all.length < 2;
  const show = latest(showPicture), make = latest(makeResult);
  const open = (file) => {
    if (!file) return;
    chosen = file;
    make.stop();
    show();
  };
  $("file").addEventListener("change", () => open($("file").files[0]));
  $("function").addEventListener("change", () => open(chosen));
  addEventListener("paste", (event) => open(event.clipboardData.files[0]));
  addEventListener("dragover", (event) => { event.preventDefault(); $("pictures").classList.add("over"); });
  addEventListener("dragleave", () => $("pictures").classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("pictures").classList.remove("over");
    open(event.dataTransfer.files[0]);
  });
  $("make").addEventListener("click", make);
  $("compare").addEventListener("input", compare);
}

const current = () => functions.find(({name}) => name === $("function").value);

async function showPicture(signal) {
  $("state").textContent = "reading the picture ...";
  $("before-section").hidden = $("after-section").hidden = true;
  note([]);
  try {
    if (chosen.size > limit) throw new Error(`expected a file of at most ${limit / 1e6} MB`);
    const {name, takes_masks: masked} = current();
    const response = await call(`api/show?function=${name}`, {method: "POST", body: chosen, signal});
    const {notes, files} = await read(response);
    [picture, remarks] = [files[0], notes];
    note(remarks);
    await load($("before"), picture, "before");
    await load($("old"), picture, "old");
    const {naturalWidth: width, naturalHeight: height} = $("before");
    sharpen($("pictures"), Math.max(width, height));
    $("pictures").style.setProperty("--shown", `${Math.min(Math.max(width, 320), 470)}px`);
    $("mask").hidden = $("brushes").hidden = !masked;
    if (masked) await brush.start(width, height, files[1]);
    $("make").textContent = name.startsWith("restore") ? "Repair" : "Translate";
    $("before-section").hidden = false;
  } finally {
    $("state").textContent = "";
  }
}

async function makeResult(outer) {
  const {name, takes_masks: masked} = current();
  const mask = masked ? await brush.mask() : null;
  if (masked && !mask) throw new Error("Paint what is to be repaired first.");
  const own = new AbortController();
  const stop = () => own.abort();
  outer.addEventListener("abort", stop);
  $("stop").onclick = stop;
  show(true);
  try {
    const address = `api/make?function=${name}&picture=${picture.size}`;
    const response = await call(address, {method: "POST", body: new Blob(masked ? [picture, mask] : [picture]), signal: own.signal});
    const {notes, files} = await read(response, (share) => {
      $("progress").value = share;
      $("state").textContent = `${Math.round(100 * share)} %`;
    });
    if (outer.aborted) return;
    note([...new Set([...remarks, ...notes])]);
    await load($("after"), files[0], "after");
    $("result").href = urls.after;
    $("result").download = `${chosen.name?.replace(/\.[^.]*$/, "") || "picture"}-${name}.png`;
    $("after-section").hidden = false;
    $("compare").value = 100;
    compare();
    $("after-section").scrollIntoView({block: "nearest"});
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  } finally {
    show(false);
  }
}

function show(works) {
  $("make").disabled = works;
  $("stop").hidden = $("progress").hidden = !works;
  $("progress").value = 0;
  $("state").textContent = works ? "waiting for the network ..." : "";
}

function compare() {
  $("after").style.setProperty("clip-path", `inset(0 ${100 - $("compare").value}% 0 0)`);
}

function note(notes) {
  $("notes").replaceChildren(...notes.map((text) => Object.assign(document.createElement("li"), {textContent: text})));
}

async function load(image, blob, name) {
  if (urls[name]) URL.revokeObjectURL(urls[name]);
  image.src = urls[name] = URL.createObjectURL(blob);
  await image.decode();
}

// Reads lines of JSON: shares of the work, and at last the sizes of the files that follow.
async function read(response, report = () => {}) {
  const reader = response.body.getReader();
  const parts = [];
  let rest = new Uint8Array(), answer = null;
  for (;;) {
    const {done, value} = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Error(BROKEN);
    });
    if (done) break;
    if (answer) {
      parts.push(value);
      continue;
    }
    rest = new Uint8Array(await new Blob([rest, value]).arrayBuffer());
    for (let end; !answer && (end = rest.indexOf(10)) >= 0; rest = rest.slice(end + 1)) {
      const line = JSON.parse(new TextDecoder().decode(rest.slice(0, end)));
      if (line.error) throw new Error(line.error);
      if (line.sizes) answer = line;
      else report(line.share);
    }
  }
  if (!answer) throw new Error(BROKEN);
  const content = new Blob([rest, ...parts]);
  let start = 0;
  const files = answer.sizes.map((size) => content.slice(start, (start += size), "image/png"));
  if (start !== content.size) throw new Error(BROKEN);
  return {notes: answer.notes, files};
}
