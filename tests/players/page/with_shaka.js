const load = (src) => new Promise((resolve, reject) => {
  document.head.append(Object.assign(document.createElement("script"), { src, onload: resolve, onerror: reject }));
});

const inWords = (error) => `code ${error.code}, category ${error.category}: ${error.message ?? ""} ${JSON.stringify(error.data ?? [])}`;

const CONFIGURATION = {
  abr: { enabled: false },
  // The whole stream is buffered, so that a gap anywhere is seen.
  streaming: { bufferingGoal: 600, bufferBehind: 600, retryParameters: { maxAttempts: 1 } },
};

export async function open(video, url, note, order) {
  await load("/npm/shaka-player/dist/shaka-player.compiled.js");
  shaka.polyfill.installAll();
  const player = new shaka.Player();
  player.addEventListener("error", ({ detail }) => note(inWords(detail), detail.severity === 2));
  await player.attach(video);
  player.configure({ ...CONFIGURATION, mediaSource: { forceTransmux: order.transmux }, drm: { clearKeys: order.keys } });
  await player.load(url).catch((error) => {
    throw new Error(inWords(error));
  });
  const sound = player.getVariantTracks().find((track) => track.active)?.audioId;
  const variants = player.getVariantTracks().filter((track) => track.audioId === sound).sort((a, b) => a.bandwidth - b.bandwidth);
  const named = (track) => ({ language: track.language, label: track.label ?? "", codecs: track.codecs ?? "" });
  return {
    levels: () => variants.map(({ width, height, bandwidth, codecs }) => ({ width, height, bandwidth, codecs })),
    audio: () => player.getAudioTracks().map(named),
    texts: () => player.getTextTracks().map(named),
    choose: (level, atOnce) => player.selectVariantTrack(variants[level], atOnce),
    ahead: (seconds) => player.configure("streaming.bufferingGoal", seconds),
    listen: (at) => player.selectAudioTrack(player.getAudioTracks()[at]),
    show(at) {
      // It does not load again what an emptied buffer lacks of a track that is selected already.
      player.selectTextTrack(null);
      player.selectTextTrack(player.getTextTracks()[at]);
    },
    async thumbnails(seconds) {
      const found = await Promise.all(player.getImageTracks().map((track) => player.getThumbnails(track.id, seconds)));
      return found.filter(Boolean).map((one) => ({
        url: one.uris[0], start: one.startTime, duration: one.duration,
        x: one.positionX, y: one.positionY, width: one.width, height: one.height,
      }));
    },
  };
}
