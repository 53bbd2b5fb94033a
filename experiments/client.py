#!/usr/bin/env python3
"""What the terminal client costs: experiments/client.py [PROGRAM] [screen|steps]. Standard library only; needs `cargo build --release`.

A small demo is trained; `medserl attach` runs in a pseudo-terminal whose bytes are counted. Printed: time from starting the client to
its first complete frame, bytes a second while completions stream, bytes and processor time in 60 s of pause and of a run that is over,
resident memory; `steps`: what a step costs with nobody attached, with a client, and with a client that is stopped and takes nothing in,
in turns. SECONDS is the length of a window; for `steps` SEED chooses the run, TURNS how long it is, and KEEP=FILE adds to earlier figures.
"""

import fcntl, json, os, pty, random, re, select, signal, sqlite3, statistics, struct, subprocess, sys, tempfile, termios, time

PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/medserl")
WINDOW = float(os.environ.get("SECONDS", "60"))
SEED, TURNS = os.environ.get("SEED", "1"), int(os.environ.get("TURNS", "6"))
SETTINGS = ["doctor.samples=8", "doctor.completions=4", "doctor.max_tokens=112", "scribe.max_tokens=96", "scribe.max_attempts=1",
            "eval.notes=4", "data.clinic_groups=200", "checkpoint.every=1000", "sft.notes=0"]
HOME = tempfile.mkdtemp()
ENV = dict(os.environ, MEDSERL_HOME=HOME, HF_HUB_OFFLINE="1", TERM="xterm-256color", COLORTERM="truecolor")
RUN = os.path.join(HOME, "runs", f"demo-s{SEED}")


def medserl(*args):
    return subprocess.run([PROGRAM, *args], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Screen:
    """A client in a pseudo-terminal, its output counted and kept."""

    def __init__(self, columns, rows):
        self.began = time.monotonic()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execve(PROGRAM, [PROGRAM, "attach"], ENV)
        self.bytes, self.tail = 0, b""

    def read_for(self, seconds, until=None):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, end - time.monotonic()))
            if ready:
                try:
                    got = os.read(self.fd, 65536)
                except OSError:
                    return time.monotonic()
                self.bytes += len(got)
                self.tail = (self.tail + got)[-200000:]
                if until and until(self.tail):
                    return time.monotonic()
        return None

    def frames(self):
        return self.tail.count(b"\x1b[?2026l")

    def cpu(self):
        fields = open(f"/proc/{self.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{self.pid}/status").read()).group(1)) / 1024

    def leave(self):
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def window(screen, what, seconds):
    before, cpu, frames = screen.bytes, screen.cpu(), 0
    screen.tail = b""
    screen.read_for(seconds)
    frames = screen.frames()
    print(f"{what}: {screen.bytes - before} bytes, {frames} draws in {seconds:.0f} s, "
          f"{100 * (screen.cpu() - cpu) / seconds:.2f} % of a core")
    return screen.bytes - before


def first_frame(columns, rows):
    screen = Screen(columns, rows)
    # The first complete frame ends its synchronised update after the hints at the foot were drawn.
    done = lambda tail: b"\x1b[?2026l" in tail and b"help" in tail and b"RUN" in tail or b"PAUSED" in tail and b"\x1b[?2026l" in tail
    at = screen.read_for(10, done)
    return screen, (at - screen.began) * 1000 if at else float("nan")


def steps_made():
    database = sqlite3.connect(f"file:{RUN}/run.db?mode=ro", uri=True)
    try:
        rows = database.execute("SELECT step, report_json FROM step ORDER BY step").fetchall()
    except sqlite3.OperationalError:
        return {}  # the trainer has not made its tables yet
    return {step: json.loads(report)["timings"] for step, report in rows}


def wait_steps(n, screen=None):
    while len(steps_made()) < n:
        screen.read_for(0.2) if screen else time.sleep(0.2)


def wait_for(word):
    while word not in medserl("status").stdout:
        time.sleep(0.2)


def on_screen(settings):
    trainer = subprocess.Popen([PROGRAM, "demo", "--headless", "--steps", "100000", *settings], env=ENV,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not os.path.exists(f"{RUN}/run.db"):
        time.sleep(0.05)
    time.sleep(0.5)
    wait_steps(2)
    medserl("pause")
    wait_for("paused")
    # Attaching, the trainer paused: only the client is measured.
    for size in ((80, 24), (120, 40), (200, 60)):
        times = []
        for _ in range(5):
            screen, ms = first_frame(*size)
            times.append(ms)
            screen.leave()
        print(f"attach to first complete frame, {size[0]}x{size[1]}: median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms")
    for size in ((80, 24), (120, 40)):
        screen, _ = first_frame(*size)
        screen.read_for(5)
        # At 120x40 the figures of the machine are on show, and others may move them.
        window(screen, f"paused, {size[0]}x{size[1]}", WINDOW)
        if size == (80, 24):
            screen.leave()
    medserl("resume")
    sent = window(screen, "streaming, 120x40", WINDOW)
    print(f"to the terminal while streaming: {sent / WINDOW / 1000:.1f} kB/s; memory of the client {screen.memory():.0f} MiB")
    screen.leave()
    medserl("stop", "--now")
    trainer.wait()
    screen = Screen(120, 40)
    screen.read_for(5)
    window(screen, "a run that is over, 120x40", WINDOW)
    screen.leave()


KINDS = ("nobody", "a client", "a stuck client")
COUNTED = 2  # steps of a turn that count; the one before them, in which a client comes or goes, does not
FIRST = 3  # steps before the first turn


def processor(pid):
    """Seconds of processor time of a process, to the nanosecond, by the names of its threads."""
    took = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        name = open(f"/proc/{pid}/task/{task}/comm").read().strip()
        took[name] = took.get(name, 0.0) + int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0]) / 1e9
    return took


