// One player for all outputs of a source: choose an output, its quality and subtitles; the seek bar shows a sprite's pictures.
import { address, clock, h } from "./dom.js";

/** Outputs that a browser plays: adaptive ones first, then the larger ones. */
export function playable(runs) {
  const outputs = runs.flatMap((run) => run.outputs).filter((output) => output.play && address(output.bucket, output.play));
  const rank = (output) => [isStream(output) ? 1 : 0, output.files[0].width ?? 0];
  return outputs.sort((a, b) => rank(b)[0] - rank(a)[0] || rank(b)[1] - rank(a)[1]);
}

const isStream = (output) => /\.(m3u8|mpd)$/.test(output.play);

/** Shaka Player needs whole addresses. */
const absolute = (bucket, key) => {
  const relative = address(bucket, key);
  return relative && new URL(relative, location.href).href;
};

function title(output) {
  const { width, height } = output.files[0];
  const kind = isStream(output) ? "adaptive" : output.play.split(".").pop();
  return `${output.task}/${output.label} (${[kind, width ? `${width} × ${height}` : "sound"].join(", ")})`;
}

export class Player {
  constructor(runs) {
    this.outputs = playable(runs);
    this.video = h("video", { preload: "metadata", playsinline: true });
    this.frame = h("div", { class: "screen" }, this.video);
    this.problem = h("p", { class: "problem", role: "alert", hidden: true });
    const choice = h("select", { id: "play", onchange: (event) => this.open(this.outputs[event.target.value]) },
      this.outputs.map((output, number) => h("option", { value: number }, title(output))));
    this.element = h("section", { "aria-label": "Player" }, this.frame, this.problem,
      h("p", {}, h("label", { for: "play" }, "Shown output"), " ", choice));
    const sprites = runs.flatMap((run) => run.outputs).filter((output) => output.thumbnails);
    this.thumbnails = sprites.map((output) => absolute(output.bucket, output.thumbnails)).find(Boolean);
  }

  async start() {
    shaka.polyfill.installAll();
    this.player = new shaka.Player();
    await this.player.attach(this.video);
    this.player.addEventListener("error", (event) => this.tell(event.detail));
    const overlay = new shaka.ui.Overlay(this.player, this.frame, this.video);
    overlay.configure({
      controlPanelElements: ["play_pause", "time_and_duration", "spacer", "mute", "captions", "quality", "overflow_menu", "fullscreen"],
      overflowMenuButtons: ["language", "playback_rate", "picture_in_picture"],
      enableKeyboardPlaybackControls: true,
    });
    // Controls for advertisements: there are none, and a screen reader would read a button without a name.
    for (const unused of this.frame.querySelectorAll(".shaka-ad-info")) unused.remove();
    await this.open(this.outputs[0]);
  }

  async open(output) {
    const at = this.video.currentTime;
    this.problem.hidden = true;
    this.video.poster = output.preview ? address(output.bucket, output.preview) ?? "" : "";
    try {
      await this.player.load(absolute(output.bucket, output.play), at || null);
      if (this.thumbnails) await this.player.addThumbnailsTrack(this.thumbnails, "text/vtt");
    } catch (error) {
      this.tell(error);
    }
  }

  seek(seconds) {
    this.video.currentTime = seconds;
    this.element.scrollIntoView({ behavior: "smooth", block: "start" });
    this.video.focus();
  }

  tell(error) {
    // 7000: another output was chosen before this one was loaded.
    if (error.code === 7000) return;
    this.problem.hidden = false;
    this.problem.textContent = `This browser cannot play it (Shaka Player's error ${error.code ?? error.message}): choose another output.`;
  }
}

/** A still that, pressed, brings the player to its time. */
export function timeButton(player, seconds) {
  const words = clock(seconds, true);
  return player ? h("button", { type: "button", onclick: () => player.seek(seconds), title: "Play from here" }, words) : words;
}
