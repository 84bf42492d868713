"""Hosts of a test's own, on one machine: each a network namespace with a root, /tmp, /dev/shm and process ids of its own.

Their roots are overlays of this machine's, so they have the same programs and see nothing of what another one writes. They
reach one another over a bridge, without a way out. Needs root; `why_not()` says what is missing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mps_dagster.ffmpeg.process import _PR_SET_PDEATHSIG, _prctl

QUOTA = Path("/sys/fs/cgroup/cpu")
"""Version 1 of control groups."""
PERIOD_US = 100_000

_ENTER = """
set -e
mount --make-rprivate /
mount -t overlay -o lowerdir=/,upperdir={0}/upper,workdir={0}/work none {0}/root
cd {0}/root
mount --rbind /dev dev && mount --rbind /sys sys && mount -t proc proc proc
mount -t tmpfs none dev/shm && mount -t tmpfs none tmp && mount -t tmpfs none run
mkdir -p old_root && pivot_root . old_root && umount -l /old_root
hostname {1}
touch /tmp/ready
exec sleep infinity
"""


@dataclass
class Host:
    """One host of a network."""

    name: str
    address: str
    namespace: str
    folder: Path
    keeper: subprocess.Popen[bytes]
    """Holds the namespaces open; its child is process 1 of the host."""
    quota: Path | None = None
    _processes: list[subprocess.Popen[Any]] = field(default_factory=list)

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs a program on the host."""
        join = ["sh", "-c", f'echo $$ > {self.quota}/cgroup.procs; exec "$@"', "sh"] if self.quota else []
        inside = ["sh", "-c", 'cd /; exec "$@"', "sh", *argv]
        return [*join, "nsenter", "-t", str(self._init), "-m", "-p", "-n", "-u", "-i", "-r", "--", *inside]

    def start(self, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[Any]:
        """Start a program that is ended with the host. The log is a file of the machine."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                self.enter(argv), env=dict(environment), stdout=file, stderr=file, start_new_session=True
            )
        self._processes.append(process)
        return process

    def run(self, *argv: str, environment: Mapping[str, str] | None = None, timeout_s: float = 120) -> str:
        """Run a program; return what it printed."""
        done = subprocess.run(
            self.enter(argv), env=dict(environment or os.environ), capture_output=True, text=True, check=False,
            timeout=timeout_s,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def has(self, path: Path) -> bool:
        return subprocess.run(self.enter(["test", "-e", str(path)]), check=False).returncode == 0

    def pids(self, words: str) -> list[int]:
        """Process ids, as the machine has them, of the host's programs with these words in their command line."""
        inside = Path(f"/proc/{self._init}/ns/pid").stat().st_ino
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "ns/pid").stat().st_ino == inside:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if words in line:
                        found.append(int(entry.name))
        return sorted(found)

    def cut_off(self) -> None:
        """Take the network away."""
        _ip("-n", self.namespace, "link", "set", "eth0", "down")

    def connect(self) -> None:
        _ip("-n", self.namespace, "link", "set", "eth0", "up")

    @property
    def lives(self) -> bool:
        return self.keeper.poll() is None

    def die(self) -> None:
        """Everything on it ends at once, as if the power went."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._init, signal.SIGKILL)
        self.keeper.wait(10)
        for process in self._processes:
            process.wait(10)

    @property
    def _init(self) -> int:
        return int(Path(f"/proc/{self.keeper.pid}/task/{self.keeper.pid}/children").read_text().split()[0])


@dataclass
class Network:
    """A bridge in a namespace of its own, so that nothing listens beyond it."""

    folder: Path
    prefix: str
    subnet: str
    hosts: list[Host] = field(default_factory=list)

    def host(self, name: str, *, cores: float | None = None) -> Host:
        """Add a host; `cores` is how much of this machine it gets, which may be less than one."""
        number = len(self.hosts) + 1
        namespace, address = f"{self.prefix}{name}", f"{self.subnet}.{number}"
        link, folder = f"{self.prefix}{number}", self.folder / name
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True)
        _ip("netns", "add", namespace)
        _ip("-n", self.prefix, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("-n", self.prefix, "link", "set", link, "master", "br0", "up")
        _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", device, "up")
        script = _ENTER.format(folder, name)
        unshared = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "sh", "-c", script]
        keeper = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *unshared], start_new_session=True,
            # A host ends with the test, also if that is killed.
            preexec_fn=_prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )  # fmt: skip
        host = Host(name, address, namespace, folder, keeper, _quota(namespace, cores) if cores else None)
        self.hosts.append(host)
        _wait(lambda: host.has(Path("/tmp/ready")), keeper)
        return host

    def close(self) -> None:
        for host in self.hosts:
            if host.lives:
                host.die()
            _ip("netns", "del", host.namespace)
            if host.quota:
                _remove(host.quota)


@contextlib.contextmanager
def network(folder: Path) -> Iterator[Network]:
    """`folder` must not lie on an overlay itself."""
    prefix = f"m{os.getpid() % 100_000}"
    _ip("netns", "add", prefix)
    made = Network(folder, prefix, "10.77.0")
    try:
        _ip("-n", prefix, "link", "add", "br0", "type", "bridge")
        _ip("-n", prefix, "link", "set", "br0", "up")
        yield made
    finally:
        made.close()
        _ip("netns", "del", prefix)


def why_not() -> str:
    """Why hosts cannot be made here; empty if they can."""
    if os.geteuid() != 0:
        return "hosts as namespaces need root"
    try:
        with tempfile.TemporaryDirectory() as folder, network(Path(folder)) as made:
            made.host("probe")
    except (AssertionError, OSError) as error:
        return f"no namespaces here: {error}"
    return ""


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


def _quota(name: str, cores: float) -> Path:
    group = QUOTA / name
    group.mkdir()
    (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
    (group / "cpu.cfs_quota_us").write_text(str(int(cores * PERIOD_US)))
    return group


def _remove(group: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _wait(ready: Any, keeper: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        assert keeper.poll() is None, "the host did not start"
        assert time.monotonic() < deadline, "the host did not start in time"
        with contextlib.suppress(IndexError, OSError):
            if ready():
                return
        time.sleep(0.05)
