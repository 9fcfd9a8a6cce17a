"""The templates, and what CloudFormation makes of them: SAM's expansion by `samtranslator`, and the values of the
intrinsic functions that they use."""

import logging
import re
from functools import cache
from pathlib import Path

import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["template.yaml", "tables.yaml", "monitoring.yaml", "schemas.yaml"]
# The nested stacks of the first one, by their templates.
NESTED = {"tables.yaml": "TablesStack", "monitoring.yaml": "MonitoringStack"}
REGION, ACCOUNT = "eu-west-1", "123456789012"


@cache
def text(name):
    return (ROOT / name).read_text()


def parsed(name):
    return yaml_parse(text(name))


class ManagedPolicies:
    def load(self):
        return {}


def expanded(template, **parameters):
    """The template as SAM expands it. `sam deploy`, and the release, give the code a bucket."""
    for resource in template["Resources"].values():
        if resource["Properties"].get("CodeUri") == ".":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    logging.getLogger("samtranslator").setLevel(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_DEFAULT_REGION", REGION)
        return transform(template, parameters, ManagedPolicies())


NO_VALUE = object()


class Refused(Exception):
    """CloudFormation refuses a parameter."""


def checked(name, parameter, value):
    values = value.split(",") if parameter["Type"] == "CommaDelimitedList" else [value]
    if len(value.encode()) > 4096:
        raise Refused(f"{name}: too long")
    for one in values:
        if not re.fullmatch(parameter.get("AllowedPattern", ".*"), one):
            raise Refused(f"{name}: {parameter.get('ConstraintDescription')}")
        if one not in [str(allowed) for allowed in parameter.get("AllowedValues", [one])]:
            raise Refused(f"{name}: not allowed")
    return values if parameter["Type"] == "CommaDelimitedList" else value


class Stack:
    """A stack of a template: its resources and outputs with their values.

    A reference to a resource is `STACK-RESOURCE`, and an attribute `STACK-RESOURCE-ATTRIBUTE`.
    """

    def __init__(self, name, template, parameters, region=REGION):
        self.name, self.template, self.region = name, template, region
        known = template["Parameters"]
        if unknown := parameters.keys() - known.keys():
            raise Refused(f"unknown parameters: {unknown}")
        if missing := {name for name in known.keys() - parameters.keys() if "Default" not in known[name]}:
            raise Refused(f"missing parameters: {missing}")
        given = {name: str(parameters.get(name, known[name].get("Default"))) for name in known}
        self.parameters = {name: checked(name, known[name], value) for name, value in given.items()}
        for rule in template.get("Rules", {}).values():
            if self.value(rule.get("RuleCondition", True)):
                for assertion in rule["Assertions"]:
                    if not self.value(assertion["Assert"]):
                        raise Refused(assertion["AssertDescription"])
        self.nested, self.resources = {}, {}
        wanted = {
            name: resource for name, resource in template["Resources"].items() if self.holds(resource.get("Condition"))
        }
        for logical, resource in wanted.items():
            self.resources[logical] = self.value(resource)
        self.outputs = {
            name: self.value(output["Value"])
            for name, output in template.get("Outputs", {}).items()
            if self.holds(output.get("Condition"))
        }

    def holds(self, condition):
        return condition is None or self.value(self.template["Conditions"][condition])

    def stack(self, logical):
        if logical not in self.nested:
            properties = self.template["Resources"][logical]["Properties"]
            template = parsed(self.value(properties["TemplateURL"]).rsplit("/")[-1])
            parameters = self.value(properties["Parameters"])
            self.nested[logical] = Stack(f"{self.name}-{logical}", template, parameters, self.region)
        return self.nested[logical]

    def ref(self, name):
        pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::NoValue": NO_VALUE,
            "AWS::Partition": "aws",
            "AWS::Region": self.region,
            "AWS::StackName": self.name,
            "AWS::URLSuffix": "amazonaws.com",
        }
        if name in pseudo:
            return pseudo[name]
        return self.parameters[name] if name in self.parameters else self.made(name)

    def made(self, logical):
        resource = self.template["Resources"][logical]
        assert self.holds(resource.get("Condition")), f"{logical} is not made"
        if resource["Type"] == "AWS::Lambda::Alias":
            return f"arn:aws:lambda:{self.region}:{ACCOUNT}:function:{self.name}-Populator:{resource['Properties']['Name']}"
        return f"{self.name}-{logical}"

    def attribute(self, resource, name):
        self.made(resource)
        if name.startswith("Outputs."):
            return self.stack(resource).outputs[name.removeprefix("Outputs.")]
        made = f"{self.name}-{resource}"
        return f"arn:aws:made:{self.region}:{ACCOUNT}:{made}" if name == "Arn" else f"{made}-{name}"

    def value(self, node):
        if isinstance(node, list):
            return [value for value in map(self.value, node) if value is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(function, argument)] = node.items()
            if function in FUNCTIONS:
                return FUNCTIONS[function](self, argument)
            assert not function.startswith("Fn::"), function
        values = {name: self.value(value) for name, value in node.items()}
        return {name: value for name, value in values.items() if value is not NO_VALUE}

    def substituted(self, argument):
        template, variables = (argument, {}) if isinstance(argument, str) else argument

        def named(match):
            name = match[1]
            if name in variables:
                return str(self.value(variables[name]))
            resource, dot, attribute = name.partition(".")
            return str(self.attribute(resource, attribute) if dot else self.ref(name))

        return re.sub(r"\$\{([A-Za-z0-9:.]+)\}", named, template)

    def selected(self, argument):
        index, values = argument
        return self.value(values)[int(index)]

    def split(self, argument):
        delimiter, value = argument
        return self.value(value).split(delimiter)

    def joined(self, argument):
        delimiter, values = argument
        return delimiter.join(self.value(values))

    def chosen(self, argument):
        condition, yes, no = argument
        return self.value(yes if self.holds(condition) else no)

    def equals(self, argument):
        first, second = (str(self.value(side)) for side in argument)
        return first == second

    def every_member_equals(self, argument):
        values, other = argument
        return all(value == other for value in self.value(values))


