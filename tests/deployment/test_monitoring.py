"""monitoring.yaml against the metrics and log lines of the code, and against the main template that nests it."""

import json
import re

import pytest
from templates import ROOT, main_stack, parsed, text

TEMPLATE = parsed("monitoring.yaml")
PARAMETERS, RESOURCES = TEMPLATE["Parameters"], TEMPLATE["Resources"]
DAYS = 24 * 60 * 60
RETRY_INTERVAL = parsed("template.yaml")["Resources"]["WaitingQueue"]["Properties"]["VisibilityTimeout"]
TIMEOUT = parsed("template.yaml")["Resources"]["Populator"]["Properties"]["Timeout"]


def properties(name):
    return RESOURCES[name]["Properties"]


def accepts(parameter, value):
    return re.fullmatch(PARAMETERS[parameter]["AllowedPattern"], value) is not None


def source_files():
    """The function's source without its tests."""
    for path in sorted((ROOT / "src").rglob("*.rs")):
        if "tests" not in path.with_suffix("").parts:
            yield path.read_text().split("#[cfg(test)]")[0]


# Name: condition, namespace, metric, statistic, what raises it, and what no data is.
MANY = ("Sum", "GreaterThanThreshold", 0, "notBreaching")
ALARMS = {
    "DeadLetterAlarm": (None, "AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", *MANY[1:]),
    "StillWaitingAlarm": (
        None, "IdMappingPopulator", "StillWaitingSeconds", "Maximum", "GreaterThanThreshold",
        {"Ref": "StillWaitingHours"}, "notBreaching",
    ),
    "RejectedAlarm": (None, "IdMappingPopulator", "RequestsRejected", *MANY),
    "JobFailedAlarm": ("TracksCompletion", "IdMappingPopulator", "JobsFailed", *MANY),
    "ErrorAlarm": (None, "AWS/Lambda", "Errors", *MANY),
    "ThrottleAlarm": (None, "AWS/Lambda", "Throttles", *MANY),
    "UndeliveredFailureAlarm": (None, "AWS/Lambda", "DestinationDeliveryFailures", *MANY),
    "DroppedEventAlarm": (None, "AWS/Lambda", "AsyncEventsDropped", *MANY),
    "PublishFailureAlarm": (None, "IdMappingPopulator", "PublishFailures", *MANY),
    "OutcomeUnknownAlarm": (None, "IdMappingPopulator", "OutcomesUnknown", *MANY),
    "StaleTableAlarm": (
        "WatchesAge", "IdMappingPopulator", "TableAgeSeconds", "Maximum", "GreaterThanThreshold",
        {"Ref": "StaleAfterHours"}, "breaching",
    ),
}


def metrics_of_the_code():
    return set(re.findall(r'Self::([A-Za-z]+) => "\1",', (ROOT / "src/metrics.rs").read_text()))


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_watches_what_the_code_or_aws_measures(name):
    _, namespace, metric, statistic, comparison, threshold, missing = ALARMS[name]
    alarm = dict(properties(name))
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
            "Dimensions": [{"Name": "QueueName", "Value": {"Ref": "WaitingQueueName"}}],
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
        assert dimensions == {"QueueName": {"Ref": "DeadLetterQueueName"}}
        return
    dimension = "FunctionName" if namespace == "AWS/Lambda" else "service"
    # The status writes the ages of all tables.
    assert dimensions == {dimension: {"Ref": "StatusFunctionName" if name == "StaleTableAlarm" else "FunctionName"}}
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


