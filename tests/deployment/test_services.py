"""The built binary against moto's DynamoDB, SQS and EventBridge, where a rule feeds a queue.

moto has no PopulateIdMappingTable: Clean Rooms, and Lambda's Runtime API, are small servers here,
and the tests are Lambda's poller of the waiting queue. Expects `.ci/package x86_64 ZIP` to
have run, or POPULATOR_BINARY to name a binary. Everything stays on loopback; each process ends by
its id with its test.
"""

import http.client
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from test_tools import BOOTSTRAP, ROOT, free_port, wait_for

BINARY = os.environ.get("POPULATOR_BINARY", BOOTSTRAP)
REGION, ACCOUNT = "eu-west-1", "123456789012"
FUNCTION_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:populator"
SOURCE = "id-mapping-populator"
BUS, LEDGER = "outcomes", "ledger"

MEMBERSHIP = "11111111-2222-4333-8444-555555555555"
FIRST, SECOND = "aaaaaaaa-0001-4000-8000-000000000001", "aaaaaaaa-0002-4000-8000-000000000002"
MEMBERSHIP_ARN = f"arn:aws:cleanrooms:{REGION}:{ACCOUNT}:membership/{MEMBERSHIP}"

# How long anything may take that is waited for, and an invocation's time-out.
SECONDS = 20


def sample(name):
    return json.loads((ROOT / "events" / name).read_text())


def table_arn(table):
    return f"{MEMBERSHIP_ARN}/idmappingtable/{table}"


def target(table):
    return {"membershipIdentifier": MEMBERSHIP, "idMappingTableIdentifier": table}


class Handler(BaseHTTPRequestHandler):
    """Gives each request to `server.answer`, which says status, headers and body; None: no answer."""

    protocol_version = "HTTP/1.1"

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.server.answer(self.path, self.headers, body)
        if answer is None:
            self.close_connection = True
            return
        status, headers, body = answer
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = handle_request

    def log_message(self, *_):
        pass


@contextmanager
def served(answer):
    """The address of a server that answers so."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer = answer
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class CleanRooms:
    """One job at a time, unless `unlimited`; it runs until the test ends it."""

    def __init__(self):
        self.calls, self.running, self.lock, self.unlimited = [], None, threading.Lock(), False

    def answer(self, path, headers, body):
        if "Authorization" not in headers:
            return 403, {"x-amzn-errortype": "MissingAuthenticationTokenException"}, b"{}"
        populate = re.fullmatch("/memberships/([^/]+)/idmappingtables/([^/]+)/populate", path)
        with self.lock:
            if populate is None or populate[1] != MEMBERSHIP:
                answered = 404, {"x-amzn-errortype": "ResourceNotFoundException"}, {"message": f"no {path}"}
            elif self.running and not self.unlimited:
                answered = 409, {"x-amzn-errortype": "ConflictException"}, {"message": "a job is running"}
            else:
                self.running = str(uuid.uuid4())
                answered = 200, {}, {"idMappingJobId": self.running}
            status, headers, said = answered
            self.calls.append((path.split("/")[-2], json.loads(body or "{}").get("jobType"), status))
        return status, {**headers, "Content-Type": "application/json"}, json.dumps(said).encode()

    def end_job(self):
        with self.lock:
            assert self.running
            self.running = None

    def jobs(self):
        return [table for table, _, status in self.calls if status == 200]


class RuntimeApi:
    """Lambda's Runtime API: hands invocations to the function, and takes its answers."""

    def __init__(self):
        self.pending, self.answers, self.polled = queue.Queue(), queue.Queue(), threading.Event()

    def answer(self, path, headers, body):
        _, _, end = path.partition("/2018-06-01/runtime/invocation/")
        if end == "next":
            self.polled.set()
            invocation = self.pending.get()
            if invocation is None:
                return None
            request_id, payload = invocation
            headers = {
                "Lambda-Runtime-Aws-Request-Id": request_id,
                "Lambda-Runtime-Deadline-Ms": int((time.time() + SECONDS) * 1000),
                "Lambda-Runtime-Invoked-Function-Arn": FUNCTION_ARN,
                "Content-Type": "application/json",
            }
            return 200, headers, payload
        request_id, _, kind = end.partition("/")
        self.answers.put((request_id, kind, json.loads(body)))
        return 202, {}, b""


