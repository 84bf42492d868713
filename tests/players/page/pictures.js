// What was really drawn: the time and the height of each picture.
export class Pictures {
  constructor(video) {
    this.video = video;
    this.last = null;
    this.heights = [];
    this.watch();
  }

  watch() {
    this.video.requestVideoFrameCallback((_, picture) => {
      this.last = { at: picture.mediaTime, height: picture.height };
      if (this.heights.at(-1) !== picture.height) this.heights.push(picture.height);
      this.watch();
    });
  }

  forget() {
    this.last = null;
  }
}
