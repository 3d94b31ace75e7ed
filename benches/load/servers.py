"""The servers that are measured, each a process on the first processor at a port of its own."""

import base64
import http.client
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
API = "/_matrix/identity/v2"
USER = "@load:example.org"
SYDENT_TOKEN = "load-token"
START_SECONDS = 600
MIB = 1 << 20

SERVER_CPU, LOAD_CPU = ["taskset", "-c", "0"], ["taskset", "-c", "1"]

BINDERY = """
[server]
name = "load.example.org"
base_url = "http://127.0.0.1:{port}"
listen = ["127.0.0.1:{port}"]
[database]
url = "{url}"
[signing]
key_file = "{folder}/signing.key"
[email]
from = "load@example.org"
directory = "{folder}/mail"
[limits]
enabled = false
"""

SYDENT = """
[general]
server.name = load.example.org
log.level = ERROR
pidfile.path =
templates.path = {folder}
terms.path =
[db]
db.file = {folder}/sydent.db
[http]
clientapi.http.bind_address = 127.0.0.1
clientapi.http.port = {port}
internalapi.http.port =
replication.https.certfile =
[email]
email.from = load@example.org
"""


def free_port() -> int:
    """One that no other process is given by chance: those come from above (ip(7))."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat (proc(5)) after the name: the third is the first here."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()


def ticks(fields: list[str], first: int, last: int) -> float:
    return sum(map(int, fields[first : last + 1])) / os.sysconf("SC_CLK_TCK")


class Programs:
    """What is built and installed before anything is measured."""

    def __init__(self, profile: str):
        self.profile = profile
        self.target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        folder = self.target / ("debug" if profile == "dev" else profile)
        self.bindery = folder / "bindery"
        examples = folder / "examples"
        self.reference, self.fill, self.steady = (
            examples / name for name in ("reference", "fill", "steady")
        )
        self.sydent = self.target / "sydent"
        self.sqlite = self.target / "load-sqlite"

    def prepare(self) -> None:
        self.install_packages()
        command = ["cargo", "build", "--locked", "--all-features", "--profile", self.profile]
        command += ["--bin", "bindery"]
        for example in ("reference", "fill", "steady"):
            command += ["--example", example]
        subprocess.run(command, cwd=ROOT, check=True)
        self.install_sydent()

    def install_packages(self) -> None:
        wanted = {"wrk": "wrk", "taskset": "util-linux", "psql": "postgresql-client"}
        packages = [package for tool, package in wanted.items() if not shutil.which(tool)]
        if not postgres_programs():
            packages.append("postgresql")
        if not packages:
            return
        command = ["apt-get", "install", "-qy", "--no-install-recommends", *packages]
        if os.geteuid() or not shutil.which("apt-get"):
            sys.exit(f"something is missing: {' '.join(command)}")
        # The package would start a server of its own, which nobody here uses.
        file = pathlib.Path("/etc/postgresql-common/createcluster.conf")
        if "postgresql" in packages and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("create_main_cluster = false\n")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-q"], check=True)
        subprocess.run(command, env=environment, check=True)

    def install_sydent(self) -> None:
        """The same environment that `tests/run sydent` makes; and a current SQLite for it, since
        that of the Python at hand may be years old."""
        wanted = ROOT / "tests/sydent/requirements.txt"
        installed = self.sydent / "requirements.txt"
        pip = [self.sydent / "bin/pip", "install", "-q", "--disable-pip-version-check"]
        if not installed.exists() or installed.read_bytes() != wanted.read_bytes():
            shutil.rmtree(self.sydent, ignore_errors=True)
            subprocess.run(["python3", "-m", "venv", self.sydent], check=True)
            subprocess.run([*pip, "-r", wanted], check=True)
            shutil.copy(wanted, installed)
        if not self.sqlite.exists():
            package = ["--only-binary", ":all:", "--target", self.sqlite, "pysqlite3==0.6.1"]
            subprocess.run([*pip, *package], check=True)


class Server:
    """A process that answers at a port."""

    def __init__(self, name: str, command: list, port: int, environment: dict | None = None):
        self.name, self.port, self.token = name, port, ""
        self.command, self.environment = command, os.environ | (environment or {})
        self.database: Postgres | None = None
        self.start()

    def start(self) -> None:
        begin = time.monotonic()
        self.process = subprocess.Popen(
            [*SERVER_CPU, *self.command],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() - begin > START_SECONDS:
                sys.exit(f"{self.name} does not start: {' '.join(map(str, self.command))}")
            time.sleep(0.01)
        self.start_seconds = time.monotonic() - begin

    ready_path = "/"

    def is_ready(self) -> bool:
        try:
            status = self.ask("GET", self.ready_path)[0]
        except OSError:
            return False
        return status == 200 or (self.ready_path == "/" and status < 500)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def cpu_seconds(self) -> float:
        """User and system time of all its threads."""
        return ticks(stat(self.process.pid), 11, 12)

    def database_cpu_seconds(self) -> float:
        return self.database.cpu_seconds() if self.database else 0.0

    def memory(self) -> tuple[float, float]:
        """What is resident, and of that what isn't the content of files; in MiB."""
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()


