#!/usr/bin/env python3
"""What the terminal client costs: experiments/client.py [PROGRAM] [screen|steps]. Standard library only; needs `cargo build --release`.

A small demo is trained; `medserl attach` runs in a pseudo-terminal whose bytes are counted. Printed: time from starting the client to
its first complete frame, bytes a second while completions stream, bytes and processor time in 60 s of pause and of a run that is over,
resident memory, and the seconds a step takes with nobody attached, with a client, and with a client that takes nothing in.
"""

import fcntl, json, os, pty, re, select, signal, socket, sqlite3, statistics, struct, subprocess, sys, tempfile, termios, time

PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/medserl")
WINDOW = float(os.environ.get("SECONDS", "60"))
STEPS = int(os.environ.get("STEPS", "12"))
SETTINGS = ["doctor.samples=8", "doctor.completions=4", "doctor.max_tokens=112", "scribe.max_tokens=96", "scribe.max_attempts=1",
            "eval.notes=4", "data.clinic_groups=200", "checkpoint.every=1000", "sft.notes=0"]
HOME = tempfile.mkdtemp()
ENV = dict(os.environ, MEDSERL_HOME=HOME, HF_HUB_OFFLINE="1", TERM="xterm-256color", COLORTERM="truecolor")
RUN = os.path.join(HOME, "runs", "demo-s1")


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


def step_seconds():
    database = sqlite3.connect(f"file:{RUN}/run.db?mode=ro", uri=True)
    rows = database.execute("SELECT report_json FROM step ORDER BY step").fetchall()
    return [sum(t["seconds"] for t in json.loads(row[0])["timings"]) for row in rows]


def wait_steps(n, screen=None):
    while len(step_seconds()) < n:
        screen.read_for(0.5) if screen else time.sleep(0.5)


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
    screen, _ = first_frame(120, 40)
    screen.read_for(5)
    window(screen, "paused, 120x40", WINDOW)
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


def compare(settings):
    """The very same steps (same seed) with nobody, a client, and a client that takes nothing in; in turn, three rounds."""
    taken = {"nobody attached": [], "a client": [], "a stuck client": []}
    for _ in range(3):
        for what in taken:
            subprocess.run(["rm", "-rf", RUN])
            trainer = subprocess.Popen([PROGRAM, "demo", "--headless", "--steps", str(STEPS), *settings], env=ENV,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while not os.path.exists(f"{RUN}/control.sock"):
                time.sleep(0.01)
            screen = Screen(120, 40) if what == "a client" else None
            stuck = socket.socket(socket.AF_UNIX) if what == "a stuck client" else None
            if stuck:
                stuck.connect(f"{RUN}/control.sock")
            while trainer.poll() is None:
                screen.read_for(0.2) if screen else time.sleep(0.2)
            taken[what].append(step_seconds())
            if screen:
                screen.leave()
            if stuck:
                stuck.close()
    best = {what: [min(steps) for steps in zip(*rounds)] for what, rounds in taken.items()}
    base = sum(best["nobody attached"])
    for what, steps in best.items():
        print(f"{STEPS} steps with {what}: {sum(steps):.2f} s, each step at its best of 3 rounds ({100 * (sum(steps) / base - 1):+.1f} %)")


if __name__ == "__main__":
    try:
        arguments = [part for setting in SETTINGS for part in ("--set", setting)]
        parts = {"screen": on_screen, "steps": compare}
        for name in sys.argv[2:] or list(parts):
            parts[name](arguments)
    finally:
        subprocess.run(["rm", "-rf", HOME])
