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
    const { cloudApi, Session, waitForOperation } = require('@yandex-cloud/nodejs-sdk');
    const { Operation } = cloudApi.operation.operation;
    const session = new Session({ iamToken: 'test', ssl: { rootCerts: readFileSync(ca) } });
    const client = session.client.bind(session);
    session.client = (...options) => count(client(...options), 'get');
    return async (operationId) => {
      // As the call that began it would have answered.
      await waitForOperation(Operation.fromPartial({ id: operationId }), session, 60_000, endpoint);
    };
  },

  /** Waits as the libraries of Google's APIs do. */
  google({ rest }) {
    const gax = require('google-gax');
    const address = new URL(rest);
    // Anonymous: else the library looks for credentials all over the machine.
    const auth = new gax.GoogleAuth({ authClient: new gax.googleAuthLibrary.PassThroughClient() });
    const client = gax.lro({ auth }).operationsClient({
      servicePath: address.hostname,
      port: Number(address.port),
      sslCreds: gax.grpc.credentials.createInsecure(),
    });
    // What an operation polls with.
    count(client, 'getOperationInternal');
    const ignored = () => ({});
    const descriptor = new gax.LongrunningDescriptor(client, ignored, ignored);
    return async (operationId) => {
      // As the call that began it would have answered.
      const first = { name: `operations/${operationId}`, done: false };
      await gax.operation(first, descriptor, gax.createDefaultBackoffSettings()).promise();
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
