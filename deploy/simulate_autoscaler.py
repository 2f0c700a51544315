"""An autoscaler on one machine: worker processes come and go by the rules that KEDA is given, and no task may be lost to it.

    python3 deploy/simulate_autoscaler.py --program target/release/codex-agent --database postgres://… --directory /tmp/sim

The database is to be empty. Rules are read from components/keda-stats/scaled-object.yaml: the number that is asked for, tasks
per worker, how fast there may be more or fewer. Only time passes --speed times as fast. As in Kubernetes, whoever is taken away
is not asked whether it is idle: any worker is, by SIGTERM. A burst of tasks is posted to an API that runs none itself, every tenth
of them a long one, so that there is work left while workers go. At the end every task has to have succeeded, with each
iteration on record once, every worker has to have ended well, and none may be left.
"""
import argparse, ctypes, json, math, os, random, re, signal, subprocess, sys, time, urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml  # PyYAML

SHORT, LONG = 3, 30  # commands of a task
LIMIT = 480  # by far more than a burst takes, in real seconds
GRACE = 45  # terminationGracePeriodSeconds: who has not ended by then is killed, in real seconds


class Rules:
    """What scaled-object.yaml says, in seconds of the simulation."""

    def __init__(self, path, speed):
        spec = next(yaml.safe_load_all(path.read_text()))["spec"]
        trigger = spec["triggers"][0]["metadata"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        self.value = trigger["valueLocation"]
        self.target = int(trigger["targetValue"])
        self.activation = int(trigger["activationTargetValue"])
        self.least, self.most = spec["minReplicaCount"], spec["maxReplicaCount"]
        self.poll = spec["pollingInterval"] / speed
        self.cooldown = spec["cooldownPeriod"] / speed
        self.window = behavior["scaleDown"]["stabilizationWindowSeconds"] / speed
        up, down = behavior["scaleUp"]["policies"], behavior["scaleDown"]["policies"]
        self.up = [(policy["type"], policy["value"], policy["periodSeconds"] / speed) for policy in up]
        self.down = [(policy["value"], policy["periodSeconds"] / speed) for policy in down]


class Scaler:
    """How many workers there should be, as KEDA and the horizontal pod autoscaler decide it."""

    def __init__(self, rules):
        self.rules = rules
        self.recommended = []  # (when, how many)
        self.changes = []  # (when, from, to)
        self.active = -math.inf

    def decide(self, now, workers, unfinished):
        rules = self.rules
        if unfinished > rules.activation:
            self.active = now
        if workers == 0:
            return self.change(now, 0, 1) if unfinished > rules.activation else 0
        if unfinished == 0 and now - self.active >= rules.cooldown:
            return self.change(now, workers, rules.least)
        wanted = min(rules.most, max(1, math.ceil(unfinished / rules.target)))
        self.recommended = [r for r in self.recommended if now - r[0] <= rules.window] + [(now, wanted)]
        if wanted > workers:
            return self.change(now, workers, min(wanted, max(self.bound(now, workers, *policy) for policy in rules.up)))
        wanted = max(count for _, count in self.recommended)
        if wanted < workers:
            floor = max(self.started(now, workers, period) - value for value, period in rules.down)
            return self.change(now, workers, max(wanted, floor))
        return workers

    def bound(self, now, workers, kind, value, period):
        before = self.started(now, workers, period)
        return before + value if kind == "Pods" else math.ceil(before * (1 + value / 100))

    def started(self, now, workers, period):
        """How many there were when the period began."""
        return next((before for at, before, _ in self.changes if now - at < period), workers)

    def change(self, now, before, after):
        if before != after:
            self.changes.append((now, before, after))
        return after


def die_with_this_one():
    """Whoever kills the simulation has not asked for processes that stay: PR_SET_PDEATHSIG."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Process:
    """The program in one role."""

    def __init__(self, options, role, number):
        output = options.directory / f"{role}-{number}"
        output.mkdir()
        self.log = output / "stdout"
        environment = {"PATH": os.environ["PATH"], "CODE_DIR": str(options.directory / "code"), "OUTPUT_DIR": str(output),
                       "TMPDIR": str(options.directory), "HOME": str(output), "DATABASE_URL": options.database,
                       "MCP_SERVER_URL": "script:", "LISTEN": "127.0.0.1:0", "DATABASE_CONNECTIONS": "4",
                       "MAX_RUNNING": str(options.rules.target), "MAX_COMMANDS": "4"}
        with self.log.open("w") as log:
            self.child = subprocess.Popen([options.program, "serve", "--role", role], env=environment, stdout=log,
                                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, preexec_fn=die_with_this_one)

    def url(self):
        for _ in range(600):
            if found := re.search(r"listening on (http://[0-9.:]+)", self.log.read_text()):
                return found[1]
            if self.child.poll() is not None:
                break
            time.sleep(0.1)
        sys.exit(f"{self.log}: it did not start:\n{self.log.read_text()}")

    def terminate(self):
        self.child.terminate()
        self.deadline = time.monotonic() + GRACE


def ask(url, body=None):
    request = urllib.request.Request(url, body and json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def task(number):
    commands = SHORT if number % 10 else LONG
    call = {"event": "tool_call", "name": "run_command", "arguments": {"command": "sleep 0.1"}}
    return {"task_id": f"burst-{number}", "instruction": "Do what takes a while.", "max_iterations": 100,
            "script": [call] * commands + [{"event": "finish", "summary": "done"}]}


def lost(api, number):
    """What is wrong with a task of the burst."""
    posted = task(number)
    name = posted["task_id"]
    found = json.loads(ask(f"{api}/tasks/{name}"))
    lines = [json.loads(line)["iteration"] for line in ask(f"{api}/tasks/{name}/log").splitlines()]
    if found["status"] != "succeeded":
        return f"{name} is {found['status']}: {found['error']}"
    if lines != list(range(1, len(posted["script"]) + 1)):
        return f"{name} has the iterations {lines}"
    return None


def main():
    rules = Path(__file__).parent / "components/keda-stats/scaled-object.yaml"
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--program", required=True)
    options.add_argument("--database", required=True)
    options.add_argument("--directory", required=True, type=Path)
    options.add_argument("--tasks", type=int, default=1000)
    options.add_argument("--speed", type=float, default=40)
    options.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = options.parse_args()
    options.rules = Rules(rules, options.speed)
    (options.directory / "code").mkdir()
    choice = random.Random(options.seed)
    print(f"seed {options.seed}; {options.rules.target} tasks per worker, at most {options.rules.most}, "
          f"{options.speed:g} times as fast", flush=True)

    everybody = []

    def start(role):
        everybody.append(Process(options, role, len(everybody)))
        return everybody[-1]

    faults, away, highest = [], [], 0
    try:
        api = start("api").url()
        scaler, workers, going = Scaler(options.rules), [], []
        began = time.monotonic()
        with ThreadPoolExecutor(16) as clients:
            burst = [clients.submit(ask, f"{api}/tasks", task(number)) for number in range(options.tasks)]
            while workers or going or not all(posted.done() for posted in burst):
                now = time.monotonic()
                if now - began > LIMIT:
                    sys.exit(f"not at an end after {LIMIT} s")
                stats = json.loads(ask(f"{api}/stats"))
                unfinished = stats[options.rules.value]
                wanted = scaler.decide(now, len(workers), unfinished)
                if wanted != len(workers):
                    print(f"{now - began:6.1f} s  {unfinished:5} unfinished  {len(workers):2} → {wanted:2} workers", flush=True)
                while len(workers) < wanted:
                    workers.append(start("worker"))
                while len(workers) > wanted:
                    victim = workers.pop(choice.randrange(len(workers)))
                    going.append(victim)
                    away.append(unfinished)
                    victim.terminate()
                highest = max(highest, len(workers))
                for worker in [worker for worker in workers if worker.child.poll() is not None]:
                    faults.append(f"{worker.log} ended by itself with {worker.child.returncode}")
                    workers.remove(worker)
                for worker in list(going):
                    if worker.child.poll() is None and time.monotonic() > worker.deadline:
                        worker.child.kill()
                        worker.child.wait()
                    if worker.child.poll() is not None:
                        going.remove(worker)
                        if worker.child.returncode != 0:
                            faults.append(f"{worker.log} ended with {worker.child.returncode}")
                time.sleep(options.rules.poll)
            for posted in burst:
                posted.result()
            took = time.monotonic() - began
            faults.extend(filter(None, clients.map(lambda number: lost(api, number), range(options.tasks))))
    finally:
        for process in everybody:
            process.child.kill()
            process.child.wait()
    early = sum(unfinished > 0 for unfinished in away)
    print(f"{options.tasks} tasks in {took:.1f} s; at most {highest} workers, {len(workers)} at the end; "
          f"{len(away)} taken away, {early} of them while tasks were unfinished; {len(faults)} faults")
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
