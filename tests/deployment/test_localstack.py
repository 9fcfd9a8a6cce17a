"""The templates of a release, deployed to LocalStack's CloudFormation, which makes resources that moto's does not know: the
nested stacks with their outputs, the schedules, the alarms and the queue policy.

The functions and their aliases need Docker, and DynamoDB a download: queues are in the functions' places, and the ledger is
one that exists. Expects LocalStack in target/localstack, or LOCALSTACK_PYTHON to name a Python that has it.
"""

import json
import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from samtranslator.yaml_helper import yaml_parse
from templates import ACCOUNT, REGION, ROOT, Stack, expanded, parsed, table, table_id, tables
from test_emulator import TARGET, received, release  # noqa: F401
from test_release_template import FOLDER
from test_tools import free_port

PYTHON = Path(os.environ.get("LOCALSTACK_PYTHON", ROOT / "target/localstack/bin/python"))
# How long the start, and a stack, may take.
SECONDS = 120
FUNCTIONS = ["Populator", "Status"]
# They need a function.
LEFT_OUT = {
    "AWS::Lambda::Alias",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Permission",
    "AWS::Lambda::Version",
}

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason=f"LocalStack is not installed: {PYTHON.name} of target/localstack")


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    """Creates clients of LocalStack."""
    folder, port = tmp_path_factory.mktemp("localstack"), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DISABLE_EVENTS": "1",
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "LOCALSTACK_VOLUME_DIR": str(folder / "volume"),
        "SKIP_SSL_CERT_DOWNLOAD": "1",
    }
    log = folder / "log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            [PYTHON, "-m", "localstack.runtime.main"],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + SECONDS
        while "\nReady." not in log.read_text():
            assert running.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        session = boto3.Session(aws_access_key_id=ACCOUNT, aws_secret_access_key="local", region_name=REGION)
        config = Config(proxies={}, read_timeout=SECONDS, retries={"total_max_attempts": 1})
        yield partial(session.client, endpoint_url=f"http://127.0.0.1:{port}", config=config)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


@pytest.fixture(scope="module")
def bucket(aws, release):  # noqa: F811
    """The bucket with the nested templates of the release, as they are."""
    aws("s3").create_bucket(Bucket="releases", CreateBucketConfiguration={"LocationConstraint": REGION})
    for name in ["tables.yaml", "monitoring.yaml"]:
        aws("s3").put_object(Bucket="releases", Key=f"{FOLDER}{name}", Body=(release / name).read_bytes())
    return "releases"


