// What the Node SDK, unmodified, sees of an operation's life.
//
//     node scenarios.js --endpoint HOST:PORT --rest http://HOST:PORT --ca FILE SCENARIO...
//
// Runs the scenarios in turn against a server and prints `ok SCENARIO` after each. The first one
// that fails ends the program with exit code 1 and says why. `all` stands for every scenario but
// `wait-restart`, which prints `waiting`, has the server restarted under it, and goes on when a
// line comes on standard input.

'use strict';

// The server is on loopback: no proxy may come between.
for (const name of Object.keys(process.env)) {
  if (name.toLowerCase().endsWith('_proxy')) {
    delete process.env[name];
  }
}

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const { readFileSync } = require('node:fs');
const readline = require('node:readline');
const { parseArgs } = require('node:util');
const { cloudApi, decodeMessage, serviceClients, Session, waitForOperation } = require('@yandex-cloud/nodejs-sdk');
const { Native, packed } = require('./native');

const { CancelOperationRequest, GetOperationRequest } = cloudApi.operation.operation_service;
const { ListApiEndpointsRequest } = cloudApi.endpoint.api_endpoint_service;
const { ServiceAccount } = cloudApi.iam.service_account;
const { CreateServiceAccountMetadata } = cloudApi.iam.service_account_service;

const CONNECTIONS = 64;
const ROUNDS = 8;
const SCENARIO_MS_MAX = 90_000;
const POLL_MS = 100;
const RESOURCE = ServiceAccount.fromPartial({
  id: 'sa-1',
  name: 'robot',
  createdAt: new Date('2026-01-02T03:04:05.678Z'),
  labels: { size: 'ж' },
});
const SUBJECT = CreateServiceAccountMetadata.fromPartial({ serviceAccountId: 'sa-1' });

// gRPC status codes.
const INVALID_ARGUMENT = 3;
const NOT_FOUND = 5;

/** Where the server is, and an SDK that knows it by its certificate authority. */
class World {
  constructor({ endpoint, rest, ca }) {
    this.endpoint = endpoint;
    this.rootCerts = readFileSync(ca);
    this.native = new Native(rest);
    this.session = this.newSession();
    this.operations = this.newClient(this.session);
  }

  newSession(pollInterval = POLL_MS) {
    return new Session({ iamToken: 'test', pollInterval, ssl: { rootCerts: this.rootCerts } });
  }

  newClient(session) {
    return session.client(serviceClients.OperationServiceClient, this.endpoint);
  }

  get(operationId) {
    return this.operations.get(GetOperationRequest.fromPartial({ operationId }));
  }

  cancel(operationId) {
    return this.operations.cancel(CancelOperationRequest.fromPartial({ operationId }));
  }

  /** A new operation of a kind that nothing else has. */
  async create(members) {
    const kind = `sdk.node.${randomUUID()}`;
    const { id } = await this.native.create(kind, members);
    return { operation: await this.get(id), kind };
  }

  /** A new operation in the hands of a worker. */
  async start(members) {
    const { operation, kind } = await this.create(members);
    return { operation, lease: await this.native.claim(kind) };
  }

  wait(operation, session = this.session) {
    return waitForOperation(operation, session, 60_000, this.endpoint);
  }
}

