/**
 * What the front must know about a statement before the engine may see it. This is a lexer, not a parser: it finds where
 * the statement ends and where inline data begins. Everything else is for the engine.
 */
export type Statement =
  | { readonly kind: 'sql'; readonly sql: string; readonly writes: boolean }
  | { readonly kind: 'insert'; readonly target: string; readonly format: string; readonly data: string }
  | { readonly kind: 'refused'; readonly reason: string };

type TokenKind = 'word' | 'quoted' | 'other';

interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Verbs that only read; everything else goes through the lane of the writes. */
const READ_VERBS = new Set(['SELECT', 'WITH', 'SHOW', 'DESCRIBE', 'DESC', 'EXPLAIN', 'EXISTS', 'CHECK', '(']);

/**
 * Classifies one statement. The engine runs every statement of a text, also what follows inline insert data after a
 * blank line, so the front lets exactly one statement through and takes inline data out of it.
 */
export function parseStatement(sql: string): Statement {
  const first = nextToken(sql, 0);
  if (first === null) {
    return { kind: 'refused', reason: 'Empty query' };
  }
  const verb = first.text.toUpperCase();
  if (verb === 'INSERT') {
    const insert = insertWithData(sql, first.end);
    if (insert !== null) {
      return insert;
    }
  }
  const end = statementEnd(sql);
  if (end === -1) {
    return { kind: 'refused', reason: 'Multi-statements are not allowed' };
  }
  return { kind: 'sql', sql: sql.slice(0, end), writes: !READ_VERBS.has(verb) };
}

/** A single-quoted literal of the engine's dialect. */
export function quoteLiteral(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\0', '\\0')}'`;
}

/** A back-quoted identifier of the engine's dialect. */
export function quoteIdentifier(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
}

/** `INSERT INTO target [(columns)] VALUES … | FORMAT f …`; null when the source is a query. */
function insertWithData(sql: string, start: number): Statement | null {
  let depth = 0;
  let previous = '';
  for (let token = nextToken(sql, start); token !== null; token = nextToken(sql, token.end)) {
    if (token.text === '(') {
      depth++;
    } else if (token.text === ')') {
      depth--;
    } else if (token.kind === 'word' && depth === 0) {
      const word = token.text.toUpperCase();
      if (word === 'SELECT' || word === 'WITH') {
        return null;
      }
      if (word === 'FUNCTION' || word === 'INFILE' || word === 'WATCH') {
        return { kind: 'refused', reason: `INSERT with ${word} is not supported here` };
      }
      if (word === 'VALUES' && previous !== '.') {
        return insertStatement(sql.slice(start, token.start), 'Values', sql.slice(token.end));
      }
      if (word === 'FORMAT' && previous !== '.') {
        const format = nextToken(sql, token.end);
        if (format === null || format.kind !== 'word') {
          return { kind: 'refused', reason: 'FORMAT needs a name' };
        }
        return insertStatement(sql.slice(start, token.start), format.text, sql.slice(format.end));
      }
    }
    previous = token.text;
  }
  return { kind: 'refused', reason: 'INSERT needs FORMAT, VALUES or SELECT' };
}

const TARGET = /^\s*INTO\s+(?:TABLE\s+)?(.+?)\s*$/is;

function insertStatement(head: string, format: string, data: string): Statement {
  const target = TARGET.exec(head)?.[1];
  if (target === undefined) {
    return { kind: 'refused', reason: 'INSERT needs INTO and a table' };
  }
  return { kind: 'insert', target, format, data: data.replace(/^[ \t]*\r?\n?/, '') };
}

/** The end of the only statement, or -1 when something follows its semicolon. */
function statementEnd(sql: string): number {
  let end = sql.length;
  let ended = false;
  for (let token = nextToken(sql, 0); token !== null; token = nextToken(sql, token.end)) {
    if (ended && token.text !== ';') {
      return -1;
    }
    if (token.text === ';' && !ended) {
      ended = true;
      end = token.start;
    }
  }
  return end;
}

const WORD = /[A-Za-z_0-9$\u0080-\uffff]/;

/** The next token at or after `offset`; comments and white space are skipped. */
function nextToken(sql: string, offset: number): Token | null {
  const start = skipBlank(sql, offset);
  const char = sql[start];
  if (char === undefined) {
    return null;
  }
  if (char === "'" || char === '"' || char === '`') {
    const end = quotedEnd(sql, start, char);
    return { kind: 'quoted', text: sql.slice(start, end), start, end };
  }
  const heredoc = char === '$' ? /^\$[A-Za-z_0-9]*\$/.exec(sql.slice(start, start + 64)) : null;
  if (heredoc !== null) {
    const close = sql.indexOf(heredoc[0], start + heredoc[0].length);
    const end = close === -1 ? sql.length : close + heredoc[0].length;
    return { kind: 'quoted', text: sql.slice(start, end), start, end };
  }
  if (!WORD.test(char)) {
    return { kind: 'other', text: char, start, end: start + 1 };
  }
  let end = start + 1;
  while (end < sql.length && WORD.test(sql[end] as string)) {
    end++;
  }
  return { kind: 'word', text: sql.slice(start, end), start, end };
}

function skipBlank(sql: string, offset: number): number {
  let at = offset;
  for (;;) {
    const char = sql[at];
    if (char !== undefined && /\s/.test(char)) {
      at++;
    } else if (sql.startsWith('--', at) || sql.startsWith('# ', at) || sql.startsWith('#!', at)) {
      const newline = sql.indexOf('\n', at);
      at = newline === -1 ? sql.length : newline + 1;
    } else if (sql.startsWith('/*', at)) {
      const close = sql.indexOf('*/', at + 2);
      at = close === -1 ? sql.length : close + 2;
    } else {
      return at;
    }
  }
}

function quotedEnd(sql: string, start: number, quote: string): number {
  for (let at = start + 1; at < sql.length; at++) {
    const char = sql[at];
    if (char === '\\') {
      at++;
    } else if (char === quote) {
      if (sql[at + 1] !== quote) {
        return at + 1;
      }
      at++;
    }
  }
  return sql.length;
}
