"""A pymodbus server in a thread, on TCP or on a serial line, that can be silenced, stopped and started again."""

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from fieldgate_testing.loop import Loop
from fieldgate_testing.process import free_ports

# Function codes by which pymodbus tells its four tables apart.
READ = {"coil": 1, "discrete-input": 2, "holding-register": 3, "input-register": 4}
WRITE = {"coil": 15, "discrete-input": 2, "holding-register": 16, "input-register": 4}


def blocks(image):
    """pymodbus's description of an image {table: {address: value}}: runs of addresses, what is between them does not exist."""
    result = []
    for table in READ:
        runs = []
        for address, value in sorted(image[table].items()):
            if runs and runs[-1][0] + len(runs[-1][1]) == address:
                runs[-1][1].append(value)
            else:
                runs.append((address, [value]))
        kind = DataType.BITS if table in ("coil", "discrete-input") else DataType.REGISTERS
        result.append([SimData(start, values=values, datatype=kind) for start, values in runs])
    return tuple(result)


class PymodbusServer:
    """`images` gives the contents of each unit. Starts at once."""

    def __init__(self, images, serial_path=None):
        self.serial_path = serial_path
        self.images = images
        self.silent = set()
        # unit → exception code with which it answers everything
        self.exceptions = {}
        # Every write request carried out: (unit, function code, address, values)
        self.writes = []
        self.port = None if serial_path else free_ports(1)[0]
        self.loop = Loop("pymodbus")
        self.server = None
        self.start()

    def start(self):
        self.loop.run(self._start())

    def stop(self):
        """Stops serving and closes every connection, as a device that loses its power."""
        if self.server:
            self.loop.run(self.server.shutdown())
            self.server = None

    def close(self):
        try:
            self.stop()
        finally:
            self.loop.stop()

    async def _start(self):
        devices = [SimDevice(unit, simdata=blocks(image), action=self._action(unit)) for unit, image in self.images.items()]
        if self.serial_path:
            self.server = ModbusSerialServer(
                devices, port=str(self.serial_path), baudrate=115200, parity="N", ignore_missing_devices=True, trace_packet=self._trace
            )
        else:
            # A restarted device takes up its old address.
            self.server = ModbusTcpServer(devices, address=("127.0.0.1", self.port), trace_packet=self._trace)
        await self.server.serve_forever(background=True)

    def _action(self, unit):
        async def action(function_code, _start, address, _count, _registers, values):
            if unit in self.exceptions:
                return ExcCodes(self.exceptions[unit])
            if values is not None:
                self.writes.append((unit, function_code, address, list(values)))
            return None

        return action

    def _trace(self, sending, packet):
        """The unit is the first byte on a serial line, the seventh on TCP."""
        at = 0 if self.serial_path else 6
        return b"" if sending and packet[at : at + 1] and packet[at] in self.silent else packet

    def get(self, unit, table, address, count=1):
        """What the data store holds, by pymodbus's own access function."""
        return self.loop.run(self.server.async_getValues(unit, READ[table], address, count))

    def set(self, unit, table, address, values):
        """Changes the data store as the device itself would."""
        self.loop.run(self._set(unit, table, address, list(values)))

    async def _set(self, unit, table, address, values):
        before = list(self.writes)
        exceptions, self.exceptions = self.exceptions, {}
        await self.server.async_setValues(unit, WRITE[table], address, values)
        self.exceptions = exceptions
        self.writes[:] = before
