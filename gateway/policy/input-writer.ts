import type { JsonValue } from '../../core/kernel/canonical-json.ts';
import { canonicalJson } from '../../core/kernel/canonical-json.ts';
import type { ConnectionInfo, Operation } from '../contract/operation.ts';
import type { Subject } from '../contract/subject.ts';
import type { GrantFact } from '../contract/verdict.ts';
import type { InputLayout } from './input-slots.ts';
import {
  ageBand,
  agentKind,
  agentOf,
  clientNet,
  hourFacts,
  humanOf,
  humanType,
  isAttested,
  isReviewed,
  UNKNOWN_FACTS,
  type PolicyRequest,
} from './policy-input.ts';

/** Paths of the input document that a bundle reads, joined by dots; `*` = the whole document. */
export type InputReads = readonly string[] | '*';

/** What one input is written from. */
export interface InputSources {
  readonly request: PolicyRequest;
  readonly nowMs: number;
}

/** On which source a text depends: what follows from one subject or connection alone is written once and kept with it. */
type Origin = 'subject' | 'connection' | 'request';
interface Leaf {
  readonly origin: Origin;
  readonly text: (sources: InputSources) => string;
}
interface Branch {
  readonly members: Readonly<Record<string, Leaf | Branch>>;
  /** The member is `null` for some subjects. */
  readonly isNull?: (subject: Subject) => boolean;
}
type Op = string | Leaf;

/** A text of a small vocabulary, which is mostly the one that it was the last time. */
const wordLeaf = (origin: Origin, get: (request: PolicyRequest, nowMs: number) => string): Leaf => {
  let last = '';
  let quoted = '""';
  return {
    origin,
    text: ({ request, nowMs }) => {
      const text = get(request, nowMs);
      if (text !== last) {
        last = text;
        quoted = word(text);
      }
      return quoted;
    },
  };
};
const subjectLeaf = (text: (subject: Subject) => string): Leaf => ({
  origin: 'subject',
  text: ({ request }) => text(request.subject),
});
const connectionLeaf = (text: (connection: ConnectionInfo) => string): Leaf => ({
  origin: 'connection',
  text: ({ request }) => text(request.connection),
});
const leaf = (text: (sources: InputSources) => string): Leaf => ({ origin: 'request', text });
const operationLeaf = (text: (operation: Operation) => string): Leaf => leaf(({ request }) => text(request.operation));

