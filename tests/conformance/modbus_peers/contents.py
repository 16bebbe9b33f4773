"""What the peers hold, which tags read it, and what each tag must report.

The registers are made with Python's struct module and by the letters of the orders (A is the most significant byte), so
nothing here shares code or thought with the reader.
"""

import math
import struct

ORDERS = {"big-endian": "ABCD", "word-swapped": "CDAB", "byte-swapped": "BADC", "little-endian": "DCBA"}
FORMATS = {"u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "u64": ">Q", "i64": ">q", "f32": ">f", "f64": ">d"}
# Largest, smallest, and one in which every byte differs. 2^53 + 1 is the first integer a JSON reader with doubles loses.
VALUES = {
    "u16": [0xFFFF, 0, 0x0102],
    "i16": [-0x8000, 0x7FFF, -2],
    "u32": [0xFFFF_FFFF, 1, 0x0102_0304],
    "i32": [-0x8000_0000, 0x7FFF_FFFF, 0x0102_0304],
    "u64": [0xFFFF_FFFF_FFFF_FFFF, 2**53 + 1, 0x0102_0304_0506_0708],
    "i64": [-(2**63), 2**63 - 1, -(2**53) - 1],
    "f32": [0.1, -3.4028234663852886e38, 1e-45],
    "f64": [0.1, -1.7976931348623157e308, 5e-324],
}


def permute(value, order):
    """Rearranges the big-endian bytes of a value by the letters of its order."""
    letters = ORDERS[order]
    swap_words, swap_bytes = letters[0] in "CD", letters.index("A") % 2 == 1
    words = [value[at : at + 2] for at in range(0, len(value), 2)]
    if swap_words:
        words.reverse()
    if swap_bytes:
        words = [word[::-1] for word in words]
    return b"".join(words)


assert permute(b"ABCD", "word-swapped") == b"CDAB" and permute(b"ABCD", "byte-swapped") == b"BADC"
assert permute(b"ABCD", "little-endian") == b"DCBA" and permute(b"ABCDEFGH", "word-swapped") == b"GHEFCDAB"


def registers(raw):
    raw += b"\0" * (len(raw) % 2)
    return [value for (value,) in struct.iter_unpack(">H", raw)]


class Contents:
    """An image {table: {address: value}}, tags as in a configuration, and {tag: value} or {tag: reason}."""

    def __init__(self):
        self.image = {"coil": {}, "discrete-input": {}, "holding-register": {}, "input-register": {}}
        self.tags = []
        self.good = {}
        self.bad = {}

    def put(self, table, address, cells):
        for cell in cells:
            assert address not in self.image[table], f"{table} {address} is taken"
            self.image[table][address] = cell
            address += 1

    def next(self, table):
        used = [address for address in self.image[table] if address < 60_000]
        return max(used, default=-1) + 1

    def tag(self, name, table, address, **more):
        self.tags.append({"name": name, "table": table, "address": address, **more})
        return name

    def number(self, name, table, kind, value, order="big-endian", address=None, raw=None, **more):
        """A number of the device. With scale or offset the report is not `value` but to be set by the caller."""
        address = self.next(table) if address is None else address
        raw = struct.pack(FORMATS[kind], value) if raw is None else raw
        self.put(table, address, registers(permute(raw, order)))
        self.tag(name, table, address, type=kind, order=order, **more)
        # Exactly what the registers hold, which for f32 is not the literal.
        (self.good[name],) = struct.unpack(FORMATS[kind], raw)

    def text(self, name, raw, length, value=None, reason=None, order="big-endian"):
        table = "input-register"
        address = self.next(table)
        padded = raw + b"\0" * (length - len(raw)) + b"\0" * (length % 2)
        self.put(table, address, registers(permute(padded, order) if order == "byte-swapped" else padded))
        self.tag(name, table, address, type="string", length=length, order=order)
        if reason:
            self.bad[name] = reason
        else:
            self.good[name] = value


def full():
    """Every table, type, order, scaling, bit and text."""
    contents = Contents()
    for kind, values in VALUES.items():
        for order in ORDERS:
            for index, value in enumerate(values):
                contents.number(f"{kind}-{order}-{index}", "holding-register", kind, value, order)
    table = "input-register"
    for kind, values in VALUES.items():
        contents.number(f"input-{kind}", table, kind, values[2])
    for name, kind, value, scaling in [
        ("scaled-u16", "u16", 1234, {"scale": 0.1}),
        ("scaled-i16", "i16", -1234, {"scale": 0.01, "offset": -40.0}),
        ("scaled-u32", "u32", 4_000_000_000, {"scale": 1e-3}),
        ("scaled-f32", "f32", 1.5, {"scale": -2.0, "offset": 10.0}),
        ("scaled-i64", "i64", -123_456_789_012, {"scale": 1e-6}),
        ("only-offset", "u16", 300, {"offset": -273.15}),
    ]:
        contents.number(name, table, kind, value, **scaling)
        contents.good[name] = value * scaling.get("scale", 1.0) + scaling.get("offset", 0.0)
    register = contents.next(table)
    contents.put(table, register, [0xA5C3])
    for bit in range(16):
        contents.good[contents.tag(f"bit-{bit}", table, register, type="bool", bit=bit)] = bool(0xA5C3 >> bit & 1)
    contents.text("text", b"MX-5000", 7, "MX-5000")
    contents.text("text-utf8", "Öl °C".encode(), 12, "Öl °C")
    contents.text("text-cut", b"AB\0CD", 6, "AB")
    contents.text("text-empty", b"", 4, "")
    contents.text("text-swapped", b"SWAPPED", 7, "SWAPPED", order="byte-swapped")
    contents.text("text-invalid", b"\xff\xfeAB", 4, reason="invalid-text")
    for name, kind, value in [("not-a-number", "f32", math.nan), ("infinite", "f64", math.inf)]:
        contents.number(name, table, kind, value)
        del contents.good[name]
        contents.bad[name] = "not-a-number"
    for table in ("holding-register", "input-register"):
        contents.number(f"last-{table}", table, "u16", 0x4321, address=65535)
    for table, first in [("coil", 0), ("discrete-input", 5)]:
        pattern = [bool(0b1011001110001011101 >> index & 1) for index in range(19)]
        contents.put(table, first, pattern)
        for index, value in enumerate(pattern):
            contents.good[contents.tag(f"{table}-{index}", table, first + index)] = value
        contents.put(table, 65535, [True])
        contents.good[contents.tag(f"last-{table}", table, 65535)] = True
    return contents


def small():
    """One register with a value."""
    contents = Contents()
    contents.number("level", "holding-register", "u16", 4711)
    return complete(contents)


def with_holes():
    """Registers 10 and 12 exist, 11 and 200 do not; nor does coil 9000."""
    contents = Contents()
    contents.number("before", "holding-register", "u16", 1, address=10)
    contents.number("after", "holding-register", "u16", 2, address=12)
    contents.put("coil", 0, [True] * 16)
    contents.good[contents.tag("running", "coil", 3)] = True
    contents.bad[contents.tag("missing-register", "holding-register", 200, type="u32")] = "illegal-data-address"
    contents.bad[contents.tag("missing-coil", "coil", 9000)] = "illegal-data-address"
    return complete(contents)


WRITABLE = [
    {"name": "start", "table": "coil", "address": 1000},
    {"name": "setpoint", "table": "holding-register", "address": 1000, "type": "u16"},
    {"name": "temperature", "table": "holding-register", "address": 1001, "type": "i16", "scale": 0.1, "offset": -10.0},
    {"name": "ratio", "table": "holding-register", "address": 1002, "type": "f32", "order": "word-swapped"},
    {"name": "counter", "table": "holding-register", "address": 1004, "type": "u64", "order": "little-endian"},
    {"name": "recipe", "table": "holding-register", "address": 1008, "type": "string", "length": 9},
]


def with_writable(contents):
    """Room for what is written: coils 992 to 1007, registers 1000 to 1019, all 0."""
    contents.put("coil", 992, [False] * 16)
    contents.put("holding-register", 1000, [0] * 20)
    return contents


def complete(contents):
    """pymodbus wants at least one address in each table."""
    for cells in contents.image.values():
        cells.setdefault(0, 0)
    for table in ("coil", "discrete-input"):
        contents.image[table] = {address: bool(value) for address, value in contents.image[table].items()}
    return contents
