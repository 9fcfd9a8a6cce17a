"""The notifications of docs/notify: the template under the linter, its rules in moto's EventBridge with the sample events,
and what its input transformers make of them."""

import json
import re

import boto3
import pytest
from cfnlint.api import ManualArgs, lint_file
from moto import mock_aws
from samtranslator.yaml_helper import yaml_parse
from templates import ROOT, parsed

PARAMETERS_OF_THE_FUNCTION = parsed("template.yaml")["Parameters"]
TEMPLATE = yaml_parse((ROOT / "docs/notify/template.yaml").read_text())
PARAMETERS, RESOURCES = TEMPLATE["Parameters"], TEMPLATE["Resources"]
RULES = {name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::Events::Rule"}
OUTCOMES = {path.stem: json.loads(path.read_text()) for path in (ROOT / "events/outcomes").glob("*.json")}


def changed(event, **changes):
    detail = {**event["detail"], **changes.pop("detail", {})}
    return {**event, **changes, "detail": {name: value for name, value in detail.items() if value is not None}}


# Each event, and the rule that it matches.
EVENTS = {
    "rejected": (OUTCOMES["rejected"], "RequestRejected"),
    "failed": (OUTCOMES["failed"], "JobFailed"),
    "failed, of a lost answer": (
        changed(OUTCOMES["failed"], detail={"idMappingJobId": None, "entityResolutionJobId": "00000001"}), "JobFailed",
    ),
    "failed, and tried again": (changed(OUTCOMES["failed"], detail={"willRetry": True}), None),
    "rejected, of another source": (changed(OUTCOMES["rejected"], source="com.example"), None),
    **{name: (event, None) for name, event in OUTCOMES.items() if name not in ["rejected", "failed"]},
}


def value(node):
    """A node of the template with its functions evaluated."""
    match node:
        case {"Ref": "AWS::AccountId"}:
            return "123456789012"
        case {"Ref": name} if name in PARAMETERS:
            return PARAMETERS[name]["Default"]
        case dict():
            return {key: value(item) for key, item in node.items()}
        case list():
            return [value(item) for item in node]
    return node


def notification(rule, event):
    """What a rule's input transformer makes of an event, as EventBridge documents it: a variable within a text becomes its
    value, as it is, and one outside becomes JSON. A path that the event does not have leaves nothing."""
    [target] = RESOURCES[rule]["Properties"]["Targets"]
    transformer = target["InputTransformer"]
    template, used = transformer["InputTemplate"], set()

    def filled(part, as_text):
        def variable(match):
            used.add(match[1])
            found = event
            for name in transformer["InputPathsMap"][match[1]].removeprefix("$.").split("."):
                found = found.get(name)
            if as_text:
                return found or ""
            return json.dumps(found)

        return re.sub("<([a-z]+)>", variable, part)

    parts = re.split('("[^"]*")', template)
    text = "".join(filled(part, as_text=part.startswith('"')) for part in parts)
    assert used == transformer["InputPathsMap"].keys()
    return json.loads(text)


def test_the_template_passes_the_linter():
    assert [str(match) for match in lint_file(ROOT / "docs/notify/template.yaml", config=ManualArgs(regions=["eu-west-1"]))] == []


@pytest.fixture(scope="module")
def matched():
    """The rules that each event matches, according to moto: each rule sends to a queue."""
    with pytest.MonkeyPatch.context() as environment, mock_aws():
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]:
            environment.setenv(name, "test")
        events, sqs = boto3.client("events", "eu-west-1"), boto3.client("sqs", "eu-west-1")
        queues = {}
        for rule in RULES:
            properties = value(RESOURCES[rule]["Properties"])
            queues[rule] = sqs.create_queue(QueueName=rule)["QueueUrl"]
            arn = f"arn:aws:sqs:eu-west-1:123456789012:{rule}"
            events.put_rule(Name=rule, EventPattern=json.dumps(properties["EventPattern"]))
            events.put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": arn}])
        found = {name: set() for name in EVENTS}
        for name, (event, _) in EVENTS.items():
            entry = {"Source": event["source"], "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"])}
            assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0
            for rule, queue in queues.items():
                for message in sqs.receive_message(QueueUrl=queue).get("Messages", []):
                    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                    found[name].add(rule)
    return found


