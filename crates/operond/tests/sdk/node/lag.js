// How late stock Node clients learn that an operation is done, and with how many Gets.
//
//     node lag.js --endpoint HOST:PORT --rest http://HOST:PORT --ca FILE CLIENT
//
// CLIENT is `yandex` or `google`. Some operations take from half a second to eight; one waiter each, all at once.
// Prints one line of JSON: `{"lags": [seconds...], "gets": N}`.

'use strict';

// The server is on loopback: no proxy may come between.
for (const name of Object.keys(process.env)) {
  if (name.toLowerCase().endsWith('_proxy')) {
    delete process.env[name];
  }
}

const { randomUUID } = require('node:crypto');
const { readFileSync } = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const { parseArgs } = require('node:util');
const { Native } = require('./native');

const SECONDS = Array.from({ length: 11 }, (_, step) => 0.5 + 0.75 * step);

let gets = 0;

/** Counts calls of a method of an object that a client made. */
function count(object, method) {
  const original = object[method].bind(object);
  object[method] = (...options) => {
    gets += 1;
    return original(...options);
  };
  return object;
}

const CLIENTS = {
  /** Waits as the SDK of Yandex Cloud does. */
  yandex({ endpoint, ca }) {
    const { cloudApi, serviceClients, Session, waitForOperation } = require('@yandex-cloud/nodejs-sdk');
    const { GetOperationRequest } = cloudApi.operation.operation_service;
    const session = new Session({ iamToken: 'test', ssl: { rootCerts: readFileSync(ca) } });
    const first = session.client(serviceClients.OperationServiceClient, endpoint);
    const client = session.client.bind(session);
    session.client = (...options) => count(client(...options), 'get');
    return async (operationId) => {
      const operation = await first.get(GetOperationRequest.fromPartial({ operationId }));
      await waitForOperation(operation, session, 60_000, endpoint);
    };
  },

  /** Waits as the libraries of Google's APIs do. */
  google({ rest }) {
    const { GrpcClient, OperationsClient, Operation, LongrunningDescriptor, protobuf } = require('google-gax');
    const { grpc, createBackoffSettings } = Object.assign({}, require('google-gax'), new GrpcClient());
    const address = new URL(rest);
    const builder = new (require('google-gax').lro)(new GrpcClient({ sslCreds: grpc.credentials.createInsecure() }));
    const client = builder.operationsClient({
      servicePath: address.hostname,
      port: Number(address.port),
      sslCreds: grpc.credentials.createInsecure(),
    });
    count(client, 'getOperationInternal');
    const empty = () => ({});
    const descriptor = new LongrunningDescriptor(client, empty, empty);
    return async (operationId) => {
      const [operation] = await client.getOperation({ name: `operations/${operationId}` });
      const backoff = createBackoffSettings(100, 1.3, 60_000, null, null, null, 60_000);
      await new Operation(operation, descriptor, backoff).promise();
    };
  },
};

async function lag(native, wait, seconds) {
  const kind = `lag.${randomUUID()}`;
  const { id } = await native.create(kind);
  const lease = await native.claim(kind);
  const complete = async () => {
    await sleep(seconds * 1_000);
    await native.complete(lease, { response: { '@type': 'type.googleapis.com/google.protobuf.Empty' } });
    return performance.now();
  };
  const learn = async () => {
    await wait(id);
    return performance.now();
  };
  const [completed, learned] = await Promise.all([complete(), learn()]);
  return Math.max(0, learned - completed) / 1_000;
}

async function main() {
  const options = { endpoint: { type: 'string' }, rest: { type: 'string' }, ca: { type: 'string' } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const wait = CLIENTS[positionals[0]](values);
  const native = new Native(values.rest);
  const lags = await Promise.all(SECONDS.map((seconds) => lag(native, wait, seconds)));
  console.log(JSON.stringify({ lags, gets }));
  process.exit(0);
}

main();