def started(command, environment, log):
    """A process in this environment, for the caller to end."""
    with open(log, "ab") as output:
        options = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=ROOT, env=environment, **options)


def ended(running):
    running.kill()
    running.wait()


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    """The port of moto's server."""
    port, log = free_port(), tmp_path_factory.mktemp("moto") / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    running = started([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], environment, log)
    try:
        wait_for(port, running, SECONDS)
        yield port
    finally:
        ended(running)
        # Without a line for each request.
        print(*(line for line in log.read_text().splitlines() if '" 200 -' not in line), sep="\n")


def tell(port, path, body):
    """A call of moto's own API."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    connection.request("POST", f"/moto-api/{path}", body=json.dumps(body))
    assert connection.getresponse().status in [200, 201]
    connection.close()


@pytest.fixture
def aws(moto, monkeypatch):
    """Makes clients of moto, which has nothing yet. Functions can be made there, and not invoked."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    tell(moto, "reset", {})
    tell(moto, "config", {"lambda": {"use_docker": False}})
    session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION)
    return partial(session.client, endpoint_url=f"http://127.0.0.1:{moto}", config=Config(proxies={}))


class Harness:
    """The services with their queues, table and bus, and the function between them."""

    def __init__(self, moto, aws, clean_rooms, log):
        self.clean_rooms, self.clean_rooms_host, self.log = *clean_rooms, log
        self.moto = f"http://127.0.0.1:{moto}"
        self.process = None
        self.sqs, self.dynamodb = aws("sqs"), aws("dynamodb")

        self.dead_letters = self.queue("dead-letters")
        redrive = {"deadLetterTargetArn": self.queue_arn(self.dead_letters), "maxReceiveCount": 1000}
        self.waiting_queue = self.queue("waiting", RedrivePolicy=json.dumps(redrive))
        self.dynamodb.create_table(
            TableName=LEDGER,
            AttributeDefinitions=[{"AttributeName": "idMappingTableArn", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "idMappingTableArn", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
        events = aws("events")
        events.create_event_bus(Name=BUS)
        self.announced = self.queue("announced")
        events.put_rule(Name="outcomes", EventBusName=BUS, EventPattern=json.dumps({"source": [SOURCE]}))
        rule_target = {"Id": "queue", "Arn": self.queue_arn(self.announced)}
        assert events.put_targets(Rule="outcomes", EventBusName=BUS, Targets=[rule_target])["FailedEntryCount"] == 0

    def queue(self, name, **attributes):
        return self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def queue_arn(self, url):
        return self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    @contextmanager
    def function(self, variables=None):
        """A new execution environment of the function, which may have the variables of a deployed one."""
        variables = variables or {
            "EVENT_BUS_NAME": BUS,
            "LEDGER_TABLE_NAME": LEDGER,
            "WAITING_QUEUE_URL": self.waiting_queue,
            "DEAD_LETTER_QUEUE_URL": self.dead_letters,
        }
        runtime = self.runtime = RuntimeApi()
        with served(runtime.answer) as runtime_host:
            environment = {
                "AWS_LAMBDA_RUNTIME_API": runtime_host,
                "AWS_LAMBDA_FUNCTION_NAME": "populator",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_LOG_FORMAT": "JSON",
                "AWS_REGION": REGION,
                "AWS_ACCESS_KEY_ID": "local",
                "AWS_SECRET_ACCESS_KEY": "local",
                "AWS_ENDPOINT_URL": self.moto,
                "AWS_ENDPOINT_URL_CLEANROOMS": f"http://{self.clean_rooms_host}",
                **variables,
            }
            process = self.process = started([BINARY], environment, self.log)
            try:
                self.waited_for(runtime.polled.is_set, "the function asks for no invocation")
                yield runtime
            finally:
                ended(process)
                runtime.pending.put(None)

    def waited_for(self, condition, otherwise):
        end = time.monotonic() + SECONDS
        while not condition():
            assert self.process.poll() is None, f"{otherwise}: it ended with {self.process.returncode}"
            assert time.monotonic() < end, f"{otherwise} within {SECONDS} seconds"
            time.sleep(0.005)

    def invoke(self, payload):
        """What the function returns."""
        kind, body = self.answered(payload)
        assert kind == "response", body
        return body

    def failed(self, payload):
        """The error of an invocation that fails."""
        kind, body = self.answered(payload)
        assert kind == "error", body
        return body

    def answered(self, payload):
        request_id = str(uuid.uuid4())
        self.runtime.pending.put((request_id, json.dumps(payload).encode()))
        self.waited_for(lambda: not self.runtime.answers.empty(), "the function does not answer")
        answered, kind, body = self.runtime.answers.get()
        assert answered == request_id
        return kind, body

    def received(self, url, **options):
        """The messages of a queue, which stay there."""
        options = {"MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"], **options}
        return self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, **options).get("Messages", [])

    def bodies(self, url):
        """The messages in a queue, which stay there."""
        return [json.loads(message["Body"]) for message in self.received(url, VisibilityTimeout=0)]

    def send(self, body):
        self.sqs.send_message(QueueUrl=self.waiting_queue, MessageBody=json.dumps(body))

    def poll(self):
        """One batch of the waiting queue, as Lambda handles it: how many messages came, how many stay.

        What stays is visible again at once; in production that takes the visibility time-out.
        """
        messages = self.received(self.waiting_queue)
        assert messages, "Lambda does not invoke with an empty batch"
        response = self.invoke({"Records": [self.record(message) for message in messages]})
        failures = {failure["itemIdentifier"] for failure in response["batchItemFailures"]}
        assert failures <= {message["MessageId"] for message in messages}
        for message in messages:
            of = {"QueueUrl": self.waiting_queue, "ReceiptHandle": message["ReceiptHandle"]}
            if message["MessageId"] in failures:
                self.sqs.change_message_visibility(**of, VisibilityTimeout=0)
            else:
                self.sqs.delete_message(**of)
        return len(messages), len(failures)

    def record(self, message):
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self.queue_arn(self.waiting_queue),
            "awsRegion": REGION,
        }

    def ledger(self):
        """The ledger's items by their keys: the tables' ARNs, and the slot's."""
        items = self.dynamodb.scan(TableName=LEDGER, ConsistentRead=True)["Items"]
        return {item["idMappingTableArn"]["S"]: item for item in items}


