"""What is asked of the servers, and how long and how costly the answers are."""

import dataclasses
import hashlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys

from servers import API, HERE, LOAD_CPU, USER, Server, encode

PEPPER = "loadloadloadloadloadloadloadload"
SECRET = "load-secret"
CONNECTIONS = 64
STEADY_CONNECTIONS = 32
BODIES = 300
BINDS = 20_000
KNOWN_SHARE = 0.01
SIZES = (1, 10, 100, 1000)


def address(number: int) -> str:
    return f"user{number:08}@example.org"


def hash_of(address: str) -> str:
    return encode(hashlib.sha256(f"{address} email {PEPPER}".encode()).digest())


@dataclasses.dataclass
class Figures:
    """Requests a second; p50 and p99 in ms; processor time a request in µs, of the server itself
    and of the database that it asks."""

    rate: float
    p50: float
    p99: float
    cpu: float
    database_cpu: float

    @staticmethod
    def median(turns: list["Figures"]) -> "Figures":
        columns = zip(*map(dataclasses.astuple, turns))
        return Figures(*map(statistics.median, columns))


@dataclasses.dataclass
class Steady:
    """What became of requests at a constant rate; times in ms."""

    rate: float
    count: int
    refused: int
    broken: int
    p50: float
    p99: float
    worst: float
    longest: float


@dataclasses.dataclass
class Load:
    """A kind of request, and the file of its bodies."""

    name: str
    path: str
    bodies: pathlib.Path | None

    def warm_up(self, server: Server) -> None:
        """Asks for a while, however little of that is answered."""
        self.answer(server)
        subprocess.run(**self.wrk(server, 1, CONNECTIONS))

    def wrk(self, server: Server, seconds: int, connections: int) -> dict:
        words = {"LOAD_PATH": self.path, "LOAD_TOKEN": server.token}
        if self.bodies:
            words["LOAD_BODIES"] = str(self.bodies)
        command = [*LOAD_CPU, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
        command += ["-s", HERE / "wrk.lua", f"http://127.0.0.1:{server.port}"]
        return {"args": command, "env": os.environ | words, "capture_output": True, "text": True}

    def send(self, server: Server, seconds: int, connections: int = CONNECTIONS) -> Figures:
        """Asks as often as the server answers."""
        before = server.cpu_seconds(), server.database_cpu_seconds()
        ran = subprocess.run(**self.wrk(server, seconds, connections))
        cpu = server.cpu_seconds() - before[0]
        database_cpu = server.database_cpu_seconds() - before[1]
        if ran.returncode:
            sys.exit(f"{server.name}, {self.name}: {ran.stdout}{ran.stderr}")
        count, duration, p50, p99, errors = map(int, ran.stdout.splitlines()[-1].split())
        if errors or not count:
            sys.exit(f"{server.name}, {self.name}: {errors} errors in {count} requests")
        each = 1e6 / count
        return Figures(
            count / duration * 1e6, p50 / 1e3, p99 / 1e3, cpu * each, database_cpu * each
        )

    def start_steady(
        self,
        steady: pathlib.Path,
        server: Server,
        rate: float,
        seconds: int,
        connections: int = STEADY_CONNECTIONS,
    ) -> subprocess.Popen:
        """Begins to ask at a constant rate; `end_steady` waits for the end."""
        arguments = [f"127.0.0.1:{server.port}", f"{rate:.3f}", str(seconds), str(connections)]
        command = [*LOAD_CPU, steady, *arguments, self.path]
        if self.bodies:
            command.append(self.bodies)
        environment = os.environ | {"LOAD_TOKEN": server.token}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def answer(self, server: Server) -> dict:
        body = self.bodies.read_bytes().splitlines()[0] if self.bodies else None
        status, text = server.ask("POST" if body else "GET", self.path, body)
        if status != 200:
            sys.exit(f"{server.name}, {self.name}: {status} {text}")
        return json.loads(text)


def end_steady(process: subprocess.Popen, rate: float) -> Steady:
    output, _ = process.communicate()
    if process.returncode:
        sys.exit("the load at a constant rate failed")
    count, refused, broken, *times = map(int, output.split())
    return Steady(rate, count, refused, broken, *(time / 1e3 for time in times))


def file_of(folder: pathlib.Path, name: str, bodies) -> pathlib.Path:
    path = folder / name
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies))
    return path


def lookups(folder: pathlib.Path, count: int) -> dict[int, Load]:
    """Lookups among that many associations, by the number of their hashes."""
    chance = random.Random(1)

    def wanted() -> str:
        if chance.random() < KNOWN_SHARE:
            return hash_of(address(chance.randrange(count)))
        return encode(chance.randbytes(32))

    def bodies(size: int):
        for _ in range(BODIES):
            addresses = [wanted() for _ in range(size)]
            yield {"algorithm": "sha256", "pepper": PEPPER, "addresses": addresses}

    def load(size: int) -> Load:
        file = file_of(folder, f"lookup{size}", bodies(size))
        return Load(f"lookup of {size:,}", f"{API}/lookup", file)

    return {size: load(size) for size in SIZES}


def hash_details() -> Load:
    return Load("hash_details", f"{API}/hash_details", None)


def bind(folder: pathlib.Path, first: int, last: int) -> Load:
    """Each of these binds an address of its own."""
    bodies = (
        {"sid": f"load{number}", "client_secret": SECRET, "mxid": USER}
        for number in range(first, last)
    )
    return Load("bind", f"{API}/3pid/bind", file_of(folder, f"bind{first}", bodies))
