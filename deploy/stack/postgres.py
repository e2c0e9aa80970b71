"""PostgreSQL with a database for MLflow and one for Prefect, each with a user of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from deploy.stack.part import Part
from deploy.stack.place import Passwords, Place, write_secret
from pipeline import web
from pipeline.child import Child
from pipeline.errors import InputError, PipelineError

_DEBIAN = Path("/usr/lib/postgresql")
_SECONDS = 60.0  # of a start, which may have a crash to recover from
_USERS = ("mlflow", "prefect")


def programs() -> Path | None:
    """Return the folder of the newest PostgreSQL of this machine; None where there is none."""
    found = sorted(_DEBIAN.glob("[0-9]*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    there = str(found[-1]) if found else shutil.which("initdb")
    return Path(there).parent if there else None


class Postgres(Part):
    """A cluster in the folder of a stack, on loopback only, that asks for passwords."""

    def __init__(self, place: Place, passwords: Passwords, port: int = 0) -> None:
        """A cluster that does not run yet; raises InputError where none can be."""
        bin_ = programs()
        if bin_ is None:
            raise InputError("PostgreSQL must be installed: make postgres (Debian: apt install postgresql)")
        self._bin, self._place, self._passwords = bin_, place, passwords
        self._data = place.folder / "postgres"
        self._user = _other_user() if os.geteuid() == 0 else None
        self.port = web.free(port, "PostgreSQL", "--free-ports")
        super().__init__("PostgreSQL", self._process, self._wait, f"127.0.0.1:{self.port}")

    def url(self, user: str, driver: str = "postgresql") -> str:
        """Return the address of a user's database, with the password in it."""
        return f"{driver}://{user}:{getattr(self._passwords, user)}@{self.address}/{user}"

    def start(self) -> None:
        """Start it, with a new cluster where there is none."""
        if not (self._data / "PG_VERSION").is_file():
            self._initialise()
        self._let_end()
        super().start()

    def make_databases(self) -> None:
        """Make users and databases that are missing; returns where all are there."""
        import psycopg2
        from psycopg2 import sql

        connection = psycopg2.connect(self.url("postgres"), connect_timeout=10)
        try:
            connection.autocommit = True  # CREATE DATABASE is no part of a transaction
            with connection.cursor() as cursor:
                for user in _USERS:
                    name, password = sql.Identifier(user), sql.Literal(getattr(self._passwords, user))
                    cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [user])
                    if cursor.fetchone() is None:
                        cursor.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, password))
                    cursor.execute("SELECT FROM pg_database WHERE datname = %s", [user])
                    if cursor.fetchone() is None:
                        cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))
        finally:
            connection.close()

    def _let_end(self) -> None:
        """Wait for the processes of one whose stack was killed, and see that it is not taken for alive.

        PostgreSQL does so for as long as there is a process of its number, also one that has ended and that
        nobody has waited for: in a container without an init.
        """
        until = time.monotonic() + _SECONDS
        while self._is_used() and time.monotonic() < until:
            time.sleep(0.1)
        file = self._data / "postmaster.pid"
        with suppress(OSError, ValueError):  # it has ended, and its file with it
            pid = int(file.read_text(encoding="utf-8").split("\n")[0])
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                file.unlink()

    def _is_used(self) -> bool:
        """Return whether a process works in the cluster's folder, as all of PostgreSQL's do."""
        for there in Path("/proc").glob("[0-9]*/cwd"):
            with suppress(OSError):
                if there.readlink() == self._data.resolve():
                    return True
        return False

    def _initialise(self) -> None:
        # What a start that was cut off has left is no cluster.
        shutil.rmtree(self._data, ignore_errors=True)
        password = self._place.folder / ".postgres-password"
        write_secret(password, self._passwords.postgres)
        self._data.mkdir(mode=0o700)
        if self._user:
            for path in (password, self._data):
                shutil.chown(path, self._user, pwd.getpwnam(self._user).pw_gid)
            self._check_reach()
        command = [
            *(str(self._bin / "initdb"), "--pgdata", str(self._data), "--username", "postgres"),
            *("--auth", "scram-sha-256", "--pwfile", str(password)),
            *("--encoding", "UTF8", "--locale", "C.UTF-8"),
        ]
        done = self._run(command)
        password.unlink()
        if done.returncode:
            raise PipelineError(f"initdb has failed: {' '.join(done.stdout.split())[-400:]}")

    def _check_reach(self) -> None:
        """PostgreSQL refuses to run as root, and another user may not come to this folder."""
        if self._run(["test", "-r", str(self._data)]).returncode:
            shut = next(_shut(self._place.folder), self._place.folder)
            raise InputError(
                f"user {self._user!r}, as which root has to run PostgreSQL, must reach the stack's folder, "
                f"and {shut} is shut to others: choose another folder with --folder, or chmod o+x {shut}"
            )

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        group = pwd.getpwnam(self._user).pw_gid if self._user else None
        user = {"user": self._user, "group": group, "extra_groups": []} if self._user else {}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command,
            cwd="/",
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **user,  # type: ignore[call-overload]
        )
        return done

    def _process(self) -> Child:
        user = ("--user", self._user) if self._user else ()
        arguments = [
            # SIGTERM waits for all clients, SIGINT asks them to go.
            *(*user, "--signal", "SIGINT", str(self._bin / "postgres"), "-D", str(self._data)),
            *("-h", "127.0.0.1", "-p", str(self.port), "-c", "unix_socket_directories="),
        ]
        environment = self._place.environment(LC_ALL="C.UTF-8")
        log = self._place.logs / "postgres.log"
        return Child("deploy.stack.program", arguments, environment, grace=20.0, log=log)

    def _wait(self, child: Child) -> None:
        import psycopg2

        end = time.monotonic() + _SECONDS
        while True:
            try:
                psycopg2.connect(self.url("postgres"), connect_timeout=5).close()
                return
            except psycopg2.OperationalError as error:
                if child.status is not None:
                    raise PipelineError(f"PostgreSQL ended{child.last_words}") from error
                if time.monotonic() > end:
                    reason = " ".join(str(error).split())
                    raise PipelineError(
                        f"PostgreSQL was not ready within {_SECONDS:.0f} s: {reason}"
                    ) from error
            time.sleep(0.2)


def _other_user() -> str:
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise InputError("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")


def _shut(folder: Path) -> Iterator[Path]:
    """Yield the folders on the way that others may not pass, the outermost first."""
    for path in (*reversed(folder.resolve().parents), folder.resolve()):
        if not path.stat().st_mode & 0o001:
            yield path
