"""The files around the library: what a platform reads, and the claims that a reviewer repeats."""

import re
import shlex
import subprocess
import tomllib

import pytest
import yaml
from conftest import ROOT, cli

ROWS = [line.split(" | ") for line in (ROOT / "docs" / "claims.md").read_text().splitlines() if line.endswith(" |")][1:]
QUICK = [row for row in ROWS if re.fullmatch(r"\d+ s", row[2])]
FORMS = [("workflows", "github-workflows"), ("ISSUE_TEMPLATE", "github-issue-forms")]


@pytest.mark.parametrize("folder, schema", FORMS)
def test_what_github_reads_is_of_its_form(folder, schema, tmp_path):
    files = sorted(file for file in (ROOT / ".github" / folder).glob("*.yml") if file.name != "config.yml")
    assert len(files) > 1
    command = [ROOT / ".venv/bin/check-jsonschema", "--builtin-schema", f"vendor.{schema}"]
    assert subprocess.run([*command, *files]).returncode == 0
    broken = tmp_path / "broken.yml"
    broken.write_text(files[0].read_text().replace("name:", "nmae:", 1).replace("jobs:", "jbos:"))
    assert subprocess.run([*command, broken], capture_output=True).returncode == 1


def test_the_workflows_call_targets_that_are_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        steps = [step for job in yaml.safe_load(file.read_text())["jobs"].values() for step in job["steps"]]
        called = re.findall(r"make (\S+)", " ".join(step.get("run", "") for step in steps))
        assert called and set(called) <= targets


def test_the_version_that_is_cited_is_the_packages():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1] == version


def test_every_claim_has_a_command_and_a_time():
    assert len(ROWS) > 10 and len(QUICK) >= 6
    assert all(len(row) == 4 and row[1].strip().startswith("`") for row in ROWS[1:])


@pytest.mark.parametrize("row", QUICK, ids=lambda row: row[0].strip("| ")[:40])
def test_a_claim_is_what_its_command_prints(row, tmp_path):
    command = row[1].strip().strip("`").replace("build/score", str(tmp_path / "score"))
    program, *arguments = shlex.split(command)
    if program == ".venv/bin/asc-kit":
        done = cli(*arguments)
    else:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    printed = " ".join(done.stdout.split())
    expected = re.findall(r"`([^`]+)`", row[3])
    assert done.returncode == 0, done.stderr
    assert expected and all(text in printed for text in expected), printed


def test_the_notice_names_every_folder_of_results():
    notice = (ROOT / "results" / "NOTICE.md").read_text()
    committed = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True).stdout
    named = {line.split("/")[1] for line in committed.splitlines() if line.count("/") > 1}
    assert len(named) > 7 and {name for name in named if f"`{name}`" not in notice} == set()
