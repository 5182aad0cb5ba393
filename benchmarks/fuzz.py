#!/usr/bin/env python3
"""What happens to damaged files: truncations at every 1 % of the length, and random changes of single bytes.

    python benchmarks/fuzz.py FILE... [--cuts 100] [--flips 10000] [--seed 0]
    python benchmarks/fuzz.py FILE... --whole

Each file is read as what it is: a training state (state-*.pt), attribute classifiers (*classifiers*), else a model of
any kind that `stylegan.load` takes. Prints one JSON object a file, with how many were loaded, refused in one sentence,
or ended in another way; exits with 1 if any did. A read of more than 10 s, or one that takes 2 GB of memory, ends the
program or counts as another way; so does an attempt to run anything. With --whole the files are read as they are.
"""

import argparse
import faulthandler
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from stylegan import weights
from stylegan.classifiers.model import load_classifiers
from stylegan.errors import InputError
from stylegan.training import state_file

RUNNING = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class", "socket")


def reader(name: str):
    """What reads a file of that name."""
    if name.startswith("state-"):
        return state_file.load
    return load_classifiers if "classifiers" in name else weights.load_model


def damages(data: bytes, cuts: int, flips: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """The contents to read, each with what was done to it."""
    for cut in range(cuts):
        yield f"cut to {cut} of {cuts} parts", data[: len(data) * cut // cuts]
    numbers, edge = random.Random(seed), min(len(data), 20_000)
    for flip in range(flips):  # half anywhere; a quarter each at the start and at the end, where the structure is
        place = numbers.randrange(len(data))
        if flip % 4 == 0:
            place = numbers.randrange(edge)
        elif flip % 4 == 1:
            place = len(data) - 1 - numbers.randrange(edge)
        changed = bytearray(data)
        changed[place] ^= numbers.randrange(1, 256)
        yield f"byte {place} ^ {changed[place] ^ data[place]}", bytes(changed)


def outcome(read, path: Path) -> tuple[str, str]:
    """loaded, refused, or the name of what happened instead; and the sentence."""
    faulthandler.dump_traceback_later(10, exit=True)
    try:
        read(path)
    except InputError as error:
        sentence = str(error)
        return "refused" if len(sentence.splitlines()) == 1 and len(sentence) < 1000 else "no sentence", sentence
    except Exception as error:  # what this is here to find
        return type(error).__name__, str(error)
    finally:
        faulthandler.cancel_dump_traceback_later()
    return "loaded", ""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    ran: list[str] = []
    weights.load(weights.DEFAULT_MODEL)  # what is imported late is imported now
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 2 * 10**9, resource.RLIM_INFINITY))

    def watch(event: str, arguments: tuple) -> None:
        evaluated = event == "exec" and arguments[0].co_filename == "<string>"
        if evaluated or event.startswith(RUNNING):
            ran.append(event)

    sys.addaudithook(watch)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for file in options.files:
            path, counts, others, slowest = Path(folder) / file.name, Counter(), [], 0.0
            content = file.read_bytes()
            done = damages(content, options.cuts, options.flips, options.seed)
            for what, data in [("nothing", content)] if options.whole else done:
                path.write_bytes(data)
                began = time.perf_counter()
                end, sentence = outcome(reader(file.name), path)
                counts[end] += 1
                slowest = max(slowest, time.perf_counter() - began)
                if end not in ("loaded", "refused"):
                    others.append(f"{what}: {end}: {sentence}")
            wrong += len(others)
            line = {"file": file.name, "bytes": file.stat().st_size, **counts, "slowest_s": round(slowest, 3)}
            line |= {"others": others[:20]} if others else {"sentence": sentence} if options.whole else {}
            print(json.dumps(line), flush=True)
    print(json.dumps({"peak_mb": peak_memory() // 2**20, "ran": ran[:20]}))
    return 1 if wrong or ran else 0


def peak_memory() -> int:
    """The most bytes that this process has had in use. (`getrusage` would count the process that started it, too.)"""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


if __name__ == "__main__":
    sys.exit(main())
