"""The templates of a release, deployed to moto's CloudFormation: what it makes of them, and what its rule matches.

SAM's expansion is by `samtranslator`, and functions in DeletionPolicy are evaluated here, because moto has no transforms.
"""

import io
import json
import subprocess
import zipfile

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from samtranslator.yaml_helper import yaml_parse
from templates import ACCOUNT, NESTED, REGION, Stack, expanded, membership_arn, table, table_id, tables, text, with_policies
from test_release_template import FOLDER, SCRIPT, VERSION

# What moto does not know.
LEFT_OUT = {
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::Lambda::Alias",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::Version",
    "AWS::Logs::QueryDefinition",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
}
NAME = "populator"
BUCKET = "releases"
# A queue in the place of the function: moto does not run one.
TARGET = {"Type": "AWS::SQS::Queue", "Properties": {}}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    subprocess.run([SCRIPT, VERSION, folder], check=True)
    return folder


@pytest.fixture
def aws(monkeypatch):
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]:
        monkeypatch.setenv(name, "testing")
    for name in ["AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MOTO_ACCOUNT_ID", ACCOUNT)
    with mock_aws(config={"lambda": {"use_docker": False}}):
        session = boto3.Session(region_name=REGION)
        yield session.client


def with_outputs(node, stack):
    """moto knows no outputs of nested stacks."""
    if isinstance(node, list):
        return [with_outputs(item, stack) for item in node]
    if not isinstance(node, dict):
        return node
    match node:
        case {"Fn::GetAtt": [nested, name]} if name.startswith("Outputs."):
            return stack.attribute(nested, name)
    return {name: with_outputs(item, stack) for name, item in node.items()}


def known(template, parameters):
    """The template as moto knows it."""
    stack = Stack(NAME, template, parameters)
    template = with_outputs(template, stack)
    kept = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] in LEFT_OUT or name not in stack.resources:
            continue
        kept[name] = {key: value for key, value in resource.items() if key != "Condition"}
    outputs = template.get("Outputs", {})
    gone = {name for name, resource in template["Resources"].items() if resource["Type"] in LEFT_OUT}
    is_known = {name: not any(f"'{other}'" in str(output) for other in gone) for name, output in outputs.items()}
    outputs = {name: outputs[name] for name in stack.outputs if is_known[name]}
    return {**template, "Resources": with_policies(kept, stack), "Outputs": outputs, "Transform": None, "Rules": {}}


def as_json(template):
    return json.dumps({name: section for name, section in template.items() if section})


def deployed(aws, release, without=None, **parameters):
    """The main stack, as `aws cloudformation deploy` makes it from a release in a bucket, perhaps without a resource."""
    given = {**tables([1]), "Monitoring": "none", **parameters, "ReleaseBucket": BUCKET}
    made_bucket(aws)
    for architecture in ["arm64", "x86_64"]:
        aws("s3").put_object(Bucket=BUCKET, Key=f"{FOLDER}id-mapping-populator-{architecture}.zip", Body=code(""))
    return created(aws, NAME, main_template(aws, release, given, without), given)


