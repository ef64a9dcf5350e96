// The server side of an operation, over the native REST face: what a producer and a worker do.

'use strict';

class Native {
  constructor(baseUrl) {
    this.baseUrl = baseUrl.replace(/\/$/, '');
  }

  create(kind, members = {}) {
    return this.call('POST', '/api/v1/operations', { kind, ...members });
  }

  get(id) {
    return this.call('GET', `/api/v1/operations/${id}`);
  }

  delete(id) {
    return this.call('DELETE', `/api/v1/operations/${id}`);
  }

  /** The same operation over the Yandex REST face. */
  getAsYandex(id) {
    return this.call('GET', `/operations/${id}`);
  }

  /** The lease of the only operation of its kind. */
  async claim(kind) {
    const request = { kinds: [kind], worker: 'sdk-test', leaseDuration: '60s', wait: '5s' };
    const { claims } = await this.call('POST', '/api/v1/work:claim', request);
    if (claims.length !== 1) {
      throw new Error(`claimed ${claims.length} operations of ${kind}, not 1`);
    }
    return claims[0].lease;
  }

  /** Waits, at most half the lease, for a cancel to reach the worker. */
  async cancelRequested(lease) {
    const answer = await this.call('POST', '/api/v1/work:heartbeat', { lease, wait: '20s' });
    return answer.cancelRequested !== undefined;
  }

  /** Tells how far the operation has come. */
  heartbeat(lease, metadata) {
    return this.call('POST', '/api/v1/work:heartbeat', { lease, metadata });
  }

  reportFailure(lease, error) {
    return this.call('POST', '/api/v1/work:reportFailure', { lease, error });
  }

  complete(lease, outcome) {
    return this.call('POST', '/api/v1/work:complete', { lease, ...outcome });
  }

  async call(method, path, body) {
    const headers = { authorization: 'Bearer test' };
    if (body !== undefined) {
      headers['content-type'] = 'application/json';
    }
    const response = await fetch(this.baseUrl + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(30_000),
    });
    const text = await response.text();
    if (response.status !== 200) {
      throw new Error(`${method} ${path}: HTTP ${response.status}: ${text}`);
    }
    return JSON.parse(text);
  }
}

/** A message of the SDK as the JSON of an Any whose type the server need not know. */
function packed(type, message) {
  return {
    '@type': `type.googleapis.com/${type.$type}`,
    value: Buffer.from(type.encode(message).finish()).toString('base64'),
  };
}

module.exports = { Native, packed };
