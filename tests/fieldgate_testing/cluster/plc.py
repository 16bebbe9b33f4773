"""A PLC that pods can reach."""

from modbus_peers.pymodbus_server import PymodbusServer, blocks
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import SimDevice


class Plc(PymodbusServer):
    """pymodbus on an address of this machine that is not loopback. Starts at once."""

    def __init__(self, images, address):
        self.address = address
        super().__init__(images)

    async def _start(self):
        devices = [SimDevice(unit, simdata=blocks(image), action=self._action(unit)) for unit, image in self.images.items()]
        self.server = ModbusTcpServer(devices, address=(self.address, self.port), trace_packet=self._trace)
        await self.server.serve_forever(background=True)
