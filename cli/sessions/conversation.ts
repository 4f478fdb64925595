import type { Approval, MaskSummary } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import type { Header } from '../../proto/gen/chaperone/evidence/v1/unit.ts';
import type { SessionRecord } from './verified-records.ts';

export interface MessageView {
  readonly headers: readonly Header[];
  readonly body: Buffer;
}

/** One operation with what came of it, as the agent saw it. */
export interface ExchangeView {
  readonly position: string;
  readonly timeMs: number;
  readonly connection: string;
  readonly request: (MessageView & { readonly method: string; readonly target: string; readonly host: string }) | null;
  /** Without literals: shown when the request was not recorded, or could not be opened. */
  readonly text: string;
  readonly effect: string;
  readonly code: string;
  readonly reasons: readonly { readonly code: string; readonly message: string; readonly layer: string }[];
  readonly policy: { readonly digest: string; readonly revision: number };
  readonly approvals: readonly Approval[];
  readonly response: (MessageView & { readonly status: number }) | null;
  readonly rows: number;
  readonly masks: MaskSummary | null;
  /** Why the response ended early, empty when it did not. */
  readonly aborted: string;
  /** Bytes handed to the kernel; null while there is no delivery record. */
  readonly deliveredBytes: number | null;
  readonly records: readonly string[];
}

/** A record that is no part of an exchange: the session's beginning and end, an approval, an unknown field. */
export interface OtherView {
  readonly position: string;
  readonly timeMs: number;
  readonly kind: string;
  readonly detail: string;
}

export interface Conversation {
  readonly exchanges: readonly ExchangeView[];
  readonly others: readonly OtherView[];
}

const EXCHANGE_KINDS = new Set(['operation', 'request.part', 'response.part', 'response', 'delivery']);

/** Puts the records of a session together, in the order of time. */
export function conversationOf(records: readonly SessionRecord[]): Conversation {
  const parts = new Map<string, SessionRecord[]>();
  const others: OtherView[] = [];
  for (const record of records) {
    const { event, kind } = record;
    if (EXCHANGE_KINDS.has(kind)) {
      const operation = kind === 'operation' ? record.index : Number(event.operationIndex ?? -1);
      const key = `${record.writer}/${operation}`;
      parts.set(key, [...(parts.get(key) ?? []), record]);
    } else {
      others.push({ position: record.position, timeMs: record.timeMs, kind, detail: detailOf(record) });
    }
  }
  const exchanges = [...parts.values()].map(exchangeOf);
  return {
    exchanges: exchanges.sort((a, b) => a.timeMs - b.timeMs),
    others: others.sort((a, b) => a.timeMs - b.timeMs),
  };
}

function exchangeOf(records: readonly SessionRecord[]): ExchangeView {
  const operation = records.find((record) => record.kind === 'operation');
  const responses = records.filter((record) => record.kind === 'response.part' || record.kind === 'response');
  const last = responses.at(-1)?.event.exchange;
  const delivery = records.find((record) => record.kind === 'delivery')?.event.exchange;
  const first = records[0] as SessionRecord;
  const decision = operation?.event.decision;
  return {
    position: (operation ?? first).position,
    timeMs: (operation ?? first).timeMs,
    connection: (operation ?? first).event.connection,
    request: requestOf(records),
    text: operation?.event.operation?.text ?? '',
    effect: decision?.effect ?? 'unknown',
    code: decision?.code ?? '',
    reasons: decision?.reasons ?? [],
    policy: {
      digest: Buffer.from(decision?.bundleDigest ?? []).toString('hex'),
      revision: Number(decision?.bundleRevision ?? 0n),
    },
    approvals: operation?.event.approvals ?? [],
    response: responseOf(responses),
    rows: Number(last?.rows ?? 0n),
    masks: responses.find((record) => record.event.masks !== undefined)?.event.masks ?? null,
    aborted: last?.abortReason ?? '',
    deliveredBytes: delivery === undefined ? null : Number(delivery.deliveredBytes),
    records: records.map((record) => record.position),
  };
}

function requestOf(records: readonly SessionRecord[]): ExchangeView['request'] {
  const requests = records.flatMap(({ payload }) => (payload?.request === undefined ? [] : [payload.request]));
  const head = requests.find((request) => request.method !== '');
  if (head === undefined) {
    return null;
  }
  return {
    method: head.method,
    target: head.target,
    host: head.host,
    headers: head.headers,
    body: joined(requests),
  };
}

function responseOf(responses: readonly SessionRecord[]): ExchangeView['response'] {
  const parts = responses.flatMap(({ payload }) => (payload?.response === undefined ? [] : [payload.response]));
  const head = parts.find((part) => part.status !== 0);
  return head === undefined ? null : { status: head.status, headers: head.headers, body: joined(parts) };
}

function joined(parts: readonly { readonly body: Buffer; readonly bodyOffset: bigint }[]): Buffer {
  const ordered = [...parts].sort((a, b) => Number(a.bodyOffset - b.bodyOffset));
  return Buffer.concat(ordered.map((part) => part.body));
}

function detailOf({ event }: SessionRecord): string {
  const { approvals, note, masks, subject } = event;
  if (approvals.length > 0) {
    return approvals
      .map(({ id, state, approver, reason }) => [id, state, approver, reason].filter((part) => part !== '').join(' '))
      .join('; ');
  }
  if (masks !== undefined && masks.unknownPaths.length > 0) {
    return `withheld, the catalogue does not know: ${masks.unknownPaths.join(', ')}`;
  }
  if (note !== undefined) {
    return note.text;
  }
  return subject === undefined ? '' : `${subject.principalSub} by ${subject.authMethod}`;
}
