"""Tiny clips with one difficulty each, made by the real ffmpeg when a test first needs them.

    clips.rotated(90)       a path; the second call returns the same file

Unless the name says otherwise, a clip has 2 s of 320x180 at 25 pictures per second. The pattern shows time and frame
number, so that a person can see when a picture was taken.
"""

from __future__ import annotations

import random
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
_FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25")
_AAC = ("-c:a", "aac", "-b:a", "64k")


_X265 = "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -x265-params log-level=none"
_CODED = {
    "h264": ("mkv", "-c:v libx264 -preset veryfast -pix_fmt yuv420p"),
    "hevc": ("mkv", _X265),
    "av1": ("mkv", "-c:v libsvtav1 -preset 12 -pix_fmt yuv420p"),
    "vp9": ("mkv", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
    "vp8": ("mkv", "-c:v libvpx -deadline realtime"),
    "mpeg4": ("mkv", "-c:v mpeg4 -bf 2"),
    "mpeg2video": ("mkv", "-c:v mpeg2video -bf 2"),
    "mjpeg": ("mkv", "-c:v mjpeg -pix_fmt yuvj420p"),
    "prores": ("mkv", "-c:v prores_ks"),
    "dnxhd": ("mkv", "-c:v dnxhd -profile:v dnxhr_sq -pix_fmt yuv422p -s 256x120"),
    "qtrle": ("mov", "-c:v qtrle"),
    "dvvideo": ("mkv", "-c:v dvvideo -s 720x576 -pix_fmt yuv420p"),
    "cinepak": ("mkv", "-c:v cinepak -frames:v 3"),
    "theora": ("mkv", "-c:v libtheora"),
    "flv1": ("mkv", "-c:v flv"),
    "msmpeg4v3": ("mkv", "-c:v msmpeg4"),
    "aac": ("mkv", "-c:a aac"),
    "mp3": ("mkv", "-c:a libmp3lame"),
    "opus": ("mkv", "-c:a libopus"),
    "vorbis": ("mkv", "-c:a libvorbis"),
    "dts": ("mkv", "-c:a dca -strict -2"),
    "truehd": ("mkv", "-c:a truehd -strict -2"),
    "mlp": ("mkv", "-c:a mlp -strict -2"),
    "amr_nb": ("mkv", "-c:a libopencore_amrnb -ar 8000 -ac 1"),
    "adpcm_ima_qt": ("mov", "-c:a adpcm_ima_qt"),
    "pcm_s8": ("mov", "-c:a pcm_s8"),
    "pcm_f32be": ("mov", "-c:a pcm_f32be"),
    "pcm_f64be": ("mov", "-c:a pcm_f64be"),
    "s302m": ("ts", "-c:a s302m -strict -2"),
}
"""Container and encoder options per codec; the other codecs have an encoder of the same name and fit into mkv."""


def pattern(size: str = "320x180", rate: str = "25", seconds: float = 2) -> tuple[str, ...]:
    """Input arguments: a moving test picture with a clock."""
    return ("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}")


def tone(seconds: float = 2, hertz: int = 440) -> tuple[str, ...]:
    """Input arguments: a sine."""
    return ("-f", "lavfi", "-i", f"sine=f={hertz}:d={seconds}:r=48000")


PATCHES = ("C02020", "40A040", "2040C0", "E0AC80")


def _plain(color: str, size: str) -> tuple[str, ...]:
    """Input arguments: 1 s of one colour, RGB."""
    return ("-f", "lavfi", "-i", f"color={color}:s={size}:r=10:d=1,format=gbrp")


def brightening(size: str = "320x180", rate: str = "25", seconds: float = 2, start: float = 0) -> tuple[str, ...]:
    """Input arguments: a grey picture that encodes its time: the luma is 20 + 20 times the seconds."""
    luma = f"geq=lum=20+20*(T+{start}):cb=128:cr=128"
    return ("-f", "lavfi", "-i", f"color=s={size}:r={rate}:d={seconds},format=yuv420p,{luma}")


class Clips:
    """Makes each clip once, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # ---------------------------------------------------------------- plain

    def video(self, seconds: float = 2) -> Path:
        """H.264 and AAC in MP4, header at the beginning, a key frame per second, no B-frames."""
        args = (*pattern(seconds=seconds), *tone(seconds), *_FAST, *_AAC, "-movflags", "+faststart")
        return self._ffmpeg(f"video{seconds:g}.mp4", *args)

    def film(self) -> Path:
        """Ten minutes, with little in them: five pictures a second."""
        return self._ffmpeg(
            "film.mp4", *pattern("320x180", "5", 600), *tone(600), "-c:v", "libx264", "-preset", "ultrafast",
            "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac",
        )  # fmt: skip

    def no_audio(self) -> Path:
        return self._ffmpeg("no_audio.mp4", *pattern(), *_FAST)

    def audio_only(self, extension: str = "m4a") -> Path:
        """m4a, mp3, wav, flac, ogg or aac; ffmpeg chooses the codec by the extension."""
        return self._ffmpeg(f"audio_only.{extension}", *tone())

    def b_frames(self) -> Path:
        """Stored in another order than shown."""
        return self._ffmpeg(
            "b_frames.mp4", *pattern(), "-c:v", "libx264", "-bf", "3", "-g", "25", "-pix_fmt", "yuv420p"
        )

    def one_frame(self) -> Path:
        return self._ffmpeg("one_frame.mp4", *pattern(), *_FAST, "-frames:v", "1")

    def long_gop(self) -> Path:
        """One key frame, 4 s."""
        return self._ffmpeg("long_gop.mp4", *pattern(seconds=4), *_FAST, "-g", "9999", "-sc_threshold", "0")

    # ------------------------------------------------------------- pictures

    def rotated(self, clockwise: int) -> Path:
        """Stored in landscape; a player turns it clockwise by so many degrees."""
        # -display_rotation counts counterclockwise.
        turn = ("-display_rotation", str(-clockwise), "-i", str(self.video()))
        return self._ffmpeg(f"rotated{clockwise}.mp4", *turn, "-c", "copy")

    def odd_size(self) -> Path:
        """319x179."""
        # testsrc2 rounds odd sizes down.
        picture = ("-f", "lavfi", "-i", "testsrc=s=319x179:d=2")
        return self._ffmpeg("odd_size.mp4", *picture, "-c:v", "libx264", "-pix_fmt", "yuv444p")

    def anamorphic(self) -> Path:
        """Stored 180x144 with pixels of 64:45, shown 256x144."""
        return self._ffmpeg("anamorphic.mp4", *pattern("180x144"), *_FAST, "-vf", "setsar=64/45")

    def interlaced(self) -> Path:
        """Top field first, 25 frames per second."""
        woven = ("-vf", "tinterlace=interleave_top,setfield=tff", "-flags", "+ildct+ilme")
        return self._ffmpeg("interlaced.mp4", *pattern(rate="50"), *_FAST, *woven)

    def cropped(self, extension: str = "mp4", *, turned: int = 0) -> Path:
        """Blue, 200x100. The container crops the red around it (`clap`, PixelCrop): left 80, right 40, top 30, bottom 50."""
        inside = ("-vf", "drawbox=x=80:y=30:w=200:h=100:color=blue:t=fill")
        base = self._ffmpeg("crop_base.mp4", "-f", "lavfi", "-i", "color=red:s=320x180:r=25:d=1", *inside, *_FAST)
        turn = ("-display_rotation", str(-turned), "-i", str(base), "-c", "copy")
        base = self._ffmpeg(f"crop_base{turned}.mp4", *turn) if turned else base
        # Width, height and offset of the centre, each as a fraction.
        clap = struct.pack(">8i", 200, 1, 100, 1, 20, 1, -10, 1)
        clip = self._file(f"cropped{turned}.mp4", lambda: _with_box(base.read_bytes(), b"avc1", b"clap", clap))
        return (
            clip if extension == "mp4" else self._ffmpeg(f"cropped{turned}.{extension}", "-i", str(clip), "-c", "copy")
        )

    def late(self, clip: Path) -> Path:
        """2 s of audio; after 1 s, the video of another clip starts."""
        args = ("-itsoffset", "1", "-i", str(clip), *tone(2), "-map", "0:v", "-map", "1:a", "-c:v", "copy", *_AAC)
        return self._ffmpeg(f"late_{clip.stem}.mp4", *args)

    def stretched(self, extension: str = "mp4") -> Path:
        """4:3 in the codec, 16:9 in the container."""
        base = self._ffmpeg("stretch_base.mp4", *pattern("160x120"), *_FAST)
        return self._ffmpeg(f"stretched.{extension}", "-i", str(base), "-c", "copy", "-aspect", "16:9")

    def titled(self, title: str) -> Path:
        """Matroska whose video has a title."""
        return self._ffmpeg("titled.mkv", *pattern(), *_FAST, "-metadata:s:v", f"title={title}")

    def half_interlaced(self, codec: str = "libx264") -> Path:
        """Like a broadcast: 1 s progressive, then 2 s interlaced. Vertical stripes move to the left."""
        first = self.stripes(f"{codec}_plain.ts", codec, woven=False)
        # The second part's clock continues the first one's.
        second = self._ffmpeg(f"{codec}_later.ts", "-i", str(self.stripes(f"{codec}_woven.ts", codec, woven=True)),
                              "-c", "copy", "-output_ts_offset", "1")  # fmt: skip
        parts = (first, second)
        return self._file(f"half_{codec}.ts", lambda: b"".join(part.read_bytes() for part in parts))

    def stripes(self, name: str, codec: str = "libx264", *, woven: bool) -> Path:
        """Vertical stripes, 32 px wide, that move 8 px per field; 1 s progressive or 2 s interlaced."""
        moving = f"color=black:s=320x176:r={50 if woven else 25}:d={2 if woven else 1}"
        picture = "geq=lum='if(lt(mod(X+8*N,64),32),40,210)':cb=128:cr=128"
        weave = ",tinterlace=interleave_top,setfield=tff" if woven else ""
        flags = ("-flags", "+ildct+ilme") if woven else ()
        encoder = ("-c:v", codec, "-g", "25", "-b:v", "8M", *flags)
        return self._ffmpeg(name, "-f", "lavfi", "-i", moving, "-vf", f"{picture}{weave},format=yuv420p", *encoder)

    def ten_bit(self) -> Path:
        """HEVC Main 10, SDR."""
        return self._x265("ten_bit.mp4", "colorprim=bt709:transfer=bt709:colormatrix=bt709")

    def hdr10(self) -> Path:
        light = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
        return self._x265("hdr10.mp4", f"colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:{light}")

    def hlg(self) -> Path:
        return self._x265("hlg.mp4", "colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc")

    def alpha(self) -> Path:
        """VP9 in WebM whose left half is transparent; of ffmpeg's decoders, only libvpx's keep that."""
        half = ("-vf", "format=yuva420p,geq=lum='p(X,Y)':cb='p(X,Y)':cr='p(X,Y)':a='255*gte(X,W/2)'")
        encoder = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "200k")
        return self._ffmpeg("alpha.webm", *pattern(seconds=1), *half, *encoder)

    def dolby_vision(self, profile: int, compatible: int, extension: str = "mp4") -> Path:
        """HEVC with a Dolby Vision header; the pictures are HDR10 (HLG for id 4)."""
        name = f"dolby_vision{profile}{compatible}"
        base = self._ffmpeg(f"{name}_base.mp4", "-i", str(self.hlg() if compatible == 4 else self.hdr10()), *tone(1),
                            "-c:v", "copy", *_AAC, "-map", "0:v", "-map", "1:a")  # fmt: skip
        flags = profile << 9 | 1 << 3 | 0b101
        record = struct.pack(">BBHB19x", 1, 0, flags, compatible << 4)
        kind = b"dvcC" if profile <= 7 else b"dvvC"
        clip = self._file(f"{name}.mp4", lambda: _with_box(base.read_bytes(), b"hvc1", kind, record))
        if extension == "mp4":
            return clip
        if extension == "ts":
            # ffmpeg reads the descriptor but does not write it.
            plain = self._ffmpeg(f"{name}_plain.ts", "-i", str(clip), "-c", "copy")
            descriptor = b"\xb0\x05" + record[:5]
            return self._file(f"{name}.ts", lambda: _with_descriptor(plain.read_bytes(), descriptor))
        return self._ffmpeg(f"{name}.{extension}", "-i", str(clip), "-c", "copy", "-strict", "unofficial")

    # ---------------------------------------------------------- known values

    def patches(self, name: str, encoded: str, *, size: str = "1280x720") -> Path:
        """Four colours (`PATCHES`), one per quarter; `encoded`: filters, then encoder arguments, separated by ` -- `."""
        width, height = (int(side) // 2 for side in size.split("x"))
        inputs = [part for color in PATCHES for part in _plain(f"0x{color}", f"{width}x{height}")]
        filters, _, encoder = encoded.partition(" -- ")
        graph = "[0][1]hstack[a];[2][3]hstack[b];[a][b]vstack"
        return self._ffmpeg(f"patches_{name}", *inputs, "-filter_complex", f"{graph},{filters}", *encoder.split())

    def half_transparent(self, name: str, encoded: str, *, size: str = "320x180") -> Path:
        """Left half transparent, over a hidden bright green; right half red above, half-transparent blue below.

        1 s. A few pixels in a corner change, or some encoders would merge all pictures.
        """
        filters, _, encoder = encoded.partition(" -- ")
        width, height = size.split("x")
        top = f"gt(Y,{height}/2)*gte(X,{width}/2)"
        pixels = (
            f"geq=r='if(lt(X,{width}/2),0,if({top},32,192))':g='if(lt(X,{width}/2),255,if({top},64,32))'"
            f":b='if(lt(X,{width}/2),0,if({top},192,32))':a='if(lt(X,{width}/2),0,if({top},128,255))',"
            f"geq=r='if(lt(X+Y,4),25*N,r(X,Y))':g='g(X,Y)':b='b(X,Y)':a='if(lt(X+Y,4),255,alpha(X,Y))'"
        )
        graph = f"format=rgba,{pixels},{filters}"
        return self._ffmpeg(f"see_through_{name}", *_plain("black", size), "-vf", graph, *encoder.split())

    # ----------------------------------------------------------------- time

    def variable_rate(self) -> Path:
        """2 s at 25 pictures per second, then 2 s with every third picture."""
        drop = ("-vf", "select='if(lt(t,2),1,not(mod(n,3)))'", "-fps_mode", "vfr")
        return self._ffmpeg("variable_rate.mp4", *pattern(seconds=4), *_FAST, *drop)

    def milliseconds(self) -> Path:
        """23.976 pictures per second in Matroska, which rounds time stamps to 1 ms."""
        return self._ffmpeg("milliseconds.mkv", *pattern(rate="24000/1001"), *_FAST)

    def late_start(self) -> Path:
        """A transport stream whose clock starts at 100 s."""
        return self._ts("late_start.ts", "-output_ts_offset", "100")

    def wrapped_clock(self) -> Path:
        """A transport stream whose 33-bit clock overflows after about 1 s."""
        return self._ts("wrapped_clock.ts", "-output_ts_offset", str(2**33 / 90000 - 2.4))

    def joined(self) -> Path:
        """Two concatenated transport streams: the clock jumps back in the middle."""
        part = self.transport_stream().read_bytes()
        return self._file("joined.ts", lambda: part + part)

    def edit_list(self) -> Path:
        """A copy from 0.5 s on, between key frames: earlier pictures are stored but not shown."""
        return self._ffmpeg("edit_list.mp4", "-ss", "0.5", "-i", str(self.b_frames()), "-c", "copy")

    def late_audio(self) -> Path:
        """The audio starts 0.5 s after the video and ends with it."""
        args = (*pattern(), "-itsoffset", "0.5", *tone(1.5), *_FAST, *_AAC)
        return self._ffmpeg("late_audio.mkv", *args)

    def short_video(self) -> Path:
        """The audio continues for 2 s after the last picture."""
        return self._ffmpeg("short_video.mp4", *pattern(seconds=1), *tone(3), *_FAST, *_AAC)

    def unequal(self, picture_s: float, sound_s: float) -> Path:
        """Video and audio of different lengths."""
        name = f"unequal_{picture_s:g}_{sound_s:g}.mp4"
        return self._ffmpeg(name, *brightening(seconds=picture_s), *tone(sound_s), *_FAST, *_AAC)

    def unequal_tracks(self) -> Path:
        """Two audio tracks of 2 s (440 Hz) and 6 s (880 Hz), no video."""
        maps = ("-map", "0:a", "-map", "1:a")
        return self._ffmpeg("unequal_tracks.mkv", *tone(2), *tone(6, 880), *maps, *_AAC)

    def late_picture(self, extension: str = "mp4") -> Path:
        """6 s of audio, and video from 2 s on that encodes the time of the audio."""
        late = ("-itsoffset", "2", *brightening(seconds=4, start=2))
        return self._ffmpeg(f"late_picture.{extension}", *tone(6), *late, "-map", "1:v", "-map", "0:a", *_FAST, *_AAC)

    def gap(self) -> Path:
        """Audio from 0 to 1 s, video from 4 to 5 s."""
        late = ("-itsoffset", "4", *brightening(seconds=1))
        return self._ffmpeg("gap.mkv", *tone(1), *late, "-map", "1:v", "-map", "0:a", *_FAST, *_AAC)

    def jittered(self) -> Path:
        """240 pictures in 4 s, each up to 3 ms early or late, as phones record."""
        uneven = ("-vf", "setpts='(N/60+0.006*(random(1)-0.5))/TB'", "-enc_time_base", "1:90000")
        source = brightening("64x36", "60", 4)
        return self._ffmpeg("jittered.mp4", *source, *uneven, *_FAST, "-video_track_timescale", "90000")

    def changing_picture(self, second: str = "640x360", extension: str = "ts") -> Path:
        """3 s of 320x180, then 3 s of another size; the luma encodes the time."""
        parts = [
            self._ffmpeg(f"part_{size}_{start}.ts", *brightening(size, seconds=3, start=start), *_FAST,
                         "-output_ts_offset", str(start))
            for size, start in (("320x180", 0), (second, 3))
        ]  # fmt: skip
        joined = self._file(f"changing_{second}.ts", lambda: b"".join(part.read_bytes() for part in parts))
        return (
            joined
            if extension == "ts"
            else self._ffmpeg(f"changing_{second}.{extension}", "-i", str(joined), "-c", "copy")
        )

    def changing_sound(self, first: str, second: str, codec: str = "aac") -> Path:
        """6 s of video; the audio is 440 Hz, and after 3 s 880 Hz in another format, such as `-ar 44100`."""
        name = f"{codec}{first}{second}".replace(" ", "").replace("-", "_")
        parts = [
            self._ffmpeg(f"{name}_{start}.ts", *brightening(seconds=3, start=start), *tone(3, hertz), *_FAST,
                         "-c:a", codec, *arguments.split(), "-output_ts_offset", str(start))
            for arguments, hertz, start in ((first, 440, 0), (second, 880, 3))
        ]  # fmt: skip
        return self._file(f"{name}.ts", lambda: b"".join(part.read_bytes() for part in parts))

    def headless(self, seconds: float = 1.5) -> Path:
        """A transport stream without its beginning and first key frame; the next key frame is at 2 s."""
        coder = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50", "-sc_threshold", "0")
        whole = self._ffmpeg("whole_gop2.ts", *brightening(seconds=6), *tone(6), *coder, *_AAC)
        return self._file("headless.ts", lambda: _from_time(whole, seconds))

    def gap_bomb(self) -> Path:
        """A few kilobytes, two pictures, ten hours."""
        spread = ("-vf", "setpts=N*36000/TB", "-fps_mode", "passthrough", "-frames:v", "2", "-enc_time_base", "1:1000")
        return self._ffmpeg("gap_bomb.mkv", *pattern(), *_FAST, *spread)

    # -------------------------------------------------------------- streams

    def with_cover(self, extension: str = "mp3") -> Path:
        """Audio with cover art: mp3, m4a, flac or mkv (where the cover is an attachment)."""
        if extension == "mkv":
            attached = ("-attach", str(self.image("jpg")), "-metadata:s:t", "mimetype=image/jpeg")
            return self._ffmpeg("with_cover.mkv", *tone(), *attached)
        cover = ("-map", "0:a", "-map", "1:v", "-c:v", "copy", "-disposition:v", "attached_pic")
        return self._ffmpeg(f"with_cover.{extension}", *tone(), "-i", str(self.image("jpg")), *cover)

    def video_with_cover(self) -> Path:
        """A video of 160x90 and a cover picture that is larger."""
        cover = ("-map", "0:v", "-map", "1:v", "-c:v:1", "copy", "-disposition:v:1", "attached_pic")
        return self._ffmpeg("video_with_cover.mp4", *pattern("160x90"), "-i", str(self.image("png")), *_FAST, *cover)

    def two_videos(self) -> Path:
        """A small video, then a larger one that is the default."""
        dispositions = ("-map", "0:v", "-map", "1:v", "-disposition:v:0", "0", "-disposition:v:1", "default")
        return self._ffmpeg("two_videos.mkv", *pattern("160x90"), *pattern(), *_FAST, *dispositions)

    def languages(self) -> Path:
        """Two audio tracks, English and Japanese; the second one is the default."""
        tags = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=jpn")
        dispositions = ("-disposition:a:0", "0", "-disposition:a:1", "default")
        maps = ("-map", "0:v", "-map", "1:a", "-map", "2:a")
        return self._ffmpeg(
            "languages.mkv", *pattern(), *tone(), *tone(hertz=880), *maps, *_FAST, *_AAC, *tags, *dispositions
        )

    def programmes(self, *members: str) -> Path:
        """A transport stream with programmes, each given by its streams: `v`, `w` 160x90, `V` 320x180, `a` 440 Hz, `A` 1320 Hz.

        A stream may be in several programmes; `-x` adds a stream that is in none.
        """
        sources = {"v": pattern("160x90"), "a": tone(), "w": pattern("160x90"), "V": pattern(), "A": tone(hertz=1320)}
        letters = [letter for letter in sources if any(letter in group for group in members)]
        inputs = [word for letter in letters for word in sources[letter]]
        maps = [word for number in range(len(letters)) for word in ("-map", str(number))]
        groups = []
        for group in members:
            if not group.startswith("-"):
                streams = "".join(f":st={letters.index(letter)}" for letter in group)
                # A name that looks like a line of libav's listing.
                groups += ["-program", f"title={group}\n  Stream #0\\:1{streams}"]
        return self._ffmpeg(f"programmes_{'_'.join(members)}.ts", *inputs, *maps, *_FAST, *_AAC, *groups)

    def own_clocks(self, later_s: int = 50) -> Path:
        """Programmes `va` and `VA`, interleaved as in a broadcast; the clock of `VA` is ahead."""
        content = bytearray(self.programmes("va", "VA").read_bytes())
        for at in range(0, len(content), 188):
            pid = int.from_bytes(content[at + 1 : at + 3], "big") & 0x1FFF
            if pid in (0x102, 0x103):
                _advance_clock(content, at, later_s * 90_000)
        return self._file(f"own_clocks{later_s}.ts", lambda: bytes(content))

    def with_data(self) -> Path:
        """QuickTime with a time code track."""
        return self._ffmpeg("with_data.mov", *pattern(), *_FAST, "-timecode", "01:00:00:00")

    def with_subtitles(self, extension: str = "mkv") -> Path:
        """mkv: SubRip; mp4: mov_text. The text lasts much longer than the video."""
        lines = self._file("lines.srt", lambda: b"1\n00:00:00,500 --> 00:00:09,000\nHello\n")
        codec = "mov_text" if extension == "mp4" else "srt"
        args = (*pattern(), "-i", str(lines), "-map", "0:v", "-map", "1:s", *_FAST, "-c:s", codec)
        return self._ffmpeg(f"with_subtitles.{extension}", *args)

    def late_stream(self) -> Path:
        """An FLV whose last tag is a caption of a stream that was not announced."""
        data = b"\x02\x00\x0aonTextData\x08\x00\x00\x00\x01\x00\x04text\x02\x00\x05Hello\x00\x00\x09"
        tag = b"\x12" + struct.pack(">I", len(data))[1:] + b"\x00\x07\xd0\x00\x00\x00\x00" + data
        ending = tag + struct.pack(">I", len(tag))
        return self._file("late_stream.flv", lambda: self.flv().read_bytes() + ending)

    def coded(self, kind: str, codec: str, extension: str = "") -> Path:
        """Half a second of video or audio of any codec, with all presentation times."""
        container, options = _CODED.get(codec, ("mkv", f"-c:{kind[0]} {codec}"))
        source = pattern("176x144", seconds=0.5) if kind == "video" else tone(0.5)
        sides = () if kind == "video" else ("-ac", "2")
        return self._ffmpeg(f"coded_{codec}.{extension or container}", *source, *sides, *options.split())

    def with_sound(self, codec: str) -> Path:
        """MKV: H.264, and audio of any codec."""
        sound = ("-i", str(self.coded("audio", codec)))
        return self._ffmpeg(f"with_{codec}.mkv", *pattern(seconds=0.5), *sound, *_FAST, "-c:a", "copy")

    def ticks(self, extension: str = "mp4") -> Path:
        """6 s, a key frame every 2 s, a flash at the left and a beep at every second. Second n has a luma of 20 + 30 n
        in the right half and a pitch of 500 + 200 n Hz."""
        flash = "if(lt(X,80),if(lt(mod(T,1),0.08),235,16),20+30*floor(T))"
        picture = f"color=black:s=160x90:r=25:d=6,format=gray,geq=lum='{flash}'"
        beep = "aevalsrc='0.8*sin(2*PI*(500+200*floor(t))*t)*lt(mod(t,1),0.08)':s=48000:d=6"
        h264 = (
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-bf",
            "2",
            "-g",
            "50",
            "-keyint_min",
            "50",
            "-sc_threshold",
            "0",
        )
        inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", beep)
        clip = self._ffmpeg("ticks.mp4", *inputs, *h264, "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "128k")
        return clip if extension == "mp4" else self._ffmpeg(f"ticks.{extension}", "-i", str(clip), "-c", "copy")

    def late_ticks(self, extension: str) -> Path:
        """The ticks, with the video 1.4 s after the audio."""
        late = ("-i", str(self.ticks()), "-itsoffset", "1.4", "-i", str(self.ticks()), "-map", "1:v", "-map", "0:a")
        return self._ffmpeg(f"late_ticks.{extension}", *late, "-c", "copy")

    def trimmed_ticks(self) -> Path:
        """The ticks from 2.5 s on, by an edit list alone."""
        return self._ffmpeg("trimmed_ticks.mp4", "-ss", "2.5", "-i", str(self.ticks()), "-c", "copy")

    def hevc(self, extension: str, tag: str = "hev1") -> Path:
        """HEVC that repeats its parameter sets with every key frame; mp4, mkv or ts."""
        in_band = (*_X265.split()[:-1], "log-level=none:keyint=10:repeat-headers=1")
        clip = self._ffmpeg("hevc.mkv", *pattern("176x144", seconds=1), *tone(1), *in_band, *_AAC)
        tags = ("-tag:v", tag) if extension == "mp4" else ()
        return clip if extension == "mkv" else self._ffmpeg(f"{tag}.{extension}", "-i", str(clip), "-c", "copy", *tags)

    def in_band_hevc(self) -> Path:
        """MP4 tagged hev1 whose header has no parameter sets at all."""
        return self._file("in_band_hevc.mp4", lambda: _empty_box(self.hevc("mp4"), b"hvcC", 22, b"\0"))

    def in_band_h264(self) -> Path:
        """The same for H.264: MP4 tagged avc3."""
        encoder = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-x264-params", "repeat-headers=1")
        tags = ("-bsf:v", "dump_extra", "-tag:v", "avc3")
        clip = self._ffmpeg("avc3.mp4", *pattern("176x144", seconds=1), *encoder, *tags)
        return self._file("in_band_h264.mp4", lambda: _empty_box(clip, b"avcC", 5, b"\xe0"))

    def hevc_changing_size(self) -> Path:
        """A transport stream of HEVC: a second of 176x144, then one of 320x180."""
        parts = [
            self._ffmpeg(f"hevc_{size}.ts", *pattern(size, seconds=1), *_X265.split(), "-output_ts_offset", str(number))
            for number, size in enumerate(("176x144", "320x180"))
        ]
        return self._file("hevc_changing_size.ts", lambda: b"".join(part.read_bytes() for part in parts))

    def mirrored(self, *turn: str) -> Path:
        """As from a phone's front camera: `-display_hflip`, optionally with `-display_rotation`."""
        name = "".join(turn).replace("-display_", "_").replace("-", "_")
        return self._ffmpeg(f"mirrored{name}.mp4", *turn, "-i", str(self.video()), "-c", "copy")

    def rotated_vp9(self) -> Path:
        """VP9 in MP4, turned right."""
        coded = ("-i", str(self.coded("video", "vp9")), "-c", "copy")
        return self._ffmpeg("rotated_vp9.mp4", "-display_rotation", "-90", *coded)

    def mp3_of(self, hertz: int) -> Path:
        """MP3 of a sample rate."""
        return self._ffmpeg(f"mp3_{hertz}.mp3", *tone(), "-ar", str(hertz), "-c:a", "libmp3lame")

    def b_frames_avi(self) -> Path:
        """H.264 in AVI, which cannot store the presentation times of B-frames."""
        return self._ffmpeg("b_frames.avi", "-i", str(self.b_frames()), "-c", "copy")

    # ----------------------------------------------------------- containers

    def transport_stream(self) -> Path:
        return self._ts("transport_stream.ts")

    def fragmented(self) -> Path:
        """Fragmented MP4, without a duration in its first header."""
        pieces = ("-movflags", "frag_keyframe+empty_moov")
        return self._ffmpeg("fragmented.mp4", "-i", str(self.no_audio()), "-c", "copy", *pieces)

    def flv(self) -> Path:
        return self._copied("plain.flv")

    def mjpeg_avi(self) -> Path:
        return self._ffmpeg("mjpeg.avi", *pattern(), "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")

    def msmpeg4_avi(self) -> Path:
        return self._ffmpeg("msmpeg4.avi", *pattern(), "-c:v", "msmpeg4v2")

    def vp8(self) -> Path:
        encoder = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "200k", "-c:a", "libopus")
        return self._ffmpeg("vp8.webm", *pattern(), *tone(), *encoder)

    def no_duration(self) -> Path:
        """WebM as a browser records it: no duration in the header."""
        return self._ffmpeg("no_duration.webm", "-i", str(self.vp8()), "-c", "copy", "-live", "1")

    def mpeg2(self) -> Path:
        """A program stream: MPEG-2 with B-frames, MP2."""
        return self._ffmpeg("mpeg2.mpg", *pattern(), *tone(), "-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2")

    def wmv(self) -> Path:
        return self._ffmpeg("plain.wmv", *pattern(), *tone(), "-c:v", "wmv2", "-c:a", "wmav2")

    def mxf(self) -> Path:
        return self._ffmpeg("plain.mxf", *pattern(), *tone(), "-c:v", "mpeg2video", "-c:a", "pcm_s16le")

    def three_gp(self) -> Path:
        """As from a phone of 2005: H.263 and AMR."""
        audio = ("-c:a", "libopencore_amrnb", "-ar", "8000", "-ac", "1")
        return self._ffmpeg("phone.3gp", *pattern("176x144"), *tone(), "-c:v", "h263", *audio)

    def real(self) -> Path:
        return self._ffmpeg("plain.rm", *pattern("320x176"), *tone(), "-c:v", "rv20", "-c:a", "ac3")

    # --------------------------------------------------------------- images

    def image(self, extension: str = "png") -> Path:
        """One picture: png, jpg or webp."""
        return self._ffmpeg(f"image.{extension}", *pattern(), "-frames:v", "1", "-update", "1")

    def animation(self, extension: str = "gif") -> Path:
        """1 s, ten pictures: gif, apng or webp."""
        codec = ("-c:v", "libwebp_anim") if extension == "webp" else ()
        return self._ffmpeg(f"animation.{extension}", *pattern(rate="10", seconds=1), *codec)

    def brightening_animation(self, extension: str) -> Path:
        """1 s, ten pictures that encode their time: gif, apng or webp."""
        codec = ("-c:v", "libwebp_anim", "-lossless", "1") if extension == "webp" else ()
        return self._ffmpeg(f"brightening.{extension}", *brightening(rate="10", seconds=1), *codec)

    def large_image(self) -> Path:
        """A PNG of 9000x9000 black pixels in less than 20 kB."""

        def chunk(kind: bytes, content: bytes) -> bytes:
            return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

        head = struct.pack(">IIBBBBB", 9000, 9000, 1, 0, 0, 0, 0)
        rows = zlib.compress(bytes(9000 * (1 + 9000 // 8)))
        png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
        return self._file("large.png", lambda: png)

    # ------------------------------------------------------- damaged, hostile

    def empty(self) -> Path:
        return self._file("empty.mp4", lambda: b"")

    def text(self) -> Path:
        return self._file("text.mp4", lambda: b"Meeting notes\n\n- nothing was decided\n" * 40)

    def html(self) -> Path:
        """What a failed download leaves behind."""
        return self._file("html.mp4", lambda: b"<!DOCTYPE html><html><body><h1>403 Forbidden</h1></body></html>\n")

    def noise(self) -> Path:
        """Random bytes, always the same."""
        return self._file("noise.mp4", lambda: random.Random(1).randbytes(80_000))

    def zeros(self) -> Path:
        """As from a download that reserved space but wrote nothing."""
        return self._file("zeros.mp4", lambda: bytes(100_000))

    def truncated(self, extension: str = "mp4") -> Path:
        """The first 60 % of a file of 10 s with its header at the beginning: mp4, mkv, flv or avi."""
        whole = self.video(10)
        if extension != "mp4":
            codec = ("-c:v", "mpeg4", "-an") if extension == "avi" else ("-c", "copy")
            whole = self._ffmpeg(f"whole.{extension}", "-i", str(whole), *codec)
        return self._file(f"truncated.{extension}", lambda: _start(whole, 0.6))

    def headerless(self) -> Path:
        """An MP4 with its header at the end, cut off before it."""
        whole = self._copied("moov_at_end.mp4")
        return self._file("headerless.mp4", lambda: _start(whole, 0.6))

    def undecodable(self) -> Path:
        """A valid header, and pictures that are all zeros."""
        whole = self.no_audio().read_bytes()
        at = whole.index(b"mdat") + 4
        size = struct.unpack(">I", whole[at - 8 : at - 4])[0] - 8
        return self._file("undecodable.mp4", lambda: whole[:at] + bytes(size) + whole[at + size :])

    def unknown_codec(self) -> Path:
        """A video track whose codec has the name `zzzz`."""
        return self._file("unknown_codec.mp4", lambda: self.video().read_bytes().replace(b"avc1", b"zzzz"))

    def unknown_audio_codec(self) -> Path:
        """Valid video, and audio of an unknown codec."""
        whole = self._copied("known_audio_codec.mkv")
        return self._file("unknown_audio_codec.mkv", lambda: whole.read_bytes().replace(b"A_AAC", b"A_ZZZ"))

    def no_resolution(self) -> Path:
        """An AVI of 0x0, in a codec that does not store the size."""
        whole = self.msmpeg4_avi().read_bytes()
        size = whole.index(b"strf") + 12
        return self._file("no_resolution.avi", lambda: whole[:size] + bytes(8) + whole[size + 8 :])

    def encrypted(self) -> Path:
        """Common encryption (DRM); the key is not in the file."""
        key = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb")
        return self._copied("encrypted.mp4", *key, "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8")

    def hls_playlist(self) -> Path:
        """A playlist named .mp4 that refers to another file."""
        self.transport_stream()
        lines = "#EXTM3U", "#EXT-X-MEDIA-SEQUENCE:0", "#EXTINF:2,", "transport_stream.ts", "#EXT-X-ENDLIST"
        return self._file("hls_playlist.mp4", lambda: "\n".join(lines).encode())

    def concat_playlist(self) -> Path:
        """ffmpeg's list format, named .mp4; refers to another file too."""
        self.transport_stream()
        return self._file("concat_playlist.mp4", lambda: b"ffconcat version 1.0\nfile transport_stream.ts\n")

    def other_container(self) -> Path:
        """Valid media in a container that is not accepted (NUT)."""
        return self._copied("other.nut")

    # ----------------------------------------------------------------- making

    def _x265(self, name: str, params: str) -> Path:
        encoder = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-tag:v", "hvc1")
        return self._ffmpeg(name, *pattern(seconds=1), *encoder, "-x265-params", f"log-level=none:{params}")

    def _ts(self, name: str, *args: str) -> Path:
        return self._copied(name, *args, "-f", "mpegts")

    def _copied(self, name: str, *args: str) -> Path:
        return self._ffmpeg(name, "-i", str(self.video()), "-c", "copy", *args)

    def _ffmpeg(self, name: str, *args: str) -> Path:
        path = self.folder / name
        if not path.exists():
            # Renamed when complete, so that an interrupted run leaves no partial clip.
            making = path.with_stem(f"{path.stem}.making")
            _run(*args, str(making))
            making.rename(path)
        return path

    def _file(self, name: str, content: Callable[[], bytes]) -> Path:
        path = self.folder / name
        if not path.exists():
            path.write_bytes(content())
        return path


def _with_box(whole: bytes, entry: bytes, kind: bytes, content: bytes) -> bytes:
    """An MP4 with a box added to its video's sample entry; its index (moov) must come after the media."""
    box = struct.pack(">I4s", 8 + len(content), kind) + content
    changed = bytearray(whole)
    # The video is the first track, so the first match of each name leads to its sample entry.
    at = whole.index(b"moov")
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", entry):
        at = whole.index(name, at)
        size = struct.unpack_from(">I", whole, at - 4)[0]
        struct.pack_into(">I", changed, at - 4, size + len(box))
    end = at - 4 + size
    return bytes(changed[:end] + box + changed[end:])


def _with_descriptor(whole: bytes, descriptor: bytes) -> bytes:
    """ffmpeg's transport stream with a descriptor added to its video, which is first in the programme's table."""
    packets = [whole[at : at + 188] for at in range(0, len(whole), 188)]
    for number, packet in enumerate(packets):
        if int.from_bytes(packet[1:3], "big") & 0x1FFF == 0x1000:
            # All lengths are below 256. The video's descriptors begin at 17, after their length.
            table = bytearray(packet[5 : 8 + packet[7] - 4])
            table[17:17] = descriptor
            table[2] += len(descriptor)
            table[16] += len(descriptor)
            packets[number] = (packet[:5] + table + _mpeg_crc(table)).ljust(188, b"\xff")
    return b"".join(packets)


def _mpeg_crc(table: bytes) -> bytes:
    """CRC-32 without zlib's mirrored bits."""
    crc = 0xFFFFFFFF
    for byte in table:
        crc ^= byte << 24
        for _ in range(8):
            crc = crc << 1 ^ (0x104C11DB7 if crc >> 31 else 0)
    return crc.to_bytes(4, "big")


def _run(*args: str) -> bytes:
    argv = [FFMPEG, "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *args]
    process = subprocess.run(argv, capture_output=True, check=False)
    assert process.returncode == 0, f"{' '.join(argv)}\n{process.stderr.decode(errors='replace')}"
    return process.stdout


def _empty_box(clip: Path, box: bytes, at: int, filler: bytes) -> bytes:
    """An MP4 with a box emptied from a position on."""
    whole = bytearray(clip.read_bytes())
    start = whole.index(box)
    first, end = start + 4 + at, start - 4 + int.from_bytes(whole[start - 4 : start], "big")
    whole[first:end] = filler + bytes(end - first - 1)
    return bytes(whole)


def _advance_clock(content: bytearray, at: int, ticks: int) -> None:
    """Advance one transport stream packet: its clock reference, and the times of the frame that begins in it."""
    flags, body = content[at + 3], at + 4
    if flags & 0x20:
        if content[body] and content[body + 1] & 0x10:
            clock = int.from_bytes(content[body + 2 : body + 8], "big") + (ticks << 15)
            content[body + 2 : body + 8] = clock.to_bytes(6, "big")
        body += 1 + content[body]
    if content[at + 1] & 0x40:
        for field in range((content[body + 7] >> 6).bit_count()):
            where = body + 9 + 5 * field
            mark = content[where] & 0xF1
            old = (content[where] & 0xE) << 29 | content[where + 1] << 22 | (content[where + 2] & 0xFE) << 14
            new = (old | content[where + 3] << 7 | content[where + 4] >> 1) + ticks
            content[where] = mark | new >> 29 & 0xE
            content[where + 1 : where + 3] = (new >> 14 & 0xFFFE | 1).to_bytes(2, "big")
            content[where + 3 : where + 5] = ((new & 0x7FFF) << 1 | 1).to_bytes(2, "big")


def _start(whole: Path, share: float) -> bytes:
    content = whole.read_bytes()
    return content[: int(len(content) * share)]


def _from_time(whole: Path, seconds: float) -> bytes:
    """The transport stream from the first picture at or after `seconds`, with its tables before it."""
    content = whole.read_bytes()
    packets = [content[at : at + 188] for at in range(0, len(content), 188)]
    tables = [packet for packet in packets if int.from_bytes(packet[1:3], "big") & 0x1FFF in (0, 17, 0x1000)][:3]
    start = next(number for number, packet in enumerate(packets) if (at := _pts_s(packet)) and at >= seconds)
    return b"".join([*tables, *packets[start:]])


def _pts_s(packet: bytes) -> float | None:
    """Presentation time of the picture that begins in a packet of the first video stream; ffmpeg's clock starts at 1.4 s."""
    head = int.from_bytes(packet[1:4], "big")
    if head >> 8 & 0x1FFF != 0x100 or not head & 0x400000:
        return None
    at = 4 + (1 + packet[4] if head & 0x20 else 0)
    stamp = int.from_bytes(packet[at + 9 : at + 14], "big")
    ticks = (stamp >> 3 & 0x1C0000000) | (stamp >> 2 & 0x3FFF8000) | (stamp >> 1 & 0x7FFF)
    return ticks / 90000 - 1.4
