"""Everything, as a careful user builds it with Powertools for AWS Lambda: a repeated request starts nothing,
AUTO chooses the job type, and the start is announced, logged and counted."""

import json
import os

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent,
)

SERVICE = "id-mapping-populator"

logger = Logger(service=SERVICE)
metrics = Metrics(namespace="IdMappingPopulator", service=SERVICE)

cleanrooms = boto3.client("cleanrooms")
entityresolution = boto3.client("entityresolution")
events = boto3.client("events")

ledger = DynamoDBPersistenceLayer(
    table_name=os.environ["LEDGER_TABLE_NAME"], key_attr="idMappingTableArn"
)
# A request without a requestId fails, because a repeat could not be told from a new request.
by_request = IdempotencyConfig(
    event_key_jmespath="requestId",
    raise_on_no_idempotency_key=True,
    expires_after_seconds=24 * 60 * 60,
)


@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
@idempotent(persistence_store=ledger, config=by_request)
def handler(event, context):
    target = {
        "membershipIdentifier": event["membershipIdentifier"],
        "idMappingTableIdentifier": event["idMappingTableIdentifier"],
    }
    job_type = event["jobType"]
    if job_type == "AUTO":
        job_type = choose(target)
    sent = {"jobType": job_type} if job_type else {}
    job_id = cleanrooms.populate_id_mapping_table(**target, **sent)["idMappingJobId"]
    started = {**target, **sent, "idMappingJobId": job_id, "requestId": event["requestId"]}
    logger.info("ID mapping job started", **started)
    metrics.add_metric(name="JobsStarted", unit=MetricUnit.Count, value=1)
    announce(started)
    return {"idMappingJobId": job_id}


def choose(target):
    """Returns the job type for a table by its workflow and its schema, or None for the service's default."""
    table = cleanrooms.get_id_mapping_table(**target)["idMappingTable"]
    workflow = entityresolution.get_id_mapping_workflow(
        workflowName=table["inputReferenceConfig"]["inputReferenceArn"].rpartition("/")[2]
    )
    if workflow["idMappingTechniques"]["idMappingType"] == "PROVIDER":
        return None
    if "incrementalRunConfig" not in workflow:
        return "BATCH"
    schema = cleanrooms.get_schema(
        collaborationIdentifier=table["collaborationId"], name=table["name"]
    )["schema"]
    reasons = [
        reason["code"]
        for detail in schema["schemaStatusDetails"]
        for reason in detail.get("reasons", [])
    ]
    return "BATCH" if "ID_MAPPING_TABLE_NOT_POPULATED" in reasons else "INCREMENTAL"


def announce(started):
    try:
        answer = events.put_events(
            Entries=[
                {
                    "EventBusName": os.environ["EVENT_BUS_NAME"],
                    "Source": SERVICE,
                    "DetailType": "ID Mapping Job Started",
                    "Detail": json.dumps(started),
                }
            ]
        )
        if answer["FailedEntryCount"]:
            raise RuntimeError(answer["Entries"])
    except Exception:
        # The error is not raised: the decorator would delete the job's record, and a repeat would start it again.
        logger.exception("The ID mapping job is not announced")
        metrics.add_metric(name="PublishFailures", unit=MetricUnit.Count, value=1)