class Deployed:
    """The main stack of the release."""

    def __init__(self, aws, release, bucket, name, **parameters):  # noqa: F811
        self.aws, self.name = aws, name
        given = {**tables([1]), "LedgerTableName": "ledger", "ReleaseBucket": bucket, **parameters}
        template = expanded(yaml_parse((release / "template.yaml").read_text()), **given)
        # The resources, as CloudFormation evaluates them.
        self.expected = Stack(name, template, given).resources
        for logical in [*template["Resources"]]:
            resource = template["Resources"][logical]
            if resource["Type"] in LEFT_OUT:
                del template["Resources"][logical]
                self.expected.pop(logical, None)
            # LocalStack takes no functions here.
            elif logical in self.expected:
                for policy in {"DeletionPolicy", "UpdateReplacePolicy"} & resource.keys():
                    resource[policy] = self.expected[logical][policy]
        template["Resources"] |= {logical: TARGET for logical in FUNCTIONS}
        for section in ["Rules", "Transform"]:
            template.pop(section, None)
        aws("s3").put_object(Bucket=bucket, Key=name, Body=json.dumps(template))
        cloudformation = aws("cloudformation")
        cloudformation.create_stack(
            StackName=name,
            TemplateURL=f"{cloudformation.meta.endpoint_url}/{bucket}/{name}",
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        end = time.monotonic() + SECONDS
        while (stack := self.described())["StackStatus"] == "CREATE_IN_PROGRESS":
            assert time.monotonic() < end, stack
            time.sleep(0.2)
        assert stack["StackStatus"] == "CREATE_COMPLETE", stack
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def described(self):
        [stack] = self.aws("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return stack

    def schedule(self):
        of = {"StackName": self.name, "LogicalResourceId": "PopulatorSchedule"}
        made = self.aws("cloudformation").describe_stack_resource(**of)["StackResourceDetail"]["PhysicalResourceId"]
        return self.aws("scheduler").get_schedule(Name=made)


@pytest.fixture(scope="module")
def stack(aws, release, bucket):  # noqa: F811
    parameters = {"Monitoring": "all", "StaleAfterHours": "36", "ScheduleExpression": "cron(0 2 * * ? *)"}
    return Deployed(aws, release, bucket, "populator", ScheduleTimezone="Europe/Berlin", **parameters)


@pytest.fixture(scope="module")
def own(aws, release, bucket):  # noqa: F811
    return Deployed(aws, release, bucket, "own", OwnTablesOnly="true", Monitoring="none", **tables([1, 2]))


def test_all_resources_are_made(stack):
    listed = stack.aws("cloudformation").list_stack_resources(StackName=stack.name)["StackResourceSummaries"]
    made = {resource["LogicalResourceId"] for resource in listed if resource["ResourceStatus"] == "CREATE_COMPLETE"}
    assert made == stack.expected.keys() and {"MonitoringStack", "TablesStack"} <= made


def test_the_alarms_are_those_of_the_template(stack):
    alarms = stack.aws("cloudwatch").describe_alarms()["MetricAlarms"]
    resources = parsed("monitoring.yaml")["Resources"]
    expected = {
        resource["Properties"]["AlarmDescription"]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }
    assert expected <= {alarm["AlarmDescription"] for alarm in alarms} and len(expected) > 8
    [stale] = [alarm for alarm in alarms if "StaleAfterHours" in alarm["AlarmDescription"]]
    assert (stale["Threshold"], stale["TreatMissingData"]) == (36, "breaching")


def test_the_list_of_tables_and_the_queue_policy_are_made(stack):
    listed = stack.aws("ssm").get_parameters_by_path(Path=stack.outputs["TablesPath"])["Parameters"]
    assert [item["Value"] for item in listed] == [table(1)]
    for role in ["PopulatorRoleName", "StatusRoleName"]:
        attached = stack.aws("iam").list_attached_role_policies(RoleName=stack.outputs[role])["AttachedPolicies"]
        assert len(attached) == 2
    url = stack.outputs["DeadLetterQueueUrl"]
    attributes = stack.aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["Policy", "QueueArn"])["Attributes"]
    [statement] = json.loads(attributes["Policy"])["Statement"]
    assert statement["Resource"] == attributes["QueueArn"] == stack.outputs["DeadLetterQueueArn"]
    assert stack.outputs["RequestRuleArn"] in json.dumps(statement["Condition"])


def test_the_schedule_is_on_if_it_has_an_expression(stack, own):
    assert own.schedule()["State"] == "DISABLED"
    schedule = stack.schedule()
    assert (schedule["State"], schedule["ScheduleExpression"]) == ("ENABLED", "cron(0 2 * * ? *)")
    assert schedule["ScheduleExpressionTimezone"] == "Europe/Berlin"
    target = schedule["Target"]
    assert target["DeadLetterConfig"]["Arn"] == stack.outputs["DeadLetterQueueArn"]
    assert json.loads(target["Input"]).keys() == {"requestId", "time"}


def test_the_rule_of_own_tables_only_also_looks_into_targets(aws, own):
    for number, detail in enumerate(
        [
            {"idMappingTableArn": table(1)},
            {"idMappingTableIdentifier": table_id(9)},
            {"targets": [{"idMappingTableIdentifier": table_id(9)}, {"idMappingTableIdentifier": table_id(2)}]},
            {"targets": [{"idMappingTableArn": table(9)}]},
            {"targets": [{"idMappingTableArn": table(2)}]},
            {"idMappingTableIdentifier": table_id(1)},
        ]
    ):
        detail = json.dumps({**detail, "number": number})
        entry = {"Source": "test", "DetailType": "ID Mapping Population Requested", "Detail": detail}
        assert aws("events").put_events(Entries=[entry])["FailedEntryCount"] == 0
    assert sorted(event["detail"]["number"] for event in received(aws, own.outputs)) == [0, 2, 4, 5]
