"""The emulator against Microsoft's unmodified device SDKs.

If Microsoft's own clients work with the emulator, what our client does against it says something about the real hub.
"""

import pathlib
import shutil
import sys

import pytest

from fieldgate_testing.peer import Peer
from fieldgate_testing.waiting import wait_for

HERE = pathlib.Path(__file__).parent
SDKS = {
    "python": [sys.executable, str(HERE / "python" / "device.py")],
    "node": ["node", str(HERE / "node" / "device.js")],
}


@pytest.mark.parametrize("kind", ["device", "module"])
@pytest.mark.parametrize("sdk", SDKS)
def test_microsofts_sdk_finds_a_hub(hub, tmp_path, sdk, kind):
    device = f"{sdk}-{kind}"
    module = "gateway" if kind == "module" else None
    hub.create(device)
    identity = hub.create(device, module) if module else hub.create(device)
    before = len(hub.messages(device=device))

    with Peer(SDKS[sdk] + [identity["connectionString"], hub.ca_file, kind], tmp_path / "peer.log") as peer:
        twin = peer.next("twin")
        assert twin["desired"]["$version"] >= 1
        peer.next("ready", ignore={"desired"})

        (message,) = hub.messages(device=device)[before:]
        assert message["module"] == module
        assert message["body"] == {"temperature": 21.5}
        assert message["properties"] == {"a key": "a/b&c=d"}
        system = message["system"]
        assert system["message-id"] == "id 1/2" and system["correlation-id"] == "c#+1"
        assert system["content-type"] == "application/json" and system["content-encoding"] == "utf-8"

        assert hub.twin(device, module)["reported"]["firmware"] == {"version": "2.0"}
        version = hub.desire(device, {"interval": 5, "gone": None}, module)["desired"]["$version"]
        patch = peer.next("desired", where=lambda event: event["patch"]["$version"] == version)["patch"]
        assert patch["interval"] == 5

        answer = hub.call(device, "reboot", {"delay": 3}, module)
        assert answer == {"status": 200, "payload": {"rebooting": True, "delay": 3}}
        assert peer.next("method")["payload"] == {"delay": 3}

        if kind == "device":
            hub.send(device, "m-1", {"cmd": 1}, {"prop 1": "a string", "empty": ""})
            message = peer.next("message")
            assert message["id"] == "m-1" and message["body"].replace(" ", "") == '{"cmd":1}'
            assert ["prop 1", "a string"] in message["properties"]
            wait_for(lambda: not hub.pending(device), "the hub to see the message completed")


def test_node_is_the_one_this_suite_expects():
    assert shutil.which("node"), "node is missing: run scripts/test conformance, which installs it"