const SCENARIOS = {
  async endpoints(world) {
    const client = world.session.client(serviceClients.ApiEndpointServiceClient, world.endpoint);
    const { endpoints } = await client.list(ListApiEndpointsRequest.fromPartial({}));
    const found = new Map(endpoints.map(({ id, address }) => [id, address]));
    assert.equal(found.get('operation'), world.endpoint);
    assert.equal(found.get('iam'), world.endpoint);
  },

  async get(world) {
    const description = 'ж'.repeat(256);
    const metadata = packed(CreateServiceAccountMetadata, SUBJECT);
    const { operation } = await world.create({ description, createdBy: 'alice', metadata });
    assert.equal(operation.description, description);
    assert.equal(operation.createdBy, 'alice');
    assert.equal(operation.done, false);
    assert.equal(operation.error, undefined);
    assert.equal(operation.response, undefined);
    assert.deepEqual(decodeMessage(operation.metadata), SUBJECT);
    const ageMs = Date.now() - operation.createdAt.getTime();
    assert.ok(ageMs > -5_000 && ageMs < 60_000, `createdAt is ${ageMs} ms ago`);
    assert.ok(operation.modifiedAt >= operation.createdAt, 'modifiedAt is before createdAt');
  },

  async 'wait-response'(world) {
    const { operation, lease } = await world.start();
    const waiting = world.wait(operation);
    await world.native.complete(lease, { response: packed(ServiceAccount, RESOURCE) });
    const done = await waiting;
    assert.equal(done.done, true);
    assert.deepEqual(decodeMessage(done.response), RESOURCE);
  },

  async 'wait-empty'(world) {
    const { operation, lease } = await world.start();
    const response = { '@type': 'type.googleapis.com/google.protobuf.Empty' };
    await world.native.complete(lease, { response });
    const done = await world.wait(operation);
    assert.equal(done.response.typeUrl, 'type.googleapis.com/google.protobuf.Empty');
    assert.equal(done.response.value.length, 0);
  },

  async 'wait-error'(world) {
    const { operation, lease } = await world.start();
    const waiting = rejection(world.wait(operation));
    await world.native.complete(lease, { error: quotaError() });
    const done = await waiting;
    assert.equal(done.done, true);
    isQuotaError(done.error);
  },

  async 'early-error'(world) {
    const { operation, lease } = await world.start();
    const waiting = rejection(world.wait(operation));
    await world.native.reportFailure(lease, quotaError());
    const failing = await waiting;
    assert.equal(failing.done, false, 'the waiter gives up while the service still rolls back');
    isQuotaError(failing.error);

    await world.native.complete(lease, { error: quotaError() });
    const done = await world.get(operation.id);
    assert.equal(done.done, true);
    assert.deepEqual(done.error, failing.error);
  },

  async cancel(world) {
    const { operation: queued } = await world.create();
    const cancelled = await world.cancel(queued.id);
    assert.equal(cancelled.done, true, 'cancel of what nobody claimed');
    assert.equal(cancelled.error.code, 1);

    const { operation: leased, lease } = await world.start();
    const waiting = rejection(world.wait(leased));
    const asked = await world.cancel(leased.id);
    assert.equal(asked.done, false, 'cancel of what a worker holds');
    assert.equal(asked.error, undefined);
    assert.ok(await world.native.cancelRequested(lease), 'the worker is told of the cancel');
    await world.native.complete(lease, { cancelled: {} });
    assert.equal((await waiting).error.code, 1);
  },

  async 'cancel-done'(world) {
    const { operation, lease } = await world.start();
    await world.native.complete(lease, { response: packed(ServiceAccount, RESOURCE) });
    const before = await world.get(operation.id);
    assert.deepEqual(await world.cancel(operation.id), before);
    assert.deepEqual(await world.get(operation.id), before);
    assert.deepEqual(decodeMessage(before.response), RESOURCE);
  },

  async 'not-found'(world) {
    const { operation } = await world.create();
    const last = operation.id.endsWith('0') ? '1' : '0';
    const neverExisted = operation.id.slice(0, -1) + last;
    await refused(world.get(neverExisted), NOT_FOUND);
    await refused(world.cancel(neverExisted), NOT_FOUND);

    await world.cancel(operation.id);
    await world.native.delete(operation.id);
    await refused(world.get(operation.id), NOT_FOUND);
  },

  async 'bad-id'(world) {
    const tooLong = 'x'.repeat(5000);
    for (const call of [() => world.get(tooLong), () => world.cancel(tooLong)]) {
      const error = await refused(call(), INVALID_ARGUMENT);
      assert.ok(!error.details.includes(tooLong), 'the id is echoed unbounded');
    }
    await refused(world.get(''), INVALID_ARGUMENT);
  },

  /** No connection, of either face, is ever behind a create that was acknowledged. */
  async 'read-after-create'(world) {
    const connections = Array.from({ length: CONNECTIONS }, () => world.newClient(world.newSession()));
    const get = (number, operationId) => connections[number % CONNECTIONS].get(
      GetOperationRequest.fromPartial({ operationId }),
    );
    const reader = async (number) => {
      const kind = `sdk.node.${randomUUID()}`;
      for (let round = 0; round < ROUNDS; round += 1) {
        const { id } = await world.native.create(kind);
        const reads = await Promise.all([
          get(number, id),
          get(number + 1, id),
          world.native.get(id),
          world.native.getAsYandex(id),
        ]);
        assert.deepEqual(reads.map((operation) => operation.id), [id, id, id, id]);
      }
    };
    await Promise.all(connections.map((_, number) => reader(number)));
  },

  async 'wait-restart'(world) {
    const { operation, lease } = await world.start();
    // The pace an application has if it sets none.
    const waiting = world.wait(operation, world.newSession(1_000));
    console.log('waiting');
    await nextLine();
    await world.native.complete(lease, { response: packed(ServiceAccount, RESOURCE) });
    assert.deepEqual(decodeMessage((await waiting).response), RESOURCE);
  },
};
const INTERACTIVE = 'wait-restart';

