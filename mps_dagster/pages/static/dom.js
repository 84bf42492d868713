// What both pages use: elements, addresses of objects, and figures in words. All text goes in as text, never as HTML.

const { root, bucket: ownBucket } = document.documentElement.dataset;

/** Whether a server of `mps up` sent the page; else it is a plain file in a bucket. */
export const served = !root;

/** An element; `properties` are its attributes, `on…` its listeners. */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(element.style, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false && child !== ""));
  return element;
}

/** The address of an object; null if this page cannot reach its bucket. */
export function address(bucket, key) {
  const path = key.split("/").map(encodeURIComponent).join("/");
  if (served) return `/pages/media/${encodeURIComponent(bucket)}/${path}`;
  return bucket === ownBucket ? root + path : null;
}

export async function json(url) {
  const answer = await fetch(url, { cache: "no-cache" });
  if (answer.status === 401) location.assign(`/pages/login?next=${encodeURIComponent(location.pathname)}`);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (count >= 1000 && power < units.length - 1) [count, power] = [count / 1000, power + 1];
  return `${count.toFixed(power && count < 100 ? 1 : 0)} ${units[power]}`;
}

/** 3725.4 → 1:02:05; with `exact`, 1:02:05.4. */
export function clock(seconds, exact = false) {
  const whole = exact ? Math.floor(seconds) : Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const part = exact ? String((seconds - whole).toFixed(2)).slice(1).replace(/\.?0+$/, "") : "";
  const tail = `${String(rest).padStart(2, "0")}${part}`;
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/** How long something took: 0.42 s, 12 s, 3 min 5 s. */
export function took(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

export function moment(unixSeconds) {
  const at = new Date(unixSeconds * 1000);
  return h("time", { datetime: at.toISOString() }, at.toLocaleString());
}

export const WORDS = {
  done: "done", failed: "failed", processing: "processing", waiting: "waiting",
  SUCCESS: "done", FAIL: "failed", PROCESSING: "processing",
};

export function badge(state) {
  return h("span", { class: `badge ${WORDS[state] ?? ""}` }, WORDS[state] ?? state);
}

export const lastPart = (key) => key.split("/").pop();
