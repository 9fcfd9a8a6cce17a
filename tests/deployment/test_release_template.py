"""The templates of a release, as .ci/release-template writes them."""

import re
import subprocess

import pytest
from cfnlint import lint_file
from cfnlint.config import ManualArgs
from samtranslator.yaml_helper import yaml_parse
from templates import NAMES, ROOT, Refused, Stack, expanded, parsed, tables, text

SCRIPT = ROOT / ".ci/release-template"
VERSION = re.search(r"SemanticVersion: (\S+)", text("template.yaml"))[1]
FOLDER = f"id-mapping-populator/{VERSION}/"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release") / "assets"
    subprocess.run([SCRIPT, VERSION, folder], check=True)
    return folder


def test_it_has_all_templates_and_copies_the_others(release):
    assert sorted(path.name for path in release.iterdir()) == sorted(NAMES)
    for name in set(NAMES) - {"template.yaml"}:
        assert (release / name).read_text() == text(name)


def test_the_template_passes_cfn_lint_and_can_be_given_inline(release):
    config = ManualArgs(regions=["eu-west-1"])
    assert [str(match) for match in lint_file(release / "template.yaml", config=config)] == []
    # Without a bucket for the template itself.
    assert len((release / "template.yaml").read_bytes()) <= 51_200


def test_it_differs_only_in_where_the_files_are(release):
    ours, own = yaml_parse((release / "template.yaml").read_text()), parsed("template.yaml")
    bucket = ours["Parameters"].pop("ReleaseBucket")
    assert "Default" not in bucket and VERSION in bucket["Description"]
    [group] = [
        group for group in ours["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"] if "ReleaseBucket" in str(group)
    ]
    ours["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"].remove(group)
    for name in ["Populator", "Status"]:
        ours["Resources"][name]["Properties"]["CodeUri"] = "."
    for name in ["TablesStack", "MonitoringStack"]:
        ours["Resources"][name]["Properties"]["TemplateURL"] = own["Resources"][name]["Properties"]["TemplateURL"]
    assert ours == own and len(ours["Parameters"]) + 1 <= 25


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_the_code_and_the_nested_templates_are_files_of_the_release(release, architecture):
    # SAM itself resolves the parameters of a CodeUri.
    given = {"ReleaseBucket": "releases", "Architecture": architecture}
    template = expanded(yaml_parse((release / "template.yaml").read_text()), **given)
    stack = Stack("populator", template, {**tables([1]), **given})
    workflow = (ROOT / ".github/workflows/release.yml").read_text()
    assert '"assets/id-mapping-populator-$ARCHITECTURE.zip"' in workflow
    for name in ["Populator", "Status"]:
        key = f"{FOLDER}id-mapping-populator-{architecture}.zip"
        assert stack.resources[name]["Properties"]["Code"] == {"S3Bucket": "releases", "S3Key": key}
    for name, file in [("TablesStack", "tables.yaml"), ("MonitoringStack", "monitoring.yaml")]:
        url = stack.resources[name]["Properties"]["TemplateURL"]
        assert url == f"https://releases.s3.eu-west-1.amazonaws.com/{FOLDER}{file}" and (release / file).is_file()


def test_the_bucket_is_required_and_named_as_s3_names_it(release):
    template = expanded(yaml_parse((release / "template.yaml").read_text()))
    with pytest.raises(Refused, match="ReleaseBucket"):
        Stack("populator", template, tables([1]))
    for wrong in ["s3://releases", "Releases", "releases/", "arn:aws:s3:::releases"]:
        with pytest.raises(Refused, match="ReleaseBucket"):
            Stack("populator", template, {**tables([1]), "ReleaseBucket": wrong})


def copied(repository, template):
    """A repository with the script and this main template."""
    script = repository / ".ci/release-template"
    script.parent.mkdir(parents=True)
    script.write_text(SCRIPT.read_text())
    script.chmod(0o755)
    for name in set(NAMES) - {"template.yaml"}:
        (repository / name).write_text(text(name))
    (repository / "template.yaml").write_text(template)
    return repository


def run(repository, *arguments):
    return subprocess.run([repository / ".ci/release-template", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("      CodeUri: .\n", "      CodeUri: src\n", "must have 2 times: CodeUri: ."),
        ("TemplateURL: tables.yaml", "TemplateURL: ./tables.yaml", "must have 1 times: TemplateURL: tables.yaml"),
        ("\nParameters:\n", "\nParameters: \n", "must have 1 times: Parameters:"),
        (f"SemanticVersion: {VERSION}", "SemanticVersion: 9.9.9", f"has version 9.9.9, and not {VERSION}"),
    ],
)
def test_a_template_that_it_does_not_know_is_refused(tmp_path, old, new, message):
    assert old in text("template.yaml")
    copied(tmp_path, text("template.yaml").replace(old, new))
    refused = run(tmp_path, VERSION, str(tmp_path / "out"))
    assert refused.returncode == 1 and message in refused.stderr, refused.stderr
    assert not (tmp_path / "out").exists()


def test_it_needs_both_arguments():
    assert run(ROOT, VERSION).stderr == "usage: .ci/release-template VERSION DIRECTORY\n"