@pytest.mark.parametrize("name", EVENTS)
def test_the_rules_match_what_a_person_must_act_on_and_nothing_else(matched, name):
    assert matched[name] == {rule for rule in [EVENTS[name][1]] if rule}


@pytest.mark.parametrize("name", [name for name, (_, rule) in EVENTS.items() if rule])
def test_a_notification_says_what_happened_to_which_table_and_what_to_do(name):
    event, rule = EVENTS[name]
    detail = event["detail"]
    said = notification(rule, event)
    content, metadata = said.pop("content"), said.pop("metadata")
    # The form of custom notifications of Amazon Q Developer in chat applications.
    assert said == {"version": "1.0", "source": "custom", "id": detail["eventId"]}
    assert content.keys() == {"textType", "title", "description", "nextSteps"}
    assert metadata == {
        "threadId": detail["idMappingTableIdentifier"],
        "eventType": event["detail-type"],
        "relatedResources": event["resources"],
    }
    assert content["description"] == detail["error"]["message"]
    assert detail["idMappingTableIdentifier"] in content["title"] and content["title"].endswith(f": {detail['error']['type']}")
    if rule == "JobFailed":
        job = detail.get("idMappingJobId") or detail["entityResolutionJobId"]
        assert content["title"].startswith(f"Job {job} of ID mapping table ")
    assert all(len(step) > 20 for step in content["nextSteps"])


def test_a_quotation_mark_in_a_message_does_not_break_the_notification():
    message = 'the input "customers" \\ cannot be read'
    for name, rule in [("rejected", "RequestRejected"), ("failed", "JobFailed")]:
        event = changed(OUTCOMES[name], detail={"error": {**OUTCOMES[name]["detail"]["error"], "message": message}})
        assert notification(rule, event)["content"]["description"] == message


def test_only_the_rules_may_publish_and_the_rest_is_a_parameter():
    assert RULES == {"RequestRejected", "JobFailed"}
    for rule in RULES:
        properties = RESOURCES[rule]["Properties"]
        assert properties["EventBusName"] == {"Ref": "OutcomeEventBusName"}
        [target] = properties["Targets"]
        assert target["Arn"] == {"Ref": "Topic"}
    [statement] = RESOURCES["TopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert RESOURCES["TopicPolicy"]["Properties"]["Topics"] == [{"Ref": "Topic"}]
    arns = statement.pop("Condition")["ArnEquals"].pop("aws:SourceArn")
    assert {arn["Fn::GetAtt"][0] for arn in arns} == RULES and {arn["Fn::GetAtt"][1] for arn in arns} == {"Arn"}
    assert statement == {
        "Sid": "TheRulesOfThisStack",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": {"Ref": "Topic"},
    }
    assert RESOURCES["Topic"]["Properties"]["KmsMasterKeyId"] == {
        "Fn::If": ["HasKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]
    }
    subscription = RESOURCES["EmailSubscription"]
    assert subscription["Condition"] == "HasEmail"
    assert subscription["Properties"] == {"TopicArn": {"Ref": "Topic"}, "Protocol": "email", "Endpoint": {"Ref": "Email"}}
    for condition, parameter in [("HasEmail", "Email"), ("HasKey", "KmsKeyArn")]:
        assert TEMPLATE["Conditions"][condition] == {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, ""]}]}
    assert PARAMETERS["OutcomeEventBusName"]["Default"] == PARAMETERS_OF_THE_FUNCTION["OutcomeEventBusName"]["Default"]
    # The function's template allows no other one.
    [policy] = parsed("template.yaml")["Resources"]["PopulatorRole"]["Properties"]["Policies"]
    assert f"'events:source': '{PARAMETERS['OutcomeEventSource']['Default']}'" in str(policy)
    assert PARAMETERS["Email"]["Default"] == "" == PARAMETERS["KmsKeyArn"]["Default"]


def test_the_page_shows_a_notification_as_it_is():
    page = (ROOT / "docs/notify.md").read_text()
    [shown] = re.findall("```json\n(.*?)```", page, re.S)
    assert json.loads(shown) == notification("JobFailed", OUTCOMES["failed"])
    for parameter in PARAMETERS:
        assert f"`{parameter}`" in page, parameter
