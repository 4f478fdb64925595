import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { GatewayError } from '../../core/kernel/errors.ts';
import { packageRoot } from '../../core/runtime/package-root.ts';
import type { ResultShape } from '../contract/shape.ts';
import { BundleCatalogue } from './bundle-catalogue.ts';

const root = packageRoot(import.meta.url);
const json = readFileSync(join(root, 'policies', 'catalogue.json'), 'utf8');
const catalogue = BundleCatalogue.parse(json);
const CLINIC = ['patients', 'encounters', 'observations', 'claims', 'notes'];

describe('the catalogue of the default bundle', () => {
  for (const table of CLINIC) {
    test(`knows ${table} as JSON, CSV and NDJSON`, () => {
      for (const path of [`/${table}`, `/${table}.csv`, `/${table}.ndjson`]) {
        const route = catalogue.resolveHttp('clinic', 'GET', path, '');
        equal(route?.response?.id, `clinic.${table}`);
        equal(route?.safe, true);
        equal(route?.class, 'read');
        deepEqual(route?.unknownParameters, []);
      }
    });
  }

  test('knows one patient, the notes of one, the export and the rows for analytics', () => {
    const one = catalogue.resolveHttp('clinic', 'GET', '/patients/3edac2e3-d223-6fae-d515-daf96ef6bc76', '');
    deepEqual([one?.template, one?.parameterClasses], ['/patients/{id}', ['record_id']]);
    equal(catalogue.resolveHttp('clinic', 'GET', '/patients/7/notes', '')?.response?.id, 'clinic.notes');
    const bulk = catalogue.resolveHttp('clinic', 'GET', '/export/patients.ndjson', '');
    deepEqual([bulk?.rowsBand, bulk?.safe, bulk?.class], ['bulk', false, 'read']);
    const rows = catalogue.resolveHttp('analytics', 'POST', '/rows', '');
    deepEqual([rows?.class, rows?.request?.id, rows?.safe], ['write', 'analytics.rows', false]);
    equal(catalogue.resolveHttp('analytics', 'GET', '/rows', ''), undefined);
    equal(catalogue.resolveHttp('clinic', 'POST', '/rows', ''), undefined);
    equal(catalogue.resolveHttp('nowhere', 'GET', '/patients', ''), undefined);
  });

  test('every class has a letter and a kind exactly when it is an identifier', () => {
    const letters = new Set<string>();
    for (const { name, phi, hipaa, kind } of catalogue.classes.values()) {
      equal(hipaa !== '', phi, name);
      equal(kind !== '', phi, name);
      letters.add(hipaa);
    }
    equal([...letters].sort().join(''), 'ABCDEFGHIJKLMNOPQR');
    const kinds = [...catalogue.classes.values()].map((info) => info.kind);
    for (const kind of ['ssn', 'phone', 'email', 'date', 'card', 'mrn', 'blob']) {
      ok(kinds.includes(kind), `the scanner finds ${kind}`);
    }
  });

  // What the upstream of the demo serves, for every table and medium.
  for (const table of CLINIC) {
    const file = join(root, 'deploy', 'demo', 'data', `${table}.csv`);
    test(
      `knows every column of ${table}`,
      { skip: existsSync(file) ? false : `${file} is not there: the demo brings it` },
      () => {
        const header = readFileSync(file, 'utf8').split(/\r?\n/, 1)[0] ?? '';
        const columns = header.toLowerCase().split(',');
        ok(columns.length > 5);
        const shape = shapeOf(`clinic.${table}`);
        for (const column of table === 'patients' ? [...columns, 'phone', 'email'] : columns) {
          for (const path of [column, `[].${column}`, `items[].${column}`]) {
            ok(shape.fields.has(path), `${table}: ${path}`);
          }
        }
      },
    );
  }

  test('identifiers of a patient are identifiers, and what a clinician works with is not', () => {
    const { fields } = shapeOf('clinic.patients');
    const isPhi = (path: string): boolean | undefined => catalogue.classes.get(fields.get(path)?.class ?? '')?.phi;
    for (const path of [
      'ssn',
      'first',
      'last',
      'birthdate',
      'address',
      'zip',
      'phone',
      'email',
      'drivers',
      'passport',
      'lat',
    ]) {
      equal(isPhi(`[].${path}`), true, path);
    }
    for (const path of ['id', 'gender', 'race', 'state', 'healthcare_expenses']) {
      equal(isPhi(path), false, path);
    }
    equal(fields.get('genome_marker'), undefined, 'what nobody described is unknown');
    deepEqual(shapeOf('clinic.notes').fields.get('text'), { class: 'free_text', scan: true });
  });
});

