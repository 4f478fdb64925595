import { deepEqual, equal, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { kindsOfBody } from './body-classifier.ts';
import { createEgressScanner, scanText } from './egress-scanner.ts';
import { maskText } from './mask-text.ts';
import { unmask } from './masked-output.ts';
import { CLASSES, shapeOf } from './testing/mask-bodies.ts';

function kindsIn(body: string, kinds?: readonly string[], isForm = false): readonly string[] {
  const scanner = createEgressScanner(kinds, { isForm });
  scanner.push(Buffer.from(body));
  scanner.finish();
  return scanner.kinds;
}

describe('the egress scan', () => {
  test('sees identifiers in JSON, forms, CSV and text', () => {
    deepEqual(kindsIn('{"rows":[{"ssn":"123-45-6789","n":1}]}'), ['ssn']);
    deepEqual(kindsIn('{"ssn":"\\u0031\\u0032\\u0033-45-6789"}'), ['ssn']);
    deepEqual(kindsIn('{"ssn":123456789,"phone":"4008332380"}'), ['phone', 'ssn']);
    deepEqual(kindsIn('mail=a.b%40example.org&x=1'), ['email']);
    deepEqual(kindsIn('tel=400+833+2380', undefined, true), ['phone']);
    deepEqual(kindsIn('id,born\n1,1985-01-02\n'), ['date']);
    deepEqual(kindsIn('nothing here: 17, 98.6'), []);
  });

  test('reports offsets and sizes, never values', () => {
    const scanner = createEgressScanner(['ssn', 'name']);
    deepEqual(scanner.push(Buffer.from('x 123-45')), []);
    deepEqual(scanner.push(Buffer.from('-6789 a@b.org')), []);
    deepEqual(scanner.finish(), [{ kind: 'ssn', offset: 2, size: 11 }]);
    throws(() => scanner.push(Buffer.alloc(1)));
  });

  test('sees identifiers in UTF-16 and between control characters', () => {
    const scanner = createEgressScanner();
    scanner.push(Buffer.from('ssn 123-45-6789', 'utf16le'));
    scanner.finish();
    deepEqual(scanner.kinds, ['ssn']);
  });

  test('paths, queries and header values are scanned as they are and decoded', () => {
    deepEqual(scanText('/patients/123-45-6789/notes'), ['ssn']);
    deepEqual(scanText('/ssn/123456789'), ['ssn']);
    deepEqual(scanText('q=%31%32%33-45-6789&mail=a%40b.org'), ['email', 'ssn']);
    deepEqual(scanText('name=x&tel=400+833+2380'), ['phone']);
    deepEqual(scanText(`/b/${Buffer.from('123-45-6789').toString('base64url')}`), ['ssn']);
    deepEqual(scanText('/v1/patients?page=2&limit=100'), []);
    deepEqual(scanText('123-45-6789 a@b.org', ['email']), ['email']);
  });

  test('a text is masked for the record and its originals give it back', () => {
    const text = '/é/123-45-6789?mail=a%40b.org';
    const { masked, originals } = maskText(text);
    equal(masked, '/é/[SSN]?mail=[EMAIL]');
    equal(unmask(Buffer.from(masked), originals).toString(), text);
    deepEqual(maskText('/plain'), { masked: '/plain', originals: [] });
  });
});

describe('the classes of a request body', () => {
  const shape = shapeOf({ 'rows[].name': 'phi.name', 'rows[].ssn': 'phi.ssn', 'rows[].n': 'public', ssn: 'phi.ssn' });

  test('come from where values stand', () => {
    const body = Buffer.from('{"rows":[{"name":"Jo","n":1,"ssn":null}]}');
    const { classes, kinds, unknownPaths, rows } = kindsOfBody(shape, CLASSES, 'json', body);
    deepEqual(
      { classes, kinds, unknownPaths, rows },
      { classes: ['phi.name', 'public'], kinds: ['name'], unknownPaths: [], rows: 1 },
    );
    deepEqual(kindsOfBody(shape, CLASSES, 'csv', Buffer.from('ssn\n\n1\n')).classes, ['phi.ssn']);
    deepEqual(kindsOfBody(shape, CLASSES, 'csv', Buffer.from('ssn\n\n')).classes, []);
  });

  test('name members that nobody declared', () => {
    const body = Buffer.from('{"rows":[{"name":"Jo","more":{"a":1}}],"123-45-6789":1}');
    deepEqual(kindsOfBody(shape, CLASSES, 'json', body).unknownPaths, ['?', 'rows[].more']);
  });

  test('are refused for a body that cannot be read', () => {
    throws(() => kindsOfBody(shape, CLASSES, 'json', Buffer.from('{"rows":')), { code: 'masking_failed' });
  });
});
