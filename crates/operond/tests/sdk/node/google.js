// What the Node library of Google's APIs, unmodified, sees of an operation's life.
//
//     node google.js --native URL --target URL all
//     node google.js --native URL --target URL await:NAME
//
// The client under test calls `--target`; producer and worker call `--native`, which may be the same server by another
// way. `all` runs the scenarios in turn and prints `ok SCENARIO` after each; the first one that fails ends the program
// with exit code 1 and says why. `await:NAME` is what a second process does: it prints `waiting` once it has seen that
// the operation of that name is not done, waits for its result, a text, and prints that.

'use strict';

// The server is on loopback: no proxy may come between.
for (const name of Object.keys(process.env)) {
  if (name.toLowerCase().endsWith('_proxy')) {
    delete process.env[name];
  }
}

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const { once } = require('node:events');
const { parseArgs } = require('node:util');
const gax = require('google-gax');
const { Native } = require('./native');

const { Status } = gax;

const SCENARIO_MS_MAX = 60_000;
// The library's own pace is that of minutes; all else of it stays as it comes.
const QUICK = gax.createBackoffSettings(50, 1.5, 500, null, null, null, 30_000);
const OPERATIONS = 7;
const PAGE_SIZE = 3;

/** A decoder of one of the types that come with protobuf. */
function decoder(file, type) {
  const message = gax.protobuf.Root.fromJSON(gax.protobuf.common.get(file)).lookupType(type);
  return (bytes) => message.toObject(message.decode(bytes));
}

const toText = decoder('google/protobuf/wrappers.proto', 'google.protobuf.StringValue');
const toStruct = decoder('google/protobuf/struct.proto', 'google.protobuf.Struct');

/** How a call is repeated for which the library has no default of its own; `timeoutMs` is that of each attempt. */
function repeated(timeoutMs = 30_000) {
  const backoff = gax.createBackoffSettings(100, 1.3, 1_000, timeoutMs, 1, timeoutMs, 60_000);
  return gax.createRetryOptions([Status.UNAVAILABLE], backoff);
}

/** Where the server is, and the clients of both its faces. */
class World {
  constructor({ native, target }) {
    const address = new URL(target);
    // Anonymous: else the library looks for credentials all over the machine.
    const auth = new gax.GoogleAuth({ authClient: new gax.googleAuthLibrary.PassThroughClient() });
    this.client = gax.lro({ auth }).operationsClient({
      servicePath: address.hostname,
      port: Number(address.port),
      sslCreds: gax.grpc.credentials.createInsecure(),
    });
    this.descriptor = new gax.LongrunningDescriptor(this.client, toText, toStruct);
    this.native = new Native(native);
  }

  async get(name) {
    const [operation] = await this.client.getOperation({ name });
    assert.equal(operation.name, name);
    return operation;
  }

  /** The library's view of an operation that is known by its name alone. */
  async future(name) {
    return gax.operation(await this.get(name), this.descriptor, QUICK);
  }

  /** A new operation of a kind that nothing else has. */
  async create(members, kind = `google.node.${randomUUID()}`) {
    const { id } = await this.native.create(kind, members);
    return { name: `projects/жизнь/operations/${id}`, kind };
  }

  /** A new operation in the hands of a worker. */
  async start(members) {
    const { name, kind } = await this.create(members);
    return { name, future: await this.future(name), lease: await this.native.claim(kind) };
  }

  /** WaitOperation, for which the library has a stub but no call of its own: with the retries of the others. */
  wait(name, seconds, timeout) {
    const settings = new gax.CallSettings({
      retry: repeated(timeout),
      otherArgs: { metadataBuilder: () => new gax.grpc.Metadata() },
    });
    const rpc = this.client.operationsStub.then((stub) => stub.waitOperation.bind(stub));
    return gax.createApiCall(rpc, settings)({ name, timeout: { seconds } });
  }
}

