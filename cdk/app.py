"""An app that deploys the construct with arguments of the context `id-mapping-populator`. Run it from the project's root.

docs/deploy.md has the commands. A file `cdk.context.json` may have the context.
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
