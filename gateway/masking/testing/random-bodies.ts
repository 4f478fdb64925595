import type { SeededRandom } from '../../../core/kernel/testing/seeded-random.ts';
import type { Fields } from './mask-bodies.ts';

/** A random schema: declared paths with their classes, and what a document of it looks like. */
export interface Schema {
  readonly fields: Fields;
  readonly root: SchemaNode;
}

export type SchemaNode =
  | { readonly type: 'leaf'; readonly rule: string }
  | { readonly type: 'object'; readonly members: ReadonlyMap<string, SchemaNode> }
  | { readonly type: 'array'; readonly element: SchemaNode };

/** Every value that must not leave has this in it, once its escapes are undone. */
export const CANARY = 'Qz7k';
/** Digits of canary numbers. */
export const CANARY_DIGITS = '73190';

const RULES = [
  'public',
  'public',
  'public+scan',
  'phi.name',
  'phi.ssn',
  'phi.zip',
  'phi.birthdate',
  'phi.drop',
  'phi.null',
];
const NAMES = ['id', 'name', 'note', 'a', 'b', 'value', 'Straße', 'x-y', 'first_name', 'code', 'status', 'ünï'];

export function randomSchema(random: SeededRandom, isFlat = false): Schema {
  const root = isFlat ? randomObject(random, 0) : randomNode(random, 3);
  const fields: Record<string, string> = {};
  collectFields(root, '', fields);
  return { fields, root };
}

function randomNode(random: SeededRandom, depth: number): SchemaNode {
  const choice = random.below(depth > 0 ? 4 : 1);
  if (choice === 0) {
    return { type: 'leaf', rule: random.pick([...RULES, 'phi.fixed', 'undeclared.class']) };
  }
  if (choice === 1) {
    return { type: 'array', element: randomNode(random, depth - 1) };
  }
  return randomObject(random, depth - 1);
}

function randomObject(random: SeededRandom, depth: number): SchemaNode {
  const members = new Map<string, SchemaNode>();
  for (let i = random.below(6) + 1; i > 0; i--) {
    members.set(random.pick(NAMES), randomNode(random, depth));
  }
  return { type: 'object', members };
}

function collectFields(node: SchemaNode, path: string, fields: Record<string, string>): void {
  if (node.type === 'leaf') {
    fields[path] = node.rule;
  } else if (node.type === 'array') {
    collectFields(node.element, `${path}[]`, fields);
  } else {
    for (const [name, member] of node.members) {
      collectFields(member, path === '' ? name : `${path}.${name}`, fields);
    }
  }
}

/** Text of a document: mostly along the schema, with undeclared members, wrong types, escapes and white space. */
export function randomJson(random: SeededRandom, node: SchemaNode | null): string {
  if (node === null || random.below(12) === 0) {
    return secretValue(random, 2);
  }
  if (node.type === 'leaf') {
    return leafValue(random, node.rule);
  }
  if (node.type === 'array') {
    const items = Array.from({ length: random.below(4) }, () => randomJson(random, node.element));
    return `[${space(random)}${items.join(`${space(random)},${space(random)}`)}${space(random)}]`;
  }
  const members = [...node.members]
    .filter(() => random.below(5) > 0)
    .map(([name, member]): [string, SchemaNode | null] => [name, member]);
  for (let i = random.below(3); i > 0; i--) {
    members.splice(random.below(members.length + 1), 0, [`zz${i}`, null]);
  }
  const parts = members.map(
    ([name, member]) => `${jsonString(random, name)}${space(random)}:${space(random)}${randomJson(random, member)}`,
  );
  return `{${space(random)}${parts.join(`${space(random)},${space(random)}`)}${space(random)}}`;
}

function leafValue(random: SeededRandom, rule: string): string {
  if (rule === 'public') {
    return random.pick([
      'true',
      'null',
      '-1.5e3',
      '0',
      jsonString(random, 'plain é \u{1f600} "\\/'),
      '""',
      jsonString(random, 'ok'),
    ]);
  }
  if (rule === 'public+scan') {
    const note = random.pick(['call', 'é', '']) + random.pick([' 123-45-6789 ', ' ', 'x a.b@c.de,', ' 1985-02-03']);
    return jsonString(random, note);
  }
  return secretValue(random, 1);
}

/** A value with canaries only. */
function secretValue(random: SeededRandom, depth: number): string {
  switch (random.below(depth > 0 ? 6 : 3)) {
    case 0:
      return `${random.below(9) + 1}${CANARY_DIGITS}${random.below(1000)}`;
    case 3:
      return `[${secretValue(random, depth - 1)},${space(random)}${secretValue(random, depth - 1)}]`;
    case 4:
      return `{"id":${secretValue(random, depth - 1)},${jsonString(random, 'zzq')}:${secretValue(random, depth - 1)}}`;
    default:
      return jsonString(random, `${random.pick(['', 'é', '12-'])}${CANARY}${random.below(1000)}`);
  }
}

/** A JSON string in which any character may be escaped. */
export function jsonString(random: SeededRandom, text: string): string {
  const rate = random.pick([0, 0, 0, 2, 9]);
  const units = Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
  const hex = (unit: number): string => `\\u${unit.toString(16).padStart(4, '0')}`;
  let out = '';
  for (let i = 0; i < units.length; i++) {
    const unit = units[i] ?? 0;
    const isHigh = unit >= 0xd800 && unit <= 0xdbff;
    if (isHigh && random.below(10) < rate) {
      out += hex(unit) + hex(units[++i] ?? 0);
    } else if (isHigh) {
      out += text.slice(i, i + 2);
      i++;
    } else if (random.below(10) < rate) {
      out += hex(unit);
    } else {
      out += JSON.stringify(text[i]).slice(1, -1);
    }
  }
  return `"${out}"`;
}

function space(random: SeededRandom): string {
  return random.pick(['', '', '', ' ', '\t', '  ']);
}

/** A CSV body with a header: declared columns of a flat schema and undeclared ones. */
export function randomCsv(random: SeededRandom, fields: Fields): string {
  const columns = [...Object.entries(fields), ['zz1', 'unknown'], ['zz2', 'unknown']]
    .filter(() => random.below(4) > 0)
    .sort(() => random.below(3) - 1);
  const eol = random.pick(['\n', '\r\n']);
  const rows = [columns.map(([name]) => csvField(random, name ?? ''))];
  for (let i = random.below(5); i > 0; i--) {
    rows.push(columns.map(([, rule]) => csvField(random, csvValue(random, rule ?? ''))));
  }
  return rows.map((row) => row.join(',')).join(eol) + random.pick(['', eol]);
}

function csvValue(random: SeededRandom, rule: string): string {
  if (rule === 'public') {
    return random.pick(['', 'ok', 'a,b', 'say "x"', 'two\nlines', 'é', '12']);
  }
  if (rule === 'public+scan') {
    return random.pick(['', 'call 400-833-2380 "now"', 'a.b@c.de', 'no, nothing', '1985-02-03\r\nx']);
  }
  return random.pick(['', `${CANARY}${random.below(100)}`, `a,"${CANARY}"\n`, `é${CANARY}`]);
}

function csvField(random: SeededRandom, text: string): string {
  const mustQuote = /[",\r\n]/.test(text);
  return mustQuote || random.below(4) === 0 ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Chunk sizes to cut a body with. */
export function randomCuts(random: SeededRandom, size: number): number[] {
  switch (random.below(4)) {
    case 0:
      return [1];
    case 1:
      return [size];
    case 2:
      return [random.below(size + 1) + 1, 1, size];
    default:
      return Array.from({ length: 8 }, () => random.below(17) + 1);
  }
}
