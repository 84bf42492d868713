"""Whether everything that was uploaded has become what was promised, and nothing is left behind."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import av
from PIL import Image

from mps_dagster.control.task_run import TaskRun
from mps_dagster.errors import MpsError
from mps_dagster.execution.assemble import manifest_key
from mps_dagster.execution.records import PREFIX as RECORDS
from mps_dagster.execution.records import parse_record
from mps_dagster.execution.segments import segments_unchanged
from mps_dagster.execution.subtask import TaskResult
from mps_dagster.notify.outbox import Outbox
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets
from mps_dagster.tasks.result import OutputObject, SubtaskResult
from mps_dagster.workflow.model import RECORDS_DIR, Workflow
from soak.history import Events, History
from soak.processes import DAEMON, FFMPEG, OTHER, RUN, WORKER, processes
from soak.target import left_in_scratch
from soak.uploads import SECONDS, Upload

OUTPUT_BUCKETS = ("outputs", "s3://soak-out")
RETRIES = 3
"""dagster.yaml's."""
LONGER_S = 0.6
"""Audio frames and GOPs make an output a little longer or shorter than its source."""
PICTURES = ("png", "jpg", "jpeg", "gif", "webp")


@dataclass
class Verdict:
    """Collects violations."""

    settings: Settings
    history: History
    events: Events
    workflows: dict[str, Workflow]
    violations: list[str] = field(default_factory=list)
    outputs: int = 0
    """Objects that were looked at."""
    states: dict[Upload, TaskRun] = field(default_factory=dict)

    given_up: list[Upload] = field(default_factory=list)
    """Those whose last retry was killed, too."""

    def __post_init__(self) -> None:
        self.buckets = Buckets(self.settings)

    def check(self, uploads: list[Upload]) -> None:
        expected: dict[str, set[str]] = {name: set() for name in OUTPUT_BUCKETS}
        for upload in uploads:
            for problem in self._upload(upload, expected):
                self.violations.append(f"{upload.workflow} {upload.key} ({upload.kind}): {problem}")
        for name, keys in expected.items():
            found = {info.key for info in self.buckets.get(name).list() if not info.key.startswith(RECORDS_DIR)}
            nobodys = [key for key in sorted(found - keys) if not self._is_given_up(key)]
            self.violations += [f"{name}/{key}: nobody's output" for key in nobodys[:20]]
        self.violations += self._records()

    def _is_given_up(self, output: str) -> bool:
        return any(output.startswith(f"{upload.key.rpartition('.')[0]}/") for upload in self.given_up)

    def _upload(self, upload: Upload, expected: dict[str, set[str]]) -> Iterator[str]:
        attempts = self.history.by_place.get(upload.place, [])
        roots = {attempt.root for attempt in attempts}
        if len(roots) > 1:
            yield f"{len(roots)} task runs: {', '.join(sorted(roots))}"
        if not attempts:
            if upload.kind != "replaced":
                yield "it never got a run"
            return
        last = attempts[-1]
        if last.goes_on:
            yield f"run {last.run_id} has not ended: {last.status}"
            return
        state = self.history.state(last.run_id, self.workflows[upload.workflow])
        self.states[upload] = state
        if upload.kind == "good" and state.outcome == "FAILURE" and len(attempts) > RETRIES:
            # Random kills met each of its attempts. What it published stays until it is run again.
            self.given_up.append(upload)
        else:
            yield from self._ending(upload, state)
        yield from self._told(state, last.root)
        if last.status == "SUCCESS" and upload.kind == "good":
            yield from self._outputs(upload, state, last.root, expected)

    def _ending(self, upload: Upload, state: TaskRun) -> Iterator[str]:
        errors = {(item.code, item.message) for item in (state, *state.subtasks) if item.code}
        if state.outcome == "SUCCESS":
            if upload.kind == "damaged" or errors:
                yield f"{state.run_id} ended well, with {errors}"
            return
        # A task that works on another one's output is not run when that one has failed.
        faults = {(code, message) for code, message in errors if not message.startswith("it was not run, because ")}
        own_fault = upload.kind != "good" and all(code.startswith("SourceFileError") for code, _ in faults) and faults
        if not own_fault:
            said = "; ".join(f"{code}: {message[:300]}" for code, message in sorted(errors)) or "no error"
            yield f"{state.run_id} ended as {state.outcome}: {said}"

    def _told(self, state: TaskRun, root: str) -> Iterator[str]:
        """Whether the last event tells the truth."""
        events = self.events.of(root)
        if not events:
            yield f"{state.run_id}: no event"
            return
        told = events[-1]["WorkflowTaskEvent"]
        tasks = [next(value for name, value in result.items() if name.endswith("Task") and value)
                 for result in told["MediaProcessResultSet"]]  # fmt: skip
        failed = bool(told["ErrCode"]) or any(task["Status"] == "FAIL" for task in tasks)
        if told["Status"] != "FINISH" or failed != state.failed or len(tasks) != len(state.subtasks):
            said = f"{told['Status']}, failed={failed}, {len(tasks)} results"
            yield (
                f"{state.run_id}: the last event says {said}; it is {state.outcome}, failed={state.failed}, "
                f"{len(state.subtasks)} results"
            )

    def _outputs(self, upload: Upload, state: TaskRun, root: str, expected: dict[str, set[str]]) -> Iterator[str]:
        workflow = self.workflows[upload.workflow]
        results = [subtask.result for subtask in state.subtasks if subtask.result]
        if len(results) != sum(len(task.outputs) for task in workflow.tasks.values()):
            yield f"{len(results)} outputs"
        for result in results:
            expected[result.bucket] |= set(result.keys)
            for problem in self._result(result):
                yield f"{result.task}/{result.label}: {problem}"
        for name in workflow.tasks:
            mine = {key for result in results if result.task == name for key in result.keys}
            key = manifest_key(upload.bucket, upload.key, workflow.name, root, name)
            try:
                manifest = TaskResult.model_validate_json(
                    self.buckets.get(OUTPUT_BUCKETS[workflow.name != "local"]).read(key)
                )
            except MpsError as error:
                yield f"manifest of {name}: {error}"
                continue
            listed = {key for result in manifest.results for key in result.keys}
            if listed != mine:
                yield f"the manifest of {name} lists {len(listed)} objects, and there are {len(mine)}"

    def _result(self, result: SubtaskResult) -> Iterator[str]:
        bucket = self.buckets.get(result.bucket)
        with tempfile.TemporaryDirectory(dir=self.settings.home.parent) as folder:
            for output in result.outputs:
                self.outputs += 1
                try:
                    content = bucket.read(output.key)
                except MpsError as error:
                    yield str(error)
                    continue
                if hashlib.md5(content).hexdigest() != output.md5 or len(content) != output.size_bytes:
                    yield f"{output.key} is not what its record says"
                yield from probed(bucket, result, output, content, Path(folder))
        if result.segments and not segments_unchanged(result.segments, bucket):
            yield "its segments are not what its record says"

    def _records(self) -> Iterator[str]:
        """Claims that nobody will end."""
        for name in OUTPUT_BUCKETS:
            bucket = self.buckets.get(name)
            for info in bucket.list(RECORDS):
                record = parse_record(bucket.read(info.key))
                claim = record.claim if record else None
                if claim and self._is_given_up(claim.path):
                    continue
                if record is None or (claim and claim.publishing):
                    yield f"{name}/{info.key}: {'unreadable' if record is None else f'still published by {record.claim}'}"

    def check_rest(self, free_before: int, free_now: int) -> None:
        """Nothing is left on the disk, in Dagster or among the processes while everything waits."""
        settings, found = self.settings, processes(self.settings)
        self.violations += [
            f"process {p.pid} is left: {p.line[:150]}" for p in found if p.role in (FFMPEG, RUN, WORKER, OTHER, "probe")
        ]
        daemons = [process.pid for process in found if process.role == DAEMON]
        if len(daemons) != 1:
            self.violations.append(f"{len(daemons)} daemons: {daemons}")
        self.violations += [f"run {run} has not ended" for run in self.history.open_runs()]
        if left := left_in_scratch(settings):
            self.violations.append(f"scratch holds {len(left)}: {', '.join(left[:8])}")
        for folder in (settings.progress_dir, settings.home / "tmp"):
            # A code server that is killed leaves the socket that Dagster made for it.
            left = sorted(path.name for path in folder.iterdir() if not path.is_socket()) if folder.is_dir() else []
            if left:
                self.violations.append(f"{folder.name} holds {len(left)}: {', '.join(left[:8])}")
        drafts = [path for path in settings.home.rglob("*") if path.name.startswith(".mps-") or path.suffix == ".part"]
        self.violations += [f"a draft is left: {path.relative_to(settings.home)}" for path in drafts[:20]]
        if free_before - free_now > 2**20:
            self.violations.append(f"the scratch disk has {free_before - free_now} bytes less than before")
        if waiting := Outbox.of(settings).waiting():
            self.violations.append(f"{len(waiting)} events have not been sent")