const SCENARIOS = {
  async result(world) {
    const { name, future, lease } = await world.start({ metadata: step('begun') });
    assert.equal(future.done, false);
    assert.deepEqual(future.metadata, { fields: { step: { stringValue: 'begun' } } });
    const waiting = future.promise();
    await world.native.complete(lease, { response: text('ready'), metadata: step('ended') });
    const [result, metadata, raw] = await waiting;
    assert.equal(result.value, 'ready');
    assert.deepEqual(metadata, { fields: { step: { stringValue: 'ended' } } });
    assert.deepEqual([raw.name, raw.done, raw.result], [name, true, 'response']);
  },

  async 'empty-result'(world) {
    const { name, lease } = await world.start();
    await world.native.complete(lease, { response: { '@type': 'type.googleapis.com/google.protobuf.Empty' } });
    const { response } = await world.get(name);
    assert.equal(response.type_url, 'type.googleapis.com/google.protobuf.Empty');
    assert.equal(response.value.length, 0);
  },

  async error(world) {
    const { future, lease } = await world.start({ metadata: step('begun') });
    const waiting = rejection(future.promise());
    await world.native.complete(lease, { error: quotaError() });
    isQuotaError(await waiting, future);
  },

  async 'early-error'(world) {
    const { name, future, lease } = await world.start();
    const waiting = future.promise();
    // A result that nobody waits for yet must not end the program.
    const ended = rejection(waiting);
    await world.native.reportFailure(lease, quotaError());
    const failing = await world.get(name);
    assert.deepEqual([failing.done, failing.error, failing.response], [false, undefined, undefined]);
    await world.native.complete(lease, { error: quotaError() });
    isQuotaError(await ended, future);
  },

  async progress(world) {
    const { future, lease } = await world.start({ metadata: step('begun') });
    const progress = once(future, 'progress');
    const waiting = future.promise();
    await world.native.heartbeat(lease, step('halfway'));
    const [metadata] = await progress;
    assert.deepEqual(metadata, { fields: { step: { stringValue: 'halfway' } } });
    await world.native.complete(lease, { response: text('ready') });
    await waiting;
  },

  async cancel(world) {
    const { name: queued } = await world.create();
    await (await world.future(queued)).cancel();
    const cancelled = await world.get(queued);
    assert.deepEqual([cancelled.done, cancelled.error.code], [true, Status.CANCELLED]);

    const { name, future, lease } = await world.start();
    await future.cancel();
    assert.equal((await world.get(name)).done, false, 'cancel of what a worker holds');
    assert.ok(await world.native.cancelRequested(lease), 'the worker is told of the cancel');
    await world.native.complete(lease, { cancelled: {} });
    assert.equal((await rejection(future.promise())).code, Status.CANCELLED);
  },

  async list(world) {
    const kind = `google.node.${randomUUID()}`;
    const names = [];
    for (let count = 0; count < OPERATIONS; count += 1) {
      names.unshift((await world.create({}, kind)).name);
    }
    const request = { name: 'projects/жизнь', filter: `kind = ${kind}`, pageSize: PAGE_SIZE };
    const found = [];
    const onePageEach = { autoPaginate: false };
    // Left to itself this one call of the library, unlike the others, repeats nothing.
    const retry = repeated();
    for await (const { name } of world.client.listOperationsAsync(request, { ...onePageEach, retry })) {
      found.push(name);
    }
    assert.deepEqual(found, names);
    const [page, next] = await world.client.listOperations(request, onePageEach);
    assert.deepEqual([page.length, next.pageSize], [PAGE_SIZE, PAGE_SIZE]);

    await world.client.cancelOperation({ name: names[2] });
    const filter = `kind = ${kind} AND error.code = CANCELLED`;
    const [ended] = await world.client.listOperations({ ...request, filter }, onePageEach);
    assert.deepEqual(ended.map(({ name }) => name), [names[2]]);
    const wrong = world.client.listOperations({ ...request, filter: 'colour = red' }, onePageEach);
    await refused(wrong, Status.INVALID_ARGUMENT, 'INVALID_FILTER');
  },

  async delete(world) {
    const { name, lease } = await world.start();
    await refused(world.client.deleteOperation({ name }), Status.FAILED_PRECONDITION, 'NOT_DONE');
    await world.native.complete(lease, { response: text('ready') });
    await world.client.deleteOperation({ name });
    await refused(world.client.getOperation({ name }), Status.NOT_FOUND, 'DELETED');
  },

  async 'not-found'(world) {
    const { name } = await world.create();
    const neverExisted = { name: name.slice(0, -1) + (name.endsWith('0') ? '1' : '0') };
    for (const method of ['getOperation', 'cancelOperation', 'deleteOperation']) {
      await refused(world.client[method](neverExisted), Status.NOT_FOUND, 'NEVER_EXISTED');
    }
  },

  async wait(world) {
    const { name, lease } = await world.start();
    const [short] = await world.wait(name, 0);
    assert.equal(short.done, false, 'when the time of the wait is over');
    const [hurried] = await world.wait(name, 30, 1_000);
    assert.equal(hurried.done, false, 'at the deadline, which is over before the time of the wait');
    const waiting = world.wait(name, 30);
    await world.native.complete(lease, { response: text('ready') });
    const [done] = await waiting;
    assert.equal(toText(done.response.value).value, 'ready');
  },
};

