// The index: all sources, those that are being processed first; a search; and the field that takes an upload.
import { address, badge, bytes, clock, h, json, lastPart, moment, served, took } from "./dom.js";

/** While something is being processed, and otherwise. */
const [AGAIN_MS, IDLE_MS] = [3000, 15000];
const WRITTEN = 10;
const $ = (id) => document.getElementById(id);
let entries = [];

function card(entry) {
  const href = entry.href ?? `${entry.digest}/index.html`;
  const source = entry.poster && address(entry.poster_bucket, entry.poster);
  const size = entry.width ? `${entry.width} × ${entry.height}` : "";
  const facts = [entry.duration_s ? clock(entry.duration_s) : "", size].filter(Boolean).join(" · ");
  return h("li", { class: "card" },
    h("a", { href },
      source ? h("img", { src: source, alt: "", loading: "lazy" }) : h("span", { class: "no-picture", "aria-hidden": "true" }),
      h("strong", {}, lastPart(entry.key))),
    h("p", { class: "facts" }, badge(entry.state), " ", facts),
    h("p", { class: "facts" }, workflows(entry), " · ", moment(entry.ended_s)),
    entry.problem ? h("p", { class: "problem" }, entry.problem) : null);
}

/** With their states, if they differ: the source's own is that of the newest. */
function workflows({ state, states }) {
  const differ = Object.values(states).some((other) => other !== state);
  return Object.entries(states).map(([name, word]) => (differ ? `${name}: ${word}` : name)).join(", ");
}

function isWanted(entry) {
  const [text, workflow, state] = [$("search").value.toLowerCase(), $("by-workflow").value, $("by-state").value];
  return `${entry.bucket}/${entry.key}`.toLowerCase().includes(text)
    && (!workflow || workflow in entry.states) && (!state || Object.values(entry.states).includes(state));
}

function show() {
  const found = entries.filter(isWanted);
  $("sources").replaceChildren(...found.map(card));
  $("count").textContent = entries.length
    ? `${found.length} of ${entries.length}`
    : "No source has been processed yet.";
}

/** Options that the entries ask for, without losing what is chosen. */
function options(select, values) {
  const missing = values.filter((value) => ![...select.options].some((option) => option.value === value));
  select.append(...missing.sort().map((value) => h("option", { value }, value)));
}

async function load() {
  const index = await json("index.json");
  entries = index.entries ?? [];
  options($("by-workflow"), [...new Set(entries.flatMap((entry) => Object.keys(entry.states)))]);
  options($("by-state"), [...new Set(entries.flatMap((entry) => Object.values(entry.states)))]);
  show();
  return index;
}

/** Follow one upload: bytes first, then the task run, until it has ended. */
function send(file, workflow) {
  const bar = h("progress", { max: 1, value: 0, "aria-label": `Upload of ${file.name}` });
  const words = h("span", {}, "uploading …");
  $("uploads").append(h("p", {}, h("strong", {}, file.name), " ", bar, " ", words));
  const request = new XMLHttpRequest();
  request.open("POST", `upload/${encodeURIComponent(workflow)}/${encodeURIComponent(file.name)}`);
  request.setRequestHeader("x-mps-upload", "1");
  request.upload.onprogress = (event) => {
    bar.value = event.loaded / event.total;
    words.textContent = `${bytes(event.loaded)} of ${bytes(event.total)}`;
  };
  request.onerror = () => { words.textContent = "the server does not answer; is `mps up` running?"; };
  request.onload = () => {
    if (request.status !== 200) {
      bar.remove();
      words.textContent = request.responseText;
      words.className = "problem";
      return;
    }
    const { href } = JSON.parse(request.responseText);
    words.replaceChildren(h("a", { href }, "processing …"));
    follow(href, bar, words.firstChild);
    load();
  };
  request.send(file);
}

/** `written` counts how often the run had ended and its page was not written yet; there is none without MPS_PAGES. */
async function follow(href, bar, link, written = 0) {
  let page = await json(`${href}page.json`);
  if (page.moved) page = await json(`${page.moved}page.json`);
  else if (page.runs[0].state === "FINISH" && written < WRITTEN) return setTimeout(() => follow(href, bar, link, written + 1), 1000);
  const { state, failed, progress, left_s: left } = page.runs[0];
  if (state === "FINISH") {
    bar.remove();
    link.textContent = failed ? "failed: see why" : "done: look at it";
    return load();
  }
  bar.value = progress;
  link.textContent = state === "WAITING" ? "waiting …"
    : `processing … ${Math.round(100 * progress)} %${left == null ? "" : `, ${took(left)} left`}`;
  setTimeout(() => follow(href, bar, link), 1000);
}

function acceptUploads(workflows) {
  const drop = $("upload");
  if (!workflows?.length) return;
  $("workflow").append(...workflows.map(({ name, title }) => h("option", { value: name }, title ? `${name}: ${title}` : name)));
  drop.hidden = false;
  const take = (files) => [...files].forEach((file) => send(file, $("workflow").value));
  $("file").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
  drop.addEventListener("submit", (event) => event.preventDefault());
  for (const name of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop") take(event.dataTransfer.files);
    });
  }
}

async function again() {
  try {
    await load();
  } catch (error) {
    $("count").textContent = `No news: ${error.message}`;
  }
  later();
}

/** A viewer of a page on which nothing happens costs little. */
function later() {
  const busy = entries.some((entry) => ["waiting", "processing"].includes(entry.state));
  setTimeout(again, busy ? AGAIN_MS : IDLE_MS);
}

$("filters").addEventListener("input", show);
$("filters").addEventListener("submit", (event) => event.preventDefault());
load().then((index) => {
  if (!served) return;
  acceptUploads(index.workflows);
  later();
}).catch((error) => { $("count").textContent = error.message; });
