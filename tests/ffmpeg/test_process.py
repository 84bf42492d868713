"""Running processes: limits, progress, no orphans. With short, real processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mps_dagster.errors import ContentMalformed, DiskFull, ToolFailed, ToolKilled
from mps_dagster.ffmpeg.process import Completed, Limits, run

LIMITS = Limits(wall_s=20, stall_s=20, memory_bytes=2 * 2**30)


def python(code: str, limits: Limits = LIMITS, cwd: Path = Path("/tmp"), **options) -> Completed:
    return run([sys.executable, "-c", code], cwd=cwd, limits=limits, **options)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z" if sys.platform == "linux" else True


@pytest.mark.slow
def test_output_lines_are_passed_on_and_usage_is_measured():
    """Progress is read from the lines while the process runs."""
    lines: list[str] = []
    process = python("print('a'); print('b'); sum(range(3_000_000))", on_line=lines.append)
    assert (lines, process.returncode) == (["a", "b"], 0)
    assert process.cpu_s > 0
    assert process.memory_bytes > 1_000_000


@pytest.mark.slow
def test_a_process_does_not_get_our_environment(monkeypatch):
    """A hostile file must not reach a credential."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert "secret" not in python("import os; print(dict(os.environ))").stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="has Linux's scheduling")
def test_a_process_gives_way_to_our_servers():
    """Even if it asks for more: as root, SVT-AV1 asks for real-time priority."""
    take = "import os; print(os.nice(0)); os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))"
    process = python(take, replace(LIMITS, niceness=7))
    assert int(process.stdout) == min(os.nice(0) + 7, 19)
    assert "PermissionError" in process.stderr


@pytest.mark.slow
def test_a_process_that_runs_too_long_is_killed():
    """The error names the limit."""
    process = python("import time; time.sleep(60)", Limits(wall_s=0.6, stall_s=20, memory_bytes=2**31))
    with pytest.raises(ToolFailed, match=r"longer than 0\.6 s"):
        process.check()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="CPU time of a child is read from /proc")
def test_a_process_that_hangs_is_killed():
    """ffmpeg keeps printing progress while it hangs, so output does not count as work."""
    code = "import time, sys\nwhile True: print('progress=continue', flush=True); time.sleep(0.3)"
    process = python(code, Limits(wall_s=60, stall_s=0.2, memory_bytes=2**31))
    assert "it hung" in process.ended_by


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what a child reads and writes is read from /proc")
@pytest.mark.parametrize(
    ("loop", "ends"),
    [
        pytest.param("pass", "it was stuck", id="computes, and nothing comes of it"),
        pytest.param("print('progress=continue', flush=True)", "it was stuck", id="prints all the time"),
        pytest.param("f.seek(0); f.read(1 << 20)", "it was stuck", id="reads the same again and again"),
        pytest.param("o.write(bytes(4096)); o.flush()", "it ran longer", id="writes"),
        pytest.param("print('frame', flush=True)", "it ran longer", id="finishes frames"),
    ],
)
def test_a_busy_process_that_does_not_get_on_is_stuck(loop, ends, tmp_path):
    """Using CPU is no movement. One that moves is ended by its time limit only."""
    (tmp_path / "in").write_bytes(bytes(1 << 20))
    code = f"f = open('in', 'rb'); o = open('out', 'wb')\nwhile True:\n    {loop}"
    limits = Limits(wall_s=4, stall_s=0.3, memory_bytes=2**31, read_bytes=2**22)
    process = python(code, limits, tmp_path, on_line=lambda line: line == "frame")
    assert ends in process.ended_by


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no address-space limit on macOS")
def test_memory_is_limited():
    """A decompression bomb fails alone instead of taking the machine down."""
    assert python("x = bytearray(3 * 2**30)").returncode == 1


@pytest.mark.slow
def test_output_size_is_limited(tmp_path):
    """The file is cut at the limit, and the error says why."""
    limits = Limits(wall_s=20, stall_s=20, memory_bytes=2**31, output_bytes=1000)
    code = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL); open('big', 'wb').write(bytes(10_000))"
    with pytest.raises(ToolFailed, match="file size"):
        python(code, limits, tmp_path).check()


@pytest.mark.slow
def test_children_of_a_child_are_killed_with_it():
    """The whole process group, not only its leader."""
    code = (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); time.sleep(60)"
    )
    pids: list[int] = []
    python(code, Limits(wall_s=1.0, stall_s=20, memory_bytes=2**31), on_line=lambda line: pids.append(int(line)))
    time.sleep(0.3)
    assert pids
    assert not alive(pids[0])


@pytest.mark.slow
def test_an_interrupt_leaves_no_process_behind():
    """Dagster's Terminate raises in the op while ffmpeg runs."""

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt) as caught:
        python("import os, time; print(os.getpid(), flush=True); time.sleep(60)", on_line=interrupt)
    time.sleep(0.2)
    assert not alive(int(str(caught.value)))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_process_dies_with_a_parent_that_is_killed(tmp_path):
    """SIGKILL runs no handler, and a surviving encoder would write while the retry does."""
    code = f"""
import sys
from pathlib import Path
from mps_dagster.ffmpeg.process import Limits, run
run([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"], cwd=Path("/tmp"),
    limits=Limits(60, 60, 2**31), on_line=lambda line: Path({str(tmp_path / "pid")!r}).write_text(line))
"""
    parent = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    deadline = time.monotonic() + 15
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.1)
    child = int((tmp_path / "pid").read_text())
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    time.sleep(0.3)
    assert not alive(child)


@pytest.mark.parametrize(
    ("stderr", "returncode", "error"),
    [
        pytest.param("x: Invalid data found when processing input", 1, ContentMalformed, id="the source is at fault"),
        pytest.param("av_interleaved_write_frame(): No space left on device", 1, DiskFull, id="the disk is full"),
        pytest.param(
            "Error writing trailer: Disk quota exceeded", 0, DiskFull, id="the quota is used up, and exit code 0"
        ),
        pytest.param("", 228, DiskFull, id="the disk is full, and only the exit code tells"),
        pytest.param("Unrecognized option 'x'", 8, ToolFailed, id="anything else"),
        pytest.param("", -9, ToolKilled, id="killed from outside"),
    ],
)
def test_a_failure_becomes_the_error_that_says_what_to_do(stderr, returncode, error):
    """Its class decides about a retry and about the code that MPS's clients get."""
    process = Completed(("/x/ffmpeg", "-i", "a b"), returncode, "", stderr, 1.0, 1.0, 1)
    with pytest.raises(error, match=r"'a b'|disk") as caught:
        process.check()
    assert type(caught.value) is error