class Reference(Server):
    def __init__(self, programs: Programs, known: pathlib.Path):
        port = free_port()
        super().__init__("reference", [programs.reference, str(port), known], port)


class Bindery(Server):
    ready_path = "/health/ready"

    def __init__(self, programs: Programs, folder: pathlib.Path, name: str, url: str):
        port = free_port()
        config = folder / f"{name}-{port}.toml"
        config.write_text(BINDERY.format(port=port, folder=folder, url=url))
        self.program, self.config = programs.bindery, config
        super().__init__(name, [programs.bindery, "serve", "--config", config], port)

    def log_in(self, user: str = USER) -> None:
        command = [self.program, "account", "token", user, "--config", self.config]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        self.token = done.stdout.strip()


class Sydent(Server):
    def __init__(self, programs: Programs, folder: pathlib.Path):
        port, config = free_port(), folder / "sydent.conf"
        # It adds its signing key itself.
        config.write_text(SYDENT.format(folder=folder, port=port))
        variables = {"SYDENT_CONF": str(config), "PYTHONPATH": str(programs.sqlite)}
        command = [programs.sydent / "bin/python", HERE / "start_sydent.py"]
        super().__init__("Sydent", command, port, variables)
        self.token = SYDENT_TOKEN


def postgres_programs() -> pathlib.Path | None:
    """Those of the newest version; Debian keeps them off the PATH."""
    found = pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")
    versions = sorted(found, key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return versions[-1].parent if versions else on_path and pathlib.Path(on_path).parent


class Postgres:
    """A PostgreSQL as it comes, with all its promises, on the processor of the servers."""

    def __init__(self, folder: pathlib.Path):
        programs = postgres_programs()
        as_user = ["setpriv", "--pdeathsig", "INT"]
        if not os.geteuid():
            as_user += ["--reuid=postgres", "--regid=postgres", "--init-groups"]
            shutil.chown(folder, "postgres", "postgres")
        self.port = free_port()
        data = folder / "data"
        subprocess.run(
            [*as_user, programs / "initdb", "-D", data, "-U", "load", "--auth=trust"]
            + ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        command = [*SERVER_CPU, *as_user, programs / "postgres", "-D", data, "-k", folder]
        command += ["-p", str(self.port), "-h", "127.0.0.1", "-c", "shared_buffers=512MB"]
        command += ["-c", "max_wal_size=8GB"]
        self.log = open(folder / "log", "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready).returncode:
            if self.process.poll() is not None:
                sys.exit(f"PostgreSQL does not start: {folder}/log")
            time.sleep(0.1)

    def url(self, database: str = "postgres") -> str:
        return f"postgres://load@127.0.0.1:{self.port}/{database}"

    def execute(self, sql: str, database: str = "postgres") -> None:
        subprocess.run(["psql", "-qXc", sql, self.url(database)], check=True)

    def cpu_seconds(self) -> float:
        """Its processes', and of those that have ended."""
        pid = self.process.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        seconds = ticks(stat(pid), 11, 14)
        for child in children:
            try:
                seconds += ticks(stat(int(child)), 11, 14)
            except (FileNotFoundError, ProcessLookupError):
                pass
        return seconds

    def stop(self) -> None:
        self.process.send_signal(2)
        self.process.wait()
        self.log.close()


def encode(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
