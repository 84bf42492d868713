// Plays one stream and reports to the server what happened. Every wait ends by itself, so that there is always a report.
import { Pictures } from "./pictures.js";

const question = new URLSearchParams(location.search);
const order = JSON.parse(question.get("order"));
const video = document.getElementById("video");
const report = {
  errors: [], jumps: [], levels: [], audio: [], texts: [], switches: [], fills: [], seeks: [], thumbnails: [],
  duration: 0, decoded: 0, dropped: 0, heights: [], ended: false, stopped: "",
};
const pictures = new Pictures(video);
let fatal = "";
let asked = 0; // seeks of ours that have not begun
let position = 0; // where it was a moment ago

const note = (text, isFatal = false) => {
  report.errors.push(text);
  if (isFatal) fatal ||= text;
};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what, holds, seconds = order.patience) {
  const end = performance.now() + 1000 * seconds;
  while (!holds()) {
    if (fatal) throw new Error(fatal);
    if (performance.now() > end) {
      const where = `at ${video.currentTime.toFixed(2)} s, ready ${video.readyState}, with ${JSON.stringify(ranges())}`;
      throw new Error(`waited ${seconds} s for ${what}, ${where}`);
    }
    await pause(15);
  }
}

// A step that fails is an error of the report; the next steps still tell something.
async function step(name, work) {
  if (fatal) return;
  try {
    await work();
  } catch (error) {
    report.errors.push(`${name}: ${error.message ?? error}`);
  }
}

const ranges = () => Array.from({ length: video.buffered.length }, (_, at) => [video.buffered.start(at), video.buffered.end(at)]);

// A switch at once while a segment is appended can leave hls.js without a next one to load; that is not the stream's fault.
async function settled() {
  let [before, since] = ["", performance.now()];
  await until("the buffer to settle", () => {
    const now = JSON.stringify(ranges());
    if (now !== before) [before, since] = [now, performance.now()];
    return performance.now() - since > 150;
  });
}

async function seek(seconds) {
  asked += 1;
  pictures.forget();
  const done = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
  let arrived = false;
  done.then(() => (arrived = true));
  video.currentTime = seconds;
  await until(`the seek to ${seconds.toFixed(2)} s`, () => arrived);
}

// A seek that is not ours and leads elsewhere; players also seek to where they are, to empty the decoder.
function watchJumps() {
  setInterval(() => video.seeking || (position = video.currentTime), 5);
  video.addEventListener("seeking", () => {
    if (asked > 0) asked -= 1;
    else if (Math.abs(video.currentTime - position) > 0.15) report.jumps.push([position, video.currentTime]);
    position = video.currentTime;
  });
}

async function pictured(seconds) {
  if (!video.videoHeight) return null;
  await until(`a picture at ${seconds.toFixed(2)} s`, () => pictures.last && pictures.last.at >= seconds - 0.5);
  return pictures.last.at;
}

// At rest: with an emptied buffer a slow machine stalls. The switches on the way are those of playThrough.
async function switchLevels(player) {
  const highest = report.levels.length - 1;
  if (highest < 1) return;
  for (const level of [0, highest, 0]) {
    const wanted = report.levels[level].height;
    const result = { level, wanted, rendered: 0 };
    report.switches.push(result);
    await step(`switch to level ${level}`, async () => {
      await change(() => player.choose(level, true), 0.1 * report.duration);
      if (wanted) await until(`pictures of height ${wanted}`, () => pictures.last?.height === wanted);
    });
    result.rendered = pictures.last?.height ?? 0;
  }
}

async function change(choose, seconds) {
  await settled();
  await choose();
  // The player must first have emptied what it had of the other one.
  await pause(200);
  await seek(seconds);
}

// Every segment of every level and sound is loaded and appended, without playing them all.
async function fillAll(player) {
  for (const level of report.levels.keys()) await fill(`level ${level}`, () => player.choose(level, true));
  for (const sound of report.audio.keys())
    if (report.audio.length > 1) await fill(`sound ${sound}`, () => player.listen(sound));
}

async function fill(what, choose) {
  const full = () => report.duration - (ranges().find(([start]) => start < 0.1)?.[1] ?? 0) < 0.1;
  await step(`loading all of ${what}`, async () => {
    await change(choose, 0);
    await until("all to be buffered", full);
  });
  report.fills.push({ what, ranges: ranges() });
}

