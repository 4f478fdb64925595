import { test } from 'node:test';
import { LIMITS } from '../../../core/kernel/limits.ts';
import { httpListenerContract } from '../../lanes/http/http-listener-contract.ts';
import { loadUws } from './load-uws.ts';
import { createUwsListen, uwsHeaderBytes } from './uws-listener.ts';

// The native parser reads it when it is loaded; on the main thread of a test this still reaches the environment.
process.env['UWS_HTTP_MAX_HEADERS_SIZE'] = String(uwsHeaderBytes(LIMITS.httpHeaderBytesMax));
const loaded = loadUws();

if (loaded.kind === 'absent') {
  test('the contract suite of the listener', { skip: `${loaded.why}; npm install brings it` }, () => undefined);
} else {
  httpListenerContract('uWebSockets.js', createUwsListen(loaded.uws), {
    unreported: [],
    silent: [],
    lenientBodies: [],
    cutsPipelining: true,
    continuesEarly: true,
  });
}
