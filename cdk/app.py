"""An app that deploys the construct with the arguments that cdk.context.json has as `id-mapping-populator`.

docs/terraform-cdk.md has the commands.
"""

from aws_cdk import App, Stack
from id_mapping_populator import IdMappingPopulator

app = App()
stack = Stack(app, "id-mapping-populator")
arguments = app.node.try_get_context("id-mapping-populator")
if not isinstance(arguments, dict):
    raise SystemExit("write the construct's arguments into cdk.context.json, as the object id-mapping-populator")
IdMappingPopulator(stack, "Populator", **arguments)
app.synth()
