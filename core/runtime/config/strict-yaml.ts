import { isAlias, isMap, isScalar, LineCounter, type Node, parseDocument, visit } from 'yaml';

/** A problem of the file with the place where it is. `line` is 1-based, 0 when the problem is in no file. */
export interface ConfigProblem {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

export interface StrictYaml {
  readonly value: unknown;
  readonly problems: readonly ConfigProblem[];
  /** Line of the value at a path, or of the nearest thing around it. */
  lineOf(path: readonly PropertyKey[]): number;
  /** Line of a key itself. */
  lineOfKey(path: readonly PropertyKey[], key: string): number;
  has(path: readonly PropertyKey[]): boolean;
}

const YAML_BYTES_MAX = 1024 * 1024;

/**
 * YAML 1.2 as plain data: one document; no anchors and aliases, tags, merge keys or duplicate keys, which would let the
 * file mean something else than it looks like. Messages name places, never values: a value may be a secret by mistake.
 */
export function parseStrictYaml(text: string): StrictYaml {
  const lines = new LineCounter();
  const problems: ConfigProblem[] = [];
  const isTooLarge = Buffer.byteLength(text) > YAML_BYTES_MAX;
  const document = parseDocument(isTooLarge ? '' : text, {
    lineCounter: lines,
    uniqueKeys: true,
    strict: true,
    version: '1.2',
    schema: 'core',
    merge: false,
    stringKeys: true,
    prettyErrors: false,
  });
  if (isTooLarge) {
    problems.push({ path: '', line: 0, message: 'the file is larger than 1 MiB' });
  }
  for (const error of [...document.errors, ...document.warnings]) {
    problems.push({ path: '', line: lines.linePos(error.pos[0]).line, message: plainMessage(error.code) });
  }
  visit(document, {
    Node(_key, node) {
      if (isAlias(node) || node.anchor !== undefined) {
        const line = node.range ? lines.linePos(node.range[0]).line : 0;
        problems.push({ path: '', line, message: 'anchors and aliases are not allowed' });
      }
    },
  });
  const lineAt = (node: unknown): number => {
    const range = (node as Node | null | undefined)?.range;
    return range === null || range === undefined ? 0 : lines.linePos(range[0]).line;
  };
  const nodeAt = (path: readonly PropertyKey[]): unknown =>
    path.length === 0 ? document.contents : document.getIn(path, true);
  return {
    value: problems.length === 0 ? (document.toJS({ maxAliasCount: 0 }) as unknown) : undefined,
    problems,
    lineOf(path) {
      for (let length = path.length; length >= 0; length--) {
        const line = lineAt(nodeAt(path.slice(0, length)));
        if (line > 0) {
          return line;
        }
      }
      return 0;
    },
    lineOfKey(path, key) {
      const map = nodeAt(path);
      const pair = isMap(map) ? map.items.find((item) => isScalar(item.key) && item.key.value === key) : undefined;
      return lineAt(pair?.key) || this.lineOf(path);
    },
    has: (path) => document.hasIn(path),
  };
}

function plainMessage(code: string): string {
  switch (code) {
    case 'DUPLICATE_KEY':
      return 'a key is there twice';
    case 'MULTIPLE_DOCS':
      return 'the file holds more than one document';
    case 'TAG_RESOLVE_FAILED':
      return 'tags are not allowed';
    case 'NON_STRING_KEY':
      return 'a key is not text';
    default:
      return `this is not valid YAML (${code.toLowerCase().replaceAll('_', ' ')})`;
  }
}
