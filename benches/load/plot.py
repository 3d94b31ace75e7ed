"""Two diagrams as one SVG, to be read on light and on dark pages."""

import math
import pathlib

WIDTH, HEIGHT = 1055, 380
PANEL, TOP, BOTTOM, LEFT, GAP = 300, 70, 320, 70, 215

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 }
.title { font-size: 14px; font-weight: 600; fill: #111 }
.grid { stroke: #8884; stroke-width: 1 }
.line { fill: none; stroke-width: 2 }
.s0 { --c: #6b7280 } .s1 { --c: #1d6fd8 } .s2 { --c: #0f8a5f } .s3 { --c: #c2410c }
.line { stroke: var(--c) } .dot, .name { fill: var(--c) }
.name { font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #ccc } .title { fill: #eee }
  .s0 { --c: #a1a8b3 } .s1 { --c: #6aa9ff } .s2 { --c: #4fd1a0 } .s3 { --c: #ff9a62 }
}
"""

# The points of each server, by its name.
Series = dict[str, list[tuple[float, float]]]


def decades(values: list[float]) -> list[int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return list(range(low, max(high, low + 1) + 1))


def label(power: int) -> str:
    if power < 0:
        return f"{10.0**power:g}"
    return f"{10**power:,}"


class Panel:
    """A diagram with both axes in powers of ten."""

    def __init__(self, left: int, series: Series):
        points = [point for line in series.values() for point in line]
        self.left, self.series = left, series
        self.x, self.y = decades([x for x, _ in points]), decades([y for _, y in points])

    def place(self, x: float, y: float) -> tuple[float, float]:
        def share(value, powers):
            return (math.log10(value) - powers[0]) / (powers[-1] - powers[0])

        return (
            self.left + share(x, self.x) * PANEL,
            BOTTOM - share(y, self.y) * (BOTTOM - TOP),
        )

    def grid(self):
        for power in self.y:
            _, y = self.place(10 ** self.x[0], 10.0**power)
            yield f'<path class="grid" d="M{self.left} {y:.1f}h{PANEL}"/>'
            yield f'<text x="{self.left - 8}" y="{y + 4:.1f}" text-anchor="end">{label(power)}</text>'
        for power in self.x:
            x, _ = self.place(10**power, 10.0 ** self.y[0])
            yield f'<path class="grid" d="M{x:.1f} {TOP}V{BOTTOM}"/>'
            yield f'<text x="{x:.1f}" y="{BOTTOM + 18}" text-anchor="middle">{label(power)}</text>'

    def names(self) -> dict[str, float]:
        """How high the name of each line stands beside its end: none over another."""
        ends = {name: self.place(*line[-1])[1] for name, line in self.series.items() if line}
        heights, last = {}, -math.inf
        for name, y in sorted(ends.items(), key=lambda end: end[1]):
            last = heights[name] = max(y + 4, last + 14)
        return heights

    def lines(self):
        heights = self.names()
        for at, (name, line) in enumerate(self.series.items()):
            if not line:
                continue
            points = [self.place(*point) for point in line]
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            yield f'<g class="s{at}"><path class="line" d="M{path}"/>'
            yield from (f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points)
            x = points[-1][0] + 9
            yield f'<text class="name" x="{x:.1f}" y="{heights[name]:.1f}">{name}</text></g>'

    def draw(self, title: str, below: str):
        yield f'<text class="title" x="{self.left}" y="28">{title}</text>'
        yield f'<text x="{self.left}" y="48">processor time a request, µs</text>'
        yield from self.grid()
        yield from self.lines()
        middle = self.left + PANEL / 2
        yield f'<text x="{middle}" y="{BOTTOM + 40}" text-anchor="middle">{below}</text>'


def write(file: pathlib.Path, by_hashes: tuple[str, Series], by_associations: tuple[str, Series]):
    """Both in the order of the servers, which is that of the colours."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Processor time of a lookup, by its hashes and by what is stored</title>",
        f"<style>{STYLE}</style>",
    ]
    title, series = by_hashes
    parts += Panel(LEFT, series).draw(title, "hashes in the lookup")
    title, series = by_associations
    parts += Panel(LEFT + PANEL + GAP, series).draw(title, "associations stored")
    file.write_text("\n".join([*parts, "</svg>", ""]))
