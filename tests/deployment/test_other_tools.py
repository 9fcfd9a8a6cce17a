"""The CDK app and the Terraform configuration of docs/ against the template: they deploy what it does by default.

Both use the template's logical ids as names, so each is brought to the same form: the path of each property, and its
value, in which a reference reads `Name` and an ARN `Name.Arn`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import hcl2
import pytest
from cfnlint.api import ManualArgs, lint_file
from test_template import COLLABORATION, MEMBERSHIP, PARAMETERS, ROOT, TABLE, TEMPLATE, WORKFLOW, resources

TABLES = {"IdMappingTableArns": [TABLE, f"{TABLE[:-1]}2"]}
GIVEN = {
    "tables-alone": TABLES,
    "everything": {
        **TABLES,
        "IdMappingWorkflowArns": [WORKFLOW],
        "CollaborationArns": [COLLABORATION],
        "ScheduleExpression": "cron(0 2 * * ? *)",
    },
}
# What the services take where nothing is said.
DEFAULTS = {
    "Populator.TracingConfig.Mode": "PassThrough",
    "PopulatorEventInvokeConfig.Qualifier": "$LATEST",
    "PopulatorRequested.EventBusName": "default",
    "PopulatorRequested.State": "ENABLED",
    "PopulatorSchedule.Target.RetryPolicy.MaximumEventAgeInSeconds": 24 * 60 * 60,
    "PopulatorSchedule.Target.RetryPolicy.MaximumRetryAttempts": 185,
}
NAMES = re.compile(r"\.(Code|Description|Id|Name|NamePrefix|Sid|Tags)(\.|$)|^Populator\.FunctionName$")


@pytest.fixture(scope="module", params=GIVEN)
def given(request):
    return GIVEN[request.param]


def listed(value):
    return value if isinstance(value, list) else [value]


def permissions(statements):
    """Each action with each resource that it is allowed on, and on which condition."""
    pairs = set()
    for statement in statements:
        assert statement.keys() - {"Sid", "Condition"} == {"Effect", "Action", "Resource"}
        assert statement["Effect"] == "Allow"
        condition = json.dumps(statement.get("Condition"))
        pairs |= {(action, on, condition) for action in listed(statement["Action"]) for on in listed(statement["Resource"])}
    return {pair for pair in pairs if not is_of_status(pair[1])}


def is_of_status(name):
    """Whether a resource, or a reference to one, is the function that answers status, or belongs to it."""
    return name.startswith("Status")


def facts(properties, renamed={}):
    found = dict(DEFAULTS)

    def add(path, value):
        for old, new in renamed.items():
            path = path.replace(old, new)
        if isinstance(value, list) and len(value) == 1:
            add(path, value[0])
        elif path.endswith(".Input") and isinstance(value, str):
            add(path, json.loads(value))
        elif isinstance(value, dict):
            for key, item in value.items():
                add(f"{path}.{key}", item)
        elif not NAMES.search(path):
            # A function is named by its ARN too.
            found[path] = value.removesuffix(".Arn") if path.endswith(".FunctionName") else value

    for name, value in properties.items():
        add(name, value)
    return found


def cloudformation(template, values):
    """The facts of a template, its functions evaluated."""
    values = {**values, "AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::AccountId": "123456789012"}
    values["AWS::NoValue"] = None
    conditions = template.get("Conditions", {})

    def value(node):
        match node:
            case {"Ref": name}:
                return values.get(name, name)
            case {"Fn::GetAtt": [name, attribute]}:
                return f"{name}.{attribute}"
            case {"Fn::Join": [separator, parts]}:
                return separator.join(value(parts))
            case {"Fn::Sub": text}:
                return re.sub(r"\$\{([^}]+)\}", lambda match: values[match[1]], text)
            case {"Fn::If": [condition, yes, no]}:
                return value(yes if value(conditions[condition]) else no)
            case {"Fn::Equals": [one, other]}:
                return value(one) == value(other)
            case {"Fn::Split": [separator, text]}:
                return value(text).split(separator)
            case {"Fn::Not": [condition]}:
                return not value(condition)
            case {"Variables": {**variables}}:
                # An environment variable is a text, whatever the parameter's type is.
                return {"Variables": {name: str(item) for name, item in value(variables).items()}}
            case dict():
                return {key: item for key, item in zip(node, map(value, node.values())) if item is not None}
            case list():
                return [item for item in map(value, node) if item is not None]
        return node

    properties = {}
    for name, resource in template["Resources"].items():
        # The snippets leave these out.
        if re.match("AWS::(CloudWatch|EventSchemas)::|AWS::Logs::QueryDefinition", resource["Type"]) or is_of_status(name):
            continue
        if "Condition" in resource and not value(conditions[resource["Condition"]]):
            continue
        properties[name] = value(resource["Properties"])
        if resource.get("DeletionPolicy") == "Retain":
            properties[name]["DeletionPolicy"] = "Retain"
        if resource["Type"] == "AWS::IAM::Role":
            policies = properties[name].pop("Policies")
            properties[name]["Permissions"] = permissions(
                statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]
            )
    return facts(properties)


@pytest.fixture(scope="module")
def expected(resources, given):
    values = {name: parameter.get("Default") for name, parameter in PARAMETERS.items()}
    return cloudformation({**TEMPLATE, "Resources": resources}, {**values, "MembershipArns": [MEMBERSHIP], **given})


@pytest.fixture(scope="module")
def synthesized(given, tmp_path_factory):
    """The CDK app's template, made as `cdk synth` makes it, of an empty zip."""
    if shutil.which("node") is None:
        pytest.skip("aws-cdk-lib needs Node.js, and there is no node on PATH")
    folder = tmp_path_factory.mktemp("cdk")
    built = folder / "target/lambda/id-mapping-populator/bootstrap.zip"
    built.parent.mkdir(parents=True)
    with zipfile.ZipFile(built, "w") as archive:
        archive.writestr("bootstrap", "")
    context = {name: ",".join(listed(value)) for name, value in given.items()}
    environment = {**os.environ, "CDK_CONTEXT_JSON": json.dumps(context), "CDK_OUTDIR": str(folder / "out")}
    app = [sys.executable, ROOT / "docs/cdk/app.py"]
    done = subprocess.run(app, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "out/id-mapping-populator.template.json"


def test_the_cdk_app_deploys_what_the_template_does(synthesized, expected):
    text = synthesized.read_text()
    for name in json.loads(text)["Resources"]:
        # CDK puts a hash behind each name, and names a rule's permission itself.
        plain = re.sub("[0-9A-F]{8}$", "", re.sub("AllowEventRule.*", "Permission", name))
        text = text.replace(f'"{name}"', f'"{plain}"')
    assert cloudformation(json.loads(text), {}) == expected


def test_the_cdk_app_names_what_the_runbook_asks_for(synthesized):
    outputs = json.loads(synthesized.read_text())["Outputs"]
    for queue in ["DeadLetterQueue", "WaitingQueue"]:
        resource, attribute = outputs[f"{queue}Arn"]["Value"]["Fn::GetAtt"]
        assert (re.sub("[0-9A-F]{8}$", "", resource), attribute) == (queue, "Arn")
        assert outputs[f"{queue}Url"]["Value"] == {"Ref": resource}
    assert outputs.keys() <= TEMPLATE["Outputs"].keys()


def test_the_cdk_apps_template_passes_the_linter(synthesized):
    # CDK itself writes the dependency on the role that W3005 takes for redundant.
    assert lint_file(synthesized, ManualArgs(regions=["eu-west-1"], ignore_checks=["W3005"])) == []


TERRAFORM_NAMES = {
    "AssumeRolePolicy.": "AssumeRolePolicyDocument.",
    "MessageRetentionSeconds": "MessageRetentionPeriod",
    "VisibilityTimeoutSeconds": "VisibilityTimeout",
    "DeadLetterQueuePolicy.Policy.": "DeadLetterQueuePolicy.PolicyDocument.",
    "DeadLetterQueuePolicy.QueueUrl": "DeadLetterQueuePolicy.Queues",
    "LedgerTable.Attribute.": "LedgerTable.AttributeDefinitions.Attribute",
    "LedgerTable.HashKey": "LedgerTable.KeySchema.AttributeName",
    "LedgerTable.PointInTimeRecovery.": "LedgerTable.PointInTimeRecoverySpecification.PointInTimeRecovery",
    "LedgerTable.ServerSideEncryption.": "LedgerTable.SSESpecification.SSE",
    "PopulatorRequested.Arn": "PopulatorRequested.Targets.Arn",
    "PopulatorRequested.DeadLetterConfig.": "PopulatorRequested.Targets.DeadLetterConfig.",
}
# What Terraform says in arguments of its own.
TERRAFORM_ALONE = {
    "Populator.DependsOn": "PopulatorRole",
    "Populator.Filename": "docs/terraform/../../target/lambda/id-mapping-populator/bootstrap.zip",
    "Populator.SourceCodeHash": "the zip's hash",
    "PopulatorRequested.Rule": "PopulatorRequested",
    "PopulatorRole.Role": "PopulatorRole",
    "PopulatorScheduleRole.Role": "PopulatorScheduleRole",
}


def test_the_terraform_configuration_names_what_the_runbook_asks_for():
    outputs = re.findall(r"^output \"(\w+)\" { value = (.+) }$", (ROOT / "docs/terraform/main.tf").read_text(), re.M)
    queues = {
        (f"{queue}_{attribute}", f"aws_sqs_queue.{queue}.{attribute}")
        for queue in ["dead_letter_queue", "waiting_queue"]
        for attribute in ["arn", "url"]
    }
    assert set(outputs) == queues | {("function_arn", "aws_lambda_function.populator.arn")}


def terraform(given):
    """The facts of the Terraform configuration. It is not evaluated: each expression has to be one that is known here."""
    options = hcl2.SerializationOptions(
        with_comments=False, explicit_blocks=False, preserve_heredocs=False, strip_string_quotes=True
    )

    def parsed(text):
        return hcl2.loads(text, serialization_options=options)

    main = parsed((ROOT / "docs/terraform/main.tf").read_text())
    [local] = main["locals"]
    bus = main["data"][0]["aws_cloudwatch_event_bus"]["default"]
    tables, schedule = given["IdMappingTableArns"], given.get("ScheduleExpression")
    expressions = {
        "path.module": "docs/terraform",
        "var.name": "name",
        "filebase64sha256(local.zip)": "the zip's hash",
        "var.id_mapping_table_arns": tables,
        'join(",", var.id_mapping_table_arns)': ",".join(tables),
        'distinct([for arn in var.id_mapping_table_arns : split("/idmappingtable/", arn)[0]])': [MEMBERSHIP],
        "var.id_mapping_workflow_arns": given.get("IdMappingWorkflowArns", []),
        "var.collaboration_arns": given.get("CollaborationArns", []),
        'var.schedule_expression == "" ? "DISABLED" : "ENABLED"': "ENABLED" if schedule else "DISABLED",
        'var.schedule_expression == "" ? "rate(365 days)" : var.schedule_expression': schedule or "rate(365 days)",
        "data.aws_caller_identity.current.account_id": "123456789012",
        "data.aws_partition.current.partition": "aws",
        "data.aws_region.current.region": "eu-west-1",
        "data.aws_cloudwatch_event_bus.default.name": bus["name"],
        "data.aws_cloudwatch_event_bus.default.arn": f"arn:aws:events:eu-west-1:123456789012:event-bus/{bus['name']}",
    }

    statements = (
        '[for permission in local.permissions : merge({Effect = "Allow"}, permission) if length(permission.Resource) > 0]'
    )

    def named(key):
        return "".join(part.title() for part in key.split("_")) if re.fullmatch("[a-z_0-9]+", key) else key

    def evaluated(expression):
        if expression in expressions:
            return expressions[expression]
        if match := re.fullmatch(r"local\.(\w+)", expression):
            return value(local[match[1]])
        if match := re.fullmatch(r"jsonencode\((.*)\)", expression):
            return value(parsed(f"value = {match[1]}")["value"])
        if match := re.fullmatch(r"concat\((.*), (.*)\)", expression):
            return evaluated(match[1]) + evaluated(match[2])
        if expression == statements:
            return [{"Effect": "Allow", **permission} for permission in value(local["permissions"]) if permission["Resource"]]
        kind, name, attribute = [*expression.split("."), "id"][:3]
        assert any(name in block.get(kind, {}) for block in main["resource"]), f"unknown expression: {expression}"
        return named(name) + {"arn": ".Arn", "function_name": "", "id": "", "name": "", "url": ""}[attribute]

    def value(node):
        match node:
            case dict():
                return {key: value(item) for key, item in node.items()}
            case list():
                return [value(item) for item in node]
            case str() if match := re.fullmatch(r"\$\{(.*)\}", node):
                return evaluated(match[1])
            case str():
                text = re.sub(r"\$\{([^}]*)\}", lambda match: evaluated(match[1]), node)
                # CloudFormation's ARN of a log group ends so.
                return text.replace("LogGroup.Arn:*", "LogGroup.Arn").replace('\\"', '"')
        return node

    def arguments(node):
        """Arguments and blocks, named as CloudFormation's properties are; what jsonencode takes keeps its keys."""
        if isinstance(node, dict):
            return {named(key): arguments(item) for key, item in node.items()}
        if isinstance(node, list):
            return [arguments(item) for item in node]
        return value(node)

    properties = {}
    for block in main["resource"]:
        [(kind, resource)] = block.items()
        [(name, body)] = resource.items()
        # A role and its policy, and a rule and its target, have one name.
        made = properties.setdefault(named(name), {})
        made |= arguments(body)
        if kind == "aws_iam_role_policy":
            made["Permissions"] = permissions(made.pop("Policy")["Statement"])
    if properties["LedgerTable"].pop("Lifecycle", None) == [{"PreventDestroy": True}]:
        properties["LedgerTable"]["DeletionPolicy"] = "Retain"
    return facts(properties, TERRAFORM_NAMES)


def test_the_terraform_configuration_deploys_what_the_template_does(given, expected):
    # A hash key's type is not said again.
    assert terraform(given) | {"LedgerTable.KeySchema.KeyType": "HASH"} == expected | TERRAFORM_ALONE
