import { test } from 'node:test';
import { LIMITS } from '../../../core/kernel/limits.ts';
import { httpListenerContract } from '../../lanes/http/http-listener-contract.ts';
import { loadUws } from './load-uws.ts';
import { createUwsListen, uwsHeaderBytes } from './uws-listener.ts';

// The native parser reads it when it is loaded; on the main thread of a test this still reaches the environment.
process.env['UWS_HTTP_MAX_HEADERS_SIZE'] = String(uwsHeaderBytes(LIMITS.httpHeaderBytesMax));
const loaded = loadUws();

// What the native parser of the build for Node 20 was measured to do; each is a `Limit:` of UwsListener.
const SILENT = [
  'bare LF after a field',
  'bare LF in a value',
  'bare CR in a value',
  'obs-fold by a space',
  'obs-fold by a tab',
  'a folded first line',
  'a space before the colon',
  'a tab before the colon',
  'a space before the colon of TE',
  'a bad octet in a name',
  'a field without a colon',
  'NUL in a value',
  'NUL in a name',
  'a control octet in a value',
];
const CLOSED_BY_PARSER = [
  'TE and CL',
  'CL and TE',
  'bare LF everywhere',
  'no Host',
  'an absolute-form of another authority',
  'an absolute-form of another port',
  'an absolute-form with user info',
  'an absolute-form of another scheme',
  'an asterisk-form',
  'an authority-form',
  'HTTP/1.0',
  'HTTP/1.2',
  'HTTP/2.0',
  'a lower-case version',
  'no version',
  'the HTTP/2 preface',
  'a TLS hello',
  'an octet above 0x7f in the method',
  'a space in the target',
  'a tab in the target',
  'NUL in the target',
  'a control octet in the target',
];

if (loaded.kind === 'absent') {
  test('the contract suite of the listener', { skip: `${loaded.why}; npm install brings it` }, () => undefined);
} else {
  httpListenerContract('uWebSockets.js', createUwsListen(loaded.uws), {
    unreported: [...SILENT, ...CLOSED_BY_PARSER],
    silent: SILENT,
    lenientBodies: [
      'bare LF',
      'a space before the size',
      'an empty size',
      'more data than the size',
      'no line end after the data',
      'junk for the last line end',
    ],
    cutsPipelining: true,
    needsWholeRequestLine: true,
    continuesEarly: true,
  });
}
