"""The plan of an adaptive set: a part for each rendition, each sound and the thumbnails, then their packaging."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import ffmpeg

from mps_dagster.errors import ContentUnsupported
from mps_dagster.ffmpeg.adaptive_set import AdaptiveSet
from mps_dagster.ffmpeg.added import Subtitles, subtitles_of
from mps_dagster.ffmpeg.codecs import STREAM
from mps_dagster.ffmpeg.encode import VideoTemplate
from mps_dagster.ffmpeg.encoding import HLS_GAP_S, Encoding, encoding_plan
from mps_dagster.ffmpeg.ladder import Rhythm, Rung, rungs
from mps_dagster.ffmpeg.picture import arguments
from mps_dagster.ffmpeg.plan import Expected, OutputFile, Part, Plan, StoredFile
from mps_dagster.ffmpeg.quality import Quality
from mps_dagster.ffmpeg.sounds import sound_parts, sounds_of
from mps_dagster.ffmpeg.thumbnails import thumbnails_part
from mps_dagster.ffmpeg.tracks import picture_part, thumbnails_of, tracks_of
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.media.timerange import Span
from mps_dagster.streaming.packaging import MASTER, MPD, PART_FILE, TS_START_S, Packaging, Track

AAC_FRAME_S = 0.03
"""A little more than one has at 44.1 kHz."""
COMPARED = Quality(against="source", subsample=5)
"""How renditions are compared with one another."""


def adaptive_plan(wanted: AdaptiveSet, media: MediaInfo) -> Plan:
    ladder = rungs(wanted.rungs, media, wanted.caps)
    if not ladder:
        raise ContentUnsupported(
            "the source has none of the streams of this template",
            hint=f"video: {'yes' if media.video else 'no'}, audio tracks: {len(media.audio)}",
        )
    video = media.video if any(rung.video for rung in ladder) else None
    sounds = sounds_of((rung.audio for rung in ladder if rung.audio), media, wanted.sounds, one=wanted.muxed)
    template = next((rung.video for rung in ladder if rung.video), None)
    rhythm = Rhythm.of(template, video)
    covers = Span.of([*((video,) if video else ()), *(sound.stream for sound in sounds if sound.stream)])
    heard = covers
    if video and template:
        covers, heard = _spans(covers, video, float(template.average_rate(video)))
    parts = [*_pictures(wanted, ladder, media, covers, rhythm)]
    # Packed sound has no time stamps below 0, and none that are shifted beside pictures in MP4.
    parts += sound_parts(sounds, media, heard, edit_list=not wanted.kind.startswith("mp4-packed"))
    thumbs = wanted.thumbnails if video else None
    if thumbs and video:
        parts.append(thumbnails_part(thumbs, media, video))
    texts = subtitles_of(media.subtitles if wanted.own_subtitles else (), wanted.subtitles)
    packaging = Packaging(
        segment_s=rhythm.segment_s, duration_s=covers.whole.duration_s, muxed=wanted.muxed,
        tracks=tuple(tracks_of(wanted, ladder, sounds, texts, video)),
        thumbnails=thumbnails_of(wanted, thumbs, video) if thumbs and video else None,
        encryption=wanted.encryption, least_gain=wanted.least_gain, manifests=wanted.manifests,
    )  # fmt: skip
    converting = tuple(text.as_webvtt(media, covers.start_s) for text in texts)
    return _plan(wanted, tuple(parts), packaging, texts, converting)


def _spans(covers: Span, video: VideoStream, rate: float) -> tuple[Span, Span]:
    """When there is a picture, and when there is sound, which ends first.

    hls.js waits for ever for a segment of sound that begins when the picture has ended. A picture may end half a picture early, as
    times are rounded to its rate, and AAC fills up its last 1024 samples.
    """
    end_s = covers.end_s if covers.end_s - video.end_s > HLS_GAP_S else video.end_s
    early_s = min(0.5 / rate + AAC_FRAME_S, (end_s - covers.start_s) / 2)
    return Span(covers.start_s, end_s), Span(covers.start_s, end_s - early_s)


def _plan(
    wanted: AdaptiveSet,
    parts: tuple[Part, ...],
    packaging: Packaging,
    texts: tuple[Subtitles, ...],
    converting: tuple[tuple[str, ...], ...],
) -> Plan:
    muxing = [_muxing(packaging, track) for track in packaging.media] if packaging.muxed else []
    return Plan(
        commands=(*converting, *muxing),
        outputs=tuple(_manifest(wanted, kind, packaging.duration_s) for kind in wanted.manifests),
        duration_s=packaging.duration_s,
        attachments=tuple(
            StoredFile(file=text.file, address=text.added.subtitle, etag=text.added.etag)
            for text in texts
            if text.added
        ),
        parts=parts,
        packaging=packaging,
        estimated_bytes=round(1.05 * sum(part.plan.estimated_bytes for part in parts)),
    )


def _manifest(wanted: AdaptiveSet, kind: str, duration_s: float) -> OutputFile:
    file, extension = (MASTER, "m3u8") if kind == "HLS" else (MPD, "mpd")
    expected = Expected(kind="manifest", duration_s=duration_s, tolerance_s=0.5 + 0.01 * duration_s)
    return OutputFile(file=file, key=wanted.master(extension), expected=expected)


def _pictures(
    wanted: AdaptiveSet, ladder: Iterable[Rung], media: MediaInfo, covers: Span, rhythm: Rhythm
) -> Iterator[Part]:
    for number, rung in enumerate(ladder):
        if rung.video:
            video = rung.video
            if video.bframes is None and _confuses_players(wanted, video, media):
                video = video.model_copy(update={"bframes": 0})
            if wanted.least_gain and (video.quality is None or video.quality_target is not None):
                video = video.model_copy(update={"quality": COMPARED})
            encoding = Encoding(
                key=PART_FILE, container=STREAM, video=video, audio=None, watermarks=wanted.watermarks, covers=covers,
                key_every_s=rhythm.key_every_s,
            )  # fmt: skip
            yield Part(name=picture_part(number), plan=encoding_plan(encoding, media))


def _confuses_players(wanted: AdaptiveSet, template: VideoTemplate, media: MediaInfo) -> bool:
    """Whether players would not find segments whose pictures are decoded in another order than shown.

    hls.js lays pictures of TS without sound by when they are decoded, and then misses their segments (issue 7941). At a variable
    rate, the lengths that playlists tell of MP4 segments are sums of the times between decoded pictures; dash.js loads nothing
    after a gap.
    """
    is_variable = (
        media.video is not None and media.video.variable_frame_rate and template.frame_rate(media.video) is None
    )
    return is_variable if wanted.files("video") == "mp4" else not wanted.muxed


def _muxing(packaging: Packaging, track: Track) -> tuple[str, ...]:
    """Copies a rendition and its sound into common segments."""
    inputs = [ffmpeg.input(f"file:{file}") for file in (track.file, track.sound_file) if file]
    options: dict[str, Any] = {
        "c": "copy", "f": "hls", "hls_time": f"{packaging.segment_s:.6f}", "hls_playlist_type": "vod", "hls_list_size": 0,
        "hls_flags": "independent_segments" + ("+single_file" if track.in_one_file else ""),
        "hls_segment_filename": track.segments.pattern, "master_pl_name": track.master,
    }  # fmt: skip
    if track.files == "ts":
        options |= {"output_ts_offset": TS_START_S, "muxdelay": 0, "muxpreload": 0, "avoid_negative_ts": "disabled"}
    if track.files == "mp4":
        options |= {"hls_segment_type": "fmp4", "hls_fmp4_init_filename": track.header}
    return arguments(ffmpeg.output(*inputs, f"file:{track.segments.playlist}", **options))
