"""Mutation score of the modules that decide: the mutants of cargo-mutants and a few by hand, compiled once.

Each mutant is a branch in a copy of the tree (see instrument.py); one build holds them all, and a test
process is told by the environment which one is on. A mutant is tried with the tests that reach it,
until one fails. One that no test kills must be listed in equivalent.toml, with the reason.

    tests/mutants/run.py [--only TEXT]

Which test killed which mutant is written to target/mutants/trials.json, what does not compile to unviable.txt.
"""

import argparse
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from instrument import Mutant, NotPossible, Source, mutant_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
WORK = TARGET / "mutants"
TREE = WORK / "tree"
CARGO_MUTANTS = os.environ.get("CARGO_MUTANTS", TARGET / "tools/bin/cargo-mutants")

# The modules whose score counts.
MODULES = [
    "handler",
    "input",
    "ledger",
    "message",
    "aws/clean_rooms",
    "aws/entity_resolution",
    "aws/ledger_table",
    "aws/queue",
]
# At least so many of a hundred.
ENOUGH = 95.0
WORKERS = 2
# A test that takes longer is left out, and one that takes longer than the other number is not tried on a
# mutant that is listed as equivalent.
LONGEST, LONGEST_FOR_LISTED = 12.0, 2.0
# A small search: its tests are tried last.
SEARCH = ("fault_search::", "interleave::", "simulation::")
SMALL_SEARCH = {
    "SIMULATION_RUNS": "20",
    "FAULT_SEARCH_FAULTS": "1",
    "INTERLEAVE_FAULTS": "0",
    "INTERLEAVE_RUNS": "3",
}


@dataclass
class Test:
    """A test of one of the executables."""

    executable: Path
    name: str
    seconds: float = 0.0

    @property
    def is_search(self):
        return self.name.startswith(SEARCH)


def say(text):
    print(f"[{time.monotonic() - BEGUN:5.0f} s] {text}", flush=True)


BEGUN = time.monotonic()


# The catalogue.


def catalogue():
    """The mutants of cargo-mutants, and those by hand, numbered."""
    command = [CARGO_MUTANTS, "mutants", "--list", "--json"]
    for module in MODULES:
        command += ["-f", f"src/{module}.rs", "-f", f"src/{module}/**"]
    for entry in read("equivalent.toml").get("excluded", []):
        command += ["--exclude-re", entry["pattern"]]
    listed = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    lines = {file: (ROOT / file).read_text().splitlines() for file in {entry["file"] for entry in listed}}
    mutants, seen = [], Counter()
    for entry in listed:
        line = lines[entry["file"]][entry["span"]["start"]["line"] - 1]
        mutant = mutant_of(entry, line.strip())
        seen[mutant.key] += 1
        mutant.nth = seen[mutant.key]
        mutants.append(mutant)
    for entry in read("by_hand.toml").get("mutant", []):
        text = (ROOT / entry["file"]).read_text()
        after = text.find(entry.get("after", ""))
        found = text.find(entry["find"], after)
        if min(after, found) < 0 or ("after" not in entry and text.count(entry["find"]) > 1):
            sys.exit(f"by_hand.toml: {entry['file']} does not have this, or more than once:\n{entry['find']}")
        line = text[: found + 1].count("\n") + 1
        code = entry["find"].strip()
        mutant = Mutant(entry["file"], "", entry["name"], line, 1, code, replacement=entry["replace"])
        start = len(text[:found].encode())
        mutant.span = (start, start + len(entry["find"].encode()))
        mutants.append(mutant)
    for number, mutant in enumerate(mutants, 1):
        mutant.number = number
    return mutants


def read(name):
    return tomllib.loads((HERE / name).read_text())


# The copy.


