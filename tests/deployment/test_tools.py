"""The function under the tools that a user has: cargo-lambda, and AWS's Runtime Interface Emulator.

Expects `.ci/package x86_64 ZIP` to have run. Everything stays on loopback; each process ends
by its id with its test.
"""

import http.client
import json
import os
import re
import socket
import subprocess
import threading
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import samcli

ROOT = Path(__file__).resolve().parents[2]
EMULATOR = Path(samcli.__file__).parent / "local/rapid/aws-lambda-rie-x86_64"
BOOTSTRAP = ROOT / "target/lambda/id-mapping-populator/bootstrap"
FUNCTION = "id-mapping-populator"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def process(command, **options):
    running = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def wait_for(port, running, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert running.poll() is None, running.communicate()[0]
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nothing listens on port {port} after {seconds} seconds")


@contextmanager
def services(*arguments):
    """The local example's stand-ins, and the environment that they print."""
    command = ["cargo", "run", "--quiet", "--locked", "--example", "local", "--", "--serve", *arguments]
    with process(command) as running:
        environment = {}
        for line in running.stdout:
            if line.startswith("export "):
                environment.update(re.findall(r"([A-Z_]+)=(\S+)", line))
            if line.startswith("cargo lambda watch"):
                break
        assert "AWS_ENDPOINT_URL" in environment and "EVENT_BUS_NAME" in environment, environment
        # They print each call, and would wait for a reader.
        reader = threading.Thread(target=running.stdout.read)
        reader.start()
        try:
            yield environment
        finally:
            running.kill()
            reader.join()


def test_cargo_lambda_watches_and_invokes():
    port = free_port()
    with services() as environment:
        # The first invocation waits for the build.
        watch = ["cargo", "lambda", "watch", "--ignore-changes", "--timeout", "900", "-A", "127.0.0.1", "-P", str(port)]
        with process(watch, env={**os.environ, **environment}) as watching:
            wait_for(port, watching, 60)

            def invoke(file):
                command = ["cargo", "lambda", "invoke", FUNCTION, "-A", "127.0.0.1", "-P", str(port), "--data-file", file]
                return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)

            done = invoke("events/population-requested.json")
            assert done.returncode == 0, done.stderr
            [outcome] = json.loads(done.stdout)["outcomes"]
            sample = json.loads((ROOT / "events/outcomes/started.json").read_text())["detail"]
            for differs in ["startedAt", "idMappingJobId"]:
                assert len(outcome.pop(differs)) == len(sample.pop(differs))
            assert outcome == sample

            refused = invoke("events/refused/near-miss.json")
            assert refused.returncode != 0
            assert "InvalidRequest" in refused.stderr and "$.membershipId" in refused.stderr, refused.stderr


def test_the_release_zip_holds_the_bootstrap_alone(tmp_path):
    built = BOOTSTRAP.read_bytes()
    zip_file = tmp_path / "function.zip"
    subprocess.run([".ci/package", "x86_64", zip_file], cwd=ROOT, check=True, stdin=subprocess.DEVNULL, timeout=900)
    with zipfile.ZipFile(zip_file) as archive:
        [entry] = archive.infolist()
        assert (entry.filename, entry.external_attr >> 16 & 0o777) == ("bootstrap", 0o755)
        assert archive.read(entry) == built


def emulated(environment, event, seconds):
    """What the built bootstrap answers under the emulator, and after how many seconds."""
    port, api = free_port(), free_port()
    command = [EMULATOR, "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
    command += ["--runtime-api-address", f"127.0.0.1:{api}", BOOTSTRAP, "handler"]
    environment = {**os.environ, **environment, "AWS_LAMBDA_FUNCTION_TIMEOUT": str(seconds)}
    # The emulator invokes with an ARN of its own, of another account in us-east-1: these tables would be foreign to it.
    del environment["ID_MAPPING_TABLE_ARNS"], environment["ALLOW_OTHER_TABLES"]
    environment["ALLOWED_ACCOUNTS"] = json.loads((ROOT / event).read_text())["account"]
    with process(command, env=environment) as emulator:
        wait_for(port, emulator, 10)
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds + 5)
        path = "/2015-03-31/functions/function/invocations"
        connection.request("POST", path, body=(ROOT / event).read_bytes())
        answer = json.loads(connection.getresponse().read())
        return answer, time.monotonic() - began


def test_the_built_bootstrap_works_under_the_emulator():
    with services() as environment:
        answer, _ = emulated(environment, "events/population-requested.json", 30)
        [outcome] = answer["outcomes"]
        assert (outcome["outcome"], outcome["jobType"]) == ("STARTED", "INCREMENTAL")


def test_its_own_answer_arrives_before_the_time_out():
    with services("--fault", "NoAnswer") as environment:
        answer, seconds = emulated(environment, "events/population-requested.json", 3)
        # The call is never answered; its job is found.
        [outcome] = answer["outcomes"]
        assert outcome["outcome"] == "STARTED" and "entityResolutionJobId" in outcome, answer
        assert 1 < seconds < 3, seconds