/** The input document, version 1. Members in the order of canonical JSON. */
const DOCUMENT: Branch = {
  members: {
    approvals: leaf(({ request }) => grantsText(request.grants)),
    connection: {
      members: {
        database: connectionLeaf((connection) => quote(connection.database)),
        env: wordLeaf('connection', ({ connection }) => connection.env),
        kind: wordLeaf('connection', ({ connection }) => connection.kind),
        labels: connectionLeaf((connection) => canonicalJson({ ...connection.labels })),
        name: wordLeaf('connection', ({ connection }) => connection.name),
      },
    },
    facts: {
      members: {
        bytes_band: wordLeaf('request', ({ facts }) => (facts ?? UNKNOWN_FACTS).bytesBand),
        client_net: wordLeaf('request', ({ remoteAddress }) => clientNet(remoteAddress)),
        denied_recent_band: wordLeaf('request', ({ facts }) => (facts ?? UNKNOWN_FACTS).deniedRecentBand),
        est_rows_band: wordLeaf('request', ({ facts }) => (facts ?? UNKNOWN_FACTS).estRowsBand),
        risk: wordLeaf('request', ({ facts }) => (facts ?? UNKNOWN_FACTS).risk),
        rows_band: wordLeaf('request', ({ operation }) => operation.facts.rowsBand),
        subjects_band: wordLeaf('request', ({ facts }) => (facts ?? UNKNOWN_FACTS).subjectsBand),
        time: {
          members: {
            business: leaf(({ nowMs }) => String(hourFacts(nowMs).business)),
            dow: leaf(({ nowMs }) => String(hourFacts(nowMs).dow)),
            hour: leaf(({ nowMs }) => String(hourFacts(nowMs).hour)),
          },
        },
      },
    },
    operation: {
      members: {
        class: wordLeaf('request', ({ operation }) => operation.class),
        classes: operationLeaf((operation) => listText(operation.classes)),
        egress: {
          members: {
            destination: wordLeaf('request', ({ operation }) => operation.egress.destination),
            kinds: operationLeaf((operation) => listText(operation.egress.kinds)),
          },
        },
        facts: {
          members: {
            function_calls: operationLeaf((operation) => listText(operation.facts.functionCalls)),
            has_limit: operationLeaf((operation) => String(operation.facts.hasLimit)),
            has_where: operationLeaf((operation) => String(operation.facts.hasWhere)),
            lineage: wordLeaf('request', ({ operation }) => operation.facts.lineage),
            multi: operationLeaf((operation) => String(operation.facts.multi)),
          },
        },
        filters_classes: operationLeaf((operation) => listText(operation.filtersClasses)),
        fingerprint: operationLeaf((operation) => quote(operation.fingerprint)),
        kinds: operationLeaf((operation) => listText(operation.kinds)),
        objects: operationLeaf(objectsText),
        outputs_classes: operationLeaf((operation) => listText(operation.outputsClasses)),
        unresolved: operationLeaf((operation) => (operation.unresolved ? 'true' : 'false')),
        verb: wordLeaf('request', ({ operation }) => operation.verb),
      },
    },
    session: {
      members: {
        agent: {
          members: {
            attested: subjectLeaf((subject) => (isAttested(subject) ? 'true' : 'false')),
            group: subjectLeaf((subject) => quote(agentOf(subject).group)),
            id: subjectLeaf((subject) => quote(agentOf(subject).id)),
            kind: wordLeaf('subject', ({ subject }) => agentKind(subject)),
          },
        },
        auth: {
          members: {
            age_band: wordLeaf('request', ({ subject }, nowMs) => ageBand(subject, nowMs)),
            issuer: subjectLeaf((subject) => quote(subject.auth.issuer)),
            method: subjectLeaf((subject) => quote(subject.auth.method)),
            mfa: subjectLeaf((subject) => String(subject.auth.mfa)),
          },
        },
        chain: subjectLeaf(chainText),
        ci: {
          isNull: (subject) => subject.ci === null,
          members: {
            ref: subjectLeaf((subject) => quote(subject.ci?.ref ?? '')),
            repo_id: subjectLeaf((subject) => quote(subject.ci?.repoId ?? '')),
            reviewed: leaf(({ request }) =>
              String(isReviewed(request.reviewed, request.subject.ci?.scriptDigest ?? '')),
            ),
            script_digest: subjectLeaf((subject) => quote(subject.ci?.scriptDigest ?? '')),
            sha: subjectLeaf((subject) => quote(subject.ci?.sha ?? '')),
            workflow: subjectLeaf((subject) => quote(subject.ci?.workflow ?? '')),
          },
        },
        depth: subjectLeaf((subject) => String(subject.actors.length)),
        env: subjectLeaf((subject) => quote(subject.env)),
        human: {
          isNull: (subject) => humanType(subject) === null,
          members: {
            groups: subjectLeaf((subject) => listText(subject.groups)),
            id: subjectLeaf((subject) => quote(humanOf(subject)?.id ?? '')),
            type: wordLeaf('subject', ({ subject }) => humanType(subject) ?? ''),
          },
        },
        purpose: subjectLeaf((subject) => quote(subject.purpose)),
      },
    },
    v: leaf(() => '1'),
  },
};

/**
 * Writes the policy input as canonical JSON, without an object in between: the whole document, which is recorded, and
 * the part of it that the bundle reads, which is what WASM has to parse.
 *
 * In the whole document, texts that follow from a Subject or a ConnectionInfo alone are kept with that object as long as
 * it lives: both are immutable. `inputDocument` and `canonicalJson` are the oracle.
 */
export class InputWriter {
  /** The shape of what is read; null when it is the whole document. */
  readonly layout: InputLayout | null;
  readonly #whole: readonly Op[];
  readonly #read: readonly Op[];
  readonly #leaves: readonly Leaf[];
  readonly #isNulls: readonly ((subject: Subject) => boolean)[];

  constructor(reads: InputReads) {
    this.#whole = kept(compile(DOCUMENT, '*'));
    this.#read = reads === '*' ? this.#whole : merged(compile(DOCUMENT, reads));
    const parts: Parts = { leaves: [], nullables: [], isShaped: reads !== '*' };
    collect(DOCUMENT, reads, [], parts);
    this.layout = parts.isShaped
      ? { leaves: parts.leaves.map(({ path }) => path), nullables: parts.nullables.map(({ path }) => path) }
      : null;
    this.#leaves = parts.leaves.map(({ leaf }) => leaf);
    this.#isNulls = parts.nullables.map(({ isNull }) => isNull);
  }

