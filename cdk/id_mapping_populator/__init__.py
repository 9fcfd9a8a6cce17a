"""A construct of AWS CDK that includes the template of a release of id-mapping-populator."""

import re
from pathlib import Path
from typing import Any, Unpack

from aws_cdk import App, CfnParameter, CfnStack, Intrinsic, Stack, Token
from aws_cdk.aws_sam import CfnFunction
from aws_cdk.cloudformation_include import CfnInclude
from constructs import Construct

from .parameters import Parameters

__all__ = ["IdMappingPopulator", "Parameters"]

# What tables.yaml takes, what the function takes, and for how many stacks a role takes managed policies.
TABLES_PER_STACK, MOST_TABLES, MOST_STACKS = 25, 100, 5


class IdMappingPopulator(Construct):
    """The resources of the template, in the stack of the scope. Their logical ids are those of the template.

    `template` is the `CfnInclude`, with which you can change a resource: `populator.template.get_resource("LogGroup")`.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        template_file: str,
        release_bucket: str,
        schema_registry: bool = False,
        tables_per_stack: int = TABLES_PER_STACK,
        **parameters: Unpack[Parameters],
    ) -> None:
        """Includes `template_file`, which is the file `template.yaml` of a release.

        `release_bucket` has the release's files, and is in the Region of the stack. A nested stack is added for each
        `tables_per_stack` further tables. If names of workflows have more than 60 characters, write less than 25, but
        not so little that there are more than five stacks: a policy and a parameter of CloudFormation take only so much
        text. With `schema_registry` a nested stack has an EventBridge schema registry with the JSON Schemas of requests
        and outcome events.

        The other arguments are the template's parameters. Their values must be known when the app runs, because the
        conditions of a template may not refer to resources.
        """
        super().__init__(scope, id)
        if unknown := parameters.keys() - Parameters.__annotations__.keys():
            raise TypeError(f"unknown arguments: {', '.join(sorted(unknown))}")
        if missing := Parameters.__required_keys__ - parameters.keys():
            raise TypeError(f"missing arguments: {', '.join(sorted(missing))}")

        stack = Stack.of(self)
        release = f"https://{release_bucket}.s3.{stack.region}.{stack.url_suffix}/{_release(template_file)}"
        workflows = parameters.get("id_mapping_workflow_arns", [])
        first, *further = _groups(parameters["id_mapping_table_arns"], workflows, tables_per_stack)
        if further and parameters.get("own_tables_only"):
            raise ValueError("own_tables_only is not for stacks with further tables")
        given = {_parameter(name): value for name, value in parameters.items()} | first
        # CfnInclude removes the parameters that have a value, so another copy tells how they are defined.
        definitions = CfnInclude(Stack(App(), "definitions"), "template", template_file=template_file)
        values = {
            name: _value(name, definitions.get_parameter(name), given, stack)
            for name in [*map(_parameter, Parameters.__annotations__), "MembershipArns"]
        }
        values["ReleaseBucket"] = release_bucket
        preference = values["DeploymentPreference"]
        # CfnInclude takes no text for `Enabled`, but a token, which is replaced below.
        values["DeploymentPreference"] = Intrinsic(preference)
        # It has to come first, and the resources of SAM add theirs.
        stack.add_transform("AWS::LanguageExtensions")
        self.template = CfnInclude(self, "Template", template_file=template_file, parameters=values)
        function = self.template.get_resource("Populator")
        shifted = function.deployment_preference
        function.deployment_preference = CfnFunction.DeploymentPreferenceProperty(
            enabled=bool(preference), type=shifted.type, role=shifted.role, alarms=shifted.alarms
        )

        roles_and_path = {name: self.output(name) for name in ["PopulatorRoleName", "StatusRoleName", "TablesPath"]}
        for number, group in enumerate(further, 2):
            lists = {name: ",".join(arns) for name, arns in group.items()}
            CfnStack(self, f"Tables{number}", template_url=f"{release}/tables.yaml", parameters=lists | roles_and_path)
        if schema_registry:
            CfnStack(self, "Schemas", template_url=f"{release}/schemas.yaml")

    def output(self, name: str) -> str:
        """The value of an output of the template, such as `FunctionArn`."""
        return Token.as_string(self.template.get_output(name).value)


def _release(template_file: str) -> str:
    """The folder of the release in the bucket, which the template of a release has the version of."""
    found = re.search(r"id-mapping-populator/[0-9]+\.[0-9]+\.[0-9]+[^/\s]*(?=/)", Path(template_file).read_text())
    if not found:
        raise ValueError(f"{template_file} is not the template of a release: it does not say where the release's files are")
    return found[0]


def _parameter(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _groups(tables: list[str], workflows: list[str], size: int) -> list[dict[str, list[str]]]:
    """The lists of each stack. All policies are attached to the same roles, so a workflow need not be with its tables."""
    if not 1 <= size <= TABLES_PER_STACK:
        raise ValueError(f"tables_per_stack must be from 1 to {TABLES_PER_STACK}")
    if not 1 <= len(tables) <= MOST_TABLES:
        raise ValueError(f"id_mapping_table_arns has {len(tables)} ARNs, and must have 1 to {MOST_TABLES}")
    for name, arns in [("id_mapping_table_arns", tables), ("id_mapping_workflow_arns", workflows)]:
        if len(set(arns)) < len(arns):
            raise ValueError(f"{name} must have each ARN once")
    if len(tables) > size * MOST_STACKS:
        raise ValueError(f"tables_per_stack is too small: there may be {MOST_STACKS} stacks with tables")
    groups = []
    for start in range(0, len(tables), size):
        of_group = tables[start : start + size]
        groups.append(
            {
                "IdMappingTableArns": of_group,
                "MembershipArns": list(dict.fromkeys(arn.split("/idmappingtable/")[0] for arn in of_group)),
                "IdMappingWorkflowArns": workflows[start : start + size],
            }
        )
    if len(workflows) > size * len(groups):
        raise ValueError("there are too many workflows for these tables: each table has one")
    return groups


def _value(name: str, definition: CfnParameter, given: dict[str, Any], stack: Stack) -> Any:
    """The value of a parameter, checked as CloudFormation checks it if the template is deployed without CDK."""
    value = given.get(name)
    if value is None:
        value = definition.default
    if definition.type == "CommaDelimitedList":
        items = value.split(",") if isinstance(value, str) else list(value)
        value = items or [""]
    elif isinstance(value, bool):
        value = str(value).lower()
    for item in value if isinstance(value, list) else [value]:
        resolved = stack.resolve(item)
        if not isinstance(resolved, (str, int, float)):
            _check_reference(name, resolved)
        elif fault := _fault(definition, resolved):
            raise ValueError(f"{name} is {resolved!r}, and must be {fault}")
    return value


def _check_reference(name: str, value: Any) -> None:
    """Raises an error if the value is known only after a deployment. AWS's own parameters, such as Regions, are known."""
    if isinstance(value, dict):
        for function, argument in value.items():
            is_known = function in ("Fn::Join", "Fn::Sub") or function == "Ref" and argument.startswith("AWS::")
            if not is_known:
                raise ValueError(f"{name} refers to a resource, and must be known when the app runs: write the name or ARN")
            _check_reference(name, argument)
    elif isinstance(value, list):
        for item in value:
            _check_reference(name, item)


def _fault(definition: CfnParameter, value: str | float) -> str | None:
    """What a value must be, if it is not."""
    pattern, allowed = definition.allowed_pattern, definition.allowed_values
    least, most = definition.min_value, definition.max_value
    if pattern and not re.fullmatch(pattern, str(value)):
        return definition.constraint_description or f"as {pattern} says"
    if allowed and str(value) not in map(str, allowed):
        return "one of " + ", ".join(repr(str(item)) for item in allowed)
    if definition.type == "Number":
        if not isinstance(value, (int, float)):
            return "a number"
        if least is not None and value < least:
            return f"at least {least:g}"
        if most is not None and value > most:
            return f"at most {most:g}"
    return None
