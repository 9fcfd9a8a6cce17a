"""The commands of docs/deploy.md for the life of a stack, as they are in the page, against moto's server.

A command of `aws` must have options of its API, and becomes a call of boto3. What moto does not do:

- It makes no schedule: the template is evaluated with the parameters that the stack in moto has.
- It would replace a nested stack, so an update leaves the nested stacks as they are.
- Its rules match although they are disabled, so the state of the rule is looked at.
- It would take what waits from the queue, so the stacks have no event source.
- It has no StartMessageMoveTask, so the test itself moves the messages.
- It restores nothing after an update that failed, so that is not tested. Neither are the commands for a build of your own.
"""

import base64
import hashlib
import json
import re
import shlex
from ast import literal_eval

import jmespath
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from samtranslator.yaml_helper import yaml_parse
from templates import NESTED, ROOT, Stack, expanded, membership_arn, table, text, workflow
from test_emulator import BUCKET, as_json, code, created, deleted, main_template, made_bucket, received
from test_end_to_end import put
from test_release_template import VERSION, copied, run
from test_services import aws, moto  # noqa: F401

PAGE = (ROOT / "docs/deploy.md").read_text()
# The name of the stack in the page.
NAME = "id-mapping-populator"
# Values that are not the defaults, and that no later command names.
FURTHER = {"ScheduleTimezone": "Europe/Berlin", "StaleAfterHours": "36"}
SCHEDULED = {"ScheduleExpression": "cron(0 2 * * ? *)", "Settings": "FULL_REFRESH_EVERY=156h"}
STATE = {
    "LedgerTableName": [{"idMappingTableArn": {"S": table(1)}, "requestId": {"S": "known"}}],
    "WaitingQueueUrl": ["waits"],
    "DeadLetterQueueUrl": ["failed"],
}


def blocks(section):
    """The blocks of commands in a section of the page."""
    [content] = re.findall(rf"^## {section}\n(.*?)(?=^## )", PAGE, re.M | re.S)
    commands = [block.replace("\\\n", "") for block in re.findall(r"^```console\n(.*?)^```", content, re.M | re.S)]
    return [[line.removeprefix("$ ") for line in block.splitlines()] for block in commands]


def options(words):
    """The options of a command, each with its values."""
    given = {}
    for word in words:
        if word.startswith("--"):
            given[word.removeprefix("--")] = values = []
        else:
            values.append(word)
    return given


def arguments(shape, given):
    """The options of a command of `aws` as the arguments of boto3."""
    names, found = {xform_name(name, "-"): name for name in shape.members}, {}
    for option, values in given.items():
        name = names[option.removeprefix("no-")]
        match shape.members[name].type_name:
            case "boolean":
                found[name] = not option.startswith("no-")
            case "list":
                found[name] = values
            case _:
                [found[name]] = values
    return found


