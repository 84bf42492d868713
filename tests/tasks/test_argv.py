"""ffmpeg's whole argument lists for each task type, one row per difference."""

from __future__ import annotations

import shlex
from fractions import Fraction
from typing import Any

import pytest

from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.tasks import TASKS
from mps_dagster.tasks.spec import OutputNames
from mps_dagster.workflow.templates import Templates

IN = "-f mov -format_whitelist mov,mp4,m4a,3gp,3g2,mj2 -protocol_whitelist file,pipe"
BT709 = {"color_space": "bt709", "color_primaries": "bt709", "color_transfer": "bt709"}
PQ = {
    "color_space": "bt2020nc", "color_primaries": "bt2020", "color_transfer": "smpte2084", "bit_depth": 10,
    "pixel_format": "yuv420p10le",
}  # fmt: skip


def clip(
    *, audio: int = 1, video: bool = True, container: str = "mov,mp4,m4a,3gp,3g2,mj2", **changes: Any
) -> MediaInfo:
    """A clip of 20 s, 720p at 25 fps with a key frame every 2 s, English stereo sound."""
    facts = {
        "index": 0, "codec": "h264", "width": 1280, "height": 720, "pixel_format": "yuv420p", "frame_rate": Fraction(25),
        "last_s": 19.96, "duration_s": 20.0, "frames": 500, "longest_key_gap_s": 2.0, "bitrate_bps": 1_800_000, **BT709,
    } | changes  # fmt: skip
    track = AudioStream(
        index=1, codec="aac", sample_rate_hz=48_000, channels=2, language="eng", default=True, duration_s=20.0,
        bitrate_bps=128_000,
    )  # fmt: skip
    return MediaInfo(
        container=container, size_bytes=1, duration_s=20.0, video=VideoStream(**facts) if video else None,
        audio=tuple(track.model_copy(update={"index": number + 1}) for number in range(audio)),
    )  # fmt: skip


def plan_output(kind: str, output: dict[str, Any], media: MediaInfo) -> Plan:
    spec = TASKS[kind].spec.model_validate(Templates.load().resolve(kind, output))
    names = OutputNames("clip", "mp4", "out/", str(spec.definition or spec.name or 0))
    return TASKS[kind].plan(spec, media, names)


