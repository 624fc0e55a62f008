"""The page about a load run: one HTML file with drawings in SVG, nothing to load from anywhere."""

import collections
import html
import math

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 860, 224, 64, 40, 24
COLOURS = ("#1f6fb2", "#c2571a", "#2c8a4b", "#8a4fa3")
STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:900px;margin:2em auto;color:#222;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.1em;margin:1.6em 0 .3em}table{border-collapse:collapse}
td,th{padding:.2em .8em .2em 0;text-align:left;vertical-align:top}pre{background:#f4f4f4;padding:.8em;overflow:auto;
font-size:12px}.good{color:#2c8a4b}.bad{color:#b3261e;font-weight:bold}svg{background:#fbfbfb;max-width:100%}
th{white-space:nowrap}svg text{font:11px system-ui,sans-serif;fill:#555;paint-order:stroke;stroke:#fbfbfb;stroke-width:4px}"""


def text(value):
    return html.escape(str(value))


def short(value):
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def above(value):
    """The next number of 1, 2, 4, 6, 8, 10, 20, … that is not below: four even steps to it are round."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-9)))
    return next(power * factor for factor in (1, 2, 4, 6, 8, 10) if power * factor >= value)


def frame(x_max, y_max, x_name, events, x_ticks=None):
    """Axes, grid and events. Returns (parts, x(value), y(value))."""
    def x(value):
        return LEFT + (WIDTH - LEFT - 12) * value / x_max

    def y(value):
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / y_max

    parts = []
    for step in range(5):
        value = y_max * step / 4
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 12}" y1="{y(value):.1f}" y2="{y(value):.1f}"'
                     ' stroke="#ddd"/>'
                     f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{short(value)}</text>')
    for value, label in x_ticks or [(n * above(x_max / 8), short(n * above(x_max / 8))) for n in range(9)
                                 if n * above(x_max / 8) <= x_max]:
        parts.append(f'<text x="{x(value):.1f}" y="{HEIGHT - 24}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{WIDTH - 12}" y="{HEIGHT - 6}" text-anchor="end">{text(x_name)}</text>')
    for at, _ in events:
        parts.append(f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"'
                     ' stroke="#b3261e" stroke-dasharray="4 3"/>')
    return parts, x, y


def names_of(events, x):
    """To be drawn last, above the lines: each beside its mark, on the side where there is room."""
    parts = []
    for number, (at, what) in enumerate(events):
        left = x(at) > WIDTH - 130
        parts.append(f'<text x="{x(at) + (-4 if left else 4):.1f}" y="{TOP + 10 + 13 * (number % 3)}"'
                     f' text-anchor="{"end" if left else "start"}">{text(what)}</text>')
    return parts


def drawing(parts):
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">{"".join(parts)}</svg>'


def lines(title, series, events, x_max):
    """Lines over time. series: [(name, [(at, value), …])]."""
    y_max = above(max([value for _, points in series for _, value in points] + [1]))
    parts, x, y = frame(x_max, y_max, "seconds", events)
    for number, (name, points) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
                     f'<text x="{LEFT + 170 * number}" y="{TOP - 10}" style="fill:{colour}">{text(name)}</text>')
    return f"<h2>{text(title)}</h2>{drawing(parts + names_of(events, x))}"


def bars(title, calls):
    """How long calls took, on a logarithmic scale: four bars for every doubling."""
    counts = collections.Counter(math.floor(math.log2(max(call.took * 1000, 0.1)) * 4) for call in calls)
    if not counts:
        return ""
    low, high = min(counts), max(counts) + 1
    ticks = [(power * 4 - low, f"{2.0 ** power / 1000:.3g} s" if power >= 10 else f"{2.0 ** power:g} ms")
             for power in range(math.ceil(low / 4), high // 4 + 1)]
    parts, x, y = frame(high - low, above(max(counts.values())), "response time", [], ticks)
    for at, count in counts.items():
        parts.append(f'<rect x="{x(at - low) + 0.5:.1f}" width="{x(1) - x(0) - 1:.1f}" y="{y(count):.1f}"'
                     f' height="{y(0) - y(count):.1f}" fill="{COLOURS[0]}"/>')
    return f"<h2>{text(title)}</h2>{drawing(parts)}"


def by_time(calls, step):
    groups = collections.defaultdict(list)
    for call in calls:
        groups[int((call.at + call.took) / step)].append(call)
    return sorted(groups.items())


def quantile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))]


def page(options, load, results, seconds):
    told, step = load.told, max(0.25, options["SECONDS"] / 100)
    end = max([seconds] + [sample.at for sample in load.samples])
    groups = by_time(told.calls, step)
    took = [call.took for call in told.calls] or [0.0]
    facts = [("calls", f"{len(told.calls)} in {seconds:.1f} s ({len(told.calls) / seconds:.0f} a second)"),
             ("units sold", sum(told.sold.values())), ("sold by foreign services", sum(told.foreign.values())),
             ("locks lost, calls repeated", len(told.lost)),
             ("orders; sent again", f"{len(told.orders)}; {told.replays}"),
             ("response time", f"median {quantile(took, .5) * 1000:.0f} ms, 99 of 100 below"
              f" {quantile(took, .99) * 1000:.0f} ms, longest {max(took) * 1000:.0f} ms"),
             ("options", ", ".join(f"{name}={value}" for name, value in options.items()))]
    parts = [f"<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>inventory_lock: load</title>"
             f"<style>{STYLE}</style><h1>inventory_lock: load run</h1><table>"]
    parts += [f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in facts]
    parts.append("</table><h2>What clients were told, against what the database holds</h2><table>")
    for what, good, detail in results:
        parts.append(f"<tr><td class='{'good' if good else 'bad'}'>{'holds' if good else 'BROKEN'}</td>"
                     f"<td>{text(what)}{'' if good else '<br>' + text(detail)}</td></tr>")
    parts.append("</table>")
    parts.append(lines("Stock, units", [("left in all", [(s.at, s.stock) for s in load.samples])], load.events, end))
    parts.append(lines("Answers, calls per second", [
        (name, [(group * step, sum(call.outcome == outcome for call in calls) / step)
                for group, calls in groups])
        for name, outcome in (("sold", "ok"), ("short of stock", "short"), ("failed", "error"))],
        load.events, end))
    parts.append(lines("Response time, ms", [
        (name, [(group * step, quantile([call.took for call in calls], part) * 1000)
                for group, calls in groups]) for name, part in (("median", .5), ("99 of 100 below", .99))],
        load.events, end))
    parts.append(lines("Locks, transactions", [("waiting", [(s.at, s.waiters) for s in load.samples]),
                                 ("held", [(s.at, s.held) for s in load.samples]),
                                 ("held without Redis", [(s.at, s.degraded) for s in load.samples])],
                       load.events, end))
    parts.append(bars("Distribution of response times, calls", told.calls))
    parts.append(f"<h2>inventory_lock.top in the middle of the run</h2><pre>{text(load.top)}</pre></html>")
    return "\n".join(parts)
