"""A provider for Terraform in place of AWS's own, which cannot be had without Terraform's registry.

It has the arguments of the module's resources and data sources that AWS's provider has (version 6), and keeps stacks in
the state only. The outputs of each stack are those of the template that its URL names, as the variable TEMPLATES says.
"""

import json
import os
from pathlib import PurePosixPath

from tf.iface import DataSource, Provider, Resource
from tf.runner import run_provider
from tf.schema import Attribute, Schema
from tf.types import Bool, Map, Number, Set, String


def optional(**types):
    return [Attribute(name, type_, optional=True) for name, type_ in types.items()]


def computed(**types):
    return [Attribute(name, type_, computed=True) for name, type_ in types.items()]


class Named(Resource):
    def __init__(self, provider):
        pass

    def create(self, ctx, planned):
        return planned | {"id": planned["name"]}

    def read(self, ctx, current):
        return current

    def update(self, ctx, current, planned):
        return planned | {"id": current["id"]}

    def delete(self, ctx, current):
        pass


class Stack(Named):
    @classmethod
    def get_name(cls):
        return "cloudformation_stack"

    @classmethod
    def get_schema(cls):
        texts = ["iam_role_arn", "on_failure", "policy_body", "policy_url", "region", "template_body", "template_url"]
        arguments = optional(
            **dict.fromkeys(texts, String()),
            capabilities=Set(String()),
            disable_rollback=Bool(),
            notification_arns=Set(String()),
            parameters=Map(String()),
            tags=Map(String()),
            timeout_in_minutes=Number(),
        )
        attributes = computed(id=String(), outputs=Map(String()))
        return Schema([Attribute("name", String(), required=True), *arguments, *attributes])

    def create(self, ctx, planned):
        template = json.loads(os.environ["TEMPLATES"])[PurePosixPath(planned["template_url"]).name]
        return super().create(ctx, planned) | {"outputs": {name: f"{name}-of-{planned['name']}" for name in template}}

    def update(self, ctx, current, planned):
        return super().update(ctx, current, planned) | {"outputs": current["outputs"]}


class Topic(Named):
    @classmethod
    def get_name(cls):
        return "sns_topic"

    @classmethod
    def get_schema(cls):
        return Schema([Attribute("name", String(), required=True), *computed(id=String(), arn=String())])

    def create(self, ctx, planned):
        return super().create(ctx, planned) | {"arn": f"arn:aws:sns:eu-west-1:123456789012:{planned['name']}"}


class Found(DataSource):
    def __init__(self, provider):
        pass


class Region(Found):
    @classmethod
    def get_name(cls):
        return "region"

    @classmethod
    def get_schema(cls):
        return Schema(computed(id=String(), region=String()))

    def read(self, ctx, config):
        return {"id": "eu-west-1", "region": "eu-west-1"}


class Partition(Found):
    @classmethod
    def get_name(cls):
        return "partition"

    @classmethod
    def get_schema(cls):
        return Schema(computed(id=String(), partition=String(), dns_suffix=String()))

    def read(self, ctx, config):
        return {"id": "aws", "partition": "aws", "dns_suffix": "amazonaws.com"}


class Aws(Provider):
    def get_model_prefix(self):
        return "aws_"

    def get_provider_schema(self, diags):
        return Schema(optional(region=String()))

    def full_name(self):
        return "hashicorp/aws"

    def validate_config(self, diags, config):
        pass

    def configure_provider(self, diags, config):
        pass

    def get_data_sources(self):
        return [Region, Partition]

    def get_resources(self):
        return [Stack, Topic]


if __name__ == "__main__":
    run_provider(Aws())