def copy_tree():
    """Copies the tracked files, except the sources: those are written with their mutants. Names them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout.decode()
    files = {Path(file) for file in listed.split("\0") if file and (ROOT / file).is_file()}
    for old in TREE.rglob("*"):
        if old.is_file() and old.relative_to(TREE) not in files and old.name != "mutant.rs":
            old.unlink()
    sources = sorted(file for file in files if file.parts[0] == "src")
    for file in files.difference(sources):
        write(TREE / file, adapted(file, (ROOT / file).read_bytes()))
    write(TREE / "src/mutant.rs", (HERE / "mutant.rs").read_bytes())
    return sources


def adapted(file, content):
    """A file other than a source, as the copy needs it."""
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    own, copys = (f'version = "{text}"'.encode() for text in (version, f"{version}-mutants"))
    # Cargo tells a package by its version and its place in the workspace: without another version it would take
    # the copy's artifacts for the original's, in the same target directory.
    if file == Path("Cargo.toml"):
        return content.replace(own, copys, 1)
    if file == Path("Cargo.lock"):
        packages = content.split(b"\n\n")
        return b"\n\n".join(text if b"source = " in text else text.replace(own, copys) for text in packages)
    # A function that runs as a process of its own must know which mutant is on.
    if file.parts[0] == "tests" and file.suffix == ".rs":
        given = b'.env_clear().envs(std::env::vars().filter(|(name, _)| name.starts_with("MUTANT")))'
        return content.replace(b".env_clear()", given)
    return content


def write(path, content):
    """What is the same keeps its time, and is not built again."""
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def instrument(files, mutants):
    """Writes the sources with their mutants. Those that cannot be put in, and where the others are."""
    of_file = defaultdict(list)
    for mutant in mutants:
        of_file[mutant.file].append(mutant)
    impossible, places = [], {}
    for file in files:
        source = Source((ROOT / file).read_bytes())
        for mutant in of_file[str(file)]:
            try:
                if mutant.genre == "ByHand":
                    source.add_by_hand(mutant)
                else:
                    source.add(mutant)
            except NotPossible as why:
                impossible.append((mutant, str(why)))
        text, places[str(file)] = source.render()
        if str(file) == "src/lib.rs":
            text += b"\n#[doc(hidden)]\n#[allow(missing_docs, clippy::all)]\npub mod mutant;\n"
        write(TREE / file, text)
    return impossible, places


# The build.


def cargo(*arguments):
    """Runs cargo in the copy. Its messages, and whether it succeeded."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET)}
    command = ["cargo", *arguments, "--locked", "--message-format", "json"]
    ran = subprocess.run(command, cwd=TREE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    messages = [json.loads(line) for line in ran.stdout.decode().splitlines() if line.startswith("{")]
    return messages, ran.returncode == 0, ran.stderr.decode()


def build(files, mutants):
    """Builds the copy without the mutants that do not compile. The rest, and the test executables."""
    unviable = []
    while True:
        impossible, places = instrument(files, mutants)
        unviable += impossible
        mutants = without(mutants, [mutant for mutant, _ in impossible])
        # As the default run builds them, so that nothing is built that it does not build.
        messages, done, said = cargo("test", "--no-run", "--lib", "--test", "populator")
        if done:
            break
        refused = {}
        for message in messages:
            fault = message.get("message", {})
            if message["reason"] == "compiler-message" and fault["level"] == "error" and fault["spans"]:
                for mutant in blamed(fault, places):
                    refused.setdefault(mutant.number, (mutant, fault["message"]))
        if not refused:
            sys.exit(f"the copy in {TREE} does not compile:\n{rendered(messages)}\n{said}")
        say(f"{len(refused)} mutants do not compile")
        unviable += refused.values()
        mutants = without(mutants, [mutant for mutant, _ in refused.values()])
    executables = {}
    for message in messages:
        if message.get("executable"):
            kept = WORK / "bin" / message["target"]["name"]
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(message["executable"], kept)
            executables[message["target"]["name"]] = kept
    return mutants, unviable, executables


def without(mutants, gone):
    numbers = {mutant.number for mutant in gone}
    return [mutant for mutant in mutants if mutant.number not in numbers]


def blamed(fault, places):
    """The mutants in whose text an error is."""
    spans = sorted(fault["spans"], key=lambda span: not span["is_primary"])
    spans = [(span["byte_start"], span["byte_end"], places.get(span["file_name"], [])) for span in spans]
    for start, end, of_file in spans:
        around = [(last - first, mutant) for first, last, mutant in of_file if first <= start and end <= last]
        if around:
            return [min(around, key=lambda found: found[0])[1]]
    # An error may be of an expression that a mutant is a part of.
    for start, end, of_file in spans:
        inside = [mutant for first, last, mutant in of_file if start <= first and last <= end]
        if inside:
            return inside
    return []


def rendered(messages):
    faults = [message["message"] for message in messages if message["reason"] == "compiler-message"]
    return "\n".join(fault["rendered"] for fault in faults if fault["level"] == "error")


# The tests.


class Tests:
    """All tests, what each reaches, and how long it takes."""

    def __init__(self, executables):
        self.binary = executables["id-mapping-populator"]
        self.all = []
        for name in ("id_mapping_populator", "populator"):
            listed = subprocess.run([executables[name], "--list"], cwd=TREE, check=True, stdout=subprocess.PIPE)
            for line in listed.stdout.decode().splitlines():
                # The rules of the house are about the text of the source, which is another one here.
                if line.endswith(": test") and not line.startswith(("documentation::", "house_rules::")):
                    self.all.append(Test(executables[name], line.removesuffix(": test")))
        self.reaching = defaultdict(list)

    def run(self, tests, variables, timeout):
        """Whether all of these tests of one executable pass: `None` if they do not end in time."""
        command = [tests[0].executable, "--test-threads", "1", "--exact", *(test.name for test in tests)]
        own = {"POPULATOR_BINARY": str(self.binary), "RUST_BACKTRACE": "0"}
        environment = {**os.environ, **SMALL_SEARCH, **own, **variables}
        process = subprocess.Popen(
            command, cwd=TREE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            return None, ""
        return process.returncode == 0, output.decode(errors="replace")

    def measure(self):
        """Runs each test by itself, with no mutant."""
        record = WORK / "reached"
        shutil.rmtree(record, ignore_errors=True)
        record.mkdir(parents=True)

        def one(indexed):
            index, test = indexed
            file = record / str(index)
            for _ in range(2):
                begun = time.monotonic()
                passed, output = self.run([test], {"MUTANT_RECORD": str(file)}, LONGEST)
                if passed is None:
                    say(f"left out, since it takes longer than {LONGEST:.0f} s: {test.name}")
                    return test, set()
                if passed:
                    break
            test.seconds = time.monotonic() - begun
            if passed:
                return test, {int(line) for line in file.read_text().split()} if file.exists() else set()
            if test.is_search:
                say(f"left out, since it fails without a mutant: {test.name}")
                return test, set()
            # Not the machine's fault: it failed twice.
            sys.exit(f"{test.name} fails without a mutant:\n{output}")

        with concurrent.futures.ThreadPoolExecutor(WORKERS) as workers:
            for test, reached in workers.map(one, enumerate(self.all)):
                for number in reached:
                    self.reaching[number].append(test)


@dataclass
class Trial:
    """What became of a mutant."""

    mutant: Mutant
    # The test that killed it. `None` if it survives.
    by: str | None = None
    seconds: float = 0.0


class Order:
    """Tests that killed a mutant of the same function first, then the fastest."""

    def __init__(self):
        self.kills = Counter()
        self.lock = threading.Lock()

    def note(self, mutant, test):
        with self.lock:
            self.kills[mutant.file, mutant.function, test] += 1

    def sorted(self, mutant, tests):
        with self.lock:
            kills = {test.name: self.kills[mutant.file, mutant.function, test.name] for test in tests}
        return sorted(tests, key=lambda test: (test.is_search, -kills[test.name], test.seconds))


def chunks(tests):
    """A few tests at a time, of one executable: more and more of them, as long as none fails."""
    chunk, seconds, most = [], 0.0, 0.3
    for test in tests:
        if chunk and (test.executable != chunk[0].executable or seconds + test.seconds > most or test.is_search):
            yield chunk
            chunk, seconds, most = [], 0.0, min(most * 2, 5.0)
        chunk.append(test)
        seconds += test.seconds
    if chunk:
        yield chunk


def try_one(mutant, tests, order, listed):
    begun = time.monotonic()
    trial = Trial(mutant)
    reaching = tests.reaching[mutant.number]
    if mutant.key in listed:
        reaching = [test for test in reaching if test.seconds < LONGEST_FOR_LISTED and not test.is_search]
    for chunk in chunks(order.sorted(mutant, reaching)):
        timeout = 10 + 5 * sum(test.seconds for test in chunk)
        passed, output = tests.run(chunk, {"MUTANT": str(mutant.number)}, timeout)
        if passed:
            continue
        lines = output.splitlines()
        failed = [line.split()[1] for line in lines if line.startswith("test ") and line.endswith("FAILED")]
        # Which of several does not end is not known.
        trial.by = ", ".join(failed) or f"no end of {' or '.join(test.name for test in chunk)}"
        for name in failed:
            order.note(mutant, name)
        break
    trial.seconds = time.monotonic() - begun
    return trial


# The report.


def module_of(mutant):
    parts = Path(mutant.file).with_suffix("").parts[1:]
    return "/".join(parts[:2] if parts[0] == "aws" else parts[:1])


def report(trials, unviable, listed):
    """Prints the score. What is wrong."""
    wrong = []
    by_module = defaultdict(list)
    for trial in trials:
        by_module[module_of(trial.mutant)].append(trial)
    print(f"{'module':<22}{'viable':>8}{'killed':>8}{'survived':>10}{'score':>9}")
    for module, of_module in [*sorted(by_module.items()), ("all", trials)]:
        killed = sum(trial.by is not None for trial in of_module)
        score = 100 * killed / len(of_module)
        print(f"{module:<22}{len(of_module):>8}{killed:>8}{len(of_module) - killed:>10}{score:>8.1f} %")
        if score < ENOUGH and module in MODULES:
            wrong.append(f"{module}: fewer than {ENOUGH:.0f} % are killed")
    keys = {entry_key(entry): entry["reason"] for entry in listed}
    survivors = [trial.mutant for trial in trials if trial.by is None]
    print(f"\n{len(survivors)} survive, {len(unviable)} do not compile")
    for mutant in survivors:
        reason = keys.get(mutant.key)
        print(f"  {mutant}\n    {mutant.code if mutant.genre != 'ByHand' else ''}\n    {reason or 'NOT LISTED'}")
        if reason is None:
            wrong.append(f"survives, and is not in equivalent.toml: {mutant}")
    survived = {mutant.key for mutant in survivors}
    killed_by = {trial.mutant.key: trial.by for trial in trials if trial.by is not None}
    for key in keys:
        if key in killed_by:
            wrong.append(f"in equivalent.toml, but killed by {killed_by[key]}: {key}")
        elif key not in survived:
            wrong.append(f"in equivalent.toml, but there is no such mutant: {key}")
    return wrong


def entry_key(entry):
    return (entry["file"], entry.get("function", ""), entry["change"], entry["code"], entry.get("nth", 1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", help="only mutants whose description has this text")
    options = parser.parse_args()
    mutants = catalogue()
    if options.only:
        mutants = [mutant for mutant in mutants if any(text in str(mutant) for text in options.only)]
    say(f"{len(mutants)} mutants")
    mutants, unviable, executables = build(copy_tree(), mutants)
    say(f"built: {len(mutants)} are viable, {len(unviable)} are not")
    (WORK / "unviable.txt").write_text("\n".join(f"{mutant}: {why}" for mutant, why in unviable))
    tests = Tests(executables)
    tests.measure()
    say(f"{len(tests.all)} tests pass without a mutant, in {sum(test.seconds for test in tests.all):.0f} s")
    for test in sorted(tests.all, key=lambda test: -test.seconds)[:10]:
        print(f"  {test.seconds:5.1f} s {test.name}")
    order = Order()
    listed = read("equivalent.toml").get("mutant", [])
    keys = {entry_key(entry) for entry in listed}
    trials = []
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as workers:
        for trial in workers.map(lambda mutant: try_one(mutant, tests, order, keys), mutants):
            trials.append(trial)
            if trial.by is None:
                say(f"survives: {trial.mutant}")
            if len(trials) % 50 == 0:
                say(f"{len(trials)} tried, {sum(trial.by is None for trial in trials)} survive")
    tried = [{"mutant": str(trial.mutant), "by": trial.by, "seconds": trial.seconds} for trial in trials]
    (WORK / "trials.json").write_text(json.dumps(tried, indent=1))
    wrong = report(trials, unviable, [] if options.only else listed)
    say("done")
    if wrong and not options.only:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