async function seekAround() {
  for (const share of [0.77, 0.23, 0.53]) {
    const wanted = share * report.duration;
    const result = { wanted, arrived: null, pictured: null };
    report.seeks.push(result);
    await step(`seek to ${wanted.toFixed(2)} s`, async () => {
      await seek(wanted);
      result.arrived = video.currentTime;
      result.pictured = await pictured(wanted);
    });
  }
}

const cuesOf = (track) => Array.from(track.cues ?? [], (cue) => [cue.startTime, cue.endTime, cue.text]);
const showing = () => Array.from(video.textTracks).filter((track) => track.mode === "showing");

// The cues of the text track that is shown while the stream plays; a player may drop those that it does not need.
function watchCues(text) {
  const seen = new Set();
  const look = () => {
    for (const track of showing()) {
      for (const cue of cuesOf(track)) if (!seen.has(String(cue))) seen.add(String(cue)) && text.cues.push(cue);
      for (const cue of track.activeCues ?? []) if (!text.shown.includes(cue.text)) text.shown.push(cue.text);
    }
  };
  const timer = setInterval(look, 20);
  return () => clearInterval(timer);
}

// The level changes on the way, up and down as soon as the last change is seen, and without a flush: what is appended must fit
// to what is there.
async function playThrough(player, text) {
  video.pause();
  const highest = report.levels.length - 1;
  if (report.texts[text]) await player.show(text);
  player.ahead(3);
  // First to the start, or what is emptied would be filled around where it stands.
  await seek(0);
  await change(() => highest >= 0 && player.choose(0, true), 0);
  const before = video.getVideoPlaybackQuality();
  pictures.heights = [];
  const stop = report.texts[text] ? watchCues(report.texts[text]) : () => {};
  video.playbackRate = order.rate;
  await video.play();
  let next = highest;
  if (highest > 0) player.choose(next, false);
  await until("the end", () => {
    // A player that was short of data may go on at the usual rate.
    if (video.playbackRate === 1) video.playbackRate = order.rate;
    if (highest > 0 && pictures.last?.height === report.levels[next].height) {
      next = highest - next;
      player.choose(next, false);
    }
    return video.ended;
  }, order.patience + (2 * report.duration) / order.rate);
  stop();
  video.playbackRate = 1;
  const after = video.getVideoPlaybackQuality();
  report.decoded = after.totalVideoFrames - before.totalVideoFrames;
  report.dropped = after.droppedVideoFrames - before.droppedVideoFrames;
  report.heights = pictures.heights;
  report.ended = video.ended;
}

async function lookAtThumbnails(player) {
  for (const share of [0.05, 0.5, 0.9]) {
    const wanted = share * report.duration;
    for (const found of await player.thumbnails(wanted)) {
      const blob = await (await fetch(found.url)).blob();
      const picture = await createImageBitmap(blob);
      report.thumbnails.push({ ...found, wanted, sheet: [picture.width, picture.height] });
    }
  }
}

async function run() {
  const { open } = await import(`./with_${order.player}.js`);
  const player = await open(video, order.url, note, order);
  await until("the stream's duration", () => video.duration > 0 && Number.isFinite(video.duration) && video.readyState >= 2, 15);
  report.duration = video.duration;
  report.levels = player.levels();
  report.audio = player.audio();
  report.texts = player.texts().map((text) => ({ ...text, cues: [], shown: [] }));
  watchJumps();
  await step("switching", () => switchLevels(player));
  await step("loading", () => fillAll(player));
  await video.play();
  await step("seeking", seekAround);
  await step("thumbnails", () => lookAtThumbnails(player));
  // Once for each text track, and at least once.
  for (let text = 0; text < Math.max(1, report.texts.length); text += 1)
    await step("playing to the end", () => playThrough(player, text));
}

addEventListener("error", (event) => note(`page: ${event.message}`));
addEventListener("unhandledrejection", (event) => note(`page: ${event.reason?.message ?? event.reason}`));
video.addEventListener("error", () => note(`video: ${video.error?.message || video.error?.code}`, true));
run()
  .catch((error) => (report.stopped = String(error.message ?? error)))
  .then(() => fetch("/report", { method: "POST", body: JSON.stringify({ ...report, stopped: report.stopped || fatal }) }));
