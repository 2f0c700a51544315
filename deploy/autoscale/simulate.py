#!/usr/bin/env python3
"""A small autoscaler that starts and stops real workers, to see what becomes of a burst of tasks.

It asks GET /stats as an autoscaler in a cluster would, and wants ceil(unfinished / tasks per worker) workers, between a least
and a most. It scales out at once and in only when the smaller number has been wanted for a while, as the
HorizontalPodAutoscaler does. To scale in, it sends SIGTERM to any workers, busy or not.

    createdb agent
    deploy/autoscale/simulate.py --program target/release/codex-agent --database 'postgres://localhost/agent'

It starts the API, the workers and a slow brain by itself, on loopback, in a directory that it removes. At the end it holds
every task against what is promised: each has exactly one end, none is lost, no attempt is counted for a hand-back, and each
record has its iterations once and in order. The exit code is 0 if all of that holds.
"""

import argparse
import ctypes
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The file that steps read.
FILE = "file.txt"

# One task in so many takes so many times as many steps: when the others are done, the load is small and spread over all
# workers, so that those that are stopped are busy.
LONG_ONE_IN = 10
LONG = 6

# Connections that submit, and that look at the ends: a few, as many clients would.
CLIENTS = 8

# How long a process may take to listen on a busy machine.
START = 60.0

# Longer than the service's own grace period, which is 25 s: who has not gone by then will not go by itself.
STOP = 60.0


class Brain(ThreadingHTTPServer):
    """Thinks for a while over each step, has a file read a few times, and finishes."""

    daemon_threads = True
    # All tasks of a burst may ask at once.
    request_queue_size = 1024

    def __init__(self, think):
        super().__init__(("127.0.0.1", 0), Answer)
        self.think = think
        # How many times each step has been asked, by its Idempotency-Key.
        self.asked = Counter()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A worker that goes away hangs up."""


class Answer(BaseHTTPRequestHandler):
    """One step: the task, which says how long it is, and the number of the iteration stand in the key."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        key = self.headers["idempotency-key"]
        with self.server.lock:
            self.server.asked[key] += 1
        time.sleep(self.server.think)
        name, iteration = key.rsplit("/", 1)
        if int(iteration) < steps_of(name):
            reply = {"event": "tool_call", "name": "read_file", "arguments": {"file_path": FILE}}
        else:
            reply = {"event": "finish", "summary": "done"}
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """The timeline is the only thing to be printed."""


class Service:
    """One process of the program."""

    def __init__(self, name, role, brain, options, home):
        self.name = name
        self.log = os.path.join(home, f"{name}.log")
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": home,
            "TMPDIR": home,
            "CODE_DIR": os.path.join(home, "code"),
            # Each process has files of its own; what is read is served from the database.
            "OUTPUT_DIR": os.path.join(home, name),
            "MCP_SERVER_URL": brain.url,
            "DATABASE_URL": options.database,
            "DATABASE_CONNECTIONS": str(options.connections),
            "LISTEN": "127.0.0.1:0",
            "MAX_RUNNING": str(options.per_worker),
            # Nothing here runs commands, so that the machine need not be able to confine them.
            "SANDBOX": "off",
            "NO_COLOR": "1",
        }
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [options.program, "serve", "--role", role],
                env=environment,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent,
            )
        self.since = time.monotonic()
        self.told = None

    def url(self):
        """Where it listens, as soon as it does."""
        word = "listening on "
        while time.monotonic() - self.since < START:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                for line in log:
                    if word + "http://" in line:
                        return line.split(word, 1)[1].split()[0].strip('"')
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise SystemExit(f"{self.name} does not listen:\n{self.said()}")

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def tell(self):
        self.told = time.monotonic()
        self.process.send_signal(signal.SIGTERM)


def end_with_parent():
    """However this script ends, nothing that it has started is left behind."""
    parent_death_signal = 1
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)


def names_of(options):
    """What the tasks are called: their number, and how many steps they take."""
    for number in range(options.tasks):
        steps = options.steps * (LONG if number % LONG_ONE_IN == 0 else 1)
        yield f"burst-{number:05}-{steps}"


def steps_of(name):
    return int(name.rsplit("-", 1)[1])


class Fleet:
    """The workers, those that are just stopping included."""

    def __init__(self, make):
        self.make = make
        self.working, self.stopping = [], []
        self.started = self.stopped_busy = 0
        self.slowest_stop = 0.0
        self.wrong_ends = []

    def scale(self, wanted, busy):
        """Starts or stops some; `busy`: how many tasks run at all."""
        while len(self.working) < wanted:
            self.started += 1
            self.working.append(self.make(f"worker-{self.started}"))
        while len(self.working) > wanted:
            worker = self.working.pop(random.randrange(len(self.working)))
            self.stopped_busy += busy > 0
            worker.tell()
            self.stopping.append(worker)

    def reap(self):
        for worker in list(self.stopping):
            code = worker.process.poll()
            took = time.monotonic() - worker.told
            if code is None and took < STOP:
                continue
            if code is None:
                worker.process.kill()
            self.stopping.remove(worker)
            self.slowest_stop = max(self.slowest_stop, took)
            if code != 0:
                self.wrong_ends.append(f"{worker.name} ended with {code} after SIGTERM:\n{worker.said()[-2000:]}")
        for worker in list(self.working):
            if worker.process.poll() is not None:
                self.working.remove(worker)
                self.wrong_ends.append(f"{worker.name} ended by itself:\n{worker.said()[-2000:]}")


