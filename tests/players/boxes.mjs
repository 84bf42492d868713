// Prints what mp4box.js finds in each file: `node boxes.mjs FILE...`
import { readFileSync } from "node:fs";
import { createFile } from "mp4box";

const seconds = (ticks, scale) => Number(ticks) / scale;

function fragments(file) {
  const scales = Object.fromEntries(file.moov.traks.map((trak) => [trak.tkhd.track_id, trak.mdia.mdhd.timescale]));
  const defaults = Object.fromEntries(file.moov.mvex.trexs.map((trex) => [trex.track_id, trex.default_sample_duration]));
  return file.moofs.flatMap((moof) => moof.trafs.map((traf) => {
    const track = traf.tfhd.track_id;
    const usual = traf.tfhd.default_sample_duration || defaults[track];
    const ticks = (traf.truns ?? []).flatMap((run) => (
      run.sample_duration.length ? run.sample_duration : Array(run.sample_count).fill(usual)
    )).reduce((sum, one) => sum + one, 0);
    return { track, time: seconds(traf.tfdt.baseMediaDecodeTime, scales[track]), duration: seconds(ticks, scales[track]) };
  }));
}

function read(name) {
  const errors = [];
  const file = createFile();
  file.onError = (module, message) => errors.push(`${module}: ${message}`);
  const bytes = readFileSync(name);
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  buffer.fileStart = 0;
  file.appendBuffer(buffer, true);
  file.flush();
  const end = file.boxes.reduce((sum, box) => Math.max(sum, box.start + box.size), 0);
  if (end !== bytes.length) errors.push(`boxes end at ${end} of ${bytes.length} bytes`);
  if (!file.moov) return { errors: [...errors, "no moov"], tracks: [], fragments: [], brands: [] };
  return {
    errors,
    tracks: file.getInfo().tracks.map((track) => track.codec),
    fragments: file.moov.mvex ? fragments(file) : [],
    brands: [file.ftyp.major_brand, ...file.ftyp.compatible_brands],
  };
}

console.log(JSON.stringify(process.argv.slice(2).map(read)));
