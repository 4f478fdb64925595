import { deepEqual, equal } from 'node:assert/strict';
import { describe, test } from 'node:test';
import { GatewayError } from '../../core/kernel/errors.ts';
import { decodeLeaf } from '../../core/ledger/leaf.ts';
import { decodeRecord, encodeRecord } from '../../core/ledger/record.ts';
import { SampleWriter } from '../../core/ledger/testing/sample-evidence.ts';
import { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import { PayloadUnit } from '../../proto/gen/chaperone/evidence/v1/unit.ts';
import { conversationOf } from './conversation.ts';
import type { IndexedRecord } from './session-index.ts';
import { readSessionRecords, type SessionFinding, type VerifiedSession } from './verified-records.ts';

const SESSION = Buffer.alloc(16, 7);
const meta = (event: Parameters<typeof Event.fromPartial>[0]): Buffer =>
  Buffer.from(Event.encode(Event.fromPartial(event)).finish());
const payload = (unit: Parameters<typeof PayloadUnit.fromPartial>[0]): Buffer =>
  Buffer.from(PayloadUnit.encode(PayloadUnit.fromPartial(unit)).finish());

/** One fast-path read in two parts, and the control writer's record of an approval of the same session. */
function sample(): { worker: SampleWriter; control: SampleWriter; payloads: Map<string, Buffer> } {
  const worker = new SampleWriter(1);
  const control = new SampleWriter(2, { role: 'control' });
  const payloads = new Map<string, Buffer>();
  const append = (writer: SampleWriter, input: Parameters<SampleWriter['append']>[0] & object): void => {
    if (input.payload !== undefined) {
      payloads.set(`${writer.writerId.toString('hex')}/${writer.size}`, input.payload);
    }
    writer.append({ sessionId: SESSION, ...input });
  };
  append(worker, { kind: 'session.open', meta: meta({ connection: 'clinic' }) });
  append(worker, {
    kind: 'operation',
    meta: meta({ connection: 'clinic', operation: { text: 'GET /patients' }, decision: { effect: 'allow' } }),
  });
  const headers = [{ name: 'content-type', value: 'text/plain' }];
  append(worker, {
    kind: 'response.part',
    meta: meta({ operationIndex: 2n }),
    payload: payload({
      request: { method: 'GET', target: '/patients', body: Buffer.alloc(0) },
      response: { status: 200, headers, body: Buffer.from('first '), bodyOffset: 0n },
    }),
  });
  append(worker, {
    kind: 'response',
    meta: meta({ operationIndex: 2n, exchange: { rows: 3n }, masks: { profile: 'safe-harbor' } }),
    payload: payload({ response: { body: Buffer.from('second'), bodyOffset: 6n } }),
  });
  append(worker, { kind: 'delivery', meta: meta({ operationIndex: 2n, exchange: { deliveredBytes: 12n } }) });
  control.append({
    kind: 'approval.asked',
    sessionId: SESSION,
    meta: meta({ approvals: [{ id: 'ap-1', state: 'pending' }] }),
  });
  return { worker, control, payloads };
}

/** Reads the session with the records of the worker as `changed` leaves them; the index is that of the whole. */
async function read(
  { worker, control, payloads }: ReturnType<typeof sample>,
  options: {
    readonly take?: (index: number) => boolean;
    readonly bytes?: (index: number, bytes: Buffer) => Buffer;
    readonly open?: (position: string) => Buffer;
  } = {},
): Promise<VerifiedSession> {
  const { take = () => true, bytes = (_index, all) => all } = options;
  const objects = new Map<string, Buffer>();
  const indexed: IndexedRecord[] = [];
  for (const writer of [control, worker]) {
    writer.records.forEach((record, index) => {
      const id = writer.writerId.toString('hex');
      if (index === 0 || (writer === worker && !take(index))) {
        return;
      }
      const object = `objects/${id}/${index}`;
      objects.set(object, writer === worker ? bytes(index, record) : record);
      const leafHash = writer.leafHashes[index]?.toString('hex') ?? '';
      indexed.push({ writer: id, index, object, offset: 0, bytes: record.length, leafHash });
    });
  }
  return readSessionRecords(
    indexed,
    { read: (object) => Promise.resolve(objects.get(object) ?? Buffer.alloc(0)) },
    {
      open: (_sealed, context) => {
        const position = `${context.writerId.toString('hex')}/${context.index}`;
        return Promise.resolve((options.open ?? ((at) => payloads.get(at) ?? Buffer.alloc(0)))(position));
      },
    },
  );
}

const codes = (findings: readonly SessionFinding[]): string[] =>
  findings.map(({ verdict, position }) => `${verdict} ${position.split('/')[1] ?? ''}`);

describe('a session as it is played', () => {
  test('is the conversation that was recorded: the parts of a body in order, one exchange, the approval beside it', async () => {
    const { records, findings } = await read(sample());
    deepEqual(findings, []);
    const { exchanges, others } = conversationOf(records);
    equal(exchanges.length, 1);
    const [exchange] = exchanges;
    equal(exchange?.request?.target, '/patients');
    equal(exchange?.response?.status, 200);
    equal(exchange?.response?.body.toString(), 'first second');
    deepEqual([exchange?.effect, exchange?.rows, exchange?.deliveredBytes], ['allow', 3, 12]);
    equal(exchange?.masks?.profile, 'safe-harbor');
    deepEqual(others.map(({ kind }) => kind).sort(), ['approval.asked', 'session.open']);
  });

  test('a record that changed in the archive is ALTERED and is not shown', async () => {
    for (const at of [20, 310, 330, -1]) {
      const { records, findings } = await read(sample(), {
        bytes: (index, all) => {
          const changed = Buffer.from(all);
          const place = at < 0 ? changed.length + at : at;
          changed[place] = (changed[place] ?? 0) ^ 1;
          return index === 3 ? changed : all;
        },
      });
      deepEqual(codes(findings).slice(0, 1), ['ALTERED 3']);
      equal(
        records.some(({ index, kind }) => index === 3 && kind === 'response.part'),
        false,
      );
    }
  });

  test('a whole other record in its place is ALTERED', async () => {
    const one = sample();
    const { findings } = await read(one, {
      bytes: (index, all) => (index === 3 ? (one.worker.records[4] ?? all) : all),
    });
    deepEqual(codes(findings).slice(0, 1), ['ALTERED 3']);
  });

  test('a unit that was taken out is ALTERED', async () => {
    const { findings } = await read(sample(), {
      bytes: (index, all) => (index === 3 ? encodeRecord({ ...decodeRecord(all), units: [] }) : all),
    });
    deepEqual(codes(findings).slice(0, 1), ['ALTERED 3']);
  });

  test('a record that the index does not have is MISSING, at the one after it', async () => {
    const { findings } = await read(sample(), { take: (index) => index !== 3 });
    deepEqual(codes(findings), ['MISSING 4']);
    const { findings: noStart } = await read(sample(), { take: (index) => index !== 1 });
    deepEqual(codes(noStart).slice(0, 1), ['MISSING 2']);
  });

  test('a payload whose key was destroyed is SHREDDED, one that does not open is ALTERED; the record is shown without it', async () => {
    for (const [code, verdict] of [
      ['evidence_incomplete', 'SHREDDED'],
      ['evidence_altered', 'ALTERED'],
    ] as const) {
      const one = sample();
      const { records, findings } = await read(one, {
        open: () => {
          throw new GatewayError(code, 'the key');
        },
      });
      deepEqual(codes(findings), [`${verdict} 3`, `${verdict} 4`]);
      equal(records.length, one.worker.size);
      equal(conversationOf(records).exchanges[0]?.response, null);
    }
  });

  test('the samples are of one session', () => {
    const { worker } = sample();
    const leaves = worker.records.slice(1).map((record) => decodeLeaf(decodeRecord(record).leaf));
    equal(leaves.length, 5);
    equal(
      leaves.every((leaf) => leaf.sessionId.equals(SESSION)),
      true,
    );
  });
});
