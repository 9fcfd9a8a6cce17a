"""An event through the rule of a deployed stack to the release binary, which has the variables of the deployed function, and
back as an outcome event: with moto's CloudFormation, EventBridge, SQS, DynamoDB and Systems Manager over HTTP."""

import json

from test_emulator import deployed, further, received, release  # noqa: F401
from test_services import FIRST, MEMBERSHIP_ARN, SECOND, aws, harness, moto, table_arn  # noqa: F401

OF_THE_STACK = {"IdMappingTableArns": table_arn(FIRST), "MembershipArns": MEMBERSHIP_ARN}


def put(aws, **detail):
    entry = {"Source": "com.example.loader", "DetailType": "ID Mapping Population Requested", "Detail": json.dumps(detail)}
    assert aws("events").put_events(Entries=[entry])["FailedEntryCount"] == 0


def announced(aws):
    """The queue of a consumer of the outcome events on the default bus, and how its messages are read."""
    url = aws("sqs").create_queue(QueueName="consumer")["QueueUrl"]
    arn = aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws("events").put_rule(Name="consumer", EventPattern=json.dumps({"source": ["id-mapping-populator"]}))
    aws("events").put_targets(Rule="consumer", Targets=[{"Id": "consumer", "Arn": arn}])

    def read():
        messages = aws("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        return [json.loads(message["Body"]) for message in messages.get("Messages", [])]

    return read


def test_an_event_goes_through_the_deployed_rule_to_the_binary_and_back(harness, aws, release):  # noqa: F811
    clean_rooms = harness.clean_rooms
    # With the event source moto would invoke the function that it made, and delete the messages.
    outputs = deployed(aws, release, without="WaitingQueueSource", **OF_THE_STACK)
    function = aws("lambda").get_function(FunctionName=outputs["FunctionName"])["Configuration"]
    outcomes = announced(aws)
    put(aws, idMappingTableArn=table_arn(FIRST), jobType="BATCH")
    [event] = received(aws, outputs)
    with harness.function(function["Environment"]["Variables"]):
        [started] = harness.invoke(event)["outcomes"]
        assert clean_rooms.calls == [(FIRST, "BATCH", 200)]
        assert (started["outcome"], started["idMappingJobId"]) == ("STARTED", clean_rooms.running)
        [outcome] = outcomes()
        assert (outcome["detail-type"], outcome["detail"]) == ("ID Mapping Job Started", started)
        assert outcome["resources"] == [table_arn(FIRST), MEMBERSHIP_ARN]
        # EventBridge delivers it again.
        [covered] = harness.invoke(event)["outcomes"]
        assert (covered["outcome"], covered["idMappingJobId"]) == ("COVERED", clean_rooms.running)
        assert len(clean_rooms.calls) == 1

        # The list that the deployed stack made is the list of allowed tables.
        put(aws, idMappingTableArn=table_arn(SECOND), jobType="BATCH")
        [other] = received(aws, outputs)
        refused = harness.failed(other)
        assert refused["errorType"] == "InvalidRequest" and "ID_MAPPING_TABLES_PATH" in refused["errorMessage"], refused

    # A further stack adds tables, which a new execution environment reads. One job runs at a time.
    further(aws, outputs, [2], IdMappingTableArns=table_arn(SECOND), MembershipArns=MEMBERSHIP_ARN)
    with harness.function(function["Environment"]["Variables"]):
        [waiting] = harness.invoke(other)["outcomes"]
    assert (waiting["outcome"], waiting["idMappingTableIdentifier"]) == ("WAITING", SECOND), waiting
    assert clean_rooms.jobs() == [FIRST]
    # The first job is tracked, because the stack has workflows and a bus. The second request waits.
    kinds = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
    counts = aws("sqs").get_queue_attributes(QueueUrl=outputs["WaitingQueueUrl"], AttributeNames=kinds)["Attributes"]
    assert sum(int(counts[kind]) for kind in kinds) == 2