@pytest.fixture
def harness(moto, aws, tmp_path):
    clean_rooms, log = CleanRooms(), tmp_path / "log"
    log.touch()
    try:
        with served(clean_rooms.answer) as host:
            yield Harness(moto, aws, (clean_rooms, host), log)
    finally:
        print(log.read_text())


def requested(tables):
    """An event of an hour ago that asks for these tables."""
    event = sample("population-requested.json")
    event["id"] = str(uuid.uuid4())
    event["time"] = f"{datetime.now(timezone.utc) - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    for name in target(FIRST):
        del event["detail"][name]
    event["detail"]["targets"] = [target(table) for table in tables]
    assert event["detail"]["jobType"] == "INCREMENTAL"
    return event


def trigger(event):
    return {
        "source": event["source"],
        "detailType": event["detail-type"],
        "id": event["id"],
        "time": event["time"],
    }


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


DETAIL_TYPES = {
    "STARTED": "ID Mapping Job Started",
    "COVERED": "ID Mapping Request Covered",
    "WAITING": "ID Mapping Request Waiting",
}


def announced(harness, since):
    """The details of the events that came to the rule's target since the last look; every envelope is complete."""
    details = []
    while messages := harness.received(harness.announced):
        for message in messages:
            harness.sqs.delete_message(QueueUrl=harness.announced, ReceiptHandle=message["ReceiptHandle"])
            envelope = json.loads(message["Body"])
            # EventBridge's own addition, which moto 5.2.5 leaves out.
            envelope.setdefault("account", ACCOUNT)
            details.append(envelope.pop("detail"))
            table = table_arn(details[-1]["idMappingTableIdentifier"])
            assert uuid.UUID(envelope.pop("id"))
            # EventBridge's times have whole seconds.
            assert since - timedelta(seconds=1) <= instant(envelope.pop("time")) <= datetime.now(timezone.utc)
            assert envelope == {
                "version": "0",
                "detail-type": DETAIL_TYPES[details[-1]["outcome"]],
                "source": SOURCE,
                "account": ACCOUNT,
                "region": REGION,
                "resources": [table, MEMBERSHIP_ARN],
            }
            assert {*envelope, "id", "time", "detail"} == sample("outcomes/started.json").keys()
    return details


