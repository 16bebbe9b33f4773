"""Without credentials nobody publishes to or subscribes from the broker, and with those of a module only what that module needs."""

import os

import nkeys
import pytest

from fieldgate_testing.cluster.broker import Refused, User, secret, url

OWN_CONSUMER = "$JS.API.CONSUMER.INFO.fieldgate.iothub-module-telemetry"
STREAM = "$JS.API.STREAM.INFO.fieldgate"
FOREIGN_SUBJECTS = ["commands", "config", STREAM, OWN_CONSUMER]
FOREIGN_SUBJECTS += [f"$JS.API.STREAM.{action}.fieldgate" for action in ("PURGE", "DELETE", "UPDATE", "MSG.GET")]
FOREIGN_SUBSCRIPTIONS = [">", "telemetry", "status", "commands", "config", "$JS.>", "$SYS.>", "_INBOX.>", "_INBOX.iothub-module.>"]


@pytest.fixture(scope="module")
def address(system):
    return url(system.node)


def random_seed():
    return nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER).decode()


@pytest.mark.parametrize("seed", [None, random_seed()], ids=["no-key", "unknown-key"])
def test_nobody_gets_in_without_a_known_key(address, seed):
    with pytest.raises(Refused, match="(?i)authorization"), User(address, seed):
        pass


@pytest.fixture
def reader(system, address):
    with User(address, system.seed("modbus-reader")) as user:
        yield user


@pytest.mark.parametrize("subject", FOREIGN_SUBJECTS)
def test_the_reader_cannot_publish_what_is_not_its_business(reader, subject):
    with pytest.raises(Refused, match="(?i)permissions violation"):
        reader.publish(subject)


@pytest.mark.parametrize("subject", FOREIGN_SUBSCRIPTIONS)
def test_the_reader_cannot_listen_to_others(reader, subject):
    with pytest.raises(Refused, match="(?i)permissions violation"):
        reader.subscribe(subject)


def test_the_hub_module_cannot_publish_measurements(system, address):
    with User(address, system.seed("iothub-module")) as user, pytest.raises(Refused, match="(?i)permissions violation"):
        user.publish("telemetry")


def test_the_set_up_can_neither_publish_nor_listen(system, address):
    with User(address, secret(system.node, "broker-keys", "setup")) as user:
        with pytest.raises(Refused, match="(?i)permissions violation"):
            user.publish("telemetry")
        with pytest.raises(Refused, match="(?i)permissions violation"):
            user.subscribe("telemetry")


def test_with_the_right_key_it_is_possible(system, address):
    """So it is the rights that refuse: each does what is its own."""
    mark = system.broker.mark()
    with User(address, system.seed("modbus-reader")) as user:
        user.publish("deadletter", b'{"type": "test", "data": {"allowed": true}}')
    system.broker.wait_for("deadletter", lambda event: event["data"] == {"allowed": True}, "the reader's own publication", mark)
    with User(address, system.seed("iothub-module")) as user:
        user.publish(OWN_CONSUMER)
    with User(address, secret(system.node, "broker-keys", "setup")) as user:
        user.publish(STREAM)


def test_each_key_is_another_one(system):
    seeds = [system.seed(module) for module in ("modbus-reader", "iothub-module")] + [secret(system.node, "broker-keys", "setup")]
    assert len(set(seeds)) == len(seeds)
