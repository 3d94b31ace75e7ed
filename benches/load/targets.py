"""What the server is meant to show, and whether it did."""

from work import Figures

BINDERY = ("Bindery, SQLite", "Bindery, PostgreSQL")


def costs(cost) -> list[list[str]]:
    """`cost(hashes, server)` are the figures of a lookup among the main number of associations."""
    rows = []
    for hashes, reference, sydent in ((1000, 1.5, 50), (1, 2.0, 15)):
        for server in BINDERY:
            own = cost(hashes, server).cpu
            times = own / cost(hashes, "reference").cpu
            part = cost(hashes, "Sydent").cpu / own
            name = f"lookup of {hashes:,}, CPU"
            rows.append(row(name, server, f"{times:.2f} × the reference", f"≤ {reference}",
                            times <= reference))
            rows.append(row(name, server, f"1/{part:.0f} of Sydent's", f"≤ 1/{sydent}",
                            part >= sydent))
    return rows


def growth(name: str, server: str, small: Figures, large: Figures) -> list[str]:
    """From one million associations to ten."""
    times = large.cpu / small.cpu
    return row(name, server, f"{times:.2f} × as at 1,000,000", "≤ 1.3", times <= 1.3)


def memory(count: int, server: str, mib: float) -> list[str]:
    most = {1_000_000: 48, 10_000_000: 320}[count]
    return row(f"memory at {count:,}", server, f"{mib:,.0f} MiB", f"≤ {most} MiB", mib <= most)


def start(count: int, server: str, seconds: float) -> list[str]:
    return row(f"ready at {count:,}", server, f"{seconds:.1f} s", "≤ 10 s", seconds <= 10)


def latency(name: str, server: str, p99: float, reference: float) -> list[str]:
    more = p99 - reference
    return row(name, server, f"p99 {more:+.1f} ms", "≤ +5 ms", more <= 5)


def binds(server: str, times: float) -> list[str]:
    return row("binds", server, f"{times:.1f} × one INSERT a commit", "≥ 5", times >= 5)


def nodes(faults: int) -> list[str]:
    return row("nodes that are killed", "3 nodes", f"{faults} faults", "0", not faults)


def row(what: str, server: str, found: str, wanted: str, met: bool) -> list[str]:
    return [what, server, found, wanted, "yes" if met else "**no**"]
