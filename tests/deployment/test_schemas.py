"""The sample events against the JSON Schemas of events/schemas/, and these against the registry of schemas.yaml."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft4Validator, FormatChecker
from templates import parsed

EVENTS = Path(__file__).resolve().parents[2] / "events"
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (EVENTS / "schemas").glob("*.json")}
OUTCOMES = {
    "started": "job-started",
    "covered": "request-covered",
    "waiting": "request-waiting",
    "rejected": "request-rejected",
    "succeeded": "job-succeeded",
    "failed": "job-failed",
}


def event(name):
    return json.loads((EVENTS / name).read_text())


def faults(schema, instance):
    return [error.message for error in Draft4Validator(SCHEMAS[schema], format_checker=FormatChecker()).iter_errors(instance)]


def test_the_schemas_are_draft_4():
    assert SCHEMAS.keys() == {"request", *OUTCOMES.values()}
    for schema in SCHEMAS.values():
        assert schema["$schema"] == "http://json-schema.org/draft-04/schema#"
        Draft4Validator.check_schema(schema)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_event_obeys_its_own_schema_alone(outcome):
    sample = event(f"outcomes/{outcome}.json")
    for other in OUTCOMES.values():
        assert (faults(other, sample) == []) == (other == OUTCOMES[outcome]), other
    # What EventBridge adds to a replay is allowed; what we never write is not.
    assert faults(OUTCOMES[outcome], {**sample, "replay-name": "r"}) == []
    for wrong in [{"surprise": 1}, {"outcome": "DONE"}, {"eventId": "x"}, {"jobType": "FULL"}]:
        assert faults(OUTCOMES[outcome], {**sample, "detail": {**sample["detail"], **wrong}}), wrong
    for member in ["version", "eventId", "outcome", "membershipIdentifier", "idMappingTableIdentifier"]:
        detail = {name: value for name, value in sample["detail"].items() if name != member}
        assert faults(OUTCOMES[outcome], {**sample, "detail": detail}), member


REQUESTS = [event(path.name) for path in EVENTS.glob("bare-*.json")]
REQUESTS += [event("scheduler-input.json"), event("waiting-message.json")["request"]]
REQUESTS += [json.loads(event("population-requested-string-detail.json")["detail"])]
# An event may also have other people's facts.
REQUESTS += [
    {member: value for member, value in event(name)["detail"].items() if member in SCHEMAS["request"]["properties"]}
    for name in ["population-requested.json", "five-tables.json"]
]


@pytest.mark.parametrize("request_object", REQUESTS)
def test_what_is_taken_obeys_the_schema(request_object):
    assert faults("request", request_object) == []


def test_a_null_is_as_if_it_were_absent():
    assert faults("request", {**event("bare-arn.json"), "requestId": None, "time": None, "jobType": None}) == []
    assert faults("request", {**event("bare-arn.json"), "membershipIdentifier": None, "targets": None}) == []
    assert faults("request", {**event("bare-request.json"), "idMappingTableIdentifier": None})
    assert faults("request", {**event("bare-targets.json"), "idMappingTableArn": event("bare-arn.json")["idMappingTableArn"]})


# What a schema cannot check: the function's own Region, and other people's facts in an event.
BEYOND = {"other-region.json", "near-miss-in-event.json"}


@pytest.mark.parametrize("file", [path.name for path in (EVENTS / "refused").glob("*.json") if path.name not in BEYOND])
def test_what_is_refused_breaks_the_schema(file):
    assert faults("request", event(f"refused/{file}"))


REGISTRY = parsed("schemas.yaml")["Resources"]
REGISTERED = {f"{''.join(part.title() for part in name.split('-'))}Schema": schema for name, schema in SCHEMAS.items()}


def test_the_registry_has_each_schema_and_nothing_else():
    assert {name: resource["Type"] for name, resource in REGISTRY.items()} == {
        "Schemas": "AWS::EventSchemas::Registry",
        **{name: "AWS::EventSchemas::Schema" for name in REGISTERED},
    }


@pytest.mark.parametrize("name", REGISTERED)
def test_a_schema_of_the_registry_is_that_of_the_file(name):
    schema = REGISTRY[name]["Properties"]
    assert json.loads(schema["Content"]) == REGISTERED[name]
    assert (schema["Type"], schema["RegistryName"]) == (
        "JSONSchemaDraft4",
        {"Fn::GetAtt": ["Schemas", "RegistryName"]},
    )
    kind = REGISTERED[name].get("x-amazon-events-detail-type", "ID Mapping Population Request")
    assert schema["SchemaName"] == f"id-mapping-populator@{kind.replace(' ', '')}"
    assert len(schema["Content"]) < 100_000