def made_bucket(aws):
    aws("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})


def code(content):
    """The zip of a function."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("bootstrap", content)
    return zipped.getvalue()


def main_template(aws, release, given, without=None):
    """The main template as moto knows it. Those of its nested stacks are then in the bucket."""
    main = expanded(yaml_parse((release / "template.yaml").read_text()), **given)
    stack = Stack(NAME, main, given)
    for name, logical in NESTED.items():
        if logical in stack.resources:
            template = known(yaml_parse((release / name).read_text()), nested_parameters(stack, logical))
            _, _, key = stack.resources[logical]["Properties"]["TemplateURL"].partition(".amazonaws.com/")
            aws("s3").put_object(Bucket=BUCKET, Key=key, Body=as_json(template))
    main = known(main, given)
    main["Resources"].pop(without, None)
    main["Resources"]["Target"] = TARGET
    [target] = main["Resources"]["PopulatorRequested"]["Properties"]["Targets"]
    target["Arn"] = {"Fn::GetAtt": ["Target", "Arn"]}
    return main


def nested_parameters(stack, logical):
    made = stack.stack(logical)
    return {name: ",".join(value) if isinstance(value, list) else value for name, value in made.parameters.items()}


def created(aws, name, template, parameters):
    given = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
    aws("cloudformation").create_stack(StackName=name, TemplateBody=as_json(template), Parameters=given)
    [stack] = aws("cloudformation").describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def further(aws, outputs, numbers, **parameters):
    """A stack of tables.yaml, with all outputs of the main stack that are its parameters."""
    template = yaml_parse(text("tables.yaml"))
    given = {name: value for name, value in outputs.items() if name in template["Parameters"]}
    given |= {**tables(numbers), **parameters}
    return created(aws, f"tables-{numbers[0]}", known(template, given), given)


def attached(aws, role):
    """The documents of a role's managed policies."""
    for policy in aws("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        of = {"PolicyArn": policy["PolicyArn"]}
        version = aws("iam").get_policy(**of)["Policy"]["DefaultVersionId"]
        yield aws("iam").get_policy_version(**of, VersionId=version)["PolicyVersion"]["Document"]


def test_a_release_deploys_and_further_tables_reach_both_roles(aws, release):
    outputs = deployed(aws, release, Monitoring="alarms", StaleAfterHours="36")
    further(aws, outputs, [2, 3])

    listed = aws("ssm").get_parameters_by_path(Path=outputs["TablesPath"], Recursive=False)["Parameters"]
    assert sorted(item["Value"] for item in listed) == sorted([table(1), f"{table(2, 2)},{table(3, 3)}"])
    for role in ["PopulatorRoleName", "StatusRoleName"]:
        documents = list(attached(aws, outputs[role]))
        assert len(documents) == 4
        for number in [1, 2, 3]:
            assert any(table(number, number) in str(document) for document in documents), (role, number)
            assert any(f"{membership_arn(number)}/*" in str(document) for document in documents), (role, number)

    function = aws("lambda").get_function(FunctionName=outputs["FunctionName"])["Configuration"]
    variables = function["Environment"]["Variables"]
    assert variables["ID_MAPPING_TABLES_PATH"] == outputs["TablesPath"] == f"/id-mapping-populator/{NAME}/"
    assert variables["WAITING_QUEUE_URL"] == outputs["WaitingQueueUrl"]
    assert variables["LEDGER_TABLE_NAME"] == outputs["LedgerTableName"]
    assert variables["TRACK_COMPLETION"] == "true" == outputs["CompletionIsTracked"]
    assert function["Role"].endswith(f":role/{outputs['PopulatorRoleName']}")

    ledger = aws("dynamodb").describe_table(TableName=outputs["LedgerTableName"])["Table"]
    assert ledger["DeletionProtectionEnabled"] is True
    attributes = aws("sqs").get_queue_attributes(QueueUrl=outputs["WaitingQueueUrl"], AttributeNames=["All"])["Attributes"]
    assert json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"] == outputs["DeadLetterQueueArn"]
    assert attributes["VisibilityTimeout"] == "1200"
    [source] = aws("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert (source["EventSourceArn"], source["FunctionArn"]) == (outputs["WaitingQueueArn"], outputs["FunctionArn"])


def received(aws, outputs):
    """The events that the rule sent to its target."""
    [target] = aws("events").list_targets_by_rule(Rule=outputs["RequestRuleArn"].split("/")[-1])["Targets"]
    url = aws("sqs").get_queue_url(QueueName=target["Arn"].split(":")[-1])["QueueUrl"]
    events = []
    while messages := aws("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            aws("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            events.append(json.loads(message["Body"]))
    return events


# moto matches no objects in a list, so test_tables.py has the targets.
@pytest.mark.parametrize("own, matched", [("false", [1, 2, 9, 9]), ("true", [1, 2])])
def test_the_deployed_rule_matches_what_put_events_sends(aws, release, own, matched):
    outputs = deployed(aws, release, OwnTablesOnly=own, **tables([1, 2]))
    for kind in ["ID Mapping Population Requested", "Something Else"]:
        for detail in [
            {"idMappingTableArn": table(1), "number": 1},
            {"membershipIdentifier": "m", "idMappingTableIdentifier": table_id(2), "number": 2},
            {"idMappingTableIdentifier": table_id(9), "number": 9},
            {"number": 9},
        ]:
            entry = {"Source": "test", "DetailType": kind, "Detail": json.dumps(detail)}
            assert aws("events").put_events(Entries=[entry])["FailedEntryCount"] == 0
    assert [event["detail"]["number"] for event in received(aws, outputs)] == matched


def deleted(aws, outputs, name=NAME):
    # CloudFormation does this, and moto does not.
    for role in ["PopulatorRoleName", "StatusRoleName"]:
        of = {"RoleName": outputs[role]}
        for policy in aws("iam").list_attached_role_policies(**of)["AttachedPolicies"]:
            aws("iam").detach_role_policy(**of, PolicyArn=policy["PolicyArn"])
    aws("cloudformation").delete_stack(StackName=name)


def test_the_state_outlives_the_stack_and_the_next_one_adopts_the_ledger(aws, release):
    outputs = deployed(aws, release)
    aws("sqs").send_message(QueueUrl=outputs["DeadLetterQueueUrl"], MessageBody="{}")
    deleted(aws, outputs)
    assert aws("sqs").receive_message(QueueUrl=outputs["DeadLetterQueueUrl"])["Messages"]
    assert aws("sqs").get_queue_attributes(QueueUrl=outputs["WaitingQueueUrl"], AttributeNames=["QueueArn"])
    assert aws("logs").describe_log_groups(logGroupNamePrefix=outputs["LogGroupName"])["logGroups"]
    assert aws("dynamodb").describe_table(TableName=outputs["LedgerTableName"])
    aws("s3").delete_objects(
        Bucket=BUCKET,
        Delete={"Objects": [{"Key": item["Key"]} for item in aws("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]},
    )
    aws("s3").delete_bucket(Bucket=BUCKET)
    adopted = deployed(aws, release, LedgerTableName=outputs["LedgerTableName"])
    assert adopted["LedgerTableName"] == outputs["LedgerTableName"]
    assert len(aws("dynamodb").list_tables()["TableNames"]) == 1


def test_without_the_choice_to_retain_the_queues_go_with_the_stack(aws, release):
    outputs = deployed(aws, release, RetainOnDelete="false")
    ledger = aws("dynamodb").describe_table(TableName=outputs["LedgerTableName"])["Table"]
    assert ledger["DeletionProtectionEnabled"] is False
    deleted(aws, outputs)
    with pytest.raises(ClientError, match="NonExistentQueue"):
        aws("sqs").get_queue_attributes(QueueUrl=outputs["WaitingQueueUrl"], AttributeNames=["QueueArn"])
    assert aws("dynamodb").describe_table(TableName=outputs["LedgerTableName"])
