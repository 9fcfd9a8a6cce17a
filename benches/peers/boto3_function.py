"""The main job only: one call with boto3."""

import boto3

cleanrooms = boto3.client("cleanrooms")


def handler(event, context):
    answer = cleanrooms.populate_id_mapping_table(
        membershipIdentifier=event["membershipIdentifier"],
        idMappingTableIdentifier=event["idMappingTableIdentifier"],
        jobType=event["jobType"],
    )
    return {"idMappingJobId": answer["idMappingJobId"]}