function quotaError() {
  return {
    code: 8,
    message: 'no disks left',
    details: [
      {
        '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
        reason: 'QUOTA',
        domain: 'example.com',
        metadata: { quota: 'disks' },
      },
      packed(ServiceAccount, RESOURCE),
    ],
  };
}

function isQuotaError({ code, message, details }) {
  assert.equal(code, 8);
  assert.equal(message, 'no disks left');
  assert.equal(details.length, 2);
  assert.equal(details[0].typeUrl, 'type.googleapis.com/google.rpc.ErrorInfo');
  assert.ok(details[0].value.includes('example.com'), 'ErrorInfo has lost its domain');
  assert.deepEqual(decodeMessage(details[1]), RESOURCE);
}

/** What `promise` is rejected with. */
async function rejection(promise) {
  let value;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`not rejected, but ${JSON.stringify(value)}`);
}

/** The error with which the server refuses a call. */
async function refused(call, code) {
  const error = await rejection(call);
  assert.equal(error.code, code, `refused with ${error}`);
  return error;
}

async function nextLine() {
  const lines = readline.createInterface({ input: process.stdin });
  for await (const _ of lines) {
    return;
  }
  throw new Error('standard input ended before the server was back');
}

async function main() {
  const { values, positionals } = parseArgs({
    options: { endpoint: { type: 'string' }, rest: { type: 'string' }, ca: { type: 'string' } },
    allowPositionals: true,
  });
  const unknown = positionals.filter((name) => name !== 'all' && !(name in SCENARIOS));
  if (!values.endpoint || !values.rest || !values.ca || positionals.length === 0 || unknown.length > 0) {
    console.error(`usage: node scenarios.js --endpoint HOST:PORT --rest URL --ca FILE SCENARIO...
scenarios: all ${Object.keys(SCENARIOS).join(' ')}`);
    process.exit(2);
  }
  const names = positionals.includes('all')
    ? Object.keys(SCENARIOS).filter((name) => name !== INTERACTIVE)
    : positionals;

  const world = new World(values);
  for (const name of names) {
    const watchdog = setTimeout(() => fail(name, `no end after ${SCENARIO_MS_MAX} ms`), SCENARIO_MS_MAX);
    // The SDK's waiter leaves the rejection of a Get to nobody.
    const onUnhandled = (error) => fail(name, error);
    process.on('unhandledRejection', onUnhandled);
    try {
      await SCENARIOS[name](world);
    } catch (error) {
      fail(name, error);
    }
    process.off('unhandledRejection', onUnhandled);
    clearTimeout(watchdog);
    console.log(`ok ${name}`);
  }
  // Open channels would keep the process.
  process.exit(0);
}

function fail(name, error) {
  console.error(error);
  console.error(`FAILED ${name}`);
  process.exit(1);
}

main();
