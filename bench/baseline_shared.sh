#!/usr/bin/env bash
# baseline.sh with one decode: one ffmpeg makes all full-length outputs with pictures; the others are made beside it.
set -euo pipefail
# In: FFMPEG, SOURCE, LOGO. Out: files in the working directory.
ff="$FFMPEG -hide_banner -nostdin -y -loglevel error"
x264="-c:v libx264 -preset medium -fps_mode passthrough"
aac="-map 0:a -c:a aac -ac 2 -ar 44100"
jpg="-c:v mjpeg -q:v 3"
text="drawtext=text='mps_dagster':fontsize=32:fontcolor=white:x=W*0.02:y=H-h-H*0.04"
fonts=$(find /usr/share/fonts "${FFMPEG%/imageio_ffmpeg/*}"/manimgx_fonts -name '*Sans*.ttf' 2>/dev/null | head -1 || true)
[ -n "$fonts" ] && cp "$fonts" font.ttf && text="$text:fontfile=font.ttf"
# As the script knows that source and outputs have the same frame rate, size and colours, filters need not be cautious, and 540p
# is scaled once for two outputs.
graph="[0:v]split=6[a][b][c][d][e][f];[1]scale=192:-1[l];[a]fps=25,scale=1280:720,format=yuv420p[720];\
[b]$text[t];[t][l]overlay=W-w-38:43,format=yuv420p[branded];[c]fps=25,scale=960:540,format=yuv420p,split[540][hls];\
[d]fps=25,scale=640:360,format=yuv420p[360];[e]fps=1/2:round=up:start_time=0,scale=142:80,tile=4x4[sprite];\
[f]fps=10/$SECONDS_LONG:round=up:start_time=0,trim=end_frame=10[samples]"

cat > jobs <<JOBS
$ff -i $SOURCE -i $LOGO -filter_complex "$graph" -map [720] $x264 -b:v 1800k -maxrate 2700k -bufsize 3600k $aac -b:a 128k -movflags +faststart 720.mp4 -map [branded] -map 0:a -c:v libx264 -preset veryfast -crf 20 -c:a copy -movflags +faststart branded.mp4 -map [540] $x264 -b:v 1000k -maxrate 1500k -bufsize 2000k $aac -b:a 64k -movflags +faststart 540.mp4 -map [hls] $x264 -b:v 1000k -maxrate 1500k -bufsize 2000k -force_key_frames 'expr:gte(t,n_forced*4)' $aac -b:a 64k -f hls -hls_time 4 -hls_playlist_type vod -hls_segment_filename s%05d.ts 540.m3u8 -map [360] $x264 -b:v 400k -maxrate 600k -bufsize 800k $aac -b:a 64k -movflags +faststart 360.mp4 -map [sprite] $jpg sprite_%d.jpg -map [samples] $jpg sample_%d.jpg -map 0:a -ac 2 -ar 44100 -c:a libmp3lame -b:a 128k audio.mp3; $ff -t 3 -i 360.mp4 -vf 'fps=4,scale=160:90,split[a][b];[a]palettegen=stats_mode=diff[p];[b][p]paletteuse=dither=bayer:bayer_scale=3:diff_mode=rectangle' preview.gif
$ff -i $SOURCE -t 6 -vf scale=640:360,format=yuv420p -c:v libvpx-vp9 -row-mt 1 -deadline good -cpu-used 5 -crf 36 -b:v 0 -c:a libopus -b:a 128k opening.webm
$ff -t 3 -i $SOURCE -vf 'fps=8,scale=320:180,split[a][b];[a]palettegen=stats_mode=diff[p];[b][p]paletteuse=dither=bayer:bayer_scale=3:diff_mode=rectangle' teaser.gif
$ff -t 3 -i $SOURCE -vf fps=8,scale=320:180,format=yuv420p -c:v libwebp_anim -quality 75 -loop 0 teaser.webp
$ff -skip_frame nokey -discard nokey -i $SOURCE -vf fps=1/5:round=up:start_time=0,scale=320:180 -c:v libwebp -quality 85 small_%d.webp
for t in 0 \$((SECONDS_LONG / 10)) \$((SECONDS_LONG / 2)); do $ff -ss \$t -i $SOURCE -frames:v 1 $jpg still_\$t.jpg; done
$ff -ss \$((SECONDS_LONG / 4)) -i $SOURCE -frames:v 1 -vf scale=640:360 -c:v libwebp -quality 85 poster.webp
JOBS
export SECONDS_LONG
tr '\n' '\0' < jobs | xargs -0 -P "$(nproc)" -I{} bash -c '{}'