def named(outcomes):
    return [(outcome["outcome"], outcome["idMappingTableIdentifier"]) for outcome in outcomes]


def test_it_starts_waits_covers_and_announces(harness):
    since = datetime.now(timezone.utc)
    event = requested([FIRST, SECOND])
    with harness.function():
        # Two tables, one slot: one job starts, and the other request waits.
        outcomes = harness.invoke(event)["outcomes"]
        assert named(outcomes) == [("STARTED", FIRST), ("WAITING", SECOND)]
        job, waits = harness.clean_rooms.running, outcomes[1]
        assert outcomes[0]["idMappingJobId"] == job
        assert outcomes[0].keys() == sample("outcomes/started.json")["detail"].keys()
        assert waits["error"]["type"] == "SlotBusy" and "a job is running" in waits["error"]["message"]
        assert harness.clean_rooms.calls == [(FIRST, "INCREMENTAL", 200), (SECOND, "INCREMENTAL", 409)]
        assert announced(harness, since) == outcomes

        [message] = harness.bodies(harness.waiting_queue)
        assert since - timedelta(milliseconds=1) <= instant(message.pop("waitingSince")) <= datetime.now(timezone.utc)
        assert message == {
            "version": 1,
            "request": {
                **target(SECOND),
                "jobType": "INCREMENTAL",
                "requestId": event["id"],
                "time": event["time"].replace("Z", ".000Z"),
            },
            "trigger": trigger(event),
            "watch": None,
        }
        assert [arn for arn, item in harness.ledger().items() if job in json.dumps(item)] == [table_arn(FIRST)]

    # The ledger outlasts the execution environment.
    with harness.function():
        # The same event again starts nothing, and what waits is in the queue once.
        outcomes = harness.invoke(event)["outcomes"]
        assert named(outcomes) == [("COVERED", FIRST), ("WAITING", SECOND)]
        assert outcomes[0]["idMappingJobId"] == job
        assert outcomes[1]["eventId"] == waits["eventId"]
        assert harness.clean_rooms.jobs() == [FIRST]
        assert announced(harness, since) == outcomes[:1]

        # While the job runs, the message stays, and its WAITING is not published again.
        assert harness.poll() == (1, 1)
        assert harness.poll() == (1, 1)
        assert harness.clean_rooms.jobs() == [FIRST]
        assert announced(harness, since) == []
        assert len(harness.bodies(harness.waiting_queue)) == 1

        # The job ends: the next one starts once, and covers a second copy of the message.
        [copy] = harness.bodies(harness.waiting_queue)
        harness.send(copy)
        harness.clean_rooms.end_job()
        assert harness.poll() == (2, 0)
        assert harness.clean_rooms.jobs() == [FIRST, SECOND]
        assert harness.bodies(harness.waiting_queue) == [] == harness.bodies(harness.dead_letters)
        outcomes = announced(harness, since)
        assert named(outcomes) == [("STARTED", SECOND), ("COVERED", SECOND)]
        for outcome in outcomes:
            assert outcome["idMappingJobId"] == harness.clean_rooms.running
            assert (outcome["requestId"], outcome["trigger"]) == (event["id"], trigger(event))
        assert harness.ledger().keys() == {table_arn(FIRST), table_arn(SECOND), "slot"}
        assert json.loads(harness.ledger()["slot"]["record"]["S"]) == {"waiting": []}


