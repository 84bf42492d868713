"""Names that are too long for a bucket are shortened: still distinct, and always the same."""

from __future__ import annotations

import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.media.info import MediaInfo
from mps_dagster.storage.keys import check_key, max_key_bytes, shortened, shortened_dir
from mps_dagster.tasks.spec import NumberFormat, OutputNames
from mps_dagster.workflow.model import Source, Task

PATTERN = "{inputName}_transcode_{definition}.{format}"
NUMBERED = "{inputName}_sample_{definition}_{number}.{format}"
LETTERS = st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=260)


def output_names(input_name: str, output_dir: str = "", **more) -> OutputNames:
    return OutputNames(input_name, "mp4", output_dir, "100030", **more)


def source_of(key: str, bucket: str = "inbox") -> Source:
    media = MediaInfo(container="mov", size_bytes=1, duration_s=1)
    return Source(bucket=bucket, key=key, etag="1", size_bytes=1, media=media)


@pytest.mark.parametrize(
    ("length", "form"), [(4, "a{4}"), (234, "a{234}"), (235, "a{221}-[0-9a-f]{12}"), (251, "a{221}-[0-9a-f]{12}")]
)
def test_only_long_names_are_shortened(length, form):
    """To 255 bytes; the part that identifies the output stays."""
    key = output_names("a" * length).key(PATTERN, format="mp4")
    assert re.fullmatch(f"{form}_transcode_100030.mp4", key)
    assert len(key) == min(255, length + len("_transcode_100030.mp4"))


