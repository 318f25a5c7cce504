"""Training runs that are killed at moments drawn by chance, and continued. A program: FOLDER SEED KILLS.

Every run is a process of its own. It says in a byte of shared memory what it is doing; the killer waits for what it
wants to hit, and a moment longer, and sends SIGKILL. What was really hit is what the byte says when the process is
dead. After each kill the files must be whole; each run that reaches its end must have the bits of an unbroken one.
"""

import json
import mmap
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import torch
import torch._dynamo  # imported by the first step: once here, not in every child
from tiny import tiny_config, tiny_sets

from lpa_core.models.weights import load_weights
from lpa_core.training import checkpoint, train

STARTING, STEP, WRITE, EPOCH, EVALUATION = range(5)
NAMES = ("starting", "in_a_step", "in_a_write", "between_epochs", "in_evaluation")
AIMS = (None, WRITE, EPOCH, EVALUATION)  # None: any moment
LEAST = 3  # each of the three is hit so often before it is enough
CONFIG = tiny_config(epochs=3, model={"builder": "attention_vgg", "width": 0.06, "levels": 2})


SAYS = {"begin": STEP, "step": STEP, "epoch": EPOCH, "checkpoint": EPOCH, "validation": EVALUATION, "test": EVALUATION}


def start(out, now):
    """Begin or continue the run in a child; its process id."""
    now[0] = STARTING
    pid = os.fork()
    if pid:
        return pid
    status, before = 1, STARTING

    def listen(moment, epoch, batch):
        now[0] = STEP if moment == "checkpoint" and batch else SAYS.get(moment, STARTING)

    def hook(event, arguments):
        """Python's own, called before a file is opened or renamed: what is beside its target is being written."""
        nonlocal before
        if event in ("open", "os.rename") and str(arguments[0]).endswith(".tmp"):
            if event == "open":
                before, now[0] = now[0], WRITE
            elif now[0] == WRITE:
                now[0] = before

    try:
        sys.addaudithook(hook)
        options = {"device": "cpu", "progress": False, "resume": True, "checkpoint_seconds": 0.005}
        train(CONFIG, out, sets=tiny_sets(), on_event=listen, **options)
        status = 0
    finally:
        os._exit(status)


def strike(pid, now, aim, chance, seconds):
    """Kill the run when it does what is aimed at; what it was doing, or None when it reached its end before."""
    wait = chance.uniform(0, seconds) if aim is None else 0.0
    skip = 0 if aim is None else chance.randrange(4)  # so often what is aimed at is let pass
    a_little = chance.uniform(0, 0.002)
    began, seen, last = time.monotonic(), 0, None
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert status == 0, f"a run failed with status {status}"
            return None
        doing = now[0]
        if aim is None:
            if time.monotonic() - began >= wait:
                break
        elif doing == aim != last:
            seen += 1
            if seen > skip:
                break
        last = doing
    time.sleep(a_little)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return NAMES[now[0]] if os.WIFSIGNALED(status) else None


def check_whole(out):
    """Whatever has a name in the folder is whole: the last good checkpoint loads, the texts are texts."""
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        if (out / name).exists():
            checkpoint.load_checkpoint(out / name)
    if (out / "run.json").exists():
        checkpoint.RunFolder(out).read_info()
    if (out / "history.jsonl").exists():
        checkpoint.RunFolder(out).read_history()
    if (out / "weights.safetensors").exists():
        load_weights(out)


def check_equal(one, other):
    """Two finished runs have the same bits, the same history, and the same four files."""
    assert sorted(os.listdir(one)) == sorted(os.listdir(other)), (os.listdir(one), os.listdir(other))
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    states = [checkpoint.load_checkpoint(folder / "checkpoint.pt") for folder in (one, other)]
    for part in ("model", "average", "random"):
        assert all(torch.equal(value, states[1][part][name]) for name, value in states[0][part].items()), part
    times = ("seconds", "images_per_second")
    histories = [[{k: v for k, v in entry.items() if k not in times} for entry in s["history"]] for s in states]
    assert histories[0] == histories[1]


def main(folder, seed, kills):
    torch.set_num_threads(1)
    chance, now, hit, runs = random.Random(seed), mmap.mmap(-1, 1), Counter(), 0
    began = time.monotonic()
    assert os.waitpid(start(folder / "whole", now), 0)[1] == 0
    seconds = time.monotonic() - began
    out = folder / "killed-0"
    aims = [AIMS[i % len(AIMS)] for i in range(kills)]
    chance.shuffle(aims)
    for attempt in range(10 * kills):
        short = [what for what in (WRITE, EPOCH, EVALUATION) if hit[NAMES[what]] < min(LEAST, kills // 4)]
        if sum(hit.values()) >= kills and not short:
            break
        aim = aims[attempt] if attempt < kills else chance.choice(short or AIMS)
        struck = strike(start(out, now), now, aim, chance, seconds)
        if struck is not None:
            hit[struck] += 1
            check_whole(out)
            continue
        check_equal(folder / "whole", out)
        runs += 1
        out = folder / f"killed-{runs}"
    assert os.waitpid(start(out, now), 0)[1] == 0
    check_equal(folder / "whole", out)
    print(json.dumps({"kills": sum(hit.values()), "runs": runs + 1, **{name: hit[name] for name in NAMES}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
