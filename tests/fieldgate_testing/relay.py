"""A TCP relay that makes the way between two ends long, lossy, or impassable, where the kernel has no netem."""

import asyncio
import random
import socket
import struct

from .loop import Loop

CHUNK = 64 * 1024
# Pieces under way in one direction; what is beyond waits with its sender.
PIECES = 4096
# How long TCP waits before it sends again what got lost: its shortest time-out, and one that was doubled twice (RFC 6298, Linux).
RETRANSMISSION = (0.2, 0.8)


class Relay:
    """Listens at once on `port`. Its faults concern connections that are there and such as come; calls are from any thread."""

    def __init__(self, target, seed=0):
        self.target = target
        self.random = random.Random(seed)
        self.delay = self.jitter = self.loss = 0.0
        self.ends = set()
        self.loop = Loop("relay")
        self.loop.run(self._listen())

    def slow(self, delay, jitter=0.0):
        """Each way takes so many seconds, and up to `jitter` more."""
        self.delay, self.jitter = delay, jitter

    def lose(self, share):
        """Such a share of the pieces gets lost, which an end of a TCP connection sees as a pause; those behind it wait as well."""
        self.loss = share

    def part(self):
        """Nothing comes through, and no end is told."""
        self.loop.call(self.passable.clear)

    def join(self):
        self.loop.call(self.passable.set)

    def reset(self):
        """Every connection ends with a reset, as when a firewall forgot it."""
        self.loop.call(lambda: [cut(writer) for writer in list(self.ends)])

    def clear(self):
        self.slow(0.0)
        self.lose(0.0)
        self.join()

    def stop(self):
        self.loop.call(self.server.close)
        self.loop.stop()

    async def _listen(self):
        self.passable = asyncio.Event()
        self.passable.set()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        ends = [writer]
        self.ends.add(writer)
        try:
            await self.passable.wait()
            there, onward = await asyncio.open_connection(*self.target)
            ends.append(onward)
            self.ends.add(onward)
            ways = [asyncio.create_task(self._way(reader, onward)), asyncio.create_task(self._way(there, writer))]
            try:
                await asyncio.gather(*ways)
            finally:
                for way in ways:
                    way.cancel()
        except (OSError, asyncio.CancelledError):
            # An end is gone, and the other one learns it below; or the relay stops, which asyncio's streams would tell as a failure.
            pass
        finally:
            for end in ends:
                self.ends.discard(end)
                cut(end)

    async def _way(self, reader, writer):
        pieces = asyncio.Queue(PIECES)
        sending = asyncio.create_task(self._send(pieces, writer))
        now, due = asyncio.get_running_loop().time, 0.0
        try:
            while True:
                piece = await reader.read(CHUNK)
                due = max(due, now() + self._late())
                await pieces.put((due, piece))
                if not piece or sending.done():
                    break
            await sending
        finally:
            sending.cancel()

    async def _send(self, pieces, writer):
        now = asyncio.get_running_loop().time
        while True:
            due, piece = await pieces.get()
            wait = due - now()
            if wait > 0:
                await asyncio.sleep(wait)
            await self.passable.wait()
            if not piece:
                writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()

    def _late(self):
        lost = self.random.uniform(*RETRANSMISSION) if self.loss and self.random.random() < self.loss else 0.0
        return self.delay + self.random.uniform(0, self.jitter) + lost


def cut(writer):
    connection = writer.get_extra_info("socket")
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    writer.transport.abort()
