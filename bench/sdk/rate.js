// Messages per second of Microsoft's Node device SDK, with a fixed number in flight.
//
//   node rate.js CONNECTION_STRING CA_FILE COUNT SIZE WINDOW      (NODE_PATH names the folder of its packages)
'use strict';

const fs = require('fs');
const { Client, Message } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

async function main() {
  const [connectionString, caFile, ...numbers] = process.argv.slice(2);
  const [count, size, window] = numbers.map(Number);
  const client = Client.fromConnectionString(connectionString, Mqtt);
  await client.setOptions({ ca: fs.readFileSync(caFile, 'utf8') });
  await client.open();
  const body = 'x'.repeat(size);
  let next = 0;

  async function lane() {
    while (next < count) {
      next += 1;
      await client.sendEvent(new Message(body));
    }
  }

  const before = process.hrtime.bigint();
  const cpuBefore = process.cpuUsage();
  await Promise.all(Array.from({ length: window }, lane));
  const seconds = Number(process.hrtime.bigint() - before) / 1e9;
  const cpu = process.cpuUsage(cpuBefore);
  await client.close();
  console.log(JSON.stringify({ messages: count, seconds, rate: count / seconds, cpu_seconds: (cpu.user + cpu.system) / 1e6 }));
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
