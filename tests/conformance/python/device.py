"""A device (or module) on Microsoft's Python SDK.

It connects, sends telemetry with properties, reads and patches its twin, then reports every notification, method call and message as one JSON line on
standard output, until standard input closes.

    python device.py CONNECTION_STRING CA_FILE device|module
"""

import json
import sys

from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, Message, MethodResponse


def report(event, **detail):
    print(json.dumps({"event": event, **detail}), flush=True)


def main():
    connection_string, ca_file, kind = sys.argv[1:4]
    with open(ca_file, encoding="ascii") as file:
        ca = file.read()
    flavour = IoTHubModuleClient if kind == "module" else IoTHubDeviceClient
    client = flavour.create_from_connection_string(connection_string, server_verification_cert=ca)
    client.connect()

    def on_method(request):
        report("method", payload=request.payload)
        answer = {"rebooting": True, "delay": request.payload["delay"]}
        client.send_method_response(MethodResponse.create_from_method_request(request, 200, answer))

    def on_message(message):
        properties = [[key, value] for key, value in message.custom_properties.items()]
        report("message", id=message.message_id, body=message.data.decode(), properties=properties)

    client.on_method_request_received = on_method
    client.on_twin_desired_properties_patch_received = lambda patch: report("desired", patch=patch)
    if kind == "device":
        client.on_message_received = on_message

    message = Message(json.dumps({"temperature": 21.5}))
    message.message_id = "id 1/2"
    message.correlation_id = "c#+1"
    message.content_type = "application/json"
    message.content_encoding = "utf-8"
    message.custom_properties["a key"] = "a/b&c=d"
    client.send_message(message)

    twin = client.get_twin()
    report("twin", **twin)
    client.patch_twin_reported_properties({"firmware": {"version": "2.0"}})
    report("ready")

    sys.stdin.read()
    client.shutdown()


if __name__ == "__main__":
    main()
