// A device (or module) on Microsoft's Node SDK. It connects, sends telemetry with properties, reads and patches its twin, then reports every
// notification, method call and message as one JSON line on standard output, until standard input closes.
//
//   node device.js CONNECTION_STRING CA_FILE device|module
'use strict';

const fs = require('fs');
const { Client, ModuleClient, Message } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

const [connectionString, caFile, kind] = process.argv.slice(2);

function report(event, detail) {
  process.stdout.write(JSON.stringify({ event, ...detail }) + '\n');
}

async function main() {
  const client = (kind === 'module' ? ModuleClient : Client).fromConnectionString(connectionString, Mqtt);
  await client.setOptions({ ca: fs.readFileSync(caFile, 'utf8') });
  await client.open();

  const onMethod = (kind === 'module' ? client.onMethod : client.onDeviceMethod).bind(client);
  onMethod('reboot', (request, response) => {
    report('method', { payload: request.payload });
    response.send(200, { rebooting: true, delay: request.payload.delay }).catch(fail);
  });
  if (kind === 'device') {
    client.on('message', (message) => {
      const properties = message.properties.propertyList.map(({ key, value }) => [key, value]);
      report('message', { id: message.messageId, body: message.getData().toString(), properties });
      client.complete(message).catch(fail);
    });
  }

  const message = new Message(JSON.stringify({ temperature: 21.5 }));
  message.messageId = 'id 1/2';
  message.correlationId = 'c#+1';
  message.contentType = 'application/json';
  message.contentEncoding = 'utf-8';
  message.properties.add('a key', 'a/b&c=d');
  await client.sendEvent(message);

  const twin = await client.getTwin();
  report('twin', { desired: twin.properties.desired, reported: twin.properties.reported });
  let last = 0;
  twin.on('properties.desired', (delta) => {
    // The SDK calls at once with what it already has, and again for each notification.
    if (delta.$version > last) {
      last = delta.$version;
      report('desired', { patch: delta });
    }
  });
  await new Promise((resolve, reject) => {
    twin.properties.reported.update({ firmware: { version: '2.0' } }, (error) => (error ? reject(error) : resolve()));
  });
  report('ready', {});

  process.stdin.resume();
  process.stdin.on('end', () => client.close(() => process.exit(0)));
}

function fail(error) {
  process.stderr.write(`${error && error.stack ? error.stack : error}\n`);
  process.exit(1);
}

main().catch(fail);