async function awaitNamed(world, name) {
  const future = await world.future(name);
  assert.equal(future.done, false);
  console.log('waiting');
  const [result] = await future.promise();
  console.log(result.value);
}

function step(value) {
  return { '@type': 'type.googleapis.com/google.protobuf.Struct', value: { step: value } };
}

function text(value) {
  return { '@type': 'type.googleapis.com/google.protobuf.StringValue', value };
}

function quotaError() {
  const details = [
    {
      '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
      reason: 'QUOTA',
      domain: 'example.com',
      metadata: { quota: 'disks' },
    },
  ];
  return { code: Status.RESOURCE_EXHAUSTED, message: 'no disks left', details };
}

/** The rejection has code and message; what else there is, the library leaves in the operation. */
function isQuotaError(error, { latestResponse }) {
  assert.deepEqual([error.code, error.message], [Status.RESOURCE_EXHAUSTED, 'no disks left']);
  const [detail, ...more] = latestResponse.error.details;
  assert.deepEqual([detail.type_url, more], ['type.googleapis.com/google.rpc.ErrorInfo', []]);
  assert.ok(detail.value.includes('example.com'), 'ErrorInfo has lost its domain');
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

/** The server refuses the call. */
async function refused(call, code, reason) {
  const error = await rejection(call);
  assert.deepEqual([error.code, error.reason, error.domain], [code, reason, 'operond.dev'], `refused with ${error}`);
}

async function main() {
  const { values, positionals } = parseArgs({
    options: { native: { type: 'string' }, target: { type: 'string' } },
    allowPositionals: true,
  });
  const [, name] = /^await:(.+)$/.exec(positionals[0]) ?? [];
  if (!values.native || !values.target || !(name || positionals[0] === 'all')) {
    console.error('usage: node google.js --native URL --target URL all|await:NAME');
    process.exit(2);
  }
  const world = new World(values);
  const scenarios = name ? { await: () => awaitNamed(world, name) } : SCENARIOS;
  for (const [scenario, body] of Object.entries(scenarios)) {
    const watchdog = setTimeout(() => fail(scenario, `no end after ${SCENARIO_MS_MAX} ms`), SCENARIO_MS_MAX);
    await body(world).catch((error) => fail(scenario, error));
    clearTimeout(watchdog);
    if (!name) {
      console.log(`ok ${scenario}`);
    }
  }
  // Open channels would keep the process.
  process.exit(0);
}

function fail(scenario, error) {
  console.error(error);
  console.error(`FAILED ${scenario}`);
  process.exit(1);
}

main();
