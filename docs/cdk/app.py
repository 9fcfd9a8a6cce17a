"""An AWS CDK app that deploys the release zip with the defaults of template.yaml. Run it from the project's root."""

from aws_cdk import App, CfnOutput, Duration, RemovalPolicy, Stack, TimeZone
from aws_cdk import aws_dynamodb as dynamodb, aws_events as events, aws_events_targets as events_targets
from aws_cdk import aws_iam as iam, aws_lambda as lambda_, aws_lambda_destinations as destinations
from aws_cdk import aws_logs as logs, aws_scheduler as scheduler, aws_scheduler_targets as scheduler_targets
from aws_cdk import aws_sqs as sqs

app = App()
stack = Stack(app, "id-mapping-populator")


def arns(name):
    return [arn for arn in (app.node.try_get_context(name) or "").split(",") if arn]


tables, workflows, collaborations = map(arns, ["IdMappingTableArns", "IdMappingWorkflowArns", "CollaborationArns"])
schedule_expression = app.node.try_get_context("ScheduleExpression")
if not tables:
    raise SystemExit("name the ID mapping tables: -c IdMappingTableArns=ARN,ARN")
memberships = sorted({table.split("/idmappingtable/")[0] for table in tables})


def role(name, service, permissions, **conditions):
    """Creates a role with exactly these permissions. CDK's constructs would grant more than is needed."""
    statements = [
        iam.PolicyStatement(actions=actions, resources=on, conditions=dict(*condition))
        for actions, on, *condition in permissions if on
    ]
    policies = {"permissions": iam.PolicyDocument(statements=statements)}
    conditions = {"StringEquals": {"aws:SourceAccount": stack.account, **conditions}}
    principal = iam.ServicePrincipal(service, conditions=conditions)
    created = iam.Role(stack, name, assumed_by=principal, inline_policies=policies)
    return created.without_policy_updates()


ledger = dynamodb.Table(
    stack, "LedgerTable",
    partition_key=dynamodb.Attribute(name="idMappingTableArn", type=dynamodb.AttributeType.STRING),
    billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
    encryption=dynamodb.TableEncryption.AWS_MANAGED,
    point_in_time_recovery_specification={"point_in_time_recovery_enabled": True},
    removal_policy=RemovalPolicy.RETAIN,
)
kept = {"retention_period": Duration.days(14), "encryption": sqs.QueueEncryption.SQS_MANAGED}
dead_letters = sqs.Queue(stack, "DeadLetterQueue", **kept)
waiting = sqs.Queue(
    stack, "WaitingQueue", **kept,
    visibility_timeout=Duration.seconds(1200),
    dead_letter_queue={"queue": dead_letters, "max_receive_count": 1000},
)
log_group = logs.LogGroup(stack, "LogGroup", retention=logs.RetentionDays.THREE_MONTHS, removal_policy=RemovalPolicy.DESTROY)
bus = events.EventBus.from_event_bus_name(stack, "Bus", "default")

populator = lambda_.Function(
    stack, "Populator",
    code=lambda_.Code.from_asset("target/lambda/id-mapping-populator/bootstrap.zip"),
    handler="bootstrap", runtime=lambda_.Runtime.PROVIDED_AL2023, architecture=lambda_.Architecture.ARM_64,
    memory_size=128, timeout=Duration.seconds(120),
    logging_format=lambda_.LoggingFormat.JSON, application_log_level_v2=lambda_.ApplicationLogLevel.INFO, log_group=log_group,
    environment={
        "ID_MAPPING_TABLE_ARNS": ",".join(tables),
        "ALLOW_OTHER_TABLES": "false",
        "ALLOWED_JOB_TYPES": "",
        "ALLOWED_ACCOUNTS": "",
        "DEFAULT_JOB_TYPE": "AUTO",
        "FULL_REFRESH_EVERY": "",
        "EVENT_BUS_NAME": bus.event_bus_name,
        "EVENT_SOURCE": "id-mapping-populator",
        "LEDGER_TABLE_NAME": ledger.table_name,
        "WAITING_QUEUE_URL": waiting.queue_url,
        "DEAD_LETTER_QUEUE_URL": dead_letters.queue_url,
        "MAX_WAIT": "72h",
        "SETTLE_TIME": "",
        "TRACK_COMPLETION": "false",
        "MIN_INTERVAL": "",
        "MAX_JOB_ATTEMPTS": "1",
    },
    role=role("PopulatorRole", "lambda.amazonaws.com", [
        (["cleanrooms:GetIdMappingTable", "cleanrooms:PopulateIdMappingTable"], tables + memberships),
        ([f"entityresolution:{read}" for read in ("GetIdMappingJob", "GetIdMappingWorkflow", "ListIdMappingJobs")], workflows),
        (["cleanrooms:GetSchema"], collaborations),
        (["dynamodb:GetItem", "dynamodb:PutItem"], [ledger.table_arn]),
        (["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"], [waiting.queue_arn]),
        (["events:PutEvents"], [bus.event_bus_arn], {"StringEquals": {"events:source": "id-mapping-populator"}}),
        (["sqs:GetQueueAttributes", "sqs:SendMessage"], [dead_letters.queue_arn]),
        (["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn]),
    ]),
    on_failure=destinations.SqsDestination(dead_letters), retry_attempts=2, max_event_age=Duration.hours(6),
)
lambda_.EventSourceMapping(
    stack, "WaitingQueueSource", target=populator, event_source_arn=waiting.queue_arn,
    batch_size=10, max_batching_window=Duration.seconds(10), max_concurrency=2, report_batch_item_failures=True,
)
events.Rule(
    stack, "PopulatorRequested", event_bus=bus,
    event_pattern={"account": [stack.account], "detail_type": ["ID Mapping Population Requested"]},
    targets=[events_targets.LambdaFunction(populator, dead_letter_queue=dead_letters)],
)
schedule_arn, time = scheduler.ContextAttribute.schedule_arn, scheduler.ContextAttribute.scheduled_time
scheduler.Schedule(
    stack, "PopulatorSchedule",
    enabled=bool(schedule_expression),
    schedule=scheduler.ScheduleExpression.expression(schedule_expression or "rate(365 days)", TimeZone.of("UTC")),
    target=scheduler_targets.LambdaInvoke(
        populator,
        input=scheduler.ScheduleTargetInput.from_object({"requestId": f"{schedule_arn}/{time}", "time": time}),
        dead_letter_queue=dead_letters,
        role=role("PopulatorScheduleRole", "scheduler.amazonaws.com", [
            (["lambda:InvokeFunction"], [populator.function_arn]),
            (["sqs:SendMessage"], [dead_letters.queue_arn]),
        ], **{"aws:SourceArn": stack.format_arn(service="scheduler", resource="schedule-group", resource_name="default")}),
    ),
)
CfnOutput(stack, "FunctionArn", value=populator.function_arn)
for name, queue in [("DeadLetterQueue", dead_letters), ("WaitingQueue", waiting)]:
    CfnOutput(stack, f"{name}Arn", value=queue.queue_arn)
    CfnOutput(stack, f"{name}Url", value=queue.queue_url)
app.synth()
