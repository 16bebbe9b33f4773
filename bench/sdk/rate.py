"""Messages per second of Microsoft's Python device SDK (asyncio flavour), with a fixed number in flight.

    python rate.py CONNECTION_STRING CA_FILE COUNT SIZE WINDOW
"""

import asyncio
import json
import resource
import sys
import time

from azure.iot.device import Message
from azure.iot.device.aio import IoTHubDeviceClient


async def main():
    connection_string, ca_file = sys.argv[1:3]
    count, size, window = map(int, sys.argv[3:6])
    with open(ca_file, encoding="ascii") as file:
        ca = file.read()
    client = IoTHubDeviceClient.create_from_connection_string(connection_string, server_verification_cert=ca)
    await client.connect()
    body = "x" * size
    numbers = iter(range(count))

    async def lane():
        for _ in numbers:
            await client.send_message(Message(body))

    before, cpu_before = time.perf_counter(), cpu_seconds()
    await asyncio.gather(*(lane() for _ in range(window)))
    seconds, cpu = time.perf_counter() - before, cpu_seconds() - cpu_before
    await client.shutdown()
    print(json.dumps({"messages": count, "seconds": seconds, "rate": count / seconds, "cpu_seconds": cpu}))


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


asyncio.run(main())