def test_two_execution_environments_start_one_job_for_each_table(harness):
    """DynamoDB's conditions decide: each writes only what nobody else changed since it was read."""
    tables = [f"aaaaaaaa-{number:04}-4000-8000-00000000000{number}" for number in range(1, 9)]
    harness.clean_rooms.unlimited = True
    changes = [requested(tables), requested(tables)]
    with harness.function() as one, harness.function() as other:
        for environment, change in zip((one, other), changes, strict=True):
            environment.pending.put((change["id"], json.dumps(change).encode()))
        for environment in (one, other):
            harness.waited_for(lambda environment=environment: not environment.answers.empty(), "no answer")
            assert environment.answers.get()[1] == "response"
        # A request that found the other environment's claim is in the waiting queue.
        for _ in range(20):
            if harness.bodies(harness.waiting_queue):
                harness.poll()
    assert not harness.bodies(harness.waiting_queue)
    assert sorted(harness.clean_rooms.jobs()) == tables


def test_what_is_no_request_goes_to_the_dead_letter_queue(harness):
    since = datetime.now(timezone.utc)
    with harness.function():
        harness.send({"membershipId": "x"})
        harness.send(target(FIRST))
        assert harness.poll() == (2, 0)
        assert harness.bodies(harness.waiting_queue) == []
        [message] = harness.received(harness.dead_letters)
        assert json.loads(message["Body"]) == {"membershipId": "x"}
        attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
        assert attributes.keys() == {"errorType", "errorMessage"}
        assert attributes["errorType"] == "InvalidRequest"
        assert "membershipId is not known" in attributes["errorMessage"], attributes
        assert "write `membershipIdentifier`" in attributes["errorMessage"], attributes
        # It did not hold up the other message.
        assert named(announced(harness, since)) == [("STARTED", FIRST)]
        assert harness.clean_rooms.calls == [(FIRST, None, 200)]


def test_a_dead_letter_that_is_moved_back_runs(harness):
    since = datetime.now(timezone.utc)
    with harness.function():
        record = sample("failure-record.json")
        # Moved twice, as SQS may deliver it twice: its request is the same one.
        for outcome in ["STARTED", "COVERED"]:
            harness.sqs.send_message(QueueUrl=harness.dead_letters, MessageBody=json.dumps(record))
            [message] = harness.received(harness.dead_letters)
            harness.sqs.send_message(QueueUrl=harness.waiting_queue, MessageBody=message["Body"])
            harness.sqs.delete_message(QueueUrl=harness.dead_letters, ReceiptHandle=message["ReceiptHandle"])
            assert harness.poll() == (1, 0)
            outcomes = announced(harness, since)
            assert named(outcomes) == [(outcome, FIRST)]
            assert outcomes[0]["idMappingJobId"] == harness.clean_rooms.running
        assert harness.clean_rooms.calls == [(FIRST, "INCREMENTAL", 200)]
        assert harness.bodies(harness.waiting_queue) == [] == harness.bodies(harness.dead_letters)


def test_status_reads_the_ledger_and_the_queues(harness):
    with harness.function():
        started, waits = (harness.invoke(target(table)) for table in [FIRST, SECOND])
        assert [answer["outcomes"][0]["outcome"] for answer in [started, waits]] == ["STARTED", "WAITING"]
        items = harness.ledger()
        status = harness.invoke({"status": True})["status"]
        by_name = {check["name"]: check["ok"] for check in status["checks"]}
        assert [by_name[name] for name in ["ledger", "waitingQueue", "deadLetterQueue"]] == [True] * 3, status
        none = {"visible": 0, "inFlight": 0, "delayed": 0}
        assert status["queues"] == {"waiting": {**none, "visible": 1}, "deadLetter": none}
        assert harness.ledger() == items
        assert len(harness.bodies(harness.waiting_queue)) == 1
