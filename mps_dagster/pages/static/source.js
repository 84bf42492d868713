// The page of one source, made of page.json; while a run goes on, it is looked at again and again.
import { address, badge, bytes, clock, h, json, lastPart, moment, served, took } from "./dom.js";
import { Player, playable, timeButton } from "./player.js";

const AGAIN_MS = 2000;
const main = document.getElementById("main");
if (served) document.getElementById("all").href = "/pages/";

const named = (output) => (output.label ? `${output.task}/${output.label}` : output.task);
const link = (bucket, key, words = lastPart(key)) => {
  const href = address(bucket, key);
  return href ? h("a", { href }, words) : h("span", { title: `in the bucket ${bucket}` }, words);
};

function heading(page) {
  const source = page.source;
  const facts = source ? [
    source.duration_s ? clock(source.duration_s) : "", source.width ? `${source.width} × ${source.height}` : "",
    source.frame_rate ? `${source.frame_rate} frames/s` : "", source.hdr, source.codecs, bytes(source.size_bytes),
  ].filter(Boolean).join(" · ") : "";
  return h("div", { class: "heading" }, h("h1", {}, lastPart(page.key)),
    h("p", { class: "facts" }, badge(stateOf(page.runs[0])), ` ${facts}`),
    h("p", { class: "facts" }, `${page.bucket}/${page.key}`));
}

const stateOf = (run) => (run.failed ? "failed" : { FINISH: "done" }[run.state] ?? run.state.toLowerCase());

/** Errors in words, with what to do. */
function problems(run) {
  const failed = run.outputs.filter((output) => output.status === "FAIL");
  if (!failed.length && !run.message) return null;
  const entry = (name, { code, message, hint }) => h("li", {}, name ? h("strong", {}, name, ": ") : null, message,
    hint ? h("span", { class: "hint" }, ` What to do: ${hint}.`) : null, h("code", {}, ` ${code}`));
  return h("section", { class: "problems", "aria-labelledby": `problems-${run.run_id}` },
    h("h3", { id: `problems-${run.run_id}` }, "What went wrong"),
    h("ul", {}, run.message ? entry("", run) : null, failed.map((output) => entry(named(output), output))));
}

/** The same picture without and with the watermark; a slider uncovers one or the other. */
function comparison(output) {
  const [before, after] = [output.comparison.before, output.comparison.after].map((key) => key && address(output.bucket, key));
  if (!before || !after) return null;
  const covered = h("img", { src: before, alt: `${named(output)} before the watermark` });
  const slider = h("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "How much is shown without the watermark, percent",
    oninput: (event) => { covered.style.clipPath = `inset(0 ${100 - event.target.value}% 0 0)`; } });
  covered.style.clipPath = "inset(0 50% 0 0)";
  return h("figure", { class: "comparison" },
    h("div", {}, h("img", { src: after, alt: `${named(output)} with the watermark` }), covered), slider,
    h("figcaption", {}, named(output), ": left without, right with the watermark"));
}

function pictures(run, player) {
  const figure = (output, file) => h("figure", {},
    h("a", { href: address(output.bucket, file.key) },
      h("img", { src: address(output.bucket, file.key), alt: pictureName(output, file), loading: "lazy" })),
    h("figcaption", {}, file.at_s != null ? timeButton(player, file.at_s) : named(output)));
  return run.outputs.map((output) => {
    const files = output.files.filter((file) => file.type.startsWith("image/") && address(output.bucket, file.key));
    return files.length > 0 && h("details", { open: true, class: "pictures" },
      h("summary", {}, `${named(output)}: ${files.length === 1 ? "1 picture" : `${files.length} pictures`}`),
      h("div", { class: "gallery" }, files.map((file) => figure(output, file))));
  });
}

const pictureName = (output, file) => (file.at_s != null ? `${named(output)} at ${clock(file.at_s, true)}` : `${named(output)}, ${lastPart(file.key)}`);

/** What was measured, and what it is called in the table. */
const FIGURES = { vmaf: "VMAF", xpsnr: "XPSNR", loudness_lufs: "LUFS", crf: "CRF" };

const figuresOf = (output) => Object.entries(FIGURES).filter(([name]) => name in output.figures)
  .map(([name, words]) => `${words} ${output.figures[name].toFixed(1)}`).join(", ");

function table(run) {
  const measured = run.outputs.some(figuresOf);
  const row = (output) => {
    const file = output.files[0];
    return h("tr", {}, h("th", { scope: "row" }, named(output)), h("td", {}, progress(output)),
      h("td", {}, file ? link(output.bucket, output.play || file.key) : "", output.file_count > 1 ? ` and ${output.file_count - 1} more` : ""),
      h("td", {}, output.size_bytes ? bytes(output.size_bytes) : ""), h("td", {}, file?.width ? `${file.width} × ${file.height}` : ""),
      h("td", {}, file?.duration_s ? clock(file.duration_s) : ""),
      h("td", {}, file?.bitrate_bps ? `${Math.round(file.bitrate_bps / 1000)} kbit/s` : ""), h("td", {}, file?.codecs ?? ""),
      measured ? h("td", {}, figuresOf(output)) : null);
  };
  const names = ["Output", "State", "File", "Size", "Picture", "Length", "Bitrate", "Codecs", measured ? "Quality" : []].flat();
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `Outputs of ${run.workflow}` },
    h("table", {}, h("caption", {}, "Outputs"), h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, run.outputs.map(row))));
}

