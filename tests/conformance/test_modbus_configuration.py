"""A configuration document that cannot be used: every mistake with its place, and the last good one stays in force."""

import json
import re
import subprocess

import pytest

from fieldgate_testing.process import program
from modbus_peers.plant import document

EXIT_CONFIGURATION = 78

# Every kind of mistake in one document. Each is marked where it must be reported: # path @ what the column points at: some words of the message.
MISTAKES = """
name: line-4
version: 3
links:
  - name: cell-1
    tcp: {host: 127.0.0.1, port: 502}
    timeuot: 1s                            # links[0].timeuot @timeuot: unknown key; did you mean "timeout"?
devices:
  - name: press-1
    link: cell-1
    unit: one                              # devices[0].unit @one: must be a whole number from 0 to 255, not the text "one"
  - name: press-1                          # devices[1].name @press-1: already defined at 9:11
    link: cell-2                           # devices[1].link @cell-2: there is no link "cell-2"
    colour: red                            # devices[1].colour @colour: unknown key; remove it
groups:
  - name: fast
    devices:
      - press-1
      - press-7                            # groups[0].devices[1] @press-7: there is no device "press-7"
    period: 100 parsecs                    # groups[0].period @100: must be a duration
    tags:
      - name: temperature
        table: holding-register
        address: 10
        type: f32
      - name: pressure
        table: holding-register
        address: 11                        # groups[0].tags[1].address @11: is also in tag "temperature", at 22:9
        type: f32
        unit: bar                          # groups[0].tags[1].unit @unit: unknown key; remove it
      - name: level
        table: holding-register
        address: 65536                     # groups[0].tags[2].address @65536: 65536 is out of range; give a number from 0 to 65535
        type: f32
      - name: speed
        table: holding-register
        address: 65535                     # groups[0].tags[3].address @65535: the last possible address is 65534
        type: f32
      - table: coil                        # groups[0].tags[4] @table: the key "name" is missing
        address: [1]                       # groups[0].tags[4].address @[1]: must be a whole number from 0 to 65535, not a list
      - name: text
        table: input-registers             # groups[0].tags[5].table @input-registers: did you mean input-register?
        address: 0
        type: string
        length: 0                          # groups[0].tags[5].length @0: 0 is out of range; 1 to 250 is allowed
"""


def expected_problems(text):
    """(line, column, path, words) of the marked mistakes, in the order of the document."""
    expected = []
    for number, line in enumerate(text.splitlines(), 1):
        if mark := re.search(r"# (\S+) @(\S+): (.+)$", line):
            path, token, words = mark.groups()
            expected.append((number, line.index(token) + 1, path, words))
    return expected


def run(configuration, *more):
    command = [program("modbus-reader"), "--config", configuration, "--ops-address", "127.0.0.1:0", "--app-port", "0", *more]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=30)


def problems(lines, file):
    """FILE:LINE:COLUMN: path: message, taken apart; nothing else may be said."""
    pattern = re.compile(re.escape(str(file)) + r":(\d+):(\d+): ([^\s:]+): (\S.*)")
    found = [pattern.fullmatch(line) for line in lines]
    assert all(found), lines
    return [(int(match[1]), int(match[2]), match[3], match[4]) for match in found]


def of_check(stderr):
    return stderr.splitlines()


def of_start(stderr):
    """A module that starts logs JSON."""
    return [json.loads(line)["problem"] for line in stderr.splitlines()]


@pytest.mark.parametrize(("arguments", "lines"), [(["--check"], of_check), ([], of_start)], ids=["check", "start"])
def test_every_mistake_of_a_document_is_reported_with_file_line_column_and_path(tmp_path, arguments, lines):
    configuration = tmp_path / "line-4.yaml"
    configuration.write_text(MISTAKES)
    result = run(configuration, *arguments)
    assert result.returncode == EXIT_CONFIGURATION, result.stderr
    found, expected = problems(lines(result.stderr), configuration), expected_problems(MISTAKES)
    assert [problem[:3] for problem in found] == [problem[:3] for problem in expected], result.stderr
    for (*_, path, message), (*_, words) in zip(found, expected, strict=True):
        assert words in message, f"{path}: {message}"


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
    reader.module.configure(MISTAKES)
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