@pytest.mark.parametrize("letter", ["a", "影", "é", "🎬", "👩‍🚀"])
def test_a_name_is_cut_between_characters(letter):
    """The limit counts bytes, but no character is split."""
    name = letter * (251 // len(letter.encode()))
    key = output_names(name).key(PATTERN, format="mp4")
    assert 240 < len(key.encode()) <= 255
    prefix = key.removesuffix("_transcode_100030.mp4")[:-13]
    assert name.startswith(prefix)
    assert prefix


@pytest.mark.parametrize("number", [0, 9, 10, 12345, 999_999])
def test_members_of_a_series_are_shortened_alike(number):
    """As in the path that is announced before they exist."""
    long = output_names("n" * 250)
    announced = long.key(NUMBERED, format="jpg")
    assert long.key(NUMBERED, format="jpg", number=str(number)) == announced.replace("{number}", str(number))
    assert len(announced.replace("{number}", str(number))) <= 255


def test_wide_numbers_are_not_cut():
    """`min_length` and a place holder of several bytes."""
    numbers = NumberFormat(initial_value=10**9, min_length=30, place_holder="字")
    long = output_names("n" * 250, number_bytes=numbers.max_bytes)
    key = long.key(NUMBERED, format="jpg", number=numbers.number(999_999))
    assert len(key.encode()) <= 255
    assert numbers.number(999_999) in key


@pytest.mark.parametrize(
    "pattern", ["{inputName}_clips/{number}.{format}", "{number}-{inputName}", "a/{inputName}x/{inputName}y"]
)
def test_folders_in_a_pattern_are_shortened_too(pattern):
    key = output_names("n" * 254).key(pattern, format="jpg", number="7")
    assert all(len(part.encode()) <= 255 for part in key.split("/"))
    assert key.endswith(".jpg")
    assert "7" in key or "number" not in pattern


@pytest.mark.parametrize(("bucket", "most"), [("inbox", 1024), ("s3://media", 1024), ("cos://media-1250000000", 850)])
@pytest.mark.parametrize("depth", [200, 700, 840, 1010])
def test_a_key_is_no_longer_than_its_bucket_allows(bucket, most, depth):
    """First the name is shortened, then the last folder."""
    folder = ("d" * 99 + "/") * 11
    task = Task(name="web", type="transcode", outputs=({"definition": 100030},))
    key = f"{folder[: min(depth, most - 12)].rstrip('/')}/{'n' * 7}.mp4"
    [announced] = task.paths(task.specs[0], source_of(key, bucket)).values()
    output_key = task.names(task.specs[0], source_of(key, bucket)).key(PATTERN, format="mp4")
    assert output_key == f"{announced[1:]}.mp4"
    assert len(output_key) <= most == max_key_bytes(bucket)
    assert output_key.endswith("_transcode_100030.mp4")
    assert check_key(output_key).startswith(folder[:99])


def test_long_names_that_differ_only_at_their_end_stay_different():
    """Of uploads, folders and outputs."""
    uploads = {output_names("n" * 240 + end).key(PATTERN, format="mp4") for end in "abc"}
    folders = {output_names("n", f"{'d/' * 511}{end}/", key_bytes=850).key(PATTERN, format="mp4") for end in "abc"}
    outputs = {output_names("n" * 240).key(f"{{inputName}}_{end}.{{format}}", format="mp4") for end in "abc"}
    assert (len(uploads), len(folders), len(outputs)) == (3, 3, 3)


def test_a_name_that_already_has_the_extension_keeps_it():
    """From an upload named `….mp4.mov`."""
    key = output_names("n" * 247 + ".mp4").key("{inputName}", format="mp4")
    assert key == "n" * 247 + ".mp4"
    longer = output_names("n" * 252 + ".mp4").key("{inputName}", format="mp4")
    assert len(longer) == 255
    assert longer.endswith(".mp4")
    assert not longer.endswith(".mp4.mp4")


def test_a_playlist_s_name_leaves_room_for_its_header():
    """`…_init.mp4`."""
    playlist = output_names("n" * 250).key(PATTERN, format="m3u8")
    assert len(f"{posixpath.splitext(playlist)[0]}_init.mp4") <= 255


def test_a_pattern_that_is_too_long_by_itself_is_refused():
    """When the workflow is read, because no shorter upload name could help."""
    with pytest.raises(InvalidConfiguration, match="255 bytes"):
        output_names("clip").key("p" * 256, format="mp4")


def test_folders_of_the_output_dir_are_shortened_too():
    task = Task(
        name="w", type="transcode", output={"dir": "/vod/{inputName}_made/{inputFormat}/"}, outputs=({"definition": 1},)
    )
    place = task.place(source_of(f"in/{'n' * 251}.mp4"))
    parts = place.dir.strip("/").split("/")
    assert (parts[0], len(parts[1]), parts[1][-5:], parts[2]) == ("vod", 255, "_made", "mp4")


@pytest.mark.parametrize(
    ("spec", "announced"),
    [
        ({"container": "hls", "segment_object_name": "{format}/{inputName}_{number}"},
         {"output_object_path": "/m3u8/a", "segment_object_name": "/ts/a_{number}"}),
        ({"container": "hls", "video_template": {"segment_type": 7}, "segment_object_name": "{format}/{inputName}_{number}"},
         {"output_object_path": "/m3u8/a", "segment_object_name": "/m4s/a_{number}"}),
    ],
)  # fmt: skip
def test_announced_paths_are_the_published_ones(spec, announced):
    """Also if a pattern contains its format."""
    output = {"name": "x", "output_object_path": "{format}/{inputName}", **spec}
    task = Task(name="web", type="transcode", outputs=(output,))
    assert task.paths(task.specs[0], source_of("a.mp4")) == announced


@given(LETTERS, st.integers(32, 300))
def test_a_shortened_name_fits_and_keeps_its_beginning(name, size):
    short = shortened(name, size)
    beginning = short.rpartition("-")[0]
    assert len(short.encode()) <= size
    assert short == name or (len(name.encode()) > size and beginning == name[: len(beginning)])


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=500), st.integers(20, 300))
def test_a_shortened_folder_fits(parts, size):
    folder = "/".join(parts) + "/"
    short = shortened_dir(folder, size)
    assert len(short) <= size
    assert check_key(f"{short}x")
