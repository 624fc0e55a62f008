"""The picture of a demo run, drawn by gnuplot: SVG and PNG from one script.

Left the drop: units left, units sold, and how long buyers waited. Right the day: orders per second by
protection, and the waits, with the time when Redis was dead shaded.
"""

import subprocess

SCRIPT = """
set encoding utf8
set multiplot layout 2,2 title 'inventory_lock: the drop, and a day on which Redis dies' noenhanced
set grid lc rgb '#e0e0e0'
set tics nomirror
set border 3
set style data lines
set key outside bottom center horizontal

set title 'The drop: {stock} units, {clients} buyers, one outside service' noenhanced
set xlabel 'seconds'
set ylabel 'units'
set yrange [0:*]
plot '{out}/levels.dat' using 1:2 with steps lw 2 lc rgb '#1f5fa8' title 'left on the shelf', \\
     '{out}/sold.dat' using 1:2 with steps lw 2 lc rgb '#2a8f4c' title 'sold to clients'

set title 'The drop: how long each buyer waited'
set ylabel 'ms until the answer'
plot '{out}/drop.dat' using 1:(stringcolumn(3) eq 'sold' ? $2 : NaN) with points pt 7 ps 0.3 lc rgb '#2a8f4c' title 'sold', \\
     '{out}/drop.dat' using 1:(stringcolumn(3) eq 'refused' ? $2 : NaN) with points pt 7 ps 0.3 lc rgb '#c0392b' title 'refused: sold out'

set object 1 rectangle from {dies},graph 0 to {returns},graph 1 fc rgb '#f3d6d2' fs solid noborder behind
set title 'The day: orders per second'
set ylabel 'orders per second'
set label 1 'Redis dead' at {dead},graph 0.94 center tc rgb '#c0392b'
plot '{out}/rate.dat' using 1:2 with steps lw 2 lc rgb '#1f5fa8' title 'protected by Redis', \\
     '{out}/rate.dat' using 1:3 with steps lw 2 lc rgb '#d9822b' title 'degraded: database locks'

set title 'The day: time until the answer'
set ylabel 'ms'
set logscale y
set yrange [*:*]
plot '{out}/waits.dat' using 1:2 lw 2 lc rgb '#1f5fa8' title 'p50', \\
     '{out}/waits.dat' using 1:3 lw 2 lc rgb '#8e44ad' title 'p99', \\
     '{out}/waits.dat' using 1:4 lw 2 lc rgb '#7f8c8d' title 'p99 of waiting for locks'
unset multiplot
"""
BIN_S = 0.5


def write(demo, out):
    """Writes demo.svg and demo.png, and the data they are drawn from, below `out`."""
    start, marks = demo.marks["drop"], demo.marks
    with open(out / "levels.dat", "w", encoding="utf-8") as file:
        for at, level in demo.levels:
            file.write(f"{at - start:.3f} {level}\n")
    sold = 0
    with open(out / "sold.dat", "w", encoding="utf-8") as lines, \
            open(out / "drop.dat", "w", encoding="utf-8") as points:
        lines.write("0 0\n")
        for answer in sorted(a for a in demo.answers if a.phase == "drop"):
            what = {"": "sold", "IL001": "refused"}.get(answer.sqlstate, "other")
            points.write(f"{answer.at - start:.3f} {answer.latency_ms:.2f} {what}\n")
            if what == "sold" and not answer.replayed:
                sold += 1
                lines.write(f"{answer.at - start:.3f} {sold}\n")
    start = marks["day"]
    bins = {}
    for answer in demo.answers:
        if answer.phase == "day":
            bins.setdefault(int((answer.at - start) / BIN_S), []).append(answer)
    with open(out / "rate.dat", "w", encoding="utf-8") as rate, \
            open(out / "waits.dat", "w", encoding="utf-8") as waits:
        for number in range(max(bins, default=0) + 1):
            answers = bins.get(number, [])
            at = number * BIN_S
            orders = [a.protection for a in answers if a.sqlstate == "" and not a.replayed]
            rate.write(f"{at} {orders.count('redis') / BIN_S} {orders.count('database') / BIN_S}\n")
            if answers:
                times = sorted(a.latency_ms for a in answers)
                locks = sorted(a.waited_ms for a in answers)
                waits.write(f"{at} {at_share(times, .5):.3f} {at_share(times, .99):.3f} "
                            f"{max(at_share(locks, .99), 0.01):.3f}\n")
    dies, returns = marks["redis_dies"] - start, marks["redis_returns"] - start
    text = SCRIPT.format(out=out, stock=demo.stock, clients=f"{demo.clients:,}", dies=dies,
                         returns=returns, dead=(dies + returns) / 2)
    for terminal, name in (("svg size 1200,800 font 'sans,12' background '#ffffff'", "demo.svg"),
                           ("pngcairo size 1200,800 font 'sans,11'", "demo.png")):
        subprocess.run(["gnuplot"], input=f"set terminal {terminal}\nset output '{out / name}'\n{text}",
                       text=True, check=True)


def at_share(ordered, share):
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