  /** The texts of the leaves of `layout`, and which of its objects are null, into the given arrays. */
  gather(texts: string[], nulls: boolean[], sources: InputSources): void {
    for (let i = 0; i < this.#leaves.length; i++) {
      texts[i] = (this.#leaves[i] as Leaf).text(sources);
    }
    for (let i = 0; i < this.#isNulls.length; i++) {
      nulls[i] = (this.#isNulls[i] as (subject: Subject) => boolean)(sources.request.subject);
    }
  }

  whole(sources: InputSources): string {
    return run(this.#whole, sources);
  }

  read(sources: InputSources): string {
    return run(this.#read, sources);
  }
}

/** As `InputWriter.gather`, from a recorded input. A leaf of an object that is null has any text: nothing refers to it. */
export function pickLeaves(document: JsonValue, layout: InputLayout): { texts: string[]; nulls: boolean[] } {
  const at = (path: readonly string[]): JsonValue | undefined =>
    path.reduce<JsonValue | undefined>(
      (value, name) =>
        typeof value === 'object' && value !== null && !Array.isArray(value)
          ? (value as { readonly [member: string]: JsonValue | undefined })[name]
          : undefined,
      document,
    );
  return {
    texts: layout.leaves.map((path) => canonicalJson(at(path) ?? null)),
    nulls: layout.nullables.map((path) => at(path) === null),
  };
}

/** The part of a parsed input document that the paths name: what `InputWriter.read` writes, from a recorded input. */
export function pickReads(document: JsonValue, reads: InputReads): JsonValue {
  return reads === '*' ? document : pick(document, DOCUMENT, reads);
}

function pick(value: JsonValue | undefined, branch: Branch, reads: readonly string[]): JsonValue {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    return value ?? null;
  }
  const fields = value as { readonly [name: string]: JsonValue | undefined };
  const picked: Record<string, JsonValue> = {};
  for (const [name, member] of Object.entries(branch.members)) {
    const inner = innerReads(reads, name);
    const field = fields[name];
    if (field !== undefined && inner !== null) {
      picked[name] = 'members' in member && inner !== '*' ? pick(field, member, inner) : field;
    }
  }
  return picked;
}

interface Parts {
  readonly leaves: { readonly path: readonly string[]; readonly leaf: Leaf }[];
  readonly nullables: { readonly path: readonly string[]; readonly isNull: (subject: Subject) => boolean }[];
  /** False when an object is read of which no member is known: it is there, and empty. */
  isShaped: boolean;
}

function collect(branch: Branch, reads: InputReads, path: readonly string[], parts: Parts): void {
  const before = parts.leaves.length;
  for (const [name, member] of Object.entries(branch.members)) {
    const inner = innerReads(reads, name);
    if (inner === null) {
      continue;
    }
    const deeper = [...path, name];
    if (!('members' in member)) {
      parts.leaves.push({ path: deeper, leaf: member });
      continue;
    }
    if (member.isNull !== undefined) {
      parts.nullables.push({ path: deeper, isNull: member.isNull });
    }
    collect(member, inner, deeper, parts);
  }
  parts.isShaped &&= parts.leaves.length > before;
}

function run(ops: readonly Op[], sources: InputSources): string {
  let out = '';
  for (const op of ops) {
    out += typeof op === 'string' ? op : op.text(sources);
  }
  return out;
}

function compile(branch: Branch, reads: InputReads): Op[] {
  const ops: Op[] = ['{'];
  let separator = '';
  for (const [name, member] of Object.entries(branch.members)) {
    const inner = innerReads(reads, name);
    if (inner === null) {
      continue;
    }
    ops.push(`${separator}${JSON.stringify(name)}:`);
    if (!('members' in member)) {
      ops.push(member);
    } else if (member.isNull === undefined) {
      ops.push(...compile(member, inner));
    } else {
      ops.push(nullable(merged(compile(member, inner)), member.isNull));
    }
    separator = ',';
  }
  ops.push('}');
  return ops;
}

/** What of `reads` is inside the member; `*` when the member is read whole, null when it is not read at all. */
function innerReads(reads: InputReads, name: string): InputReads | null {
  if (reads === '*' || reads.includes(name)) {
    return '*';
  }
  const inner = reads.filter((path) => path.startsWith(`${name}.`)).map((path) => path.slice(name.length + 1));
  return inner.length === 0 ? null : inner;
}

function nullable(ops: readonly Op[], isNull: (subject: Subject) => boolean): Leaf {
  const subjectOnly = ops.every((op) => typeof op === 'string' || op.origin === 'subject');
  return {
    origin: subjectOnly ? 'subject' : 'request',
    text: (sources) => (isNull(sources.request.subject) ? 'null' : run(ops, sources)),
  };
}

/** Joins constant texts that are neighbours. */
function merged(ops: readonly Op[]): Op[] {
  const joined: Op[] = [];
  for (const op of ops) {
    const last = joined.at(-1);
    if (typeof op === 'string' && typeof last === 'string') {
      joined[joined.length - 1] = last + op;
    } else {
      joined.push(op);
    }
  }
  return joined;
}

/** Joins neighbours that depend on one subject or one connection into texts that are kept with it. */
function kept(ops: readonly Op[]): Op[] {
  const texts: KeptTexts = new WeakMap();
  const joined: Op[] = [];
  let chunks = 0;
  let index = 0;
  while (index < ops.length) {
    const origin = originFrom(ops, index);
    let end = index;
    while (end < ops.length && (typeof ops[end] === 'string' || (ops[end] as Leaf).origin === origin)) {
      end++;
    }
    if (origin === 'request') {
      joined.push(ops[index] as Op);
      index++;
    } else {
      joined.push(chunk(merged(ops.slice(index, end)), origin, texts, chunks++));
      index = end;
    }
  }
  return merged(joined);
}

function originFrom(ops: readonly Op[], index: number): Origin {
  const next = ops.slice(index).find((op) => typeof op !== 'string');
  return next === undefined ? 'request' : next.origin;
}

/** By subject or connection: its texts, by number of the chunk. */
type KeptTexts = WeakMap<Subject | ConnectionInfo, string[]>;

function chunk(ops: readonly Op[], origin: 'subject' | 'connection', kept: KeptTexts, number: number): Leaf {
  return {
    origin,
    text: (sources) => {
      const source = sources.request[origin];
      let texts = kept.get(source);
      if (texts === undefined) {
        texts = [];
        kept.set(source, texts);
      }
      return (texts[number] ??= run(ops, sources));
    },
  };
}

const PLAIN = /^[ !#-[\]-~]*$/;

/** As `JSON.stringify`; almost every word of an input has nothing to escape. */
function quote(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(text);
}

const WORDS_MAX = 4_096;
const WORD_CHARS_MAX = 64;
const words = new Map<string, string>();

/** `quote` for texts of a small vocabulary: names of the configuration, the catalogue and the bands. */
function word(text: string): string {
  let quoted = words.get(text);
  if (quoted === undefined) {
    quoted = quote(text);
    if (words.size < WORDS_MAX && text.length <= WORD_CHARS_MAX) {
      words.set(text, quoted);
    }
  }
  return quoted;
}

function chainText({ principal, actors }: Subject): string {
  let out = `[{"id":${quote(principal.sub)},"iss":${quote(principal.iss)},"type":${word(principal.kind)}}`;
  for (const actor of actors) {
    out += `,{"id":${quote(actor.sub)},"iss":${quote(actor.iss)},"type":${word(actor.kind)}}`;
  }
  return `${out}]`;
}

function listText(items: readonly string[]): string {
  if (items.length === 0) {
    return '[]';
  }
  let out = '[';
  for (let i = 0; i < items.length; i++) {
    out += (i === 0 ? '' : ',') + word(items[i] as string);
  }
  return `${out}]`;
}

function objectsText(operation: Operation): string {
  let out = '[';
  for (const object of operation.objects) {
    out += `${out.length === 1 ? '' : ','}{"id":${word(object.id)},"labels":${listText(object.labels)},"type":${word(object.type)}}`;
  }
  return `${out}]`;
}

function grantsText(grants: readonly GrantFact[]): string {
  if (grants.length === 0) {
    return '[]';
  }
  let out = '[';
  for (const grant of grants) {
    out += `${out.length === 1 ? '' : ','}{"by":${quote(grant.by)},"code":${quote(grant.code)},"expires_band":${quote(grant.expiresBand)},"scope":${quote(grant.scope)}}`;
  }
  return `${out}]`;
}