FUNCTIONS = {
    "Condition": lambda stack, name: stack.holds(name) if isinstance(name, str) else {"Condition": stack.value(name)},
    "Fn::And": lambda stack, argument: all(map(stack.value, argument)),
    "Fn::EachMemberEquals": Stack.every_member_equals,
    "Fn::Equals": Stack.equals,
    "Fn::GetAtt": lambda stack, argument: stack.attribute(*argument),
    "Fn::If": Stack.chosen,
    "Fn::Join": Stack.joined,
    "Fn::Not": lambda stack, argument: not stack.value(argument[0]),
    "Fn::Or": lambda stack, argument: any(map(stack.value, argument)),
    "Fn::Select": Stack.selected,
    "Fn::Split": Stack.split,
    "Fn::Sub": Stack.substituted,
    "Ref": lambda stack, name: stack.ref(name),
}


def with_policies(resources, stack):
    """The resources with what CloudFormation makes of their policies, after their creation. No emulator takes functions
    in them, or RetainExceptOnCreate."""
    policies = {"DeletionPolicy", "UpdateReplacePolicy"}

    def value(logical, resource, name):
        return stack.resources.get(logical, resource)[name].replace("RetainExceptOnCreate", "Retain")

    return {
        logical: {**resource, **{name: value(logical, resource, name) for name in policies & resource.keys()}}
        for logical, resource in resources.items()
    }


def table(number, membership=1, region=REGION):
    return f"{membership_arn(membership, region)}/idmappingtable/{table_id(number)}"


def table_id(number):
    return f"aaaaaaaa-{number:04}-4000-8000-{number:012}"


def membership_arn(number, region=REGION):
    return f"arn:aws:cleanrooms:{region}:{ACCOUNT}:membership/11111111-{number:04}-4333-8444-555555555555"


def workflow(number, region=REGION):
    return f"arn:aws:entityresolution:{region}:{ACCOUNT}:idmappingworkflow/customers-{number:04}".ljust(
        len(f"arn:aws:entityresolution:{region}:{ACCOUNT}:idmappingworkflow/") + 60, "w"
    )


def tables(numbers, memberships=None, region=REGION):
    """The parameters for tables, each with a membership and a workflow of its own, or with as many memberships."""
    numbers = list(numbers)
    of = {number: number if memberships is None else 1 + index % memberships for index, number in enumerate(numbers)}
    return {
        "IdMappingTableArns": ",".join(table(number, of[number], region) for number in numbers),
        "MembershipArns": ",".join(membership_arn(number, region) for number in dict.fromkeys(of.values())),
        "IdMappingWorkflowArns": ",".join(workflow(number, region) for number in numbers),
    }


def main_stack(name="populator", region=REGION, **parameters):
    template = parsed("template.yaml")
    # SAM sees the parameters that it needs itself.
    given = {name: parameters[name] for name in parameters if name in template["Parameters"]}
    template = expanded(template, **given)
    stack = Stack(name, template, {**tables([1], region=region), **parameters}, region)
    for logical, resource in template["Resources"].items():
        if resource["Type"] == "AWS::CloudFormation::Stack" and logical in stack.resources:
            stack.stack(logical)
    return stack
