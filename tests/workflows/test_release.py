"""The scripts that make a release: the notes of its tag, and the zip."""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHANGELOG = """# Changelog

## [Unreleased]

## [1.2.0] - 2026-12-01

### Added

- A [page](docs/page.md) about [this](https://example.com).

## [1.1.0] - 2026-11-01

- Older.

[1.1.0]: https://example.com
"""


@pytest.fixture
def repository(tmp_path):
    """A repository with the scripts, in which `cargo` notes how it was called and writes a binary."""
    shutil.copytree(ROOT / ".ci", tmp_path / "src/.ci")
    for file, text in {
        "Cargo.toml": '[workspace.package]\nversion = "1.2.0"\n',
        "template.yaml": "Metadata:\n  Application:\n    SemanticVersion: 1.2.0\n",
        "CHANGELOG.md": CHANGELOG,
    }.items():
        (tmp_path / "src" / file).write_text(text)
    (tmp_path / "bin").mkdir()
    cargo = tmp_path / "bin/cargo"
    cargo.write_text(
        f"""#!/bin/sh
echo "$*|$RUSTFLAGS" >{tmp_path}/called
[ -e {tmp_path}/no-output ] && exit
mkdir -p "${{CARGO_TARGET_DIR:-target}}/lambda/id-mapping-populator"
printf binary >"${{CARGO_TARGET_DIR:-target}}/lambda/id-mapping-populator/bootstrap"
"""
    )
    cargo.chmod(0o755)
    return tmp_path / "src"


def run(repository, *command, **variables):
    path = f"{repository.parent}/bin:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": "/home/somebody", **variables}
    return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)


def change(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_the_notes_are_the_section_of_the_version(repository):
    notes = run(repository, ".ci/notes", "v1.2.0")
    assert notes.stdout == "### Added\n\n- A [page](docs/page.md) about [this](https://example.com).\n", notes.stderr


def test_the_last_section_ends_before_the_links(repository):
    change(repository / "Cargo.toml", "1.2.0", "1.1.0")
    change(repository / "template.yaml", "1.2.0", "1.1.0")
    assert run(repository, ".ci/notes", "v1.1.0").stdout == "- Older.\n"


def test_a_relative_link_of_the_notes_leads_to_the_file_of_the_tag(repository):
    notes = run(repository, ".ci/notes", "v1.2.0", "https://example.org/o/r").stdout
    assert "[page](https://example.org/o/r/blob/v1.2.0/docs/page.md) about [this](https://example.com)" in notes


@pytest.mark.parametrize(
    "file, old, new, message",
    [
        ("Cargo.toml", "1.2.0", "1.2.1", "Cargo.toml has version 1.2.1"),
        ("template.yaml", "1.2.0", "1.2.1", "template.yaml has version 1.2.1"),
        ("CHANGELOG.md", "[1.2.0]", "[1.2.1]", "CHANGELOG.md has no text under"),
        ("CHANGELOG.md", "[1.2.0] - 2026-12-01", "[1.2.0]", "CHANGELOG.md has no text under"),
        ("CHANGELOG.md", CHANGELOG[CHANGELOG.index("### Added") : CHANGELOG.index("## [1.1.0]")], "", "has no text under"),
    ],
)
def test_a_tag_without_its_version_or_its_section_is_refused(repository, file, old, new, message):
    change(repository / file, old, new)
    notes = run(repository, ".ci/notes", "v1.2.0")
    assert notes.returncode == 1 and notes.stdout == ""
    assert message in notes.stderr


def test_a_tag_without_a_v_is_refused(repository):
    notes = run(repository, ".ci/notes", "1.2.0")
    assert notes.returncode == 1 and notes.stderr.startswith("the tag is 1.2.0"), notes.stderr


@pytest.mark.parametrize("architecture, option", [("arm64", "--arm64"), ("x86_64", "--x86-64")])
def test_the_zip_has_the_bootstrap_of_the_architecture_alone(repository, architecture, option):
    packaged = run(repository, ".ci/package", architecture, "out/function.zip")
    assert packaged.returncode == 0, packaged.stderr
    called, flags = (repository.parent / "called").read_text().strip().split("|")
    assert called == f"lambda build --release --locked --quiet {option} --bin id-mapping-populator"
    assert flags == (
        f"--remap-path-prefix={repository}=/src --remap-path-prefix=/home/somebody/.cargo=/cargo"
        f" --remap-path-prefix={repository}/target=/target"
    )
    with zipfile.ZipFile(repository / "out/function.zip") as archive:
        [entry] = archive.infolist()
        assert (entry.filename, entry.external_attr >> 16) == ("bootstrap", 0o100755)
        assert entry.compress_type == zipfile.ZIP_STORED
        assert archive.read(entry) == b"binary"


def test_the_zip_does_not_depend_on_the_time_the_folders_or_the_mode(repository):
    os.umask(0o022)
    assert run(repository, ".ci/package", "arm64", "one.zip").returncode == 0
    bootstrap = repository / "target/lambda/id-mapping-populator/bootstrap"
    assert bootstrap.stat().st_mode & 0o777 == 0o644
    other = {"CARGO_TARGET_DIR": str(repository.parent / "other"), "CARGO_HOME": "/cargo-home", "TZ": "Asia/Tokyo"}
    assert run(repository, ".ci/package", "arm64", "two.zip", **other).returncode == 0
    assert (repository / "one.zip").read_bytes() == (repository / "two.zip").read_bytes()
    flags = (repository.parent / "called").read_text()
    assert "=/cargo-home=/cargo " in flags and flags.endswith(f"={repository.parent}/other=/target\n")


def test_a_binary_of_an_earlier_build_is_not_packaged(repository):
    assert run(repository, ".ci/package", "x86_64", "x86_64.zip").returncode == 0
    (repository.parent / "no-output").touch()
    assert run(repository, ".ci/package", "arm64", "arm64.zip").returncode != 0
    assert not (repository / "arm64.zip").exists()


@pytest.mark.parametrize("arguments", [["arm64"], ["aarch64", "function.zip"]])
def test_an_unknown_architecture_is_refused(repository, arguments):
    packaged = run(repository, ".ci/package", *arguments)
    assert packaged.stderr == "usage: .ci/package arm64|x86_64 ZIP\n"
