"""ffmpeg's whole argument lists of measures: with slots, which are filled in when they are known."""

from __future__ import annotations

import shlex

import pytest

from .test_argv import IN, clip, plan_output

MEASURED = {
    "name": "x", "video_template": {"height": 360, "quality_target": 93}, "audio_template": {"loudness": {}},
}  # fmt: skip


def commands() -> dict[str, tuple[str, ...]]:
    """By what they are for."""
    plan = plan_output("transcode", MEASURED, clip())
    loudness, crf = plan.measures
    [sample] = crf.samples
    return {
        "encode": plan.commands[0], "score": plan.scoring.command, "measure the source": loudness.measure,
        "try a gain": loudness.trial, "measure the trial": loudness.measure_trial,
        "measure the output": loudness.measure_output, "try a CRF": sample.encode, "score a sample": sample.scoring.command,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("purpose", "expected"),
    [
        (
            "encode",
            f"""{IN} -reinit_filter:v 0 -i file:source -filter_complex '[0:0]scale=1280:720:interl=-1[s0];[s0]bwdif=deint=interlaced:mode=send_frame[s1];[s1]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,640\\,2*round(min(640\\,360*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,360\\,2*round(min(360\\,640/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s2];[s2]pad=640:360:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s3];[s3]setsar=1[s4];[s4]format=color_ranges=tv:color_spaces=bt709:pix_fmts=yuv420p[s5]' -map '[s5]' -map 0:1 -f mp4 -ac 2 -b:a 128k -c:a aac -c:v libx264 -crf '{{crf}}' -enc_time_base 1:90000 -filter:a:0 'aresample=async=1,aformat=channel_layouts=stereo,{{loudness0}}' -fps_mode vfr -map_chapters -1 -map_metadata -1 -metadata:s:a:0 language=eng -movflags +faststart -preset medium file:out.mp4""",
        ),
        (
            "score",
            f"""-f mp4 -protocol_whitelist file,pipe -i file:out.mp4 {IN} -reinit_filter:v 0 -i file:source -filter_complex '[0:v:0]setparams=colorspace=bt709:range=tv[s0];[s0]settb=AVTB[s1];[s1]setpts=PTS-STARTPTS[s2];[s2]scale=1920:1080:flags=bicubic+accurate_rnd+full_chroma_int[s3];[s3]format=yuv420p[s4];[1:0]scale=1280:720:interl=-1[s5];[s5]bwdif=deint=interlaced:mode=send_frame[s6];[s6]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,640\\,2*round(min(640\\,360*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,360\\,2*round(min(360\\,640/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s7];[s7]pad=640:360:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s8];[s8]setsar=1[s9];[s9]format=color_ranges=tv:color_spaces=bt709:pix_fmts=yuv420p[s10];[s10]settb=AVTB[s11];[s11]setpts=PTS-STARTPTS[s12];[s12]scale=1920:1080:flags=bicubic+accurate_rnd+full_chroma_int[s13];[s13]format=yuv420p[s14];[s4][s14]libvmaf=log_fmt=csv:log_path=scores.txt:model=version\\\\=vmaf_v0.6.1:n_subsample=1:n_threads={{threads}}:ts_sync_mode=nearest[s15]' -map '[s15]' -f null -fps_mode passthrough -stats_enc_pre times.txt -stats_enc_pre_fmt '{{t}}' -""",
        ),
        (
            "measure the source",
            f"""{IN} -reinit_filter:v 0 -i file:source -map 0:1 -f null -filter:a:0 aresample=async=1,aformat=channel_layouts=stereo,ebur128=peak=true:framelog=quiet -loglevel info -""",
        ),
        (
            "try a gain",
            f"""{IN} -reinit_filter:v 0 -i file:source -map 0:1 -f matroska -ac 2 -b:a 128k -c:a aac -filter:a:0 'aresample=async=1,aformat=channel_layouts=stereo,{{gain}}' -map_metadata -1 file:loudness.mka""",
        ),
        (
            "measure the trial",
            """-f matroska -protocol_whitelist file,pipe -i file:loudness.mka -map 0:a:0 -f null -filter:a:0 ebur128=peak=true:framelog=quiet -loglevel info -""",
        ),
        (
            "measure the output",
            """-f mp4 -protocol_whitelist file,pipe -i file:out.mp4 -map 0:a:0 -f null -filter:a:0 ebur128=peak=true:framelog=quiet -loglevel info -""",
        ),
        (
            "try a CRF",
            f"""{IN} -reinit_filter:v 0 -i file:source -filter_complex '[0:0]scale=1280:720:interl=-1[s0];[s0]bwdif=deint=interlaced:mode=send_frame[s1];[s1]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,640\\,2*round(min(640\\,360*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,360\\,2*round(min(360\\,640/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s2];[s2]pad=640:360:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s3];[s3]setsar=1[s4];[s4]format=color_ranges=tv:color_spaces=bt709:pix_fmts=yuv420p[s5]' -map '[s5]' -f matroska -c:v libx264 -crf '{{crf}}' -enc_time_base 1:90000 -fps_mode vfr -map_metadata -1 -preset medium file:sample.mkv""",
        ),
        (
            "score a sample",
            f"""-f matroska -protocol_whitelist file,pipe -i file:sample.mkv {IN} -reinit_filter:v 0 -i file:source -filter_complex '[0:v:0]setparams=colorspace=bt709:range=tv[s0];[s0]settb=AVTB[s1];[s1]setpts=PTS-STARTPTS[s2];[s2]scale=1920:1080:flags=bicubic+accurate_rnd+full_chroma_int[s3];[s3]format=yuv420p[s4];[1:0]scale=1280:720:interl=-1[s5];[s5]bwdif=deint=interlaced:mode=send_frame[s6];[s6]scale=if(lt(abs(dar*9/16-1)\\,0.02)\\,640\\,2*round(min(640\\,360*dar)/2)):if(lt(abs(dar*9/16-1)\\,0.02)\\,360\\,2*round(min(360\\,640/dar)/2)):eval=frame:flags=bicubic+accurate_rnd+full_chroma_int[s7];[s7]pad=640:360:(ow-iw)/2:(oh-ih)/2:color=black:eval=frame[s8];[s8]setsar=1[s9];[s9]format=color_ranges=tv:color_spaces=bt709:pix_fmts=yuv420p[s10];[s10]settb=AVTB[s11];[s11]setpts=PTS-STARTPTS[s12];[s12]scale=1920:1080:flags=bicubic+accurate_rnd+full_chroma_int[s13];[s13]format=yuv420p[s14];[s4][s14]libvmaf=log_fmt=csv:log_path=scores.txt:model=version\\\\=vmaf_v0.6.1:n_subsample=5:n_threads={{threads}}:ts_sync_mode=nearest[s15]' -map '[s15]' -f null -fps_mode passthrough -stats_enc_pre times.txt -stats_enc_pre_fmt '{{t}}' -""",
        ),
    ],
)
def test_argument_lists_are_exact(purpose, expected):
    assert list(commands()[purpose]) == shlex.split(expected)


def test_what_is_not_asked_for_costs_nothing():
    plan = plan_output("transcode", {"name": "x"}, clip())
    assert (plan.measures, plan.scoring) == ((), None)


def test_a_copy_or_sound_alone_is_not_scored():
    sound = {"name": "x", "container": "mp3", "video_template": {"quality": {}}}
    assert plan_output("transcode", sound, clip()).scoring is None


def test_each_chosen_track_is_measured():
    output = {"name": "x", "container": "mkv", "audio_template": {"loudness": {}, "stream_selects": [2, 0]}}
    measures = plan_output("transcode", output, clip(audio=3)).measures
    assert [measure.slot for measure in measures] == ["{loudness0}", "{loudness1}"]
    assert [measure.measure[measure.measure.index("-map") + 1] for measure in measures] == ["0:3", "0:1"]
