#!/usr/bin/env bash
# A hand-written ladder: one ffmpeg that decodes once, splits, encodes four renditions and the sound once, and writes HLS. The same
# encoder settings as workflows/ladder.yaml in ladder.py. No probing, no checks, no records, no retries.
set -euo pipefail
# In: FFMPEG, SOURCE. Out: files in the working directory.
x264="-c:v libx264 -preset medium -fps_mode passthrough -force_key_frames expr:gte(t,n_forced*2)"
$FFMPEG -hide_banner -nostdin -y -loglevel error -i "$SOURCE" -filter_complex "[0:v]split=4[a][b][c][d];\
[a]fps=24,scale=426:240,format=yuv420p[240];[b]fps=24,scale=640:360,format=yuv420p[360];\
[c]fps=24,scale=960:540,format=yuv420p[540];[d]fps=24,scale=1280:720,format=yuv420p[720]" \
  -map [240] -map [360] -map [540] -map [720] -map 0:a $x264 \
  -b:v:0 300k -maxrate:v:0 450k -bufsize:v:0 600k -b:v:1 700k -maxrate:v:1 1050k -bufsize:v:1 1400k \
  -b:v:2 1200k -maxrate:v:2 1800k -bufsize:v:2 2400k -b:v:3 2000k -maxrate:v:3 3000k -bufsize:v:3 4000k \
  -c:a aac -ac 2 -ar 44100 -b:a 64k -f hls -hls_time 6 -hls_playlist_type vod -hls_segment_type fmp4 \
  -hls_flags independent_segments -hls_segment_filename 's%v_%05d.m4s' -master_pl_name master.m3u8 \
  -var_stream_map "v:0,agroup:a v:1,agroup:a v:2,agroup:a v:3,agroup:a a:0,agroup:a" s%v.m3u8
