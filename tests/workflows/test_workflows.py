"""GitHub's workflows: what they may do, what they run, and that nobody can exchange it."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / ".github/workflows").iterdir())
WORKFLOWS = {file.name: YAML(typ="safe").load(file) for file in FILES}
JOBS = {(file, name): job for file, workflow in WORKFLOWS.items() for name, job in workflow["jobs"].items()}
STEPS = [(job, step) for job, members in JOBS.items() for step in members.get("steps", [])]

# What a job may do besides reading the repository.
MAY_WRITE = {
    ("release.yml", "attest"): {"id-token": "write", "attestations": "write"},
    ("release.yml", "publish"): {"contents": "write"},
}


def used():
    """What the workflows use, with the comments."""
    lines = [line for file in FILES for line in file.read_text().splitlines()]
    return [line.split("uses: ", 1)[1] for line in lines if "uses: " in line]


def steps_of_the_run():
    """The steps that `.ci/run` lists, and the ones that it runs without an argument."""
    run = [ROOT / ".ci/run", "--help"]
    usage = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    listed = re.findall(r"^  (\w+)  +\S", usage, re.M)
    [order] = re.findall(r"for name in (.+); do", (ROOT / ".ci/run").read_text())
    return listed, order.split()


def test_the_workflows_were_found():
    assert list(WORKFLOWS) == ["ci.yml", "release.yml"]
    assert len(used()) > 10


def test_an_action_is_pinned_by_its_commit_with_the_version_as_a_comment():
    pins = {}
    for use in used():
        if use.startswith("./"):
            assert (ROOT / use.split(" #")[0]).exists(), use
            continue
        pin = re.fullmatch(r"(actions/[a-z-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", use)
        assert pin, f"{use} is not OWNER/ACTION@COMMIT # VERSION of GitHub's own actions"
        assert pins.setdefault(pin[1], use) == use, f"{pin[1]} has two versions"


@pytest.mark.parametrize("file", WORKFLOWS)
def test_a_workflow_has_no_permissions_no_secrets_and_no_privileged_trigger(file):
    workflow = WORKFLOWS[file]
    assert workflow["permissions"] == {}
    assert set(workflow["on"]) <= {"push", "pull_request", "workflow_call"}
    assert "secrets" not in (ROOT / ".github/workflows" / file).read_text()


@pytest.mark.parametrize("job", JOBS, ids="/".join)
def test_a_job_has_the_least_permissions_and_ends(job):
    members = JOBS[job]
    may_write = MAY_WRITE.get(job, {})
    assert members["permissions"] in (may_write, {"contents": "read", **may_write})
    # The jobs of a called workflow have their own timeouts.
    assert "uses" in members or 0 < members["timeout-minutes"] <= 60


def test_each_job_that_may_write_exists():
    assert set(MAY_WRITE) <= set(JOBS)


def test_only_the_github_command_gets_the_token():
    for job, step in STEPS:
        if "uses" in step:
            assert "token" not in str(step), (job, step)
            is_checkout = step["uses"].startswith("actions/checkout@")
            assert not is_checkout or step["with"]["persist-credentials"] is False, (job, step)
    for owner in [*WORKFLOWS.values(), *JOBS.values()]:
        assert "token" not in str(owner.get("env")), owner["env"]
    with_token = [job for job, step in STEPS if "token" in str(step)]
    assert with_token == [("release.yml", "publish")]


def test_a_script_has_no_expression_and_passes_shellcheck(tmp_path):
    """An expression's value would be code. The environment passes it on as data. GitHub runs scripts with `bash -e`."""
    for number, (job, step) in enumerate(STEPS):
        if script := step.get("run"):
            assert "${{" not in script, (job, script)
            file = tmp_path / f"{number}.sh"
            file.write_text("set -e\n" + script)
    files = sorted(tmp_path.iterdir())
    assert len(files) > 5
    checked = subprocess.run(["shellcheck", "--shell", "bash", *files], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_ci_runs_each_step_of_the_run_except_the_mutants():
    listed, order = steps_of_the_run()
    assert listed == [*order, "mutants"]
    defined = re.findall(r"^run_(\w+)\(\) \{$", (ROOT / ".ci/run").read_text(), re.M)
    assert sorted(defined) == sorted(listed)
    [job] = WORKFLOWS["ci.yml"]["jobs"].values()
    assert job["strategy"]["matrix"] == {"step": order}
    [step] = [step for step in job["steps"] if ".ci/run" in step.get("run", "")]
    assert step["run"] == '.ci/run "$STEP"'
    assert step["env"] == {"STEP": "${{ matrix.step }}", "ADVISORIES": "required", "LOCALSTACK": "required"}


@pytest.mark.parametrize("argument", ["lints", "lint docs", "run_lint"])
def test_what_is_not_a_step_is_refused_with_the_list(argument):
    run = subprocess.run([ROOT / ".ci/run", argument], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(f"{argument} is not a step\nusage: ") and "  lint  " in run.stderr


def test_a_release_needs_all_of_ci_and_is_attested_before_it_is_published():
    jobs = WORKFLOWS["release.yml"]["jobs"]
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert jobs["publish"]["needs"] == "attest"
    assert jobs["attest"]["needs"] == ["ci", "build"]
    assert (jobs["ci"]["needs"], jobs["build"]["needs"]) == ("notes", "notes")
    [attest] = [step for step in jobs["attest"]["steps"] if "actions/attest@" in step.get("uses", "")]
    assert attest["with"] == {"subject-checksums": "assets/SHA256SUMS"}


def test_the_workflows_and_the_page_have_one_version_of_rust_which_is_new_enough():
    [version] = {workflow["env"]["RUSTUP_TOOLCHAIN"] for workflow in WORKFLOWS.values()}
    page = (ROOT / "docs/releasing.md").read_text()
    for command in [f"rustup toolchain install {version} ", f"export RUSTUP_TOOLCHAIN={version} "]:
        assert command in page
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
    number = [[int(part) for part in text.split(".")] for text in (version, package["rust-version"])]
    assert len(number[0]) == 3 and number[0] >= number[1]


def test_the_bill_of_materials_is_made_as_the_page_says():
    [build] = [step["run"] for _, step in STEPS if "cyclonedx" in step.get("run", "")]
    page = (ROOT / "SECURITY.md").read_text()
    for command in [r"cargo install --locked cargo-cyclonedx@\S+", r"cargo cyclonedx --format json --target "]:
        [own] = re.findall(command, build)
        assert own in page
