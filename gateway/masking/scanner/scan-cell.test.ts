import { deepEqual, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { oracleMatches } from '../testing/regexp-oracle.ts';
import { Findings } from './findings.ts';
import { LABEL_PHONE, LABEL_SSN, labelOfName } from './labels.ts';
import { CELL_FORM, CELL_JSON, CELL_PLAIN, scanCell } from './scan-cell.ts';
import { ALL_KINDS, SCAN_KINDS, kindName } from './scan-kinds.ts';

const SCALE = Number(process.env['CHAPERONE_TEST_SCALE'] ?? '1');
const findings = new Findings();

/** `kind:text` of each finding. */
function scan(text: string, cell = CELL_PLAIN, context = 0): string[] {
  const bytes = Buffer.from(text);
  scanCell(bytes, 0, 0, bytes.length, cell, context, ALL_KINDS, findings);
  return Array.from({ length: findings.count }, (_, i) => {
    const found = bytes.subarray(findings.startAt(i), findings.endAt(i)).toString();
    return `${kindName(findings.kindAt(i))}:${found}`;
  });
}

/** Texts in which exactly the bracketed parts are found, in this order of kinds. */
const FOUND: readonly (readonly [text: string, ...kinds: string[]])[] = [
  ['is <123-45-6789>.', 'ssn'],
  ['areas <000-12-3456>, <666-12-3456> and <912-34-5678> too', 'ssn', 'ssn', 'ssn'],
  ['<123 45 6789> <123.45.6789>', 'ssn', 'ssn'],
  ['SSN: <123456789>', 'ssn'],
  ['ssn of the patient <123456789>', 'ssn'],
  ['last four <XXX-XX-1234> <***-**-1234>', 'ssn', 'ssn'],
  ['AB<123-45-6789>CD', 'ssn'],
  ['<400-833-2380> <(400) 833-2380> <+1 (400) 833-2380> <1-800-555-1212>', 'phone', 'phone', 'phone', 'phone'],
  ['<400.833.2380 ext. 12>, <4008332380>'.replace('<4008332380>', '4008332380'), 'phone'],
  ['<400-833-2380>x<5500000000000004>', 'phone', 'card'],
  ['phone <4008332380> fax <8332380>', 'phone', 'phone'],
  ['<+44 20 7946 0958> <+33 1 23 45 67 89> <+4930123456>', 'phone', 'phone', 'phone'],
  ['<a.b+c@example.co.uk>, <o\'brien@x.org>; "<x_y@sub.example.com>"', 'email', 'email', 'email'],
  ['<"john doe"@example.com> <a@[192.168.10.20]>', 'email', 'email'],
  ['<1985-01-18> <2023-07-11T00:55:00Z> <2023-07-11 00:55:00.123+02:00>', 'date', 'date', 'date'],
  ['<1/2/1985> <12/31/99> <31.12.1999> <01-02-2003>', 'date', 'date', 'date', 'date'],
  ['<March 3, 1985> <3rd of March 1985> <03-Mar-1985> <Sept. 5> <May 1999>', 'date', 'date', 'date', 'date', 'date'],
  ['DOB <19850118>', 'date'],
  ['<4111 1111 1111 1111>, <4111-1111-1111-1112>, <378282246310005>', 'card', 'card', 'card'],
  ['<MRN-7095748> MRN: <A-123456> medical record number <00123456>', 'mrn', 'mrn', 'mrn'],
  [`<${'7'.repeat(321)}>`, 'blob'],
  [`<${'aB3'.repeat(1400)}>`, 'blob'],
];

const NOT_FOUND = [
  'room 12, 98.6 F, BP 120/80, 1,234,567 and 3.14159',
  'version 1.2.3, 10.12.22.5, 192.168.1.1, 5:23-mc-07835-CVN',
  'account 9406135368 and 4008332380 alone',
  'in 1985 or 2023',
  '2020 2021 2022 2023',
  'may 5 people come',
  'user@localhost and @name and a@b',
  '3edac2e3-d223-6fae-d515-daf96ef6bc76',
  'averyLongIdentifierInCamelCase and SCREAMING_SNAKE_CASE_NAME',
  '1234-56-789 12-345-6789 123-456-789',
];

describe('scanCell', () => {
  for (const [marked, ...kinds] of FOUND) {
    test(`finds exactly the bracketed parts of: ${marked.slice(0, 60)}`, () => {
      const parts = marked.split(/[<>]/);
      deepEqual(
        scan(parts.join('')),
        kinds.map((kind, i) => `${kind}:${parts[i * 2 + 1]}`),
      );
    });
  }
  for (const text of NOT_FOUND) {
    test(`finds nothing in: ${text}`, () => {
      deepEqual(scan(text), []);
    });
  }

  test('a label is taken from the column as well as from the text', () => {
    deepEqual(scan('123456789', CELL_PLAIN, labelOfName('patientSsn')), ['ssn:123456789']);
    deepEqual(scan('123456789', CELL_PLAIN, labelOfName('ssn_number')), ['ssn:123456789']);
    deepEqual([labelOfName('home_phone'), labelOfName('Phone (home)')], [LABEL_PHONE, LABEL_PHONE]);
    deepEqual([labelOfName('socialSecurityNumber'), labelOfName('assn')], [LABEL_SSN, LABEL_SSN]);
    deepEqual(labelOfName('expansion'), 0);
  });

  const SSN = '123-45-6789';
  const b64 = (text: string): string => Buffer.from(text).toString('base64');
  const spelled = (each: (c: string) => string): string => SSN.split('').map(each).join('');
  const hex = (c: string, size: number): string => c.charCodeAt(0).toString(16).padStart(size, '0');
  const SPELLINGS: readonly (readonly [string, string, number])[] = [
    ['JSON escapes', spelled((c) => `\\u${hex(c, 4)}`), CELL_JSON],
    ['escapes inside JSON escapes', spelled((c) => `\\\\u${hex(c, 4)}`), CELL_JSON],
    ['percent codes', spelled((c) => `%${hex(c, 2)}`), CELL_PLAIN],
    ['percent codes twice', spelled((c) => `%25${hex(c, 2)}`), CELL_PLAIN],
    ['decimal entities', spelled((c) => `&#${c.charCodeAt(0)};`), CELL_PLAIN],
    ['hex entities without semicolons', spelled((c) => `&#x${hex(c, 2)};`), CELL_PLAIN],
    ['named entities', '123&hyphen;45&ndash;6789', CELL_PLAIN],
    ['percent-coded entities', spelled((c) => `%26%23${c.charCodeAt(0)};`), CELL_PLAIN],
    ['form spaces', '123+45+6789', CELL_FORM],
    ['base64', b64(SSN), CELL_PLAIN],
    ['base64 of low digits', b64('111-11-1111'), CELL_PLAIN],
    ['base64 inside text', b64('the number is 123-45-6789 ok'), CELL_PLAIN],
    ['base64 of percent codes', b64(spelled((c) => `%${hex(c, 2)}`)), CELL_PLAIN],
    ['base64 twice', b64(b64(SSN)), CELL_PLAIN],
    ['base64 behind a joint', `id-${b64(SSN)}`.replace(/=+$/, ''), CELL_PLAIN],
    ['base64 of full-width digits', b64('１２３-４５-６７８９'), CELL_PLAIN],
    ['full-width digits', '１２３－４５－６７８９', CELL_PLAIN],
    ['Arabic-Indic digits', '١٢٣-٤٥-٦٧٨٩', CELL_PLAIN],
    ['mathematical digits', '𝟏𝟐𝟑-𝟒𝟓-𝟔𝟕𝟖𝟗', CELL_PLAIN],
    ['zero-width characters', '1\u200b2\u200d3-4\u20605-67\ufeff89', CELL_PLAIN],
    ['soft hyphens and combining marks', '1\u00ad23-4\u03015-6789', CELL_PLAIN],
    ['other dashes', '123\u201145\u22126789', CELL_PLAIN],
    ['no-break spaces', '123\u00a045\u202f6789', CELL_PLAIN],
    ['control characters', '1\u000123-45-67\u007f89', CELL_PLAIN],
  ];
  for (const [what, text, cell] of SPELLINGS) {
    test(`finds an SSN spelled with ${what} and takes the whole run`, () => {
      deepEqual(scan(text, cell), [`ssn:${text}`]);
      deepEqual(scan(`on ${text} at`, cell), [`ssn:${text}`]);
    });
  }

  test('an e-mail address with letters of other scripts is found', () => {
    deepEqual(scan('an josé@exämple.com bitte'), ['email:josé@exämple.com']);
    deepEqual(scan('x％40 a＠b．org'), ['email:a＠b．org']);
  });

  test('every strong shape that a regular expression sees is found', () => {
    const unit = fc.constantFrom(...'0123456789--..//  ()+@aAx_T:,%&\\;'.split(''));
    const piece = fc.oneof(
      { weight: 4, arbitrary: fc.string({ unit, maxLength: 6 }) },
      {
        weight: 1,
        arbitrary: fc.constantFrom('123-45-6789', '(400) 833-2380', '400.833.2380', '1985-01-18', '01/18/1985'),
      },
      { weight: 1, arbitrary: fc.constantFrom('a.b@c.de', '4111-1111-1111-1111', '5500000000000004', '+4930123456') },
    );
    let seen = 0;
    const property = fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const text = pieces.join('');
      const bytes = Buffer.from(text);
      scanCell(bytes, 0, 0, bytes.length, CELL_PLAIN, 0, ALL_KINDS, findings);
      for (const { kind, start, end } of oracleMatches(text)) {
        seen++;
        let covered = start;
        for (let i = 0; i < findings.count; i++) {
          covered = findings.startAt(i) <= covered ? Math.max(covered, findings.endAt(i)) : covered;
        }
        ok(covered >= end, `${kind} ${text.slice(start, end)} in ${JSON.stringify(text)}`);
      }
    });
    fc.assert(property, { numRuns: 3000 * SCALE });
    ok(seen > 1000, 'the oracle must have seen something');
  });

  test('findings are in order, apart and inside the cell, whatever the bytes are', () => {
    const byte = fc.oneof(fc.constantFrom(...Buffer.from('0123456789-.@%&\\u+ Aa"=')), fc.nat(255));
    const property = fc.property(
      fc.array(byte, { maxLength: 200 }),
      fc.constantFrom(CELL_PLAIN, CELL_JSON, CELL_FORM),
      (raw, cell) => {
        const bytes = Buffer.from(raw);
        scanCell(bytes, 0, 0, bytes.length, cell, 0, ALL_KINDS, findings);
        let last = 0;
        for (let i = 0; i < findings.count; i++) {
          ok(findings.startAt(i) >= last && findings.endAt(i) > findings.startAt(i));
          last = findings.endAt(i);
        }
        ok(last <= bytes.length);
      },
    );
    fc.assert(property, { numRuns: 3000 * SCALE });
  });

  test('only the kinds that were asked for are reported', () => {
    const bytes = Buffer.from('123-45-6789 a@b.org 2024-01-02');
    SCAN_KINDS.slice(0, 4).forEach((kind, index) => {
      scanCell(bytes, 0, 0, bytes.length, CELL_PLAIN, 0, 1 << index, findings);
      ok(findings.count === (kind === 'phone' ? 0 : 1));
      ok(findings.count === 0 || kindName(findings.kindAt(0)) === kind);
    });
  });
});