def test_a_request_that_waits_keeps_its_alarm_on():
    alarm = properties("StillWaitingAlarm")
    periods = [metric["MetricStat"]["Period"] for metric in alarm["Metrics"] if "MetricStat" in metric]
    assert periods == [RETRY_INTERVAL] * 2
    evaluation_periods = alarm["EvaluationPeriods"]
    assert alarm["DatapointsToAlarm"] == 1
    # A try may be late by the batching window, and as much later be measured as the invocation takes.
    source = parsed("template.yaml")["Resources"]["WaitingQueueSource"]["Properties"]
    most_late = source["MaximumBatchingWindowInSeconds"] + TIMEOUT
    assert RETRY_INTERVAL % 60 == 0, "CloudWatch takes no such period"
    assert has_a_try_in_every_window(RETRY_INTERVAL, most_late, RETRY_INTERVAL, evaluation_periods)
    # With periods of less than an hour an alarm looks back at one day at most.
    assert RETRY_INTERVAL < 3600 and RETRY_INTERVAL * evaluation_periods <= DAYS
    # One period is too few.
    assert not has_a_try_in_every_window(RETRY_INTERVAL, most_late, RETRY_INTERVAL, 1)


def test_the_dashboard_shows_every_metric_of_the_code():
    body = properties("PopulatorDashboard")["DashboardBody"]["Fn::Sub"]
    assert set(re.findall(r"\$\{(\w+)\}", body)) <= PARAMETERS.keys()
    status, *widgets = json.loads(body)["widgets"]
    title = status["properties"].pop("title")
    assert len(title) > 5 and status == {
        "type": "custom",
        **{"x": 0, "y": 0, "width": 24, "height": 12},
        "properties": {
            "endpoint": STATUS_ARN["Fn::Sub"],
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
                assert value == ("${StatusFunctionName}" if metric[1] == "TableAgeSeconds" else "${FunctionName}"), metric
    assert len(places) == 24 * 24


def test_every_alarm_and_every_error_is_explained():
    operate, reference = (ROOT / "docs/operate.md").read_text(), (ROOT / "docs/reference.md").read_text()
    for name in ALARMS:
        assert f"| `{name}`" in operate, name
    errors = re.findall(r'Self::([A-Za-z]+) => "\1",', (ROOT / "src/error.rs").read_text())
    assert len(errors) == 16
    for error in errors:
        assert re.search(rf"^\| `{error}`", reference, re.M), error


def alarms_of(**parameters):
    stack = main_stack(**parameters)
    made = stack.nested["MonitoringStack"].resources if "MonitoringStack" in stack.nested else {}
    return {name for name, resource in made.items() if resource["Type"] == "AWS::CloudWatch::Alarm"}


def test_alarms_that_everybody_needs_are_on_by_default_and_the_rest_is_off():
    # Only the reader knows how old a table may become.
    stale = PARAMETERS["StaleAfterHours"]
    assert (stale["Type"], stale["Default"], stale["MinValue"], stale["MaxValue"]) == ("Number", 0, 0, 8784)
    everybodys = {name for name, (condition, *_) in ALARMS.items() if condition is None}
    # docs/cost.md has the sum. StillWaitingAlarm watches two metrics.
    assert len(everybodys) == 9
    assert "| 10 × 0.10 | 1.00 |" in (ROOT / "docs/cost.md").read_text()
    assert alarms_of(TrackCompletion="false") == everybodys
    assert alarms_of() == everybodys | {"JobFailedAlarm"}
    assert alarms_of(StaleAfterHours="36") == everybodys | {"JobFailedAlarm", "StaleTableAlarm"}
    assert alarms_of(Monitoring="all") == everybodys | {"JobFailedAlarm"}
    assert alarms_of(Monitoring="none") == set()
    assert accepts("AlarmTopicArn", "arn:aws:sns:eu-west-1:123456789012:on-call") and accepts("AlarmTopicArn", "")
    assert not accepts("AlarmTopicArn", "on-call")


def test_the_dashboard_is_made_only_for_those_who_want_it():
    for monitoring, dashboards in [("alarms", 0), ("all", 1)]:
        made = main_stack(Monitoring=monitoring).nested["MonitoringStack"].resources.values()
        assert sum(resource["Type"] == "AWS::CloudWatch::Dashboard" for resource in made) == dashboards, monitoring


def test_the_resources_are_these_and_no_others():
    assert {name: resource["Type"] for name, resource in RESOURCES.items()} == {
        "PopulatorDashboard": "AWS::CloudWatch::Dashboard",
        "StatusSchedule": "AWS::Scheduler::Schedule",
        "StatusScheduleRole": "AWS::IAM::Role",
        **{name: "AWS::Logs::QueryDefinition" for name in QUERIES},
        **{name: "AWS::CloudWatch::Alarm" for name in ALARMS},
    }
    conditions = {name: resource["Condition"] for name, resource in RESOURCES.items() if "Condition" in resource}
    assert conditions == {
        **{name: condition for name, (condition, *_) in ALARMS.items() if condition},
        "PopulatorDashboard": "HasDashboard",
        "StatusSchedule": "WatchesAge",
        "StatusScheduleRole": "WatchesAge",
    }
    assert TEMPLATE["Conditions"] == {
        "HasAlarmTopic": {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmTopicArn"}, ""]}]},
        "HasBoundary": {"Fn::Not": [{"Fn::Equals": [{"Ref": "PermissionsBoundaryArn"}, ""]}]},
        "HasDashboard": {"Fn::Equals": [{"Ref": "Dashboard"}, "true"]},
        "TracksCompletion": {"Fn::Equals": [{"Ref": "CompletionIsTracked"}, "true"]},
        "WatchesAge": {"Fn::Not": [{"Fn::Equals": [{"Ref": "StaleAfterHours"}, 0]}]},
    }


STATUS_ARN = {"Fn::Sub": "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${StatusFunctionName}"}


def test_the_status_is_asked_twice_an_hour_only_where_the_alarm_needs_it():
    schedule = dict(properties("StatusSchedule"))
    assert len(schedule.pop("Description")) > 20
    assert schedule == {
        "ScheduleExpression": "rate(30 minutes)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": STATUS_ARN,
            "RoleArn": {"Fn::GetAtt": ["StatusScheduleRole", "Arn"]},
            "Input": '{"status": true}',
        },
    }
    role = properties("StatusScheduleRole")
    [policy] = role["Policies"]
    assert policy["PolicyDocument"]["Statement"] == [
        {"Sid": "AskForTheStatus", "Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": STATUS_ARN}
    ]
    boundary = {"Fn::If": ["HasBoundary", {"Ref": "PermissionsBoundaryArn"}, {"Ref": "AWS::NoValue"}]}
    assert role["PermissionsBoundary"] == boundary and "ManagedPolicyArns" not in role
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    group = "arn:${AWS::Partition}:scheduler:${AWS::Region}:${AWS::AccountId}:schedule-group/default"
    assert trust["Condition"] == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}, "aws:SourceArn": {"Fn::Sub": group}}
    }


# Name: what it is called, and the log groups.
QUERIES = {
    "WhatRanQuery": ("what ran and why", ["LogGroupName"]),
    "WhatWaitsQuery": ("what waits", ["LogGroupName"]),
    "WhatFailedQuery": ("what failed", ["LogGroupName", "StatusLogGroupName"]),
    "HistoryQuery": ("one table's history", ["LogGroupName"]),
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
def test_a_saved_query_uses_the_fields_that_the_code_writes(name):
    called, groups = QUERIES[name]
    query = RESOURCES[name]["Properties"]
    assert query["Name"] == {"Fn::Sub": f"${{AWS::StackName}}/{called}"}
    assert query["LogGroupNames"] == [{"Ref": group} for group in groups]
    text = query["QueryString"]
    if name == "HistoryQuery":
        text = text["Fn::Sub"]
        # It works as it is: for the first table.
        assert text.count('"${FirstTableIdentifier}"') == 1
        text = text.replace('"${FirstTableIdentifier}"', "1")
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
