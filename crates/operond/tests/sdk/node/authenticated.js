// What the Node SDKs, unmodified, see of a server that asks who they are.
//
//     node authenticated.js --library yandex|google --endpoint HOST:PORT --ca FILE --token TOKEN ID
//
// Gets the operation ID and waits for it. Prints `waiting` once it has seen that the operation is not done, and `done
// TEXT` when it has got its result, a text. When the server refuses the call, now or while it waits, prints `refused
// CODE` and the error's class. An empty TOKEN means that none is sent. Finding the endpoints is possible without a token.

'use strict';

// The server is on loopback: no proxy may come between.
for (const name of Object.keys(process.env)) {
  if (name.toLowerCase().endsWith('_proxy')) {
    delete process.env[name];
  }
}

const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { parseArgs } = require('node:util');

const WAIT_MS = 60_000;

async function yandex(endpoint, ca, token, operationId) {
  const { cloudApi, serviceClients, Session, waitForOperation } = require('@yandex-cloud/nodejs-sdk');
  const { GetOperationRequest } = cloudApi.operation.operation_service;
  const { ListApiEndpointsRequest } = cloudApi.endpoint.api_endpoint_service;
  const ssl = { rootCerts: readFileSync(ca) };
  // The SDK sends a token with every call; this one is nobody's.
  const stranger = new Session({ iamToken: 'none', ssl }).client(serviceClients.ApiEndpointServiceClient, endpoint);
  const { endpoints } = await stranger.list(ListApiEndpointsRequest.fromPartial({}));
  const port = (address) => address.split(':').at(-1);
  assert.ok(endpoints.some(({ address }) => port(address) === port(endpoint)), 'the endpoint is not told');

  const session = new Session({ iamToken: token, pollInterval: 100, ssl });
  const operations = session.client(serviceClients.OperationServiceClient, endpoint);
  const first = await operations.get(GetOperationRequest.fromPartial({ operationId }));
  console.log('waiting');
  const { response } = await waitForOperation(first, session, WAIT_MS, endpoint);
  // A StringValue: its one field has the number 1.
  return response.value.subarray(2).toString();
}

async function google(endpoint, ca, token, operationId) {
  const gax = require('google-gax');
  const [servicePath, port] = endpoint.split(':');
  const auth = new gax.googleAuthLibrary[token ? 'OAuth2Client' : 'PassThroughClient']();
  auth.setCredentials({ access_token: token });
  const { credentials } = gax.grpc;
  // As the library itself makes them, but for the authority.
  const call = credentials.createFromMetadataGenerator((options, done) => {
    auth.getRequestHeaders(options.service_url).then((headers) => {
      const metadata = new gax.grpc.Metadata();
      headers.forEach((value, key) => metadata.set(key, value));
      done(null, metadata);
    }, done);
  });
  const sslCreds = credentials.combineChannelCredentials(credentials.createSsl(readFileSync(ca)), call);
  const client = gax
    .lro({ auth: new gax.GoogleAuth({ authClient: auth }) })
    .operationsClient({ servicePath, port: Number(port), sslCreds });
  const types = gax.protobuf.Root.fromJSON(gax.protobuf.common.get('google/protobuf/wrappers.proto'));
  const text = types.lookupType('google.protobuf.StringValue');
  const decode = (bytes) => text.toObject(text.decode(bytes));
  // The library's own pace is that of minutes.
  const quick = gax.createBackoffSettings(50, 1.5, 500, null, null, null, WAIT_MS);
  const [first] = await client.getOperation({ name: `operations/${operationId}` });
  console.log('waiting');
  const future = gax.operation(first, new gax.LongrunningDescriptor(client, decode, decode), quick);
  const [result] = await future.promise();
  return result.value;
}

const CODES = { 5: 'NOT_FOUND', 7: 'PERMISSION_DENIED', 16: 'UNAUTHENTICATED' };

function refused(error) {
  if (!(error.code in CODES)) {
    console.error(error);
    process.exit(1);
  }
  console.log(`refused ${CODES[error.code]} ${error.constructor.name}`);
  process.exit(0);
}

async function main() {
  const { values, positionals } = parseArgs({
    options: {
      library: { type: 'string' },
      endpoint: { type: 'string' },
      ca: { type: 'string' },
      token: { type: 'string' },
    },
    allowPositionals: true,
  });
  // The Yandex SDK's waiter leaves the rejection of a Get to nobody.
  process.on('unhandledRejection', refused);
  const call = { yandex, google }[values.library];
  console.log(`done ${await call(values.endpoint, values.ca, values.token, positionals[0])}`);
  // Open channels would keep the process.
  process.exit(0);
}

main().catch(refused);
