import { rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { httpListenerContract } from '../../lanes/http/http-listener-contract.ts';
import { listenNodeHttp, NODE_HTTP_SHARES_PORT } from './node-http-listener.ts';

httpListenerContract('node:http', listenNodeHttp, {
  unreported: [],
  silent: [],
  lenientBodies: [],
  cutsPipelining: false,
  needsWholeRequestLine: false,
  continuesEarly: false,
});

test(
  'refuses to share a port on a Node that cannot',
  { skip: NODE_HTTP_SHARES_PORT && 'needs Node < 22.12: this one can share' },
  () =>
    rejects(
      listenNodeHttp(
        { host: '127.0.0.1', port: 0, headerBytesMax: 4096, headersMax: 20, idleTimeoutMs: 1_000, sharedPort: true },
        { onRequest: (exchange) => exchange.abort(), onRefused: () => undefined },
      ),
      { code: 'config_invalid' },
    ),
);