CASES = [
    pytest.param(
        "transcode", {"definition": 100030}, clip(),
        [f"""{IN} -reinit_filter:v 0 -i file:source -filter_complex
        '[0:0]scale=1280:720:interl=-1[s0];[s0]bwdif=deint=interlaced:mode=send_frame[s1];[s1]fps=25/1[s2];[s2]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,1280\\,2*round(min(1280\\,720*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,720\\,2*round(min(720\\,1280/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s3];[s3]pad=1280:720:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s4];[s4]setsar=1[s5];[s5]format=color_ranges=tv:color_spaces=bt709:pix_fmts=yuv420p[s6]'
        -map '[s6]' -map 0:1 -f mp4 -ac 2 -ar 44100 -b:a 128k -b:v 1800k -bufsize 3600k -c:a aac -c:v libx264
        -filter:a:0 aresample=async=1 -fps_mode passthrough -map_chapters -1 -map_metadata -1 -maxrate 2700k
        -metadata:s:a:0 language=eng -movflags +faststart -preset medium file:out.mp4"""],
        id="a preset: correct colours need no conversion",
    ),
    pytest.param(
        "transcode", {"definition": 100220}, clip(),
        [f"""{IN} -reinit_filter:v 0 -i file:source -filter_complex
        '[0:0]scale=1280:720:interl=-1[s0];[s0]bwdif=deint=interlaced:mode=send_frame[s1];[s1]fps=25/1[s2];[s2]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,960\\,2*round(min(960\\,540*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,540\\,2*round(min(540\\,960/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s3];[s3]pad=960:540:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s4];[s4]setsar=1[s5];[s5]format=color_ranges=tv:color_spaces=bt709:pix_fmts=yuv420p[s6]'
        -map '[s6]' -map 0:1 -f hls -ac 2 -ar 44100 -b:a 64k -b:v 1000k -bufsize 2000k -c:a aac -c:v libx264 -filter:a:0
        aresample=async=1 -force_key_frames 'expr:gte(t,n_forced*6)' -fps_mode passthrough -hls_flags
        independent_segments -hls_list_size 0 -hls_playlist_type vod -hls_segment_filename segment_%05d.ts -hls_time 6
        -map_chapters -1 -map_metadata -1 -maxrate 1500k -metadata:s:a:0 language=eng -preset medium file:out.m3u8"""],
        id="hls: segments begin with key frames",
    ),
    pytest.param(
        "transcode", {"definition": 1010}, clip(),
        [f"""{IN} -reinit_filter:v 0 -i file:source -map 0:1 -f mp3 -ac 2 -ar 44100 -b:a 128k -c:a libmp3lame -filter:a:0
        aresample=async=1 -map_chapters -1 -map_metadata -1 -metadata:s:a:0 language=eng file:out.mp3"""],
        id="audio alone",
    ),
    pytest.param(
        "transcode", {"definition": 100010}, clip(audio=0, **PQ),
        [f"""{IN} -reinit_filter:v 0 -i file:source -filter_complex
        '[0:0]scale=1280:720:interl=-1[s0];[s0]bwdif=deint=interlaced:mode=send_frame[s1];[s1]fps=25/1[s2];[s2]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,640\\,2*round(min(640\\,360*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,360\\,2*round(min(360\\,640/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s3];[s3]pad=640:360:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s4];[s4]setsar=1[s5];[s5]format=color_ranges=tv:pix_fmts=yuv444p10le[s6];[s6]zscale=min=bt2020nc:npl=100:pin=bt2020:t=linear:tin=smpte2084[s7];[s7]format=gbrpf32le[s8];[s8]zscale=p=bt709[s9];[s9]tonemap=desat=0:tonemap=hable[s10];[s10]zscale=m=gbr:t=bt709[s11];[s11]format=gbrp[s12];[s12]sidedata=mode=delete:type=MASTERING_DISPLAY_METADATA[s13];[s13]sidedata=mode=delete:type=CONTENT_LIGHT_LEVEL[s14];[s14]sidedata=mode=delete:type=DYNAMIC_HDR_PLUS[s15];[s15]sidedata=mode=delete:type=AMBIENT_VIEWING_ENVIRONMENT[s16];[s16]format=color_ranges=tv:color_spaces=bt709:pix_fmts=yuv420p[s17]'
        -map '[s17]' -f mp4 -b:v 400k -bufsize 800k -c:v libx264 -fps_mode passthrough -map_chapters -1 -map_metadata -1
        -maxrate 600k -movflags +faststart -preset medium file:out.mp4"""],
        id="hdr to sdr, scaled first",
    ),
    pytest.param(
        "transcode", {"name": "x", "video_template": {"codec": "h265", "bit_depth": 10, "vcrf": 24}}, clip(audio=0, **PQ),
        [f"""{IN} -reinit_filter:v 0 -i file:source -filter_complex
        '[0:0]scale=1280:720:interl=-1[s0];[s0]bwdif=deint=interlaced:mode=send_frame[s1];[s1]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,1280\\,2*round(min(1280\\,720*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,720\\,2*round(min(720\\,1280/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s2];[s2]pad=1280:720:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s3];[s3]setsar=1[s4];[s4]format=color_ranges=tv:color_spaces=bt2020nc:pix_fmts=yuv420p10le[s5]'
        -map '[s5]' -f mp4 -c:v libx265 -crf 24 -enc_time_base 1:90000 -fps_mode vfr -map_chapters -1 -map_metadata -1
        -movflags +faststart -preset fast -tag:v hvc1 -x265-params log-level=error file:out.mp4"""],
        id="ten bits keep hdr",
    ),
    pytest.param(
        "transcode", {"definition": 100010},
        clip(audio=0, interlaced=True, width=720, height=576, sample_aspect=Fraction(64, 45), color_space="", color_transfer=""),
        [f"""{IN} -reinit_filter:v 0 -i file:source -filter_complex
        '[0:0]scale=720:576:interl=-1[s0];[s0]bwdif=deint=interlaced:mode=send_frame[s1];[s1]setparams=color_trc=smpte170m:colorspace=smpte170m[s2];[s2]fps=25/1[s3];[s3]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,640\\,2*round(min(640\\,360*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,360\\,2*round(min(360\\,640/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s4];[s4]pad=640:360:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s5];[s5]setsar=1[s6];[s6]format=color_ranges=tv:color_spaces=smpte170m:pix_fmts=yuv420p[s7]'
        -map '[s7]' -f mp4 -b:v 400k -bufsize 800k -c:v libx264 -fps_mode passthrough -map_chapters -1 -map_metadata -1
        -maxrate 600k -movflags +faststart -preset medium file:out.mp4"""],
        id="interlaced and anamorphic, colours undeclared",
    ),
    pytest.param(
        "transcode",
        {"name": "x", "raw_parameter": {"container": "webm", "video_template": {"codec": "vp9", "vcrf": 33, "height": 360}},
         "start_time_offset": 2, "end_time_offset": -3},
        clip(rotation=90),
        [f"""{IN} -ss 2 -t 15 -i file:source -filter_complex
        '[0:0]trim=end=15[s0];[s0]bwdif=deint=interlaced:mode=send_frame[s1];[s1]scale=if(lt(abs(dar*16/9-1)\\,0.02)\\,360\\,2*round(min(360\\,640*dar)/2)):if(lt(abs(dar*16/9-1)\\,0.02)\\,640\\,2*round(min(640\\,360/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s2];[s2]pad=360:640:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s3];[s3]setsar=1[s4];[s4]format=color_ranges=tv:color_spaces=bt709:pix_fmts=yuv420p[s5]'
        -map '[s5]' -map 0:1 -f webm -ac 2 -ar 48000 -b:a 128k -b:v 0 -c:a libopus -c:v libvpx-vp9 -cpu-used 3 -crf 33
        -deadline good -enc_time_base 1:90000 -filter:a:0 atrim=end=15,aresample=async=1 -fps_mode vfr -map_chapters -1
        -map_metadata -1 -metadata:s:a:0 language=eng -row-mt 1 file:out.webm"""],
        id="a part of an upright clip, signed offsets",
    ),
    pytest.param(
        "transcode", {"name": "x", "video_template": {"vcrf": 23}, "start_time_offset": 10},
        clip(audio=0, container="mpegts", start_s=0.5),
        ["""-f mpegts -format_whitelist mpegts -protocol_whitelist file,pipe -reinit_filter:v 0 -ss 4 -i file:source
        -filter_complex
        '[0:0]trim=start=6[s0];[s0]setpts=PTS-6/TB[s1];[s1]scale=1280:720:interl=-1[s2];[s2]bwdif=deint=interlaced:mode=send_frame[s3];[s3]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,1280\\,2*round(min(1280\\,720*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,720\\,2*round(min(720\\,1280/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s4];[s4]pad=1280:720:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s5];[s5]setsar=1[s6];[s6]format=color_ranges=tv:color_spaces=bt709:pix_fmts=yuv420p[s7]'
        -map '[s7]' -f mp4 -c:v libx264 -crf 23 -enc_time_base 1:90000 -fps_mode vfr -map_chapters -1 -map_metadata -1
        -movflags +faststart -preset medium file:out.mp4"""],
        id="a part of a transport stream: the seek is early",
    ),
    pytest.param(
        "transcode", {"definition": 875}, clip(audio=2),
        [f"""{IN} -reinit_filter:v 0 -i file:source -map 0:0 -map 0:1 -map 0:2 -f mp4 -c:a copy -c:v copy -map_chapters -1
        -map_metadata -1 -metadata:s:a:0 language=eng -metadata:s:a:1 language=eng -movflags +faststart file:out.mp4"""],
        id="a copy keeps every track",
    ),
    pytest.param(
        "transcode", {"definition": 875}, clip(audio=0, codec="hevc", container="mpegts"),
        ["""-f mpegts -format_whitelist mpegts -protocol_whitelist file,pipe -reinit_filter:v 0 -i file:source -map 0:0 -f
        mp4 -bsf:v hevc_mp4toannexb,extract_extradata -c:v copy -map_chapters -1 -map_metadata -1 -movflags +faststart
        -tag:v hvc1 file:out.mp4"""],
        id="copied hevc is what apple plays",
    ),
    pytest.param(
        "transcode",
        {"name": "x", "container": "hls", "video_template": {"codec": "copy", "segment_type": 7}, "audio_template": {"codec": "copy"}},
        clip(container="mpegts"),
        ["""-f mpegts -format_whitelist mpegts -protocol_whitelist file,pipe -reinit_filter:v 0 -i file:source -map 0:0 -map
        0:1 -f hls -bsf:a aac_adtstoasc -c:a copy -c:v copy -hls_flags independent_segments -hls_fmp4_init_filename
        init.mp4 -hls_list_size 0 -hls_playlist_type vod -hls_segment_filename segment_%05d.m4s -hls_segment_type fmp4
        -hls_time 6 -map_chapters -1 -map_metadata -1 -metadata:s:a:0 language=eng file:out.m3u8"""],
        id="copied aac in mp4 segments loses its adts headers",
    ),
    pytest.param(
        "transcode", {"name": "x", "video_template": {"vcrf": 23}, "audio_template": {"codec": "copy"}, "start_time_offset": 10},
        clip(container="mpegts"),
        ["""-f mpegts -format_whitelist mpegts -protocol_whitelist file,pipe -reinit_filter:v 0 -ss 4 -i file:source -f
        mpegts -format_whitelist mpegts -protocol_whitelist file,pipe -reinit_filter:v 0 -ss 10 -i file:source
        -filter_complex
        '[0:0]trim=start=6[s0];[s0]setpts=PTS-6/TB[s1];[s1]scale=1280:720:interl=-1[s2];[s2]bwdif=deint=interlaced:mode=send_frame[s3];[s3]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,1280\\,2*round(min(1280\\,720*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,720\\,2*round(min(720\\,1280/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s4];[s4]pad=1280:720:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s5];[s5]setsar=1[s6];[s6]format=color_ranges=tv:color_spaces=bt709:pix_fmts=yuv420p[s7]'
        -map '[s7]' -map 1:1 -f mp4 -c:a copy -c:v libx264 -copypriorss:a 0 -crf 23 -enc_time_base 1:90000 -fps_mode vfr
        -map_chapters -1 -map_metadata -1 -metadata:s:a:0 language=eng -movflags +faststart -preset medium file:out.mp4"""],
        id="sound that is copied needs no early seek",
    ),
    pytest.param(
        "snapshot_by_time_offset", {"definition": 10, "ext_time_offset_set": ["3.5s", "100%"]}, clip(),
        [f"""{IN} -reinit_filter:v 0 -ss 3.499 -i file:source -filter_complex
        '[0:0]scale=1280:720:interl=-1[s0];[s0]bwdif=deint=interlaced:mode=send_frame[s1];[s1]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,1280\\,2*round(min(1280\\,720*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,720\\,2*round(min(720\\,1280/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s2];[s2]pad=1280:720:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s3];[s3]setsar=1[s4];[s4]format=gbrp[s5];[s5]scale=flags=bicubic+accurate_rnd+full_chroma_int[s6];[s6]format=color_ranges=pc:color_spaces=bt470bg:pix_fmts=yuvj420p[s7]'
        -map '[s7]' -f image2 -c:v mjpeg -frames:v 1 -q:v 3 -update 1 file:shot_0000.jpg""",
         f"""{IN} -reinit_filter:v 0 -ss 19.959 -i file:source -filter_complex
        '[0:0]scale=1280:720:interl=-1[s0];[s0]bwdif=deint=interlaced:mode=send_frame[s1];[s1]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,1280\\,2*round(min(1280\\,720*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,720\\,2*round(min(720\\,1280/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s2];[s2]pad=1280:720:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s3];[s3]setsar=1[s4];[s4]format=gbrp[s5];[s5]scale=flags=bicubic+accurate_rnd+full_chroma_int[s6];[s6]format=color_ranges=pc:color_spaces=bt470bg:pix_fmts=yuvj420p[s7]'
        -map '[s7]' -f image2 -c:v mjpeg -frames:v 1 -q:v 3 -update 1 file:shot_0001.jpg"""],
        id="one seek per time point, at most to the last frame",
    ),
    pytest.param(
        "sample_snapshot", {"name": "w", "sample_type": "Time", "sample_interval": 5, "height": 180, "format": "webp"}, clip(),
        [f"""-f mov -discard nokey {IN.removeprefix("-f mov ")} -reinit_filter:v 0 -skip_frame nokey -i file:source
        -filter_complex
        '[0:0]setpts=PTS-STARTPTS[s0];[s0]tpad=stop=-1:stop_mode=clone[s1];[s1]fps=fps=1/5:round=up:start_time=0[s2];[s2]trim=end_frame=4[s3];[s3]scale=1280:720:interl=-1[s4];[s4]bwdif=deint=interlaced:mode=send_frame[s5];[s5]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,320\\,2*round(min(320\\,180*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,180\\,2*round(min(180\\,320/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s6];[s6]pad=320:180:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s7];[s7]setsar=1[s8];[s8]format=gbrp[s9];[s9]format=bgra[s10];[s10]setparams=color_primaries=bt709:color_trc=iec61966-2-1[s11]'
        -map '[s11]' -f image2 -c:v libwebp -frames:v 4 -quality 85 -start_number 0 file:shot_%04d.webp"""],
        id="coarse samples: key frames only",
    ),
    pytest.param(
        "sample_snapshot", {"definition": 10, "format": "png"}, clip(longest_key_gap_s=10.0),
        [f"""{IN} -reinit_filter:v 0 -i file:source -filter_complex
        '[0:0]setpts=PTS-STARTPTS[s0];[s0]tpad=stop=-1:stop_mode=clone[s1];[s1]fps=fps=1/2:round=up:start_time=0[s2];[s2]trim=end_frame=10[s3];[s3]scale=1280:720:interl=-1[s4];[s4]bwdif=deint=interlaced:mode=send_frame[s5];[s5]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,1280\\,2*round(min(1280\\,720*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,720\\,2*round(min(720\\,1280/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s6];[s6]pad=1280:720:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s7];[s7]setsar=1[s8];[s8]format=gbrp[s9];[s9]format=rgb24[s10];[s10]setparams=color_primaries=bt709:color_trc=iec61966-2-1[s11]'
        -map '[s11]' -f image2 -c:v png -frames:v 10 -start_number 0 file:shot_%04d.png"""],
        id="few key frames: one pass over all frames",
    ),
    pytest.param(
        "image_sprite", {"definition": 10}, clip(),
        [f"""-f mov -discard nokey {IN.removeprefix("-f mov ")} -reinit_filter:v 0 -skip_frame nokey -i file:source
        -filter_complex
        '[0:0]setpts=PTS-STARTPTS[s0];[s0]tpad=stop=-1:stop_mode=clone[s1];[s1]fps=fps=1/10:round=up:start_time=0[s2];[s2]trim=end_frame=2[s3];[s3]scale=1280:720:interl=-1[s4];[s4]bwdif=deint=interlaced:mode=send_frame[s5];[s5]scale=142:80:eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s6];[s6]pad=142:80:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s7];[s7]setsar=1[s8];[s8]format=gbrp[s9];[s9]tile=10x10[s10];[s10]scale=flags=bicubic+accurate_rnd+full_chroma_int[s11];[s11]format=color_ranges=pc:color_spaces=bt470bg:pix_fmts=yuvj420p[s12]'
        -map '[s12]' -f image2 -c:v mjpeg -q:v 3 -start_number 0 file:sheet_%04d.jpg"""],
        id="a sprite",
    ),
    pytest.param(
        "animated_graphics", {"definition": 20000, "start_time_offset": 2, "end_time_offset": 5}, clip(),
        [f"""{IN} -reinit_filter:v 0 -ss 2 -t 3 -i file:source -filter_complex
        '[0:0]trim=end=3[s0];[s0]fps=2:eof_action=pass:round=up[s1];[s1]trim=end_frame=6[s2];[s2]scale=1280:720:interl=-1[s3];[s3]bwdif=deint=interlaced:mode=send_frame[s4];[s4]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,1280\\,2*round(min(1280\\,720*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,720\\,2*round(min(720\\,1280/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s5];[s5]pad=1280:720:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s6];[s6]setsar=1[s7];[s7]format=gbrp[s8];[s8]palettegen=max_colors=256:stats_mode=full[s9]'
        -map '[s9]' -f image2 -frames:v 1 -update 1 file:palette.png""",
         f"""{IN} -reinit_filter:v 0 -ss 2 -t 3 -i file:source -f png_pipe -protocol_whitelist file -i file:palette.png
        -filter_complex
        '[0:0]trim=end=3[s0];[s0]fps=2:eof_action=pass:round=up[s1];[s1]trim=end_frame=6[s2];[s2]scale=1280:720:interl=-1[s3];[s3]bwdif=deint=interlaced:mode=send_frame[s4];[s4]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,1280\\,2*round(min(1280\\,720*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,720\\,2*round(min(720\\,1280/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s5];[s5]pad=1280:720:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s6];[s6]setsar=1[s7];[s7]format=gbrp[s8];[s8][1]paletteuse=bayer_scale=3:diff_mode=rectangle:dither=bayer[s9]'
        -map '[s9]' -f gif -loop 0 file:out.gif"""],
        id="a gif, its palette first",
    ),
    pytest.param(
        "animated_graphics", {"definition": 20001}, clip(),
        [f"""{IN} -reinit_filter:v 0 -i file:source -filter_complex
        '[0:0]fps=2:eof_action=pass:round=up[s0];[s0]trim=end_frame=40[s1];[s1]scale=1280:720:interl=-1[s2];[s2]bwdif=deint=interlaced:mode=send_frame[s3];[s3]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,320\\,2*round(min(320\\,180*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,180\\,2*round(min(180\\,320/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s4];[s4]pad=320:180:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s5];[s5]setsar=1[s6];[s6]format=gbrp[s7];[s7]format=bgra[s8]'
        -map '[s8]' -f webp -c:v libwebp_anim -fps_mode passthrough -loop 0 -quality 75.0 file:out.webp"""],
        id="an animated webp",
    ),
    pytest.param(
        "watermark",
        {"name": "w", "watermark_set": [
            {"coordinate_origin": "TopRight", "x_pos": "2%", "y_pos": "10px", "start_time_offset": 1, "end_time_offset": 3,
             "image_template": {"image_content": "logo.png", "width": "12%"}},
            {"type": "text", "text_content": "x", "coordinate_origin": "BottomLeft"},
        ]},
        clip(),
        [f"""{IN} -reinit_filter:v 0 -i file:source -f png_pipe -protocol_whitelist file -i file:watermark_0.png -f png_pipe
        -protocol_whitelist file -i file:watermark_1.png -filter_complex
        '[0:0]scale=1280:720:interl=-1[s0];[s0]bwdif=deint=interlaced:mode=send_frame[s1];[s1]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,1280\\,2*round(min(1280\\,720*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,720\\,2*round(min(720\\,1280/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s2];[s2]pad=1280:720:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s3];[s3]setsar=1[s4];[1:v:0]scale=154:-1[s5];[s5]format=rgba[s6];[s4][s6]overlay=enable=gte(t\\,1)*lt(t\\,3):eof_action=repeat:format=yuv420:x=W-w-26:y=10[s7];[2:v:0]format=rgba[s8];[s7][s8]overlay=eof_action=repeat:format=yuv420:x=0:y=H-h-0[s9];[s9]format=color_ranges=tv:color_spaces=bt709:pix_fmts=yuv420p[s10]'
        -map '[s10]' -map 0:1 -f mp4 -c:a copy -c:v libx264 -crf 20 -enc_time_base 1:90000 -fps_mode vfr -map_chapters
        -1 -map_metadata -1 -metadata:s:a:0 language=eng -movflags +faststart -preset medium file:out.mp4"""],
        id="an image for a while and a text",
    ),
    pytest.param(
        "quality_inspection", {"definition": 10}, clip(),
        ["""-f mov -drop_changed:a 1 -format_whitelist mov,mp4,m4a,3gp,3g2,mj2 -protocol_whitelist file,pipe -reinit_filter:v 0
        -i file:source -map 0:0 -f null -filter:v
        scale=320:-2:flags=fast_bilinear,format=yuv420p,blackdetect=pix_th=0.05,metadata=print:key=lavfi.black_start:file=black_start.txt,metadata=print:key=lavfi.black_end:file=black_end.txt,scdet=t=100,metadata=print:key=lavfi.scd.mafd:file=frames.txt
        -fps_mode passthrough - -map 0:0 -f null -filter:v
        'select=isnan(prev_selected_t)+gte(t-prev_selected_t\\,0.499),scale=1280:720:out_range=tv,format=yuv420p,blockdetect,cropdetect=limit=24/255:round=2:reset=1:skip=0,scale=1280:-2,blurdetect,entropy,signalstats,metadata=print:file=looks.txt,metadata=print:key=lavfi.signalstats.YAVG:file=pipe\\\\:2:direct=1'
        -fps_mode passthrough - -map 0:1 -f null -filter:a
        ebur128=metadata=1:framelog=quiet,aformat=sample_fmts=s16,astats=metadata=1:reset=1:measure_perchannel=none:measure_overall=Peak_level+RMS_level+Flat_factor,aphasemeter=video=0,ametadata=print:file=sound_1.txt
        -"""],
        id="an inspection: one decode, a graph for each measure",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "output", "media", "expected"), CASES)