def turn(kind, last, trainer):
    """What is attached until step `last` is made; what the trainer's threads and the client computed in the steps that count.
    The stuck client is a stopped one whose terminal nobody reads."""
    screen = first_frame(120, 40)[0] if kind != "nobody" else None
    if kind == "a stuck client":
        os.kill(screen.pid, signal.SIGSTOP)
    read = screen if kind == "a client" else None
    wait_steps(last - COUNTED, read)
    look = lambda: (processor(trainer.pid), sum(processor(screen.pid).values()) if screen else 0.0, time.monotonic())
    (before, client_before, began), _ = look(), wait_steps(last, read)
    after, client, ended = look()
    took = {name: after[name] - before.get(name, 0.0) for name in after}
    if kind == "a stuck client":
        os.kill(screen.pid, signal.SIGCONT)
    if screen:
        screen.leave()
    learning = sum(seconds for name, seconds in took.items() if name == "trainer" or name.startswith("compute-"))
    return {"learning": learning, "attach": took["attach"], "client": client - client_before, "wall": ended - began}


def one_run(settings, offset):
    """Kind and seconds of every counted step, and the processor time of every turn. The kinds take turns, from number `offset` on."""
    subprocess.run(["rm", "-rf", RUN])
    trainer = subprocess.Popen([PROGRAM, "demo", "--headless", "--steps", "100000", "--seed", SEED, *settings], env=ENV,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not os.path.exists(f"{RUN}/run.db"):
        time.sleep(0.05)
    time.sleep(0.5)
    wait_steps(FIRST)
    kinds, took = {}, []
    for i in range(TURNS):
        kind, last = KINDS[(i + offset) % len(KINDS)], FIRST + (i + 1) * (1 + COUNTED)
        took.append((kind, turn(kind, last, trainer)))
        kinds.update({step: kind for step in range(last - COUNTED + 1, last + 1)})
    made = steps_made()
    trainer.kill()
    trainer.wait()
    return {step: (kind, sum(t["seconds"] for t in made[step])) for step, kind in kinds.items()}, took


def compare(settings):
    """The very same steps (one seed) three times, each kind once at every step; only steps of the same number are compared.

    A machine that others use runs now faster, now slower, by far more than a client costs. Seconds of the clock for each second of
    processor time spent learning do not feel that, and yet grow where a client keeps the trainer waiting."""
    settings, kept = [*settings, "--set", "doctor.samples=4"], os.environ.get("KEEP")
    before = json.load(open(kept)) if kept and os.path.exists(kept) else {"steps": [], "turns": []}
    steps_before, turns_before = before["steps"], before["turns"]
    runs = [one_run(settings, offset) for offset in range(len(KINDS))]
    steps = [dict(run[step] for run, _ in runs) for step in runs[0][0]]
    turns = [dict(took[i] for _, took in runs) for i in range(TURNS)]
    steps, turns = steps_before + steps, turns_before + turns
    if kept:
        json.dump({"steps": steps, "turns": turns}, open(kept, "w"))
    print(f"{len(steps)} steps, each with all three; median with nobody attached {statistics.median(s['nobody'] for s in steps):.3f} s")
    draw = random.Random(1)
    for kind in KINDS:
        learning, attach, client = (sum(turn[kind][what] for turn in turns) for what in ("learning", "attach", "client"))
        share = lambda seconds: f"{100 * seconds / learning:.2f} %"
        print(f"{kind}: {learning:.1f} s of processor time learning; telling clients takes {share(attach)} of that, the client {share(client)}")
        if kind == "nobody":
            continue
        report(kind, "the same step takes", [step[kind] / step["nobody"] for step in steps], draw)
        stretch = lambda turn: turn["wall"] / turn["learning"]
        report(kind, "by the clock, for the same processor time learning,", [stretch(t[kind]) / stretch(t["nobody"]) for t in turns], draw)


def report(kind, what, ratios, draw):
    """The median of some ratios in percent, and its 95 % interval by 4,000 bootstrap draws."""
    percent = [100 * (ratio - 1) for ratio in ratios]
    medians = sorted(statistics.median(draw.choices(percent, k=len(percent))) for _ in range(4000))
    print(f"{kind}: {what} {statistics.median(percent):+.2f} % (median of {len(percent)}), 95 % interval "
          f"{medians[100]:+.2f} to {medians[3899]:+.2f} %")


if __name__ == "__main__":
    try:
        arguments = [part for setting in SETTINGS for part in ("--set", setting)]
        parts = {"screen": on_screen, "steps": compare}
        for name in sys.argv[2:] or list(parts):
            parts[name](arguments)
    finally:
        subprocess.run(["rm", "-rf", HOME])
