import { deepEqual, equal, match, ok, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { MediaKind, ResultShape } from '../contract/shape.ts';
import { createBodyMasker } from './body-masker.ts';
import { unmask } from './masked-output.ts';
import { compileMaskPlan, compileScanPlan } from './plan.ts';
import { CLASSES, MASKS, PROFILE, maskBody, plainOriginals, planOf, shapeOf } from './testing/mask-bodies.ts';

const FIELDS = {
  id: 'public',
  name: 'phi.name',
  ssn: 'phi.ssn',
  zip: 'phi.zip',
  born: 'phi.birthdate',
  age: 'phi.age',
  note: 'public+scan',
  gone: 'phi.drop',
  none: 'phi.null',
  fill: 'phi.fixed',
  'address.city': 'public',
  'address.street': 'phi.name',
  'tags[]': 'public',
  'items[].id': 'public',
  'items[].ssn': 'phi.ssn',
};
const PLAN = planOf(FIELDS);

/** [what, media, input, output] */
const EXAMPLES: readonly (readonly [string, MediaKind, string, string])[] = [
  ['a declared value stands', 'json', '{"id": 7, "tags":["a",null]}', '{"id": 7, "tags":["a",null]}'],
  ['a masked string', 'json', '{"name":"Jo","id":1}', '{"name":"[REDACTED]","id":1}'],
  ['a masked number, boolean and null', 'json', '[]', '"[WITHHELD]"'],
  ['typed nulls', 'json', '{"ssn":123456789,"name":null,"fill":true}', '{"ssn":null,"name":null,"fill":null}'],
  ['a masked container', 'json', '{"name":{"a":[1,{"b":"c"}]},"none":[1]}', '{"name":"[REDACTED]","none":null}'],
  ['an unknown member', 'json', '{"x":1,"id":2}', '{"x":"[WITHHELD]","id":2}'],
  ['an unknown container whole', 'json', '{"x":{"id":[1,2,{}]},"id":2}', '{"x":"[WITHHELD]","id":2}'],
  ['an unknown member named by an identifier', 'json', '{"123-45-6789":1}', '{"[WITHHELD]":"[WITHHELD]"}'],
  ['a scalar where a container is declared', 'json', '{"address":"Elm 4"}', '{"address":"[WITHHELD]"}'],
  ['null where a container is declared', 'json', '{"address":null}', '{"address":null}'],
  ['a container where a scalar is declared', 'json', '{"id":{"a":1}}', '{"id":"[WITHHELD]"}'],
  ['both of two equal members', 'json', '{"ssn":"1","ssn":"2"}', '{"ssn":"[REDACTED]","ssn":"[REDACTED]"}'],
  [
    'nested paths',
    'json',
    '{"items":[{"id":1,"ssn":"2"},{"ssn":3}]}',
    '{"items":[{"id":1,"ssn":"[REDACTED]"},{"ssn":null}]}',
  ],
  ['an escaped member name', 'json', '{"\\u0073s\\u006e":"123"}', '{"\\u0073s\\u006e":"[REDACTED]"}'],
  ['an escaped value', 'json', '{"zip":"\\u0030\\u0032139"}', '{"zip":"021"}'],
  ['ZIP codes', 'json', '{"zip":"02139-1234","address":{}}', '{"zip":"021","address":{}}'],
  ['a restricted ZIP area', 'json', '{"zip":"03601"}', '{"zip":"000"}'],
  ['a ZIP that is none', 'json', '{"zip":"K1A 0B1"}', '{"zip":"[REDACTED]"}'],
  ['a date', 'json', '{"born":"1985-02-28T10:00:00Z"}', '{"born":"1985"}'],
  ['a date that tells an age over 89', 'json', '{"born":"1936-12-31"}', '{"born":"[REDACTED]"}'],
  ['a date in another form', 'json', '{"born":"28.2.1985"}', '{"born":"[REDACTED]"}'],
  ['ages', 'json', '{"age":89}', '{"age":89}'],
  ['ages over 89', 'json', '{"age":90}', '{"age":null}'],
  ['ages over 89 as text', 'json', '{"age":"101"}', '{"age":"90+"}'],
  ['a fill', 'json', '{"fill":"a\\n\u00e9\\ud83d\\ude00"}', '{"fill":"****"}'],
  ['the first member dropped', 'json', '{ "gone":1 , "id":2}', '{   "id":2}'],
  ['the middle member dropped', 'json', '{"id":1, "gone":{"a":1}, "age":2}', '{"id":1, "age":2}'],
  ['the last member dropped', 'json', '{"id":1,"gone":"x" }', '{"id":1 }'],
  ['all members dropped', 'json', '{"gone":1,"gone":[2]}', '{}'],
  ['free text', 'json', '{"note":"SSN 123-45-6789, a@b.org"}', '{"note":"SSN [SSN], [EMAIL]"}'],
  ['free text with escapes', 'json', '{"note":"\\u0031\\u0032\\u0033-45-6789\\n"}', '{"note":"[SSN]\\n"}'],
  ['free text that is percent-encoded', 'json', '{"note":"x=123%2D45%2D6789"}', '{"note":"x=[SSN]"}'],
  ['free text in base64', 'json', '{"note":"t MTIzLTQ1LTY3ODk= u"}', '{"note":"t [SSN] u"}'],
  ['a number in a scanned field', 'json', '{"note":4111111111111111}', '{"note":null}'],
  ['lines', 'ndjson', '{"id":1}\n\n{"ssn":"2"}\r\n{"x":3}', '{"id":1}\n\n{"ssn":"[REDACTED]"}\r\n{"x":"[WITHHELD]"}'],
  ['columns', 'csv', 'id,ssn,x\r\n1,2,3\r\n', 'id,ssn,x\r\n1,[REDACTED],[WITHHELD]\r\n'],
  ['quoted fields', 'csv', 'ssn,"note"\n"a,""b","d ""123-45-6789"""\n', 'ssn,"note"\n[REDACTED],"d ""[SSN]"""\n'],
  ['quoted line ends', 'csv', 'id,name\n"a\nb","c\r\nd"', 'id,name\n"a\nb",[REDACTED]'],
  ['a dropped first column', 'csv', 'gone,id,name\n1,2,3\n', 'id,name\n2,[REDACTED]\n'],
  ['a dropped last column', 'csv', 'id,gone\n1,"2"\n3,\n', 'id\n1\n3\n'],
  ['only dropped columns', 'csv', 'gone,gone\n1,2\n', '\n\n'],
  ['a byte order mark', 'csv', '\ufeffid,ssn\n1,2\n', '\ufeffid,ssn\n1,[REDACTED]\n'],
  ['empty fields', 'csv', 'ssn,none,x\n,,\n', 'ssn,none,x\n,,[WITHHELD]\n'],
  ['a typed null', 'csv', 'none,id\n5,6', 'none,id\n,6'],
  ['a column named by an identifier', 'csv', '123-45-6789,id\n1,2', '[WITHHELD],id\n[WITHHELD],2'],
  ['a text without a rule', 'text', 'anything', '[WITHHELD]'],
];

describe('a masked body', () => {
  for (const [what, media, input, output] of EXAMPLES) {
    test(`${media}: ${what}`, () => {
      const body = Buffer.from(input);
      const whole = maskBody(PLAN, media, body);
      equal(whole.masked.toString(), output);
      deepEqual(unmask(whole.masked, whole.originals), body);
      for (const size of [1, 2, 3, 7]) {
        const cut = maskBody(PLAN, media, body, [size]);
        equal(cut.masked.toString(), output);
        deepEqual(plainOriginals(cut.originals), plainOriginals(whole.originals));
        deepEqual(cut.stats, whole.stats);
      }
    });
  }

  test('text is scanned, masked or passed as its rule says', () => {
    const body = Buffer.from('Call (400) 833-2380, born 1985-01-02.');
    const scanned = maskBody(planOf({}, { class: 'public', scan: true }), 'text', body);
    equal(scanned.masked.toString(), 'Call [PHONE], born [DATE].');
    equal(maskBody(planOf({}, { class: 'public', scan: false }), 'text', body).masked.toString(), body.toString());
    equal(maskBody(planOf({}, { class: 'phi.name', scan: true }), 'text', body).masked.toString(), '[REDACTED]');
  });

  test('a policy that lets a kind pass lets it stand in free text, and no other', () => {
    const plan = planOf({ note: 'public+scan' }, null, { date: 'none', phone: 'redact' });
    equal(
      maskBody(plan, 'json', Buffer.from('{"note":"2024-01-02 400-833-2380"}')).masked.toString(),
      '{"note":"2024-01-02 [PHONE]"}',
    );
  });

  test('a scan plan masks what it finds, wherever it is', () => {
    const plan = compileScanPlan();
    const json = '{"a":{"phone":5551234567,"b":["x@y.org",1]},"123-45-6789":"ok"}';
    const masked = maskBody(plan, 'json', Buffer.from(json));
    equal(masked.masked.toString(), '{"a":{"phone":null,"b":["[EMAIL]",1]},"[WITHHELD]":"ok"}');
    deepEqual(unmask(masked.masked, masked.originals).toString(), json);
    equal(maskBody(plan, 'csv', Buffer.from('a,ssn\nx@y.org,123456789\n')).masked.toString(), 'a,ssn\n[EMAIL],[SSN]\n');
    equal(maskBody(plan, 'text', Buffer.from('mail x@y.org')).masked.toString(), 'mail [EMAIL]');
  });

  test('stats count by rule and kind and name unknown members, never values', () => {
    const { stats } = maskBody(
      PLAN,
      'ndjson',
      Buffer.from('{"ssn":"1","note":"a@b.org c@d.org","x":{"secret":"v"}}\n{"ssn":2,"12345678":"w","x":1}\n'),
    );
    equal(stats.rows, 2);
    equal(stats.withheld, 3);
    deepEqual(stats.unknownPaths, ['?', 'x']);
    deepEqual(stats.counts, [
      { class: 'phi.ssn', kind: 'ssn', action: 'redact', column: 'ssn', count: 2 },
      { class: 'public', kind: 'email', action: 'redact', column: 'note', count: 2 },
    ]);
  });

  test('rows are the elements of the outer arrays', () => {
    equal(maskBody(PLAN, 'json', Buffer.from('{"items":[{"id":1},{"id":2}],"tags":["a"]}')).stats.rows, 3);
    equal(maskBody(PLAN, 'json', Buffer.from('{"id":1}')).stats.rows, 1);
    equal(maskBody(PLAN, 'csv', Buffer.from('id\n1\n2\n')).stats.rows, 2);
  });
});

const MALFORMED: readonly (readonly [string, MediaKind, string | Buffer])[] = [
  ['an unterminated string', 'json', '{"id":"a'],
  ['an unterminated object', 'json', '{"id":1'],
  ['a missing value', 'json', '{"id":}'],
  ['a trailing comma', 'json', '{"id":1,}'],
  ['a trailing comma in an array', 'json', '{"tags":["a",]}'],
  ['a missing comma', 'json', '{"id":1 "name":2}'],
  ['a wrong close', 'json', '{"tags":["a"}'],
  ['trailing garbage', 'json', '{"id":1} x'],
  ['two values', 'json', '{"id":1}{"id":2}'],
  ['a close alone', 'json', ']'],
  ['a bad literal', 'json', '{"id":nul}'],
  ['a bad number', 'json', '{"id":01}'],
  ['a number without digits', 'json', '{"id":-}'],
  ['an exponent without digits', 'json', '{"id":1e}'],
  ['a hex number in a withheld value', 'json', '{"x":0x1}'],
  ['a raw control character', 'json', '{"id":"a\u0001"}'],
  ['a raw zero byte', 'json', '{"id":"\u0000"}'],
  ['a zero byte between values', 'json', '{"id":1}\u0000'],
  ['an unknown escape', 'json', '{"id":"\\x31"}'],
  ['a broken unicode escape', 'json', '{"id":"\\u12g4"}'],
  ['a lone high surrogate', 'json', '{"id":"\\ud800"}'],
  ['a lone low surrogate', 'json', '{"id":"\\udc00"}'],
  ['a high surrogate before another escape', 'json', '{"id":"\\ud800\\u0041"}'],
  ['a lone surrogate in a member name', 'json', '{"\\ud800":1}'],
  ['a lone surrogate in a withheld value', 'json', '{"x":["\\ud800"]}'],
  ['a byte order mark', 'json', '\ufeff{"id":1}'],
  ['invalid UTF-8', 'json', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
  ['an overlong sequence', 'json', Buffer.from('{"id":"\xc0\xaf"}', 'latin1')],
  ['an encoded surrogate', 'json', Buffer.from('{"id":"\xed\xa0\x80"}', 'latin1')],
  ['a sequence cut short', 'text', Buffer.from('abc\xe2\x82', 'latin1')],
  ['white space alone', 'json', '  '],
  ['a single quote', 'json', "{'id':1}"],
  ['a comment', 'json', '{"id":1}/**/'],
  ['a value over two lines', 'ndjson', '{"id":\n1}'],
  ['two values on a line', 'ndjson', '{"id":1}{"id":2}\n'],
  ['a short row', 'csv', 'id,name\n1\n'],
  ['a long row', 'csv', 'id,name\n1,2,3\n'],
  ['an open quote', 'csv', 'id\n"a'],
  ['a quote inside a plain field', 'csv', 'id\na"b\n'],
  ['bytes behind a closing quote', 'csv', 'id\n"a"b\n'],
  ['a bare carriage return', 'csv', 'id\ra\n'],
  ['a carriage return at the end', 'csv', 'id\na\r'],
  ['a zero byte', 'csv', 'id\na\u0000\n'],
  ['a zero byte', 'text', 'a\u0000b'],
];

describe('a malformed body', () => {
  const plan = planOf(FIELDS, { class: 'public', scan: true });
  for (const [what, media, input] of MALFORMED) {
    test(`${media}: ${what} fails and stays failed`, () => {
      const body = Buffer.from(input as string);
      for (const size of [1, 2, 5, body.length]) {
        const masker = createBodyMasker(plan, media);
        const isFailure = (error: unknown): boolean => error instanceof GatewayError && error.code === 'masking_failed';
        throws(() => {
          for (let i = 0; i < body.length; i += size) {
            masker.push(body.subarray(i, i + size));
          }
          masker.finish();
        }, isFailure);
        throws(() => masker.push(Buffer.from('{"id":1}')), isFailure);
      }
    });
  }

  test('nesting is allowed to depth 64 and not deeper', () => {
    const nested = (depth: number): Buffer => Buffer.from(`{"x":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`);
    equal(maskBody(plan, 'json', nested(64)).masked.toString(), '{"x":"[WITHHELD]"}');
    throws(() => maskBody(plan, 'json', nested(65)), { code: 'masking_failed' });
  });

  test('a value that must be held is bounded', () => {
    const valueOf = (size: number): Buffer => Buffer.from(`{"ssn":"${'a'.repeat(size - 2)}"}`);
    const limit = LIMITS.heldBytesPerSessionMax;
    for (const sizes of [[limit * 2], [65_536]]) {
      for (const size of [limit - 1, limit]) {
        const { masked, originals } = maskBody(plan, 'json', valueOf(size), sizes);
        equal(masked.toString(), '{"ssn":"[REDACTED]"}');
        ok(originals.length > 1, 'a large original comes in parts that fit records');
        deepEqual(unmask(masked, originals), valueOf(size));
      }
      throws(() => maskBody(plan, 'json', valueOf(limit + 1), sizes), { code: 'held_bytes_exceeded' });
    }
  });

  test('error messages carry nothing of the body', () => {
    const body = Buffer.from('{"id":"canary-7319\u0001"}');
    throws(
      () => maskBody(plan, 'json', body),
      (error: unknown) => {
        match((error as Error).message, /^masking_failed: /);
        return !(error as Error).message.includes('canary');
      },
    );
  });

  test('a medium that the shape does not declare is refused', () => {
    const shape: ResultShape = { ...shapeOf(FIELDS), media: ['json'] };
    const jsonOnly = compileMaskPlan({ shape, masks: MASKS, classes: CLASSES, profile: PROFILE });
    createBodyMasker(jsonOnly, 'json');
    throws(() => createBodyMasker(jsonOnly, 'csv'), { code: 'media_type_unknown' });
    throws(() => createBodyMasker({ ...jsonOnly }, 'json'), /a mask plan comes from compileMaskPlan/);
  });
});
