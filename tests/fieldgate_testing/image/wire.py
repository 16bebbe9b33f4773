"""Another station on the guest's Ethernet, which sees what a neighbour in the plant would see: which TCP ports answer."""

import socket
import struct
import time

from fieldgate_testing.waiting import wait_for

OWN_MAC, OWN_ADDRESS = bytes.fromhex("020000000063"), "10.0.2.99"
EVERYONE = b"\xff" * 6
ARP, IPV4 = 0x0806, 0x0800
SYN, RST, SYN_ACK = 0x02, 0x04, 0x12
SOURCE_PORT = 40000


class Wire:
    """Exchanges Ethernet frames with QEMU as UDP datagrams (scripts/run-image --wire OURS:QEMUS)."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.setblocking(False)
        self.own = self.socket.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.qemu = free.getsockname()[1]
        self.macs = {}

    def close(self):
        self.socket.close()

    def open_ports(self, address, ports=range(1, 65536), burst=100):
        """The TCP ports that take a connection. Asked twice, because a burst may be too much for the guest."""
        self._find(address)
        found = set()
        for _ in range(2):
            asked = list(ports)
            for start in range(0, len(asked), burst):
                for port in asked[start : start + burst]:
                    self._send(self.macs[address], IPV4, syn(address, port))
                self._receive(found, 0.02)
        self._receive(found, 2)
        return found

    def _find(self, address):
        def answered():
            self._send(EVERYONE, ARP, arp(1, EVERYONE, address))
            self._receive(set(), 0.2)
            return address in self.macs

        wait_for(answered, f"{address} to answer ARP")

    def _send(self, to, kind, payload):
        frame = to + OWN_MAC + struct.pack("!H", kind) + payload
        self.socket.sendto(frame.ljust(60, b"\0"), ("127.0.0.1", self.qemu))

    def _receive(self, found, seconds):
        """Takes what has come within that time."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._take(self.socket.recv(65536), found)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return
                time.sleep(0.002)

    def _take(self, frame, found):
        kind = struct.unpack("!H", frame[12:14])[0]
        body = frame[14:]
        if kind == ARP and body[24:28] == socket.inet_aton(OWN_ADDRESS):
            sender, address = body[8:14], socket.inet_ntoa(body[14:18])
            self.macs[address] = sender
            if struct.unpack("!H", body[6:8])[0] == 1:
                self._send(sender, ARP, arp(2, sender, address))
        elif kind == IPV4 and body[9] == socket.IPPROTO_TCP and body[16:20] == socket.inet_aton(OWN_ADDRESS):
            segment = body[(body[0] & 15) * 4 :]
            port, own_port = struct.unpack("!HH", segment[:4])
            if own_port == SOURCE_PORT and segment[13] & SYN_ACK == SYN_ACK and not segment[13] & RST:
                found.add(port)


def arp(operation, mac, address):
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
    return head + OWN_MAC + socket.inet_aton(OWN_ADDRESS) + mac + socket.inet_aton(address)


def syn(address, port):
    ends = socket.inet_aton(OWN_ADDRESS) + socket.inet_aton(address)
    tcp = struct.pack("!HHIIBBHHH", SOURCE_PORT, port, 1, 0, 5 << 4, SYN, 64240, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp)) + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), port, 0, 64, socket.IPPROTO_TCP, 0) + ends
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return ip + tcp


def checksum(data):
    """RFC 1071; the length is even."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
