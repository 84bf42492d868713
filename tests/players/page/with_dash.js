import dashjs from "/npm/dashjs/dist/modern/esm/dash.all.min.js";

const ahead = (seconds) => ({
  bufferTimeDefault: seconds, bufferTimeAtTopQuality: seconds, bufferTimeAtTopQualityLongForm: seconds,
});

const SETTINGS = {
  streaming: {
    abr: { autoSwitchBitrate: { video: false, audio: false } },
    // The whole stream is buffered, so that a gap anywhere is seen.
    buffer: { ...ahead(600), bufferToKeep: 600, bufferPruningInterval: 600 },
    retryAttempts: { MediaSegment: 0, InitializationSegment: 0, MPD: 0 },
  },
  debug: { logLevel: 0 },
};

const base64url = (hex) => btoa(hex.match(/../g).map((byte) => String.fromCharCode(parseInt(byte, 16))).join(""))
  .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

function unlock(player, keys) {
  const clearkeys = Object.fromEntries(Object.entries(keys).map((pair) => pair.map(base64url)));
  if (Object.keys(keys).length) player.setProtectionData({ "org.w3.clearkey": { clearkeys } });
}

export async function open(video, url, note, order) {
  const player = dashjs.MediaPlayer().create();
  player.initialize(video, null, false);
  player.updateSettings(SETTINGS);
  unlock(player, order.keys);
  const inWords = ({ error }) => `code ${error?.code}: ${error?.message ?? JSON.stringify(error)}`;
  // It does not say which of its errors are the end.
  player.on(dashjs.MediaPlayer.events.ERROR, (event) => note(inWords(event)));
  player.on(dashjs.MediaPlayer.events.PLAYBACK_ERROR, (event) => note(inWords(event), true));
  player.attachSource(url);
  const kind = () => (player.getTracksFor("video").length ? "video" : "audio");
  const levels = () => player.getRepresentationsByType(kind()).sort((a, b) => a.bandwidth - b.bandwidth);
  const named = (track) => ({ language: track.lang ?? "", label: track.labels?.[0]?.text ?? "", codecs: track.codec ?? "" });
  return {
    levels: () => levels().map(({ width, height, bandwidth, codecs }) => ({ width, height, bandwidth, codecs })),
    audio: () => player.getTracksFor("audio").map(named),
    texts: () => player.getTracksFor("text").map(named),
    choose: (level, atOnce) => player.setRepresentationForTypeById(kind(), levels()[level].id, atOnce),
    ahead: (seconds) => player.updateSettings({ streaming: { buffer: ahead(seconds) } }),
    listen: (at) => player.setCurrentTrack(player.getTracksFor("audio")[at]),
    show(at) {
      player.enableText(true);
      player.setTextTrack(at);
    },
    thumbnails: (seconds) => new Promise((resolve) => {
      if (!player.getTracksFor("image").length) resolve([]);
      else player.provideThumbnail(seconds, (one) => resolve(one ? [{ ...one, start: null, duration: null }] : []));
    }),
  };
}
