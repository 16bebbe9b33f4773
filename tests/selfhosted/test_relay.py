"""The relay that stands in for a bad way: long, lossy, impassable."""

import contextlib
import socket
import threading
import time

import pytest
from fieldgate_testing.relay import Relay
from fieldgate_testing.waiting import wait_for


@pytest.fixture
def echo():
    """A server that sends everything back."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        # The relay resets connections: that is what it is for.
        with connection, contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                connection.sendall(piece)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.fixture
def relay(echo):
    relay = Relay(echo, seed=1)
    yield relay
    relay.stop()


@pytest.fixture
def end(relay):
    with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as end:
        yield end


def there_and_back(end, what=b"ping"):
    begun = time.monotonic()
    end.sendall(what)
    back = b""
    while len(back) < len(what):
        piece = end.recv(65536)
        assert piece, "the connection ended"
        back += piece
    assert back == what
    return time.monotonic() - begun


def test_everything_comes_back_unchanged_however_slow_and_lossy_it_is(relay, end):
    relay.slow(0.01, 0.01)
    relay.lose(0.05)
    there_and_back(end, bytes(range(256)) * 8192)


def test_each_way_takes_its_time(relay, end):
    there_and_back(end)
    relay.slow(0.1)
    assert there_and_back(end) >= 0.2
    # Pieces travel side by side: ten of them take no longer than one.
    begun = time.monotonic()
    for _ in range(10):
        end.sendall(b"x")
        time.sleep(0.005)
    received = b""
    while len(received) < 10:
        received += end.recv(100)
    assert 0.2 <= time.monotonic() - begun < 1.0


def test_a_partition_holds_everything_and_tells_nobody(relay, end):
    there_and_back(end)
    relay.part()
    end.sendall(b"held")
    end.settimeout(0.3)
    with pytest.raises(TimeoutError):
        end.recv(10)
    end.settimeout(20)
    relay.join()
    assert end.recv(10) == b"held"


def test_a_reset_ends_connections_and_new_ones_are_taken(relay, end):
    there_and_back(end)
    relay.reset()
    with pytest.raises(ConnectionResetError):
        end.recv(10)
    with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as another:
        there_and_back(another)


def test_who_ends_is_seen_by_the_other(relay, echo, end):
    there_and_back(end)
    end.shutdown(socket.SHUT_WR)
    assert end.recv(10) == b""
    wait_for(lambda: not relay.ends, "the relay to forget the connection")


def test_without_a_target_a_connection_ends(relay):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        relay.target = gone.getsockname()
    with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", relay.port), timeout=20) as end:
        end.sendall(b"x")
        if end.recv(10) == b"":
            raise ConnectionResetError
