"""A configuration document that cannot be used: every mistake with its place, and the last good one stays in force."""

import re
import subprocess
import textwrap

import pytest

from fieldgate_testing.process import program
from modbus_peers.plant import document

EXIT_CONFIGURATION = 78

# Each mistake is followed by a comment: # path where it must be reported.
MALFORMED = """
links:
  - name: cell-1
    tcp: {host: 127.0.0.1, port: 502}
    timeuot: 1s                            # links[0].timeuot
devices:
  - name: press-1
    link: cell-1
    unit: one                              # devices[0].unit
groups:
  - name: fast
    devices: [press-1]
    period: 100 parsecs                    # groups[0].period
    tags:
      - name: temperature
        table: holding-registers           # groups[0].tags[0].table
        address: 0
        type: f32
      - name: pressure
        table: holding-register
        address: 65536                     # groups[0].tags[1].address
        type: f32
"""
CONTRADICTORY = """
links:
  - name: cell-1
    tcp: {host: 127.0.0.1, port: 502}
devices:
  - name: press-1
    link: cell-2                           # devices[0].link
  - name: press-1                          # devices[1].name
    link: cell-1
groups:
  - name: fast
    devices:
      - press-1
      - press-7                            # groups[0].devices[1]
    period: 100ms
    tags:
      - name: temperature
        table: holding-register
        address: 0
        type: f32
      - name: pressure
        table: holding-register
        address: 1                         # groups[0].tags[1].address
        type: f32
      - name: level
        table: holding-register
        address: 65535                     # groups[0].tags[2].address
        type: f32
      - name: text
        table: input-register
        address: 0
        type: string
        length: 0                          # groups[0].tags[3].length
"""


def expected_places(text):
    """{path: line} of the marked mistakes."""
    return {match[1]: number for number, line in enumerate(text.splitlines(), 1) if (match := re.search(r"# (\S+)$", line))}


def run(configuration, *more):
    command = [program("modbus-reader"), "--config", configuration, "--ops-address", "127.0.0.1:0", "--app-port", "0", *more]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("check", [["--check"], []], ids=["check", "start"])
@pytest.mark.parametrize("text", [MALFORMED, CONTRADICTORY], ids=["malformed", "contradictory"])
def test_every_mistake_is_reported_with_file_line_column_and_path(tmp_path, text, check):
    configuration = tmp_path / "line-4.yaml"
    configuration.write_text(text)
    result = run(configuration, *check)
    assert result.returncode == EXIT_CONFIGURATION, result.stderr
    pattern = re.compile(re.escape(str(configuration)) + r":(\d+):(\d+): ([^\s:]+): (\S.*)")
    found = [(match[3], int(match[1]), int(match[2]), match[4]) for match in pattern.finditer(result.stderr)]
    for path, line in expected_places(text).items():
        here = [problem for problem in found if problem[1] == line and problem[0] == path]
        assert here, f"nothing about {path} in line {line}:\n{result.stderr}"
        source = text.splitlines()[line - 1]
        assert all(0 < column <= len(source) and source[column - 1] != " " for _, _, column, _ in here), here
    # Nothing is reported that is no mistake: one place may have several problems, but there is no other place.
    lines = {line for _, line, _, _ in found}
    assert lines == set(expected_places(text).values()), result.stderr


def test_a_document_that_is_no_yaml_is_reported_with_its_place(tmp_path):
    configuration = tmp_path / "broken.yaml"
    configuration.write_text("links:\n  - {name: cell-1, tcp: {host: a}\ndevices: []\n")
    result = run(configuration, "--check")
    assert result.returncode == EXIT_CONFIGURATION
    assert re.search(re.escape(str(configuration)) + r":\d+:\d+: \S", result.stderr), result.stderr


def test_a_good_document_passes_the_check(tmp_path, plant):
    configuration = tmp_path / "good.yaml"
    configuration.write_text(document(plant.configuration()))
    result = run(configuration, "--check")
    assert result.returncode == 0, result.stderr


def test_a_broken_change_leaves_the_last_good_configuration_in_force(reader, plant):
    mark = reader.broker.mark()
    before = reader.event("steady", "fast")
    reader.module.configure(textwrap.dedent(CONTRADICTORY))
    try:
        status = reader.status(lambda data: data["configuration"]["state"] == "rejected", "the rejection in a status event", mark)
        configuration = status["configuration"]
        assert configuration["name"] == "conformance" and configuration["version"] == "1", "those in force"
        errors = "\n".join(configuration["errors"])
        assert "press-7" in errors and re.search(r"modbus-reader\.yaml:\d+:\d+: groups\[0\]\.devices\[1\]", errors), errors
        after = reader.event("steady", "fast", lambda data: data["values"], "events after the rejection")
        assert after["epoch"] == before["epoch"] and after["sequence"] > before["sequence"]
    finally:
        reader.module.configure(document(plant.configuration()))
    reader.status(lambda data: data["configuration"]["state"] == "in-force", "the configuration in force again", reader.broker.mark())


def test_a_good_change_is_applied_without_a_restart(reader, plant):
    changed = plant.configuration(version="2")
    fast = next(group for group in changed["groups"] if group["name"] == "fast")
    fast["tags"] = fast["tags"] + [{"name": "level-again", "table": "holding-register", "address": 0, "type": "i16", "overlap": "allow"}]
    mark = reader.broker.mark()
    reader.module.configure(document(changed))
    try:
        both = {"level": 4711, "level-again": 4711}
        reader.event("steady", "fast", lambda data: data["values"] == both, "the new tag", mark)
        in_force = lambda data: data["configuration"]["version"] == "2" and data["configuration"]["state"] == "in-force"  # noqa: E731
        reader.status(in_force, "version 2 in a status event", mark)
        assert reader.module.process.running()
    finally:
        mark = reader.broker.mark()
        reader.module.configure(document(plant.configuration()))
    data = reader.event("steady", "fast", lambda data: data["values"] == {"level": 4711}, "the old tags again", mark)
    streams = [event.data for event in reader.stream("steady", "fast", 0) if event.data["epoch"] == data["epoch"]]
    sequences = [data["sequence"] for data in streams]
    assert len(set(sequences)) == len(sequences), "a sequence number was used twice in one epoch"
