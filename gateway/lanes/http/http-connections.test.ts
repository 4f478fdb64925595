import { equal } from 'node:assert/strict';
import { test } from 'node:test';
import { HttpConnections, type HttpConnection } from './http-connections.ts';

function connection(name: string, host: string | null, pathPrefix: string): HttpConnection {
  return {
    info: { name, kind: 'http', env: 'demo', database: '', labels: {} },
    digest: Buffer.alloc(32),
    host,
    pathPrefix,
    upstream: {
      request: () => {
        throw new Error('not used');
      },
      close: () => Promise.resolve(),
      openConnections: 0,
    },
    upstreamHost: 'upstream',
    credential: null,
  };
}

const connections = new HttpConnections([
  connection('any', null, '/any'),
  connection('clinic', null, '/clinic'),
  connection('clinic-lab', null, '/clinic/lab'),
  connection('named', 'clinic.internal', ''),
]);

const CASES = [
  ['the longest prefix wins', 'gateway:8080', '/clinic/lab/1', 'clinic-lab', '/1'],
  ['a prefix ends at a segment', 'gateway:8080', '/clinical', undefined, ''],
  ['the prefix alone is the root', 'gateway', '/clinic', 'clinic', '/'],
  ['a host goes before a prefix and its port does not matter', 'Clinic.Internal:80', '/clinic/x', 'named', '/clinic/x'],
  ['nobody answers for an unknown path', 'gateway', '/', undefined, ''],
] as const;

for (const [what, host, path, name, rest] of CASES) {
  test(what, () => {
    const matched = connections.match(host, path);
    equal(matched?.connection.info.name, name);
    equal(matched?.path ?? '', rest);
  });
}
