import { deepEqual, equal } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseStatement, quoteIdentifier, quoteLiteral } from './statement.ts';

const ONE = [
  ['SELECT 1', 'SELECT 1', false],
  ['SELECT 1;', 'SELECT 1', false],
  ["SELECT ';' -- ; DROP\n", "SELECT ';' -- ; DROP\n", false],
  ['SELECT 1 /* ; */ ; /* end */ ;', 'SELECT 1 /* ; */ ', false],
  ["SELECT 'it''s;', 'a\\';b'", "SELECT 'it''s;', 'a\\';b'", false],
  ['SELECT $a$;$a$', 'SELECT $a$;$a$', false],
  ['SELECT `a;b`, "c;d"', 'SELECT `a;b`, "c;d"', false],
  ['-- hello\nwith x AS (SELECT 1) SELECT * FROM x', '-- hello\nwith x AS (SELECT 1) SELECT * FROM x', false],
  ['CREATE TABLE t (a UInt8) ENGINE = Memory', 'CREATE TABLE t (a UInt8) ENGINE = Memory', true],
  ['INSERT INTO t SELECT 1', 'INSERT INTO t SELECT 1', true],
] as const;

const REFUSED = [
  '',
  ' -- nothing\n',
  'SELECT 1; DROP TABLE t',
  "SELECT ';'; SELECT 2",
  "INSERT INTO FUNCTION file('x') VALUES (1)",
  "INSERT INTO t FROM INFILE 'x' FORMAT CSV",
  'INSERT INTO t',
  'INSERT t VALUES (1)',
  'INSERT INTO t SELECT 1; DROP TABLE t',
];

describe('parseStatement', () => {
  for (const [text, sql, writes] of ONE) {
    test(`finds one statement in ${JSON.stringify(text)}`, () => {
      deepEqual(parseStatement(text), { kind: 'sql', sql, writes });
    });
  }
  for (const text of REFUSED) {
    test(`refuses ${JSON.stringify(text)}`, () => {
      equal(parseStatement(text).kind, 'refused');
    });
  }
  test('takes inline data out of an insert', () => {
    const insert = { kind: 'insert', target: 'db.t (a, `b`)', format: 'Values' };
    deepEqual(parseStatement("INSERT INTO db.t (a, `b`) VALUES (1, ';')\n\nDROP"), {
      ...insert,
      data: "(1, ';')\n\nDROP",
    });
    deepEqual(parseStatement('insert into table t format JSONEachRow \n{"a":1}'), {
      kind: 'insert',
      target: 't',
      format: 'JSONEachRow',
      data: '{"a":1}',
    });
  });
});

test('quoting cannot be left by any text', () => {
  equal(quoteLiteral("a'b\\c"), "'a\\'b\\\\c'");
  equal(quoteIdentifier('a`b\\c'), '`a\\`b\\\\c`');
});
