import { equal, throws } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { RouteTrie } from './route-trie.ts';

const ROUTES = [
  '/',
  '/patients',
  '/patients/{id}',
  '/patients/export',
  '/patients/{id}/notes',
  '/{table}/{row}/notes/{n}',
  '/a.csv',
];

function trie(): RouteTrie<string> {
  const made = new RouteTrie<string>();
  for (const route of ROUTES) {
    made.add('GET', route, route);
  }
  made.add('POST', '/patients', 'create');
  return made;
}

describe('RouteTrie', () => {
  const found: readonly (readonly [string, string | undefined])[] = [
    ['/', '/'],
    ['/patients', '/patients'],
    ['/patients/7', '/patients/{id}'],
    ['/patients/export', '/patients/export'],
    ['/patients/export/notes', '/patients/{id}/notes'],
    ['/patients/7/notes', '/patients/{id}/notes'],
    ['/patients/7/notes/1', '/{table}/{row}/notes/{n}'],
    ['/patients/J%C3%BCrgen', '/patients/{id}'],
    ['/patients/a%20b', '/patients/{id}'],
    ['/patients/a.b', '/patients/{id}'],
    ['/a.csv', '/a.csv'],
    ['/unknown', undefined],
    ['/Patients', undefined],
    ['/patients/7/notes/1/2', undefined],
  ];
  for (const [path, route] of found) {
    test(`${path} is ${route ?? 'no route'}`, () => equal(trie().find('GET', path), route));
  }

  const odd = [
    '',
    'patients',
    '//patients',
    '/patients/',
    '/patients//notes',
    '/patients/.',
    '/patients/..',
    '/patients/%2e',
    '/patients/%2E%2e',
    '/patients/.%2e/notes',
    '/patients/a%2Fb',
    '/patients/a%2fb',
    '/patients/a%5Cb',
    '/patients/a\\b',
    '/patients/%00',
    '/patients/%0a',
    '/patients/a;b=c',
    '/patients/%3b',
    '/patients/%',
    '/patients/%zz',
    '/patients/%ff',
    '/%70atients',
    '/patients/a%2',
    'http://clinic/patients',
  ];
  for (const path of odd) {
    test(`${JSON.stringify(path)} matches nothing`, () => equal(trie().find('GET', path), undefined));
  }

  test('the method counts', () => {
    equal(trie().find('POST', '/patients'), 'create');
    equal(trie().find('POST', '/patients/7'), undefined);
    equal(trie().find('get', '/patients'), undefined);
  });

  test('a route twice is refused, also under another parameter name', () => {
    throws(() => trie().add('GET', '/patients', 'x'), { code: 'catalogue_invalid' });
    throws(() => trie().add('GET', '/patients/{other}', 'x'), { code: 'catalogue_invalid' });
  });

  // The slow and obvious way: every template against every segment, literals first.
  test('finds what comparing with every template finds', () => {
    const segment = fc.constantFrom(
      'patients',
      'export',
      'notes',
      '7',
      'a.csv',
      '',
      '.',
      '..',
      '%2e',
      '%2F',
      'a%20b',
      '%zz',
      ';',
    );
    const made = trie();
    fc.assert(
      fc.property(fc.array(segment, { maxLength: 5 }), (segments) => {
        const path = `/${segments.join('/')}`;
        equal(made.find('GET', path), slowFind(path), path);
      }),
      { numRuns: 500 },
    );
  });

  test('a long hostile path costs little and matches nothing', () => {
    equal(trie().find('GET', '/a'.repeat(4_000)), undefined);
    equal(trie().find('GET', '/'.repeat(8_000)), undefined);
  });
});

function slowFind(path: string): string | undefined {
  const segments = path === '/' ? [] : path.slice(1).split('/');
  const isPlain = (segment: string): boolean =>
    ['patients', 'export', 'notes', '7', 'a.csv', 'a%20b'].includes(segment);
  const matching = ROUTES.filter((route) => {
    const parts = route === '/' ? [] : route.slice(1).split('/');
    return (
      parts.length === segments.length &&
      parts.every((part, i) => (part.startsWith('{') ? isPlain(segments[i] ?? '') : part === segments[i]))
    );
  });
  return matching.sort((a, b) => specificity(b).localeCompare(specificity(a)))[0];
}

/** One character for each segment: a literal counts more, the first segment most. */
function specificity(route: string): string {
  return route
    .split('/')
    .map((part) => (part.startsWith('{') ? '0' : '1'))
    .join('');
}
