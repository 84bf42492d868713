import Hls from "/npm/hls.js/dist/hls.mjs";

// Our own switches abort what is loading, and load again what is there of another level. It then expects the same range within
// 0.05 s, which two reordered pictures exceed (hls.js #7941); a segment that truly adds nothing does so again, and is a gap then.
function harmless(data) {
  // Nothing comes behind an empty buffer: the machine is slow. What cannot be loaded is an error of its own, and a hole has an end.
  if (data.details === Hls.ErrorDetails.BUFFER_STALLED_ERROR) return data.bufferInfo?.nextStart === undefined;
  if (data.details === Hls.ErrorDetails.BUFFER_APPEND_NO_PROGRESS) return data.appendsWithoutProgress === 1;
  return data.details === Hls.ErrorDetails.INTERNAL_ABORTED;
}

export async function open(video, url, note) {
  // The whole stream is buffered, so that a gap anywhere is seen.
  const hls = new Hls({ maxBufferLength: 600, maxMaxBufferLength: 600, capLevelToPlayerSize: false });
  hls.on(Hls.Events.ERROR, (_, data) => {
    if (harmless(data)) return;
    note(`${data.details}: ${data.error?.message ?? data.reason ?? ""} ${data.frag?.url ?? data.url ?? ""}`, data.fatal);
  });
  const parsed = new Promise((resolve) => hls.once(Hls.Events.MANIFEST_PARSED, resolve));
  hls.loadSource(url);
  hls.attachMedia(video);
  // A fatal error comes first where the playlist is bad; then the waits of the page end the run.
  parsed.then(() => (hls.subtitleDisplay = true));
  return {
    levels: () => hls.levels.map((level) => ({
      width: level.width, height: level.height, bandwidth: level.bitrate, codecs: level.attrs.CODECS ?? "",
    })),
    audio: () => hls.audioTracks.map((track) => ({ language: track.lang ?? "", label: track.name, codecs: track.audioCodec ?? "" })),
    texts: () => hls.subtitleTracks.map((track) => ({ language: track.lang ?? "", label: track.name, codecs: "" })),
    choose(level, atOnce) {
      if (atOnce) hls.currentLevel = level;
      else hls.loadLevel = level;
    },
    ahead: (seconds) => Object.assign(hls.config, { maxBufferLength: seconds, maxMaxBufferLength: seconds }),
    listen: (at) => (hls.audioTrack = at),
    show: (at) => (hls.subtitleTrack = at),
    thumbnails: () => [],
  };
}