def probed(bucket: Bucket, result: SubtaskResult, output: OutputObject, content: bytes, folder: Path) -> Iterator[str]:
    """Decode all of it, and compare it with what the record says."""
    if output.key.rpartition(".")[2] in PICTURES:
        yield from _picture(output, content)
    elif output.role == "main" and output.media:
        # A playlist's segments lie beside it, as it names them.
        keys = result.segments.keys if result.segments else []
        for key in keys:
            (folder / quote(key.rpartition("/")[2])).write_bytes(bucket.read(key))
        path = folder / output.key.rpartition("/")[2]
        path.write_bytes(content)
        yield from _played(path, output)


def _picture(output: OutputObject, content: bytes) -> Iterator[str]:
    try:
        with Image.open(io.BytesIO(content)) as image:
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                image.load()
            size = image.size
    except (OSError, SyntaxError, EOFError) as error:
        yield f"{output.key} is no whole picture: {error}"
        return
    if size != (output.width, output.height):
        yield f"{output.key} has {size}, and its record says {output.width} x {output.height}"


def _played(path: Path, output: OutputObject) -> Iterator[str]:
    media = output.media
    assert media
    try:
        with av.open(str(path)) as container:
            times = [frame.time or 0.0 for frame in container.decode()]
            kinds = {stream.type for stream in container.streams}
    except (av.FFmpegError, OSError) as error:
        yield f"{output.key} cannot be decoded: {error}"
        return
    seconds = max(times, default=0.0) - min(times, default=0.0)
    if abs(seconds - SECONDS) > LONGER_S or abs(media.duration_s - SECONDS) > LONGER_S:
        yield f"{output.key} lasts {seconds:.2f} s, its record says {media.duration_s:.2f} s"
    expected = ({"video"} if media.video else set()) | ({"audio"} if media.audio else set())
    if kinds != expected:
        yield f"{output.key} has {sorted(kinds)}, and its record says {sorted(expected)}"
