"""Scales workers on this machine by GET /stats, in the way that KEDA and a HorizontalPodAutoscaler do in a cluster.

    python3 deploy/autoscaler.py --server http://127.0.0.1:8080 --tasks-per-worker 256 --max 4 -- \
        codex-agent serve --role worker --listen 127.0.0.1:0 --output-dir output/worker-{}

{} in the command is the worker's number. Wanted are as many workers as `unfinished` needs, queued and running tasks
together: a worker that has something to do is wanted. More are started at once; some are stopped (SIGTERM, the newest
first) only when fewer have been enough for --cooldown seconds. While /stats does not answer, all stays as it is. A token
is taken from API_TOKENS. Each change is a line; at the end (--until-idle, SIGINT, SIGTERM) all workers are stopped.
"""
import argparse, collections, json, math, os, signal, subprocess, sys, threading, time, urllib.request

def parsed():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--server", required=True)
    parser.add_argument("--tasks-per-worker", type=int, default=256, help="MAX_RUNNING of a worker")
    parser.add_argument("--min", type=int, default=0)
    parser.add_argument("--max", type=int, default=4)
    parser.add_argument("--interval", type=float, default=5, help="seconds between two looks")
    parser.add_argument("--cooldown", type=float, default=60, help="seconds before fewer are enough")
    parser.add_argument("--until-idle", action="store_true", help="end when all that was there is done and no worker is left")
    parser.add_argument("worker", nargs="+", help="the command that is one worker")
    return parser.parse_args()

def stats(server):
    request = urllib.request.Request(f"{server}/stats")
    token = os.environ.get("API_TOKENS", "").split(",")[0].strip()
    if token:
        request.add_header("authorization", f"Bearer {token}")
    # Not through a proxy: the server is near.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=5) as answer:
        return json.load(answer)

class Workers:
    """Those that run, the newest last, and those that are coming to rest."""
    def __init__(self, command):
        self.command, self.number, self.running, self.leaving, self.failed = command, 0, [], [], 0

    def scale(self, wanted):
        while len(self.running) < wanted:
            self.number += 1
            command = [part.replace("{}", str(self.number)) for part in self.command]
            self.running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        while len(self.running) > wanted:
            worker = self.running.pop()
            worker.send_signal(signal.SIGTERM)
            self.leaving.append(worker)

    def reap(self):
        """Whoever ended by itself is not counted any more, and replaced by the next look."""
        ended = [worker for worker in self.running + self.leaving if worker.poll() is not None]
        self.failed += sum(worker.returncode != 0 for worker in ended)
        self.running = [worker for worker in self.running if worker not in ended]
        self.leaving = [worker for worker in self.leaving if worker not in ended]

def main():
    options, stop = parsed(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    workers, started, seen = Workers(options.worker), time.monotonic(), False
    recent = collections.deque()  # what was wanted at each look within the cooldown
    while not stop.is_set():
        workers.reap()
        now = time.monotonic()
        try:
            told = stats(options.server)
        except OSError as error:
            print(f"{now - started:7.1f} s  no answer: {error}", flush=True)
            stop.wait(options.interval)
            continue
        needed = math.ceil(told["unfinished"] / options.tasks_per_worker)
        recent.append((now, min(max(needed, options.min), options.max)))
        while recent[0][0] < now - options.cooldown:
            recent.popleft()
        wanted, before = max(count for _, count in recent), len(workers.running)
        if wanted != before:
            counts = f"queued {told['queued']:5}  running {told['running']:5}"
            print(f"{now - started:7.1f} s  {counts}  workers {before} -> {wanted}", flush=True)
        workers.scale(wanted)
        seen = seen or told["unfinished"] > 0
        if options.until_idle and seen and not told["unfinished"] and not workers.running and not workers.leaving:
            break
        stop.wait(options.interval)
    workers.scale(0)
    for worker in workers.leaving:
        worker.wait()
    workers.reap()
    print(f"{workers.number} workers in all, {workers.failed} ended badly", flush=True)
    sys.exit(1 if workers.failed else 0)

main()