class Scaler:
    """How many workers are wanted."""

    def __init__(self, options):
        self.options = options
        # What was wanted in the last while, and when.
        self.wishes = deque()

    def wanted(self, unfinished, now):
        options = self.options
        wish = min(max(math.ceil(unfinished / options.per_worker), options.least), options.most)
        self.wishes.append((now, wish))
        while self.wishes[0][0] < now - options.window:
            self.wishes.popleft()
        # Out at once; in only to the most that was wanted in all that time.
        return max(wish for _, wish in self.wishes)


def ask(url, path, body=None):
    request = urllib.request.Request(url + path, method="GET" if body is None else "POST")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def submit(url, name):
    task = {"task_id": name, "instruction": "Read the file.", "max_iterations": steps_of(name)}
    while True:
        try:
            return json.loads(ask(url, "/tasks", task))
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(0.2)


def check(url, name):
    """What is wrong with a task, in words."""
    task = json.loads(ask(url, f"/tasks/{name}"))
    wrong = []
    if task["status"] != "succeeded":
        wrong.append(f"{name}: {task['status']}, {task['error']}")
    if task["attempt"] != 1:
        wrong.append(f"{name}: {task['attempt']} attempts: a hand-back counts for none, and nobody died")
    record = [json.loads(line) for line in ask(url, f"/tasks/{name}/log").splitlines()]
    numbers = [line["iteration"] for line in record]
    if numbers != list(range(1, steps_of(name) + 1)):
        wrong.append(f"{name}: the record has the iterations {numbers}")
    return wrong


def watch(url, burst, fleet, options):
    """Scales until the burst is sent and done and the fleet is as small as it may be; prints how it goes."""
    scaler, begun, most, shown = Scaler(options), time.monotonic(), 0, None
    print(f"{'seconds':>8} {'queued':>7} {'running':>8} {'unfinished':>11} {'wanted':>7} {'working':>8} {'stopping':>9} {'capacity':>9}")
    while True:
        now = time.monotonic()
        stats = json.loads(ask(url, "/stats"))
        fleet.reap()
        wanted = scaler.wanted(stats["unfinished"], now)
        fleet.scale(wanted, stats["running"])
        most = max(most, len(fleet.working))
        row = (
            stats["queued"], stats["running"], stats["unfinished"],
            wanted, len(fleet.working), len(fleet.stopping), stats["capacity"],
        )
        if row != shown:
            shown = row
            widths = (7, 8, 11, 7, 8, 9, 9)
            print(f"{now - begun:>8.1f} " + " ".join(f"{value:>{width}}" for value, width in zip(row, widths)), flush=True)
        sent = all(one.done() for one in burst)
        if sent and stats["unfinished"] == 0 and len(fleet.working) == options.least and not fleet.stopping:
            return most
        if now - begun > options.patience:
            raise SystemExit(f"still unfinished after {options.patience:.0f} s: {stats}")
        time.sleep(options.interval)


def simulate(options, home):
    os.mkdir(os.path.join(home, "code"))
    with open(os.path.join(home, "code", FILE), "w", encoding="utf-8") as file:
        file.write("a line of a file\n" * 200)
    brain = Brain(options.think)
    services = []

    def start(name, role):
        services.append(Service(name, role, brain, options, home))
        return services[-1]

    try:
        url = start("api", "api").url()
        fleet = Fleet(lambda name: start(name, "worker"))
        fleet.scale(options.least, 0)
        names = list(names_of(options))
        begun = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as clients:
            # The burst comes while the autoscaler looks on.
            burst = [clients.submit(submit, url, name) for name in names]
            most = watch(url, burst, fleet, options)
            took = time.monotonic() - begun
            for sent in burst:
                sent.result()
            wrong = [line for lines in clients.map(lambda name: check(url, name), names) for line in lines]
        wrong += fleet.wrong_ends
        steps = sum(steps_of(name) for name in names)
        again = sum(count - 1 for count in brain.asked.values())
        if len(brain.asked) != steps:
            wrong.append(f"the brain was asked {len(brain.asked)} different steps, not {steps}")
        if most < min(options.most, math.ceil(options.tasks / options.per_worker)):
            wrong.append(f"it scaled out to {most} workers only")
        if options.most > 1 and not fleet.stopped_busy:
            wrong.append("no worker was stopped while tasks ran: what that does to them was not seen")
        print(f"\n{options.tasks} tasks, {steps} steps of {options.think} s: {took:.1f} s with at most {most} workers")
        print(f"{fleet.started} workers started, {fleet.stopped_busy} stopped while tasks ran; the slowest took {fleet.slowest_stop:.1f} s")
        print(f"{again} steps were asked twice, {len(wrong)} things are wrong")
        for line in wrong:
            print(line)
        return 1 if wrong else 0
    finally:
        for service in services:
            if service.process.poll() is None:
                service.process.kill()
                service.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="codex-agent")
    parser.add_argument("--database", required=True, help="the URL of an empty PostgreSQL database")
    parser.add_argument("--tasks", type=int, default=1000, help="how many come at once")
    parser.add_argument("--steps", type=int, default=5, help="steps of a task; of one in ten, six times as many")
    parser.add_argument("--think", type=float, default=0.2, help="seconds that the brain takes over a step")
    parser.add_argument("--per-worker", type=int, default=16, help="tasks that a worker runs at a time")
    parser.add_argument("--least", type=int, default=0, help="workers when there is nothing to do")
    parser.add_argument("--most", type=int, default=6, help="workers at most")
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between two looks")
    parser.add_argument("--window", type=float, default=3.0, help="seconds for which fewer workers must be wanted")
    parser.add_argument("--connections", type=int, default=4, help="connections to the database of each process")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds after which it gives up")
    options = parser.parse_args()
    home = tempfile.mkdtemp(prefix="codex-agent-scale-")
    try:
        return simulate(options, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