def test_argument_lists_are_exact(kind, output, media, expected):
    """A change of any flag shows here."""
    assert list(map(list, plan_output(kind, output, media).commands)) == [shlex.split(command) for command in expected]


@pytest.mark.parametrize(
    ("repeat_type", "option"),
    [("once", "eof_action=pass"), ("repeat_last_frame", "eof_action=repeat"), ("repeat", "shortest=1")],
)
def test_an_animated_watermark_ends_by_its_repeat_type(repeat_type, option):
    """It disappears, stays, or repeats as long as the video lasts."""
    image = {"image_content": "a.png", "repeat_type": repeat_type, "digest": "d", "animated": True}
    command = plan_output("watermark", {"name": "w", "watermark_set": [{"image_template": image}]}, clip()).commands[0]
    graph = command[command.index("-filter_complex") + 1]
    assert option in graph
    assert ("-stream_loop" in command) is (repeat_type == "repeat")
    assert "apng" in command


def test_no_text_of_a_user_is_on_a_command_line():
    """Neither a name nor a watermark's text."""
    marks = [{"type": "text", "text_content": "';movie=/etc/passwd"}]
    spec = TASKS["transcode"].spec.model_validate({"name": "n", "watermark_set": marks})
    plan = TASKS["transcode"].plan(spec, clip(), OutputNames("-i /etc/passwd", "mp4", "o/", "n"))
    assert not any("passwd" in part for command in plan.commands for part in command)
    assert plan.primary_key == "o/-i /etc/passwd_transcode_n.mp4"
