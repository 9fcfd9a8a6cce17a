"""The templates of a release, deployed to LocalStack's CloudFormation, which makes resources that moto's does not know:
nested stacks with their outputs, schedules, alarms and the queue policy.

Queues are in the functions' places, and the ledger is one that exists. LocalStack does not check the patterns of
parameters. It ignores DeletionPolicy, so test_emulator.py has what outlives a stack. An update adds resources, but does
not change a schedule, a rule, an alarm or a nested stack, and does not remove what has a condition: a roll back is not
tested.

Expects LocalStack in target/localstack, or LOCALSTACK_PYTHON to name a Python that has it.
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
from botocore.exceptions import ClientError
from samtranslator.yaml_helper import yaml_parse
from templates import ACCOUNT, NESTED, REGION, ROOT, Stack, expanded, table, table_id, tables, with_policies
from test_emulator import TARGET, received, release  # noqa: F401
from test_release_template import FOLDER
from test_tools import free_port

PYTHON = Path(os.environ.get("LOCALSTACK_PYTHON", ROOT / "target/localstack/bin/python"))
# How long the start, and a change of a stack, may take.
SECONDS = 120
# LocalStack needs Docker for them.
FUNCTIONS = ["Populator", "Status"]
LEFT_OUT = {
    # They need a function.
    "AWS::Lambda::Alias",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Permission",
    "AWS::Lambda::Version",
    # LocalStack does not know these.
    "AWS::CloudWatch::Dashboard",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::Logs::QueryDefinition",
}
ALARM = "AWS::CloudWatch::Alarm"
MONITORED = {"Monitoring": "all", "StaleAfterHours": "36"}

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="LocalStack is not installed (`.ci/run deployment` installs it in target/localstack)"
)


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    """Creates clients of LocalStack."""
    folder, port = tmp_path_factory.mktemp("localstack"), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DISABLE_EVENTS": "1",
        "DNS_ADDRESS": "0",
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        # The default server ignores the address, and listens on all interfaces.
        "GATEWAY_SERVER": "hypercorn",
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


def known(template):
    """The template without what LocalStack does not make."""
    kept = {name: resource for name, resource in template["Resources"].items() if resource["Type"] not in LEFT_OUT}
    return {**template, "Resources": kept}


def changeable(template, resources):
    """The template with these resources, and with strings for its lists.

    LocalStack fails to update or delete a stack with a list, and to delete one with a condition that does not hold.
    """
    parameters = {
        name: {**parameter, "Type": parameter["Type"].replace("CommaDelimitedList", "String")}
        for name, parameter in template["Parameters"].items()
    }
    lists = [name for name in parameters if parameters[name] != template["Parameters"][name]]

    def split(node):
        if isinstance(node, list):
            return [split(item) for item in node]
        if not isinstance(node, dict):
            return node
        if node.get("Ref") in lists:
            return {"Fn::Split": [",", node]}
        return {name: split(item) for name, item in node.items()}

    kept = {name: split(resource) for name, resource in template["Resources"].items() if name in resources}
    sections = {name: split(section) for name, section in template.items()}
    return {**sections, "Parameters": parameters, "Resources": kept}


class Deployed:
    """The main stack of the release, with its nested stacks. `changes`: it is updated or deleted later."""

    def __init__(self, aws, release, name, changes=False, **parameters):  # noqa: F811
        self.aws, self.name, self.bucket = aws, name, f"releases-{name}"
        self.given = {**tables([1]), "LedgerTableName": "ledger", "ReleaseBucket": self.bucket, **parameters}
        main = known(expanded(yaml_parse((release / "template.yaml").read_text()), **self.given))
        # The resources as CloudFormation evaluates them.
        self.expected = Stack(name, main, self.given)
        self.monitored = Stack(name, main, {**self.given, **MONITORED})
        main["Resources"] = with_policies(main["Resources"], self.expected)
        main["Resources"] |= {logical: TARGET for logical in FUNCTIONS}
        del main["Rules"]
        aws("s3").create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.upload("main", main, self.monitored, changes)
        for nested, logical in NESTED.items():
            template = known(yaml_parse((release / nested).read_text()))
            self.upload(f"{FOLDER}{nested}", template, self.monitored.stack(logical), changes)
        self.change("create_stack", "CREATE_COMPLETE")

    def upload(self, key, template, stack, changes):
        template = changeable(template, stack.resources) if changes else template
        self.aws("s3").put_object(Bucket=self.bucket, Key=key, Body=json.dumps(template))

    def change(self, call, expected, **parameters):
        """Creates or updates the stack. The outputs are then those of the change."""
        cloudformation = self.aws("cloudformation")
        given = {**self.given, **parameters}
        answer = getattr(cloudformation, call)(
            StackName=self.name,
            TemplateURL=f"{cloudformation.meta.endpoint_url}/{self.bucket}/main",
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        # The name of a stack that was deleted finds nothing.
        self.id = answer["StackId"]
        stack = self.changed()
        assert stack["StackStatus"] == expected, (stack, self.reasons(self.id))
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def delete(self):
        self.aws("cloudformation").delete_stack(StackName=self.name)
        stack = self.changed()
        assert stack["StackStatus"] == "DELETE_COMPLETE", (stack, self.reasons(self.id))

    def reasons(self, name):
        """What LocalStack says about resources of a stack: that they failed, or that it only pretends to make them."""
        events = self.aws("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
        reasons = [(event["LogicalResourceId"], event.get("ResourceStatusReason")) for event in events]
        return [(logical, reason) for logical, reason in reasons if reason]

    def changed(self):
        """The stack after its change."""
        end = time.monotonic() + SECONDS
        while True:
            [stack] = self.aws("cloudformation").describe_stacks(StackName=self.id)["Stacks"]
            if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                return stack
            assert time.monotonic() < end, stack
            time.sleep(0.2)

    def made(self, nested=None):
        """The physical ids of the resources of the main stack, or of a nested one."""
        name = self.made()[nested] if nested else self.name
        listed = self.aws("cloudformation").list_stack_resources(StackName=name)["StackResourceSummaries"]
        assert not self.reasons(name)
        assert {resource["ResourceStatus"] for resource in listed} == {"CREATE_COMPLETE"}, listed
        return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in listed}

    def schedule(self):
        return self.aws("scheduler").get_schedule(Name=self.made()["PopulatorSchedule"])

    def alarms(self):
        """All alarms of the nested stack, by their names. LocalStack names a resource after its stack."""
        pages = self.aws("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{self.name}-")
        return {alarm["AlarmName"]: alarm for page in pages for alarm in page["MetricAlarms"]}


def expected_alarms(stack):
    """The properties of the alarms that CloudFormation makes in the nested stack."""
    resources = stack.stack("MonitoringStack").resources
    return {name: resource["Properties"] for name, resource in resources.items() if resource["Type"] == ALARM}


@pytest.fixture(scope="module")
def stack(aws, release):  # noqa: F811
    scheduled = {"ScheduleExpression": "cron(0 2 * * ? *)", "ScheduleTimezone": "Europe/Berlin"}
    return Deployed(aws, release, "populator", **scheduled, **MONITORED)


@pytest.fixture(scope="module")
def own(aws, release):  # noqa: F811
    return Deployed(aws, release, "own", OwnTablesOnly="true", Monitoring="none", **tables([1, 2]))


def test_all_resources_are_made(stack, own):
    assert stack.made().keys() == stack.expected.resources.keys()
    for nested in NESTED.values():
        expected = known(stack.expected.stack(nested).template)["Resources"].keys()
        assert stack.made(nested).keys() == expected & stack.expected.stack(nested).resources.keys()
    assert own.made().keys() == own.expected.resources.keys() == stack.made().keys() - {"MonitoringStack"}


def test_the_outputs_of_a_nested_stack_reach_the_main_stack(stack):
    assert stack.outputs["FirstTableIdentifier"] == table_id(1)


def test_the_alarms_are_those_of_the_template(stack):
    expected = expected_alarms(stack.expected)
    made, alarms = stack.made("MonitoringStack"), stack.alarms()
    assert alarms.keys() == {made[name] for name in expected} and "StaleTableAlarm" in expected
    for name, properties in expected.items():
        alarm = alarms[made[name]]
        assert alarm["Threshold"] == float(properties["Threshold"]), name
        for property in ["AlarmDescription", "ComparisonOperator", "MetricName", "Namespace", "TreatMissingData"]:
            assert alarm.get(property) == properties.get(property), (name, property)
    assert alarms[made["StaleTableAlarm"]]["Threshold"] == 36
    [dimension] = alarms[made["DeadLetterAlarm"]]["Dimensions"]
    assert dimension == {"Name": "QueueName", "Value": stack.outputs["DeadLetterQueueName"]}


def test_the_status_is_asked_if_the_age_of_the_tables_is_watched(stack):
    made = stack.made("MonitoringStack")
    schedule = stack.aws("scheduler").get_schedule(Name=made["StatusSchedule"])
    assert (schedule["State"], json.loads(schedule["Target"]["Input"])) == ("ENABLED", {"status": True})
    assert schedule["Target"]["RoleArn"].endswith(f"/{made['StatusScheduleRole']}")


def test_the_list_of_tables_and_both_roles_policies_are_made(stack):
    listed = stack.aws("ssm").get_parameters_by_path(Path=stack.outputs["TablesPath"])["Parameters"]
    assert [item["Value"] for item in listed] == [table(1)]
    for role in ["PopulatorRoleName", "StatusRoleName"]:
        attached = stack.aws("iam").list_attached_role_policies(RoleName=stack.outputs[role])["AttachedPolicies"]
        assert len(attached) == 2


def test_the_rule_may_send_to_the_dead_letter_queue(stack):
    url = stack.outputs["DeadLetterQueueUrl"]
    answer = stack.aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["Policy", "QueueArn"])
    attributes = answer["Attributes"]
    [statement] = json.loads(attributes["Policy"])["Statement"]
    assert statement["Resource"] == attributes["QueueArn"] == stack.outputs["DeadLetterQueueArn"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": stack.outputs["RequestRuleArn"]}}
    [target] = stack.aws("events").list_targets_by_rule(Rule=stack.outputs["RequestRuleArn"].split("/")[-1])["Targets"]
    assert target["Arn"] == stack.outputs["FunctionArn"]
    assert target["DeadLetterConfig"]["Arn"] == stack.outputs["DeadLetterQueueArn"]


def test_the_schedule_is_on_if_it_has_an_expression(stack, own):
    assert own.schedule()["State"] == "DISABLED"
    schedule = stack.schedule()
    assert (schedule["State"], schedule["ScheduleExpression"]) == ("ENABLED", "cron(0 2 * * ? *)")
    assert schedule["ScheduleExpressionTimezone"] == "Europe/Berlin"
    target = schedule["Target"]
    assert target["Arn"] == stack.outputs["FunctionArn"]
    assert target["DeadLetterConfig"]["Arn"] == stack.outputs["DeadLetterQueueArn"]
    time = "<aws.scheduler.scheduled-time>"
    assert json.loads(target["Input"]) == {"requestId": f"<aws.scheduler.schedule-arn>/{time}", "time": time}


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


def test_an_update_adds_the_monitoring_and_keeps_what_waits(aws, release):  # noqa: F811
    changed = Deployed(aws, release, "changed", changes=True, Monitoring="none")
    before = changed.outputs
    aws("sqs").send_message(QueueUrl=before["WaitingQueueUrl"], MessageBody="{}")
    assert not changed.alarms()
    changed.change("update_stack", "UPDATE_COMPLETE", **MONITORED)
    assert len(changed.alarms()) == len(expected_alarms(changed.monitored)) and changed.outputs == before
    assert aws("sqs").receive_message(QueueUrl=before["WaitingQueueUrl"])["Messages"]


def test_nothing_that_acts_outlives_the_stack(aws, release):  # noqa: F811
    removed = Deployed(aws, release, "removed", changes=True, **MONITORED)
    made, outputs = removed.made(), removed.outputs
    removed.delete()
    assert not removed.alarms()
    assert not aws("ssm").get_parameters_by_path(Path=outputs["TablesPath"])["Parameters"]
    for get in [
        lambda: aws("scheduler").get_schedule(Name=made["PopulatorSchedule"]),
        lambda: aws("events").describe_rule(Name=outputs["RequestRuleArn"].split("/")[-1]),
        lambda: aws("iam").get_role(RoleName=outputs["PopulatorRoleName"]),
    ]:
        with pytest.raises(ClientError, match="NotFound|NoSuchEntity"):
            get()