class Terminal:
    """Runs the commands of the page. The names in capital letters are those that the page leaves to its reader."""

    def __init__(self, aws, folder):
        self.aws, self.folder, self.releases, self.deployed = aws, folder, [], {}
        self.names = {
            "BUCKET": BUCKET,
            "TABLE_ARN": table(1),
            "MEMBERSHIP_ARN": membership_arn(1),
            "WORKFLOW_ARN": workflow(1),
        }

    def follow(self, lines, stack=NAME, **parameters):
        """Runs these commands for this stack, with further parameters for its deployment."""
        for line in lines:
            overrides = [shlex.quote(f"{name}={value}") for name, value in parameters.items() if " deploy " in line]
            self.run(" ".join([line.replace(f"--stack-name {NAME}", f"--stack-name {stack}"), *overrides]))

    def run(self, line):
        line = re.sub("[A-Z][A-Z_]+", lambda found: self.names.get(found[0], found[0]), line)
        words = shlex.split(line)
        match words:
            case [*command, ">", file]:
                (self.folder / file).write_text(json.dumps(self.run(shlex.join(command))))
            case ["gh", "release", "download", version, "--repo", _, "--dir", folder]:
                self.download(version.removeprefix("v"), self.folder / folder)
            case ["aws", "s3", "cp", "--recursive", folder, url]:
                bucket, _, prefix = url.removeprefix("s3://").partition("/")
                for path in (self.folder / folder).iterdir():
                    self.aws("s3").upload_file(path, bucket, f"{prefix}{path.name}")
            case ["aws", "cloudformation", "deploy", *rest]:
                given = options(rest)
                overrides = dict(pair.split("=", 1) for pair in given.pop("parameter-overrides", []))
                [template], [stack] = given.pop("template-file"), given.pop("stack-name")
                self.deploy((self.folder / template).parent, stack, overrides, **given)
            case ["aws", "cloudformation", "wait", waiter, "--stack-name", stack]:
                self.aws("cloudformation").get_waiter(waiter.replace("-", "_")).wait(StackName=stack)
            case ["aws", service, operation, *rest]:
                return self.call(service, operation.replace("-", "_"), options(rest))
            case _:
                raise AssertionError(f"unknown command: {line}")

    def call(self, service, operation, given):
        client = self.aws(service)
        query, _ = given.pop("query", ["@"]), given.pop("output", None)
        if operation == "delete_stack":
            [name] = given["stack-name"]
            return deleted(self.aws, self.outputs(name), name)
        model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation])
        given = arguments(model.input_shape, given)
        if operation == "start_message_move_task":
            return self.move_messages(**given)
        return jmespath.search(query[0], getattr(client, operation)(**given))

    def move_messages(self, SourceArn, DestinationArn):
        sqs = self.aws("sqs")
        names = [arn.split(":")[-1] for arn in [SourceArn, DestinationArn]]
        source, destination = (sqs.get_queue_url(QueueName=name)["QueueUrl"] for name in names)
        assert sqs.list_dead_letter_source_queues(QueueUrl=source)["queueUrls"], "SQS moves only dead letters"
        while messages := sqs.receive_message(QueueUrl=source).get("Messages"):
            for message in messages:
                sqs.send_message(QueueUrl=destination, MessageBody=message["Body"])
                sqs.delete_message(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"])

    def download(self, version, folder):
        """A release of this version. A later one has functions with more memory."""
        template = text("template.yaml").replace(f"SemanticVersion: {VERSION}", f"SemanticVersion: {version}")
        if self.releases:
            template = template.replace("MemorySize: 128", "MemorySize: 256")
        repository = copied(self.folder / f"repository-{version}", template)
        assert run(repository, version, folder).returncode == 0
        for architecture in ["arm64", "x86_64"]:
            (folder / f"id-mapping-populator-{architecture}.zip").write_bytes(code(f"{version} {architecture}"))
        self.releases.append(folder)

    def deploy(self, release, stack, overrides, capabilities):
        """What `aws cloudformation deploy` does: parameters without an override keep their values."""
        assert capabilities == ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
        earlier, self.deployed[stack] = self.parameters(stack), release
        known = yaml_parse((release / "template.yaml").read_text())["Parameters"]
        # moto has an earlier value only of what was given.
        defaults = {name: str(parameter["Default"]) for name, parameter in known.items() if "Default" in parameter}
        given = {**defaults, **earlier, **overrides}
        template = main_template(self.aws, release, given, without="WaitingQueueSource")
        if not earlier:
            return created(self.aws, stack, template, given)
        cloudformation = self.aws("cloudformation")
        before = cloudformation.get_template(StackName=stack)["TemplateBody"]["Resources"]
        template["Resources"] |= {name: before[name] for name in NESTED.values() if name in before}
        cloudformation.update_stack(
            StackName=stack,
            TemplateBody=as_json(template),
            Parameters=[
                {"ParameterKey": name}
                | ({"ParameterValue": given[name]} if name in overrides else {"UsePreviousValue": True})
                for name in known
            ],
        )
        cloudformation.get_waiter("stack_update_complete").wait(StackName=stack)

    def described(self, stack):
        [found] = self.aws("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return found

    def parameters(self, stack):
        """The stack's parameters. If there is no such stack, none."""
        try:
            found = self.described(stack)["Parameters"]
        except ClientError:
            return {}
        given = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in found}
        # moto shows a list as Python does.
        return {name: ",".join(literal_eval(value)) if value[:1] == "[" else value for name, value in given.items()}

    def name(self, outputs):
        """The names of outputs in the page, such as LEDGER_TABLE_NAME."""
        self.names |= {xform_name(output).upper(): value for output, value in outputs.items()}

    def resources(self, stack):
        listed = self.aws("cloudformation").list_stack_resources(StackName=stack)["StackResourceSummaries"]
        return [resource["LogicalResourceId"] for resource in listed]

    def schedule(self, stack):
        """The schedule that CloudFormation would make for the parameters of the stack in moto."""
        parameters = self.parameters(stack)
        template = expanded(yaml_parse((self.deployed[stack] / "template.yaml").read_text()), **parameters)
        return Stack(stack, template, parameters).resources["PopulatorSchedule"]["Properties"]

    def outputs(self, stack):
        return {output["OutputKey"]: output["OutputValue"] for output in self.described(stack)["Outputs"]}


@pytest.fixture
def terminal(aws, tmp_path):  # noqa: F811
    made_bucket(aws)
    return Terminal(aws, tmp_path)


@pytest.fixture
def installed(terminal):
    """The outputs of a stack after the page's first commands, with a schedule and the state of requests."""
    install, _ = blocks("Deploy a release")
    terminal.follow(install, **FURTHER)
    assert terminal.schedule(NAME)["State"] == "DISABLED"
    before = terminal.parameters(NAME)
    [*_, turn_on] = blocks("The first real request")
    terminal.follow(turn_on)
    # The other parameters keep their values.
    assert terminal.parameters(NAME) == {**before, **SCHEDULED} != before
    assert FURTHER.items() < before.items()
    schedule = terminal.schedule(NAME)
    assert (schedule["State"], schedule["ScheduleExpression"]) == ("ENABLED", SCHEDULED["ScheduleExpression"])
    assert functions(terminal, NAME) == expected(terminal.releases[0], memory=128)
    fill(terminal.aws, terminal.outputs(NAME))
    return terminal.outputs(NAME)


def fill(aws, outputs):
    """Puts STATE into the ledger and the queues."""
    for name, contents in STATE.items():
        for content in contents:
            if name == "LedgerTableName":
                aws("dynamodb").put_item(TableName=outputs[name], Item=content)
            else:
                aws("sqs").send_message(QueueUrl=outputs[name], MessageBody=content)


def bodies(aws, url):
    messages = aws("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0).get("Messages", [])
    return [message["Body"] for message in messages]


def items(aws, outputs):
    return aws("dynamodb").scan(TableName=outputs["LedgerTableName"])["Items"]


def state(aws, outputs):
    """What the ledger and the queues have."""
    queues = {name: bodies(aws, outputs[name]) for name in STATE if name.endswith("Url")}
    return {"LedgerTableName": items(aws, outputs), **queues}


def configurations(terminal, stack):
    outputs = terminal.outputs(stack)
    names = [outputs["FunctionName"], outputs["StatusFunctionName"]]
    return [terminal.aws("lambda").get_function_configuration(FunctionName=name) for name in names]


def functions(terminal, stack):
    """Code, memory and settings of both functions."""
    return [
        (made["CodeSha256"], made["MemorySize"], made["Environment"]["Variables"]["SETTINGS"])
        for made in configurations(terminal, stack)
    ]


def expected(release, memory):
    digest = hashlib.sha256((release / "id-mapping-populator-arm64.zip").read_bytes()).digest()
    return [(base64.b64encode(digest).decode(), memory, SCHEDULED["Settings"])] * 2


def rule_name(outputs):
    return outputs["RequestRuleArn"].split("/")[-1]


def test_an_update_keeps_parameters_names_and_state(terminal, installed):
    before = terminal.parameters(NAME)
    update, _ = blocks("Update")
    terminal.follow(update)
    assert functions(terminal, NAME) == expected(terminal.releases[1], memory=256)
    assert terminal.parameters(NAME) == before
    assert (terminal.outputs(NAME), state(terminal.aws, installed)) == (installed, STATE)
    assert terminal.schedule(NAME)["State"] == "ENABLED"


def test_an_empty_value_turns_the_schedule_off(terminal, installed):
    before = terminal.parameters(NAME)
    [off] = re.findall(r"`(ScheduleExpression=)` with\s`aws cloudformation deploy`", PAGE)
    [command], _ = blocks("Roll back")
    terminal.run(f"{command} --parameter-overrides {off}")
    assert terminal.parameters(NAME) == {**before, "ScheduleExpression": ""}
    assert terminal.schedule(NAME)["State"] == "DISABLED"
    assert functions(terminal, NAME) == expected(terminal.releases[0], memory=128)
    assert (terminal.outputs(NAME), state(terminal.aws, installed)) == (installed, STATE)


def test_a_roll_back_brings_the_earlier_code_and_keeps_the_state(terminal, installed):
    before = terminal.parameters(NAME)
    update, _ = blocks("Update")
    terminal.follow(update)
    assert functions(terminal, NAME) == expected(terminal.releases[1], memory=256)
    back, _ = blocks("Roll back")
    terminal.follow(back)
    assert functions(terminal, NAME) == expected(terminal.releases[0], memory=128)
    assert terminal.parameters(NAME) == before
    assert (terminal.outputs(NAME), state(terminal.aws, installed)) == (installed, STATE)


def test_what_outlives_the_stack_is_what_the_page_says_and_its_commands_delete_it(terminal, installed):
    aws = terminal.aws
    remove, clean = blocks("Remove")
    terminal.follow(remove)
    assert not aws("lambda").list_functions()["Functions"]
    assert not aws("events").list_rules()["Rules"]
    assert not aws("iam").list_roles()["Roles"]
    assert not aws("ssm").get_parameters_by_path(Path=installed["TablesPath"])["Parameters"]
    saved = json.loads((terminal.folder / "outputs.json").read_text())
    outputs = {output["OutputKey"]: output["OutputValue"] for output in saved}
    assert (outputs, state(aws, outputs)) == (installed, STATE)
    groups = {group["logGroupName"] for group in aws("logs").describe_log_groups()["logGroups"]}
    assert groups == {outputs["LogGroupName"], outputs["StatusLogGroupName"]}

    terminal.name(outputs)
    *others, unprotect, delete = clean
    terminal.follow(others)
    assert not aws("sqs").list_queues().get("QueueUrls")
    assert not aws("logs").describe_log_groups()["logGroups"]
    with pytest.raises(ClientError, match="DeletionProtectionEnabled"):
        terminal.run(delete)
    terminal.follow([unprotect, delete])
    assert not aws("dynamodb").list_tables()["TableNames"]


def test_a_move_keeps_the_ledger_and_what_waits(terminal):
    aws = terminal.aws
    install, _ = blocks("Deploy a release")
    terminal.follow(install, stack="OLD", **FURTHER, **SCHEDULED)
    before, old = terminal.parameters("OLD"), terminal.outputs("OLD")
    fill(aws, old)
    [show] = re.findall("`(aws cloudformation describe-stacks --stack-name OLD [^`]+)`", PAGE)
    assert {parameter["ParameterKey"] for parameter in terminal.run(show)} == before.keys()
    [[turn_off, deploy, disable, look, move]] = blocks("Move to another stack")

    terminal.run(turn_off)
    assert terminal.parameters("OLD") == {**before, "ScheduleExpression": ""}
    assert terminal.schedule("OLD")["State"] == "DISABLED"

    terminal.name(old)
    # The new stack needs all parameters of the old one.
    others = {name: value for name, value in before.items() if value and f" {name}=" not in deploy}
    terminal.follow([deploy], **others)
    new, ledger = terminal.outputs("NEW"), old["LedgerTableName"]
    assert terminal.parameters("NEW") == {**before, "LedgerTableName": ledger}
    assert terminal.schedule("NEW")["State"] == "ENABLED"
    assert "LedgerTable" in terminal.resources("OLD") and "LedgerTable" not in terminal.resources("NEW")
    assert aws("dynamodb").list_tables()["TableNames"] == [ledger]
    for made in [*configurations(terminal, "OLD"), *configurations(terminal, "NEW")]:
        assert made["Environment"]["Variables"]["LEDGER_TABLE_NAME"] == ledger
    arn = aws("dynamodb").describe_table(TableName=ledger)["Table"]["TableArn"]
    policy = aws("iam").get_role_policy(RoleName=new["PopulatorRoleName"], PolicyName="populate")
    assert f"'{arn}'" in policy["PolicyDocument"]

    # Both rules match an event.
    put(aws, idMappingTableArn=table(1))
    assert len(received(aws, old)) == len(received(aws, new)) == 1
    terminal.names["RULE_NAME"] = rule_name(old)
    terminal.run(disable)
    states = [aws("events").describe_rule(Name=rule_name(outputs))["State"] for outputs in [old, new]]
    assert states == ["DISABLED", "ENABLED"]

    # The old function handles what waits: the message is visible, then in flight, and then gone.
    def waiting():
        counts = terminal.run(look)["Attributes"]
        return [int(counts[f"ApproximateNumberOfMessages{kind}"]) for kind in ["", "NotVisible"]]

    assert waiting() == [1, 0]
    [message] = aws("sqs").receive_message(QueueUrl=old["WaitingQueueUrl"])["Messages"]
    assert waiting() == [0, 1]
    aws("sqs").delete_message(QueueUrl=old["WaitingQueueUrl"], ReceiptHandle=message["ReceiptHandle"])
    assert waiting() == [0, 0]

    terminal.names["WAITING_QUEUE_ARN"] = new["WaitingQueueArn"]
    terminal.run(move)
    assert bodies(aws, new["WaitingQueueUrl"]) == STATE["DeadLetterQueueUrl"]
    assert not bodies(aws, old["DeadLetterQueueUrl"])

    remove, _ = blocks("Remove")
    terminal.follow(remove, stack="OLD")
    assert items(aws, new) == STATE["LedgerTableName"]
    assert bodies(aws, new["WaitingQueueUrl"]) == STATE["DeadLetterQueueUrl"]
    assert [rule["Name"] for rule in aws("events").list_rules()["Rules"]] == [rule_name(new)]
    [listed] = aws("ssm").get_parameters_by_path(Path="/id-mapping-populator/", Recursive=True)["Parameters"]
    assert listed["Name"].startswith(new["TablesPath"]) and listed["Value"] == table(1)
    terminal.follow(remove, stack="NEW")
    assert items(aws, new) == STATE["LedgerTableName"]
