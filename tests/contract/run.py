"""Runs schemathesis against the real server: `run.py PATH-OF-BINDERY [DATABASE-URL]`.

The server gets a directory and a database of its own, a free port of the loopback interface, and a
name server that knows no name, so that nothing leaves this machine. Ends like `cargo test`.
"""

import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
DESCRIPTION = HERE / "identity-openapi-testing.json"
START_SECONDS = 30

CONFIG = """
[server]
name = "contract.example.org"
base_url = "http://127.0.0.1:{port}"
listen = ["127.0.0.1:{port}"]
[database]
url = "{database}"
[signing]
key_file = "{folder}/signing.key"
[email]
from = "contract@example.org"
transport = "directory"
directory = "{folder}/mail"
[sms]
provider = "log"
daily_budget = "none"
[sms.countries]
per_day = "none"
[federation]
deny_networks = ["0.0.0.0/0", "::/0"]
timeout = "2s"
[dns]
nameservers = ["127.0.0.1:{dns_port}"]
[limits]
enabled = false
"""


def serve_no_names(dns: socket.socket) -> None:
    """Answers every DNS question with NXDOMAIN (RFC 1035, section 4.1.1)."""
    while True:
        try:
            question, sender = dns.recvfrom(512)
        except OSError:
            return
        dns.sendto(question[:2] + b"\x81\x83" + question[4:6] + bytes(6) + question[12:], sender)


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


def ask(url: str) -> tuple[int, dict]:
    request = urllib.request.Request(url)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()
        try:
            return error.code, json.loads(text)
        except ValueError:
            return error.code, {}


def wait_until_it_answers(server: subprocess.Popen, base: str, log: pathlib.Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            if ask(f"{base}/versions")[0] == 200:
                return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"the server does not answer:\n{log.read_text()}")


def run_schemathesis(base: str, folder: pathlib.Path, words: dict[str, str]) -> tuple[int, int]:
    """How many operations passed, how many failed."""
    report = folder / "report.xml"
    command = [pathlib.Path(sys.executable).with_name("schemathesis")]
    command += ["--config-file", HERE / "schemathesis.toml", "run", DESCRIPTION, "--url", base]
    command += ["--no-color", "--report", "junit", "--report-junit-path", report]
    words |= {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
    code = subprocess.run(command, cwd=folder, env=os.environ | words).returncode
    cases = xml.etree.ElementTree.parse(report).iter("testcase") if report.exists() else []
    outcomes = [len(case) == 0 for case in cases]
    failed = outcomes.count(False)
    return outcomes.count(True), failed if failed or code == 0 else 1


def main() -> int:
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="bindery-contract.") as name:
        folder = pathlib.Path(name)
        database = sys.argv[2] if len(sys.argv) > 2 else f"sqlite:{folder}/bindery.db"
        dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        dns.bind(("127.0.0.1", 0))
        threading.Thread(target=serve_no_names, args=(dns,), daemon=True).start()
        port, dns_port = free_port(), dns.getsockname()[1]
        config, log = folder / "bindery.toml", folder / "server.log"
        config.write_text(
            CONFIG.format(port=port, database=database, folder=folder, dns_port=dns_port)
        )
        base = f"http://127.0.0.1:{port}/_matrix/identity"
        with log.open("wb") as output:
            server = subprocess.Popen(
                [binary, "serve", "--config", config], cwd=folder, stdout=output, stderr=output
            )
        try:
            wait_until_it_answers(server, base, log)
            words = {"CONTRACT_SERVER": binary, "CONTRACT_CONFIG": str(config)}
            passed, failed = run_schemathesis(base, folder, words)
            if server.poll() is not None or "panicked" in log.read_text():
                failed += 1
                print(f"the server did not survive:\n{log.read_text()[-4000:]}")
        finally:
            server.terminate()
            server.wait()
    print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed;")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
