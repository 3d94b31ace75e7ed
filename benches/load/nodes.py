"""Three nodes on one PostgreSQL, of which one is killed every now and then: what is answered must
be true, and stay true."""

import collections
import dataclasses
import http.client
import json
import random
import threading
import time

from servers import API, USER, Bindery
from work import PEPPER, SECRET, hash_of

CLIENTS = 12
KILL_EVERY = 10
# By when a bind has to be found through each node.
FOUND_WITHIN = 1.0
LOOKED_UP = 50


now = time.monotonic


@dataclasses.dataclass
class Bound:
    node: int
    at: float


class Nodes:
    """The nodes, and when each was killed and was ready again."""

    def __init__(self, servers: list[Bindery]):
        self.servers = servers
        self.killed: list[list[float]] = [[] for _ in servers]
        self.up = [True] * len(servers)

    def kill_in_turn(self, seconds: float) -> int:
        begin, turn = now(), 0
        while (turn + 1) * KILL_EVERY < seconds:
            time.sleep(max(0.0, begin + (turn + 1) * KILL_EVERY - now()))
            node = turn % len(self.servers)
            self.up[node] = False
            self.killed[node].append(now())
            self.servers[node].kill()
            self.servers[node].start()
            self.up[node] = True
            turn += 1
        time.sleep(max(0.0, begin + seconds - now()))
        return turn

    def was_killed(self, node: int, since: float) -> bool:
        return any(since <= at <= now() for at in self.killed[node])


class Clients:
    """Who bind and look up through whichever node takes the connection."""

    def __init__(self, nodes: Nodes, token: str, binds: range):
        self.nodes, self.token, self.left = nodes, token, iter(binds)
        self.lock = threading.Lock()
        self.bound: dict[int, Bound] = {}
        self.counts = collections.Counter()
        self.faults: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        connections: dict[int, tuple[http.client.HTTPConnection, float]] = {}
        chance = random.Random()
        while not self.stop.is_set():
            if chance.random() < 0.3:
                with self.lock:
                    number = next(self.left, None)
                if number is not None:
                    self.bind(connections, number)
            else:
                self.look_up(connections, chance)

    def ask(self, connections: dict, path: str, body: dict) -> tuple[int, float, dict] | None:
        """Through which node, when it was sent, and the answer; `None` for what broke off."""
        node = random.choice([at for at, up in enumerate(self.nodes.up) if up])
        if node not in connections:
            port = self.nodes.servers[node].port
            connection, opened = http.client.HTTPConnection("127.0.0.1", port, timeout=30), now()
            try:
                connection.connect()
            except OSError:
                # Nothing was asked yet: a proxy turns to another node likewise.
                self.counts["turned away"] += 1
                return None
            connections[node] = connection, opened
        connection, opened = connections[node]
        sent = now()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", API + path, json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connections.pop(node)[0].close()
            if self.nodes.was_killed(node, since=sent):
                self.counts["broke off with their node"] += 1
            elif self.nodes.was_killed(node, since=opened):
                # The connection was closed before anything was asked.
                self.counts["turned away"] += 1
            else:
                self.faults.append(f"{path} broke off at a node that lives: {error!r}")
            return None
        if answer.status != 200:
            self.faults.append(f"{path} was answered with {answer.status}: {text[:200]!r}")
            return None
        self.counts[f"answered {path}"] += 1
        return node, sent, json.loads(text)

    def bind(self, connections: dict, number: int) -> None:
        body = {"sid": f"load{number}", "client_secret": SECRET, "mxid": USER}
        if answer := self.ask(connections, "/3pid/bind", body):
            with self.lock:
                self.bound[number] = Bound(answer[0], now())

    def look_up(self, connections: dict, chance: random.Random) -> None:
        with self.lock:
            known = list(self.bound.items())[-2000:]
        some = dict(chance.sample(known, min(LOOKED_UP, len(known))))
        hashes = {hash_of(f"bind{number}@example.org"): number for number in some}
        body = {"algorithm": "sha256", "pepper": PEPPER, "addresses": list(hashes)}
        if not (answer := self.ask(connections, "/lookup", body)):
            return
        node, sent, found = answer[0], answer[1], answer[2]["mappings"]
        for text, mxid in found.items():
            if text not in hashes or mxid != USER:
                self.faults.append(f"a wrong mapping: {text} to {mxid}")
        for text, number in hashes.items():
            bound = some[number]
            is_due = sent - bound.at > (0 if bound.node == node else FOUND_WITHIN)
            if text not in found and is_due:
                self.faults.append(
                    f"bind {number} through node {bound.node} was not found through node {node} "
                    f"after {sent - bound.at:.2f} s"
                )


def lost(server: Bindery, bound: dict[int, Bound]) -> int:
    """How many of the answered binds one node doesn't know."""
    hashes = [hash_of(f"bind{number}@example.org") for number in bound]
    missing = 0
    for at in range(0, len(hashes), 1000):
        some = hashes[at : at + 1000]
        body = {"algorithm": "sha256", "pepper": PEPPER, "addresses": some}
        status, text = server.ask("POST", f"{API}/lookup", json.dumps(body).encode())
        found = json.loads(text)["mappings"] if status == 200 else {}
        missing += sum(found.get(text) != USER for text in some)
    return missing


def kill_in_turn(servers: list[Bindery], binds: range, seconds: float) -> tuple[str, int]:
    """Runs it; answers what happened, in Markdown, and the number of faults."""
    nodes = Nodes(servers)
    clients = Clients(nodes, servers[0].token, binds)
    threads = [threading.Thread(target=clients.run, daemon=True) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    kills = nodes.kill_in_turn(seconds)
    clients.stop.set()
    for thread in threads:
        thread.join()
    time.sleep(FOUND_WITHIN)
    missing = [lost(server, clients.bound) for server in servers]
    counts = ", ".join(f"{count:,} {what}" for what, count in sorted(clients.counts.items()))
    lines = [
        f"{len(servers)} nodes, {seconds:.0f} s, {kills} of them killed in turn, {CLIENTS} clients:",
        "",
        f"- requests: {counts};",
        f"- answered binds that a node doesn't know afterwards: {missing};",
        f"- wrong mappings, late binds and other errors: {len(clients.faults)}.",
    ]
    lines += [f"  - {fault}" for fault in sorted(set(clients.faults))[:10]]
    return "\n".join(lines), sum(missing) + len(clients.faults)