function progress(output) {
  if (output.status !== "PROCESSING") return [badge(output.status), output.reused ? " unchanged" : ""];
  if (output.started_s == null && !output.progress) return badge("waiting");
  const words = [`${Math.round(100 * output.progress)} %`, output.speed ? `${output.speed.toFixed(1)}×` : "",
    output.left_s != null ? `${took(output.left_s)} left` : ""].filter(Boolean).join(", ");
  return [h("progress", { max: 1, value: output.progress, "aria-label": `Progress of ${named(output)}` }), ` ${words}`];
}

/** Which subtask ran when, where, how fast. */
function timeline(run) {
  const every = run.outputs.flatMap((output) => [...output.parts, output]).filter((output) => output.started_s != null);
  if (!every.length) return null;
  const now = Date.now() / 1000;
  const begin = Math.min(run.started_s ?? Infinity, ...every.map((output) => output.started_s));
  const end = Math.max(run.ended_s ?? now, begin + 0.1);
  const percent = (seconds) => `${(100 * seconds) / (end - begin)}%`;
  const bar = (output) => {
    const [from, to] = [output.started_s, output.ended_s ?? end];
    const speed = output.speed && !output.parts.length ? ` at ${output.speed.toFixed(1)}×` : "";
    return h("li", {}, h("span", { class: "name" }, named(output)),
      h("span", { class: "lane", "aria-hidden": "true" },
        h("span", { class: `span ${output.status}`, style: { left: percent(from - begin), width: percent(Math.max(to - from, 0.002)) } })),
      h("span", { class: "figures" }, `after ${took(from - begin)}, ${took(to - from)}${speed}`, output.reused ? ", unchanged" : "",
        output.cpu_s ? `, ${took(output.cpu_s)} of CPU` : ""));
  };
  return h("details", { open: true }, h("summary", {}, `Timeline: ${took(end - begin)}${run.host ? ` on ${run.host}` : ""}`),
    h("ol", { class: "timeline" }, every.map(bar)));
}

function commands(run) {
  const made = run.outputs.flatMap((output) => [...output.parts, output]).filter((output) => output.commands.length);
  if (!made.length) return null;
  const copy = (text) => h("button", { type: "button", onclick: async (event) => {
    await navigator.clipboard.writeText(text);
    event.target.textContent = "copied";
  } }, "Copy");
  const one = (output) => [h("h4", {}, named(output), " ", copy(output.commands.join("\n"))),
    output.commands.map((command) => h("pre", { tabindex: "0" }, command))];
  return h("details", {}, h("summary", {}, `Commands: ffmpeg ${[...new Set(made.map((output) => output.ffmpeg))].join(", ")}`), made.map(one));
}

/** From the upload down: which object was made from which, by which run. */
function lineage(page, run) {
  const made = run.outputs.filter((output) => output.files.length);
  if (!made.length) return null;
  const keys = (output) => output.files.map((file) => `${output.bucket}/${file.key}`);
  const below = (parent) => made.filter((output) => output !== parent && parent && keys(parent).includes(output.made_from));
  const first = made.filter((output) => !made.some((parent) => parent !== output && keys(parent).includes(output.made_from)));
  const branch = (output) => h("li", {}, h("strong", {}, named(output)), ` ${output.bucket}/${output.files[0].key}, by run `,
    h("code", {}, output.made_by), below(output).length ? h("ul", {}, below(output).map(branch)) : null);
  return h("details", {}, h("summary", {}, "Lineage"),
    h("p", {}, `${page.bucket}/${page.key}`, page.source ? ` (ETag ${page.source.etag})` : ""), h("ul", {}, first.map(branch)),
    run.manifests.length ? h("p", {}, "Manifests: ", run.manifests.map((key) => h("code", { class: "line" }, key))) : null);
}

function findings(run) {
  const inspected = run.outputs.filter((output) => output.verdict);
  return inspected.map((output) => h("details", { open: true }, h("summary", {}, `${named(output)}: ${output.verdict}`),
    h("ul", {}, output.findings.map((item) => h("li", {}, `${clock(item.start_s)} to ${clock(item.end_s)}: ${item.message}`)))));
}

function section(page, run, player) {
  const times = h("p", { class: "facts" }, badge(stateOf(run)), " ", moment(run.created_s),
    run.attempts > 1 ? `, attempt ${run.attempts}` : "", h("br"), h("code", {}, run.task_id));
  return [times, problems(run), table(run), findings(run), run.outputs.map(comparison), pictures(run, player), timeline(run),
    commands(run), lineage(page, run)];
}

function show(page, player) {
  document.title = `${lastPart(page.key)}: ${stateOf(page.runs[0])}`;
  const runs = page.runs.map((run, number) => number === 0
    ? h("section", { "aria-label": run.workflow }, h("h2", {}, run.workflow), section(page, run, player))
    : h("details", { class: "run" }, h("summary", {}, h("h2", {}, run.workflow), " ", badge(stateOf(run))), section(page, run, player)));
  main.replaceChildren(heading(page), ...(player ? [player.element] : []), ...runs);
}

async function load(player) {
  const page = await json("page.json");
  if (page.moved) return location.replace(page.moved);
  // The player is made once: a page that is shown anew must not stop it.
  const mine = player ?? (playable(page.runs).length ? new Player(page.runs) : null);
  show(page, mine);
  if (mine && !player) await mine.start();
  if (served && page.runs.some((run) => run.state !== "FINISH")) setTimeout(() => load(mine).catch(tell), AGAIN_MS);
}

function tell(error) {
  main.replaceChildren(h("p", { role: "alert", class: "problem" }, `This page cannot be shown: ${error.message}`));
}

load().catch(tell);