describe('BundleCatalogue', () => {
  const resolve = (query: string) => catalogue.resolveHttp('clinic', 'GET', '/patients', query);

  test('resolves query names to classes and lists the unknown ones', () => {
    deepEqual(resolve('limit=5&ssn=999-17-5017')?.parameterClasses, ['paging', 'ssn']);
    deepEqual(resolve('limit=5&limit=6')?.unknownParameters, []);
    deepEqual(resolve('depth=5&limit=6&zzz')?.unknownParameters, ['depth', 'zzz']);
    deepEqual(resolve('%73sn=1')?.parameterClasses, ['ssn'], 'as an upstream would read it');
    deepEqual(resolve('&&')?.unknownParameters, []);
  });

  test('never repeats a query name that could be data', () => {
    const names = ['999-17-5017 Curt=', '%zz=1', `${'x'.repeat(65)}=1`, '=value', 'a%0ab', 'Ann%20Smith'];
    for (const name of names) {
      deepEqual(resolve(name)?.unknownParameters, ['(odd)'], name);
    }
  });

  test('looks at a bounded number of names', () => {
    const many = Array.from({ length: 65 }, () => 'limit=1').join('&');
    deepEqual(resolve(many)?.unknownParameters, ['(odd)']);
    deepEqual(resolve(many.slice('limit=1&'.length))?.unknownParameters, []);
  });

  test('its digest is that of the meaning, not of the text', () => {
    deepEqual(BundleCatalogue.parse(JSON.stringify(JSON.parse(json))).digest, catalogue.digest);
    const changed = json.replace('"Social Security number"', '"Another title"');
    ok(!BundleCatalogue.parse(changed).digest.equals(catalogue.digest));
  });

  test('a shape that changes has another digest, and only that one', () => {
    const changed = BundleCatalogue.parse(json.replace('"marital": "demographic"', '"marital": "name"'));
    ok(!changed.shapes.get('clinic.patients')?.digest.equals(shapeOf('clinic.patients').digest));
    deepEqual(changed.shapes.get('clinic.claims')?.digest, shapeOf('clinic.claims').digest);
  });

  const refused: readonly (readonly [string, (file: Draft) => void, RegExp])[] = [
    ['an unknown member', (file) => (file['extra'] = 1), /extra/],
    ['another version', (file) => (file['v'] = 2), /v/],
    ['a field of an undeclared class', (file) => (file.tables['t'] = { a: 'nobody' }), /class nobody is not declared/],
    ['a table that is not there', (file) => (file.shapes['s'] = { ...file.shapes['s'], table: 'u' }), /table u/],
    [
      'a path twice',
      (file) => (file.shapes['s'] = { ...file.shapes['s'], fields: { a: 'c' } }),
      /path a is there twice/,
    ],
    ['a text body without a rule', (file) => (file.shapes['s'] = { media: ['text'], text: null }), /text body/],
    ['a rule without a text body', (file) => (file.shapes['s'] = { media: ['json'], text: 'c' }), /text body/],
    ['a letter that does not exist', (file) => (file.classes['c'] = { ...file.classes['c'], hipaa: 'S' }), /hipaa/],
    ['a route of an undeclared shape', (file) => (route(file).response = 'x'), /shape x is not declared/],
    ['a route twice', (file) => file.connections.k.routes.push({ ...route(file), id: 'other' }), /twice/],
    [
      'an id twice',
      (file) => file.connections.k.routes.push({ ...route(file), path: '/other' }),
      /id r of k is there twice/,
    ],
    ['a parameter without a class', (file) => (route(file).path = '/a/{b}'), /pathParameters/],
    ['a class without a parameter', (file) => (route(file).pathParameters = { b: 'c' }), /pathParameters/],
    ['a parameter of an undeclared class', (file) => (route(file).queryParameters = { q: 'x' }), /class x/],
    ['a safe write', (file) => Object.assign(route(file), { class: 'write', safe: true }), /safe/],
    ['a path with a dot segment', (file) => (route(file).path = '/a/../b'), /path/],
    ['a path with an encoded character', (file) => (route(file).path = '/a%2fb'), /path/],
    ['an unknown band', (file) => (route(file).rowsBand = 'huge'), /rowsBand/],
    ['an unknown method', (file) => (route(file).method = 'TRACE'), /method/],
  ];
  test('takes the small catalogue that the refused ones are made of', () => {
    equal(BundleCatalogue.parse(JSON.stringify(draft())).resolveHttp('k', 'GET', '/a', '')?.id, 'r');
  });
  for (const [what, change, detail] of refused) {
    test(`refuses ${what}`, () => {
      const file = draft();
      change(file);
      throws(
        () => BundleCatalogue.parse(JSON.stringify(file)),
        (error: unknown) => {
          ok(error instanceof GatewayError && error.code === 'catalogue_invalid');
          ok(detail.test(error.detail), error.detail);
          return true;
        },
      );
    });
  }
  test('refuses what is not JSON', () => {
    throws(() => BundleCatalogue.parse('{'), { code: 'catalogue_invalid' });
  });
});

type Draft = ReturnType<typeof draft>;

function draft() {
  return {
    v: 1,
    classes: { c: { title: 'c', phi: true, hipaa: 'A', kind: 'c' } } as Record<string, object>,
    tables: { t: { a: 'c' } } as Record<string, object>,
    shapes: { s: { media: ['json'], table: 't', text: null } } as Record<string, object>,
    connections: {
      k: {
        routes: [
          {
            id: 'r',
            method: 'GET',
            path: '/a',
            class: 'read',
            verb: 'list',
            objects: [],
            safe: true,
            rowsBand: 'small',
            pathParameters: {},
            queryParameters: {},
            response: 's',
            request: null,
          },
        ] as Record<string, unknown>[],
      },
    },
  } as {
    [member: string]: unknown;
    classes: Record<string, object>;
    tables: Record<string, object>;
    shapes: Record<string, object>;
    connections: { k: { routes: Record<string, unknown>[] } };
  };
}

function route(file: Draft): Record<string, unknown> &
  Record<'path' | 'response' | 'method' | 'rowsBand', unknown> & {
    pathParameters: unknown;
    queryParameters: unknown;
  } {
  return file.connections.k.routes[0] as ReturnType<typeof route>;
}

function shapeOf(id: string): ResultShape {
  const shape = catalogue.shapes.get(id);
  ok(shape, `no shape ${id}`);
  return shape;
}
