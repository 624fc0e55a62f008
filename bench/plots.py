"""The bench's pictures: throughput against clients, and how latencies are distributed (SVG, gnuplot)."""

import subprocess

COLOURS = {"sfu": "#7f8c8d", "conditional": "#b5651d", "advisory": "#8e44ad", "locked": "#1f5fa8",
           "early": "#2e8b57"}


def draw(file, panels, settings):
    """Panels beside each other: title → series, each the lines of its points and how it is drawn."""
    script = [f"set terminal svg size {480 * len(panels)},420 font 'sans,12' background '#ffffff'",
              f"set output '{file}'", f"set multiplot layout 1,{len(panels)}", "set grid lc rgb '#e0e0e0'", *settings]
    for number, (title, series) in enumerate(panels.items()):
        names = [f"$points_{number}_{index}" for index in range(len(series))]
        for name, (points, _) in zip(names, series):
            script += [f"{name} << EOD", *points, "EOD"]
        script += [f"set title '{title}'", "plot " + ", ".join(
            f"{name} with {drawn}" for name, (_, drawn) in zip(names, series))]
    subprocess.run(["gnuplot"], input="\n".join([*script, "unset multiplot", ""]), text=True, check=True)


def throughput(middle, clients, file):
    """middle: (key, sync, clients, variant) → field → median."""
    draw(file, {f"{key} key": [
        ([f"{count} {middle[key, sync, count, name]['per_second']:.1f}" for count in clients],
         f"linespoints lw 2 pt 7 dt {dash} lc rgb '{COLOURS[name]}' title '{name}, sync {sync}'")
        for name in ("sfu", "locked", "early") for sync, dash in (("on", 1), ("off", 2))]
        for key in ("private", "hot")},
         ["set xlabel 'clients'", "set ylabel 'calls per second'", "set logscale x 2", "set yrange [0:*]",
          "set key below", "set xrange [0.9:300]", f"set xtics ({', '.join(map(str, clients))})"])


def latencies(middle, file):
    """How many calls are answered by when, synchronous_commit on."""
    def points(of):
        return [f"{ms:.3f} {field[1:-3]}" for field, ms in of.items() if field.endswith("_ms")]
    draw(file, {f"{key} key, {clients} clients": [
        (points(middle[key, "on", clients, name]), f"linespoints lw 2 pt 7 ps 0.4 lc rgb '{colour}' title '{name}'")
        for name, colour in COLOURS.items()]
        for key, clients in (("private", 64), ("hot", 8), ("hot", 64), ("hot", 256))},
         ["set xlabel 'milliseconds'", "set ylabel '% of calls answered'", "set logscale x 10", "set yrange [0:100]",
          "set key bottom right"])
