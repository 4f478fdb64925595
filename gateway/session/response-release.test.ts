import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import { ManualClock } from '../../core/kernel/testing/manual-clock.ts';
import { KINDS } from '../../core/ledger/leaf.ts';
import { Event } from '../../proto/gen/chaperone/evidence/v1/event.ts';
import type { BodyMasker, MaskedChunk } from '../contract/mask.ts';
import { Recorder } from '../recorder/recorder.ts';
import { FakeSealers } from '../recorder/testing/fake-sealers.ts';
import { FakeWriter } from '../recorder/testing/fake-writer.ts';
import { HeldBytes } from './held-bytes.ts';
import { ResponseRelease, type ReleaseSink } from './response-release.ts';
import { testSubject } from './testing/subjects.ts';

/** Passes everything; `failAfter` bytes it breaks, as a masker does on malformed input. */
class PassMasker implements BodyMasker {
  readonly #failAfter: number;
  #seen = 0;

  constructor(failAfter = Infinity) {
    this.#failAfter = failAfter;
  }

  push(chunk: Buffer): MaskedChunk {
    this.#seen += chunk.length;
    if (this.#seen > this.#failAfter) {
      throw new GatewayError('masking_failed');
    }
    return { bytes: Buffer.from(chunk), originals: [] };
  }

  finish(): MaskedChunk {
    return { bytes: Buffer.alloc(0), originals: [] };
  }

  stats(): { rows: number; counts: []; unknownPaths: []; withheld: number } {
    return { rows: 0, counts: [], unknownPaths: [], withheld: 0 };
  }
}

class Sink implements ReleaseSink {
  readonly events: string[] = [];
  bytes = Buffer.alloc(0);
  slow = false;
  head(bodySize: number): void {
    this.events.push(`head ${bodySize}`);
  }
  write(bytes: Buffer): boolean {
    this.bytes = Buffer.concat([this.bytes, bytes]);
    return !this.slow;
  }
  end(): void {
    this.events.push('end');
  }
  abort(): void {
    this.events.push('abort');
  }
  refuse(error: GatewayError): void {
    this.events.push(`refuse ${error.code}`);
  }
  pauseUpstream(): void {
    this.events.push('pause');
  }
  resumeUpstream(): void {
    this.events.push('resume');
  }
  abortUpstream(): void {
    this.events.push('abort upstream');
  }
}

function setUp(
  options: { masker?: BodyMasker | null; contentLength?: number; heldMax?: number; rows?: number; bytes?: number } = {},
) {
  const writer = new FakeWriter();
  const clock = new ManualClock();
  const recorder = new Recorder({
    writer,
    sealers: new FakeSealers(writer.writerId).forSession,
    clock,
    tenant: 'default',
    configDigest: Buffer.alloc(32),
    bundleDigest: Buffer.alloc(32),
  });
  const strand = recorder.openStrand(Buffer.alloc(16, 1), testSubject(), 'clinic', false);
  const sink = new Sink();
  const held = new HeldBytes(options.heldMax ?? LIMITS.heldBytesPerWorkerMax);
  const finished: string[] = [];
  const release = new ResponseRelease({
    recorder,
    strand,
    clock,
    held,
    sink,
    operationIndex: 0,
    plan: null,
    masker: options.masker === undefined ? new PassMasker() : options.masker,
    status: 200,
    upstreamStatus: 200,
    headers: [],
    mediaType: 'application/json',
    contentLength: options.contentLength ?? -1,
    fastRequest: null,
    limits: { ...(options.bytes === undefined ? {} : { bytes: options.bytes }) },
    routeId: 'r',
    requestBytes: 0,
    startedMs: 0,
    upstreamUs: 0,
    whenCommitted: (index, callback) => writer.whenDurable(index, callback),
    onFinished: ({ failure }) => finished.push(failure?.code ?? 'ok'),
  });
  return { writer, sink, release, held, finished };
}

const microtasks = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const kindsOf = (writer: FakeWriter): number[] => writer.records.map((record) => record.kind);

describe('record before bytes', () => {
  test('not one byte and no status is released while the flush is under way', async () => {
    const { writer, sink, release, finished } = setUp();
    release.push(Buffer.from('secret'));
    release.finish();
    await microtasks();
    deepEqual(sink.events, []);
    equal(sink.bytes.length, 0);
    writer.commit();
    deepEqual(sink.events, ['head 6', 'end']);
    equal(sink.bytes.toString(), 'secret');
    deepEqual(finished, ['ok']);
    deepEqual(kindsOf(writer), [KINDS['session.open'], KINDS['response']]);
  });

  test('a flush that fails releases nothing and gives a native error', () => {
    const { writer, sink, release, finished } = setUp();
    release.push(Buffer.from('secret'));
    release.finish();
    writer.fail();
    deepEqual(sink.events, ['abort upstream', 'refuse disk_failed']);
    equal(sink.bytes.length, 0);
    deepEqual(finished, ['disk_failed']);
  });

  test('a flush that fails after the first unit cuts the response where it is', async () => {
    const { writer, sink, release } = setUp();
    release.push(Buffer.from('first'));
    await microtasks();
    writer.commit();
    equal(sink.bytes.toString(), 'first');
    release.push(Buffer.from('second'));
    await microtasks();
    writer.fail();
    equal(sink.bytes.toString(), 'first');
    deepEqual(sink.events, ['head -1', 'abort upstream', 'abort']);
  });

  test('a recorder that takes no record releases nothing', () => {
    const { writer, sink, release, held } = setUp();
    release.push(Buffer.from('secret'));
    writer.fail();
    release.finish();
    deepEqual(sink.events.at(-1), 'refuse disk_failed');
    equal(sink.bytes.length, 0);
    equal(held.total, 0);
  });

  test('whatever the chunks and the commits: released bytes are a prefix, covered by durable records', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 90_000 }), fc.boolean()), { maxLength: 12 }),
        async (steps) => {
          const { writer, sink, release } = setUp();
          let sent = 0;
          const coveredBytes = (): number =>
            writer.records
              .slice(0, writer.durable)
              .filter((record) => record.kind === KINDS['response'] || record.kind === KINDS['response.part'])
              .reduce((sum, record) => sum + Number(Event.decode(record.meta).unit?.byteCount ?? 0n), 0);
          for (const [size, commit] of steps) {
            release.push(Buffer.alloc(size, 1 + (sent % 250)));
            sent += size;
            await microtasks();
            if (commit) {
              writer.commit();
            }
            ok(sink.bytes.length <= coveredBytes(), 'more bytes than records cover');
          }
          release.finish();
          for (let i = 0; i < 40 && sink.events.at(-1) !== 'end'; i++) {
            await microtasks();
            writer.commit();
          }
          equal(sink.bytes.length, sent);
          equal(coveredBytes(), sent);
          equal(sink.events.at(-1), 'end');
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('units', () => {
  for (const [size, parts] of [
    [LIMITS.unitBytesMax - 1, 1],
    [LIMITS.unitBytesMax, 2],
    [LIMITS.unitBytesMax + 1, 2],
    [3 * LIMITS.unitBytesMax, 4],
  ] as const) {
    test(`a body of ${size} bytes takes at most ${parts} records, none over 64 KiB`, () => {
      const { writer, sink, release } = setUp();
      release.push(Buffer.alloc(size, 1));
      release.finish();
      writer.commit();
      const units = writer.records.slice(1).map((record) => Number(Event.decode(record.meta).unit?.byteCount));
      ok(units.length <= parts && units.every((bytes) => bytes <= LIMITS.unitBytesMax), String(units));
      equal(sink.bytes.length, size);
    });
  }

  test('a small body of known length is one record even when it comes in pieces', async () => {
    const { writer, release } = setUp({ contentLength: 10 });
    for (let i = 0; i < 10; i++) {
      release.push(Buffer.from('x'));
      await microtasks();
    }
    release.finish();
    equal(writer.records.length, 2);
  });
});

describe('failures', () => {
  test('a masker that fails before anything was released gives a native error and an aborted record', () => {
    const { writer, sink, release, finished } = setUp({ masker: new PassMasker(3), contentLength: 100 });
    release.push(Buffer.from('{"a'));
    release.push(Buffer.from('?'));
    release.push(Buffer.from('more'));
    release.finish();
    writer.commit();
    deepEqual(sink.events, ['abort upstream', 'refuse masking_failed']);
    equal(sink.bytes.length, 0);
    deepEqual(finished, ['masking_failed']);
    equal(Event.decode(writer.records.at(-1)?.meta ?? Buffer.alloc(0)).exchange?.abortReason, 'masking_failed');
  });

  test('a response over the byte limit of the policy is cut before the excess', () => {
    const { writer, sink, release } = setUp({ bytes: 10, contentLength: 11 });
    release.push(Buffer.alloc(11));
    release.finish();
    writer.commit();
    deepEqual(sink.events, ['abort upstream', 'refuse policy_denied']);
    equal(sink.bytes.length, 0);
  });

  test('a body where none may be is refused', () => {
    const { writer, sink, release } = setUp({ masker: null });
    release.push(Buffer.from('x'));
    writer.commit();
    equal(sink.events.at(-1), 'refuse upstream_malformed');
  });
});

describe('held bytes', () => {
  test('a session over its bound stops reading upstream until commits return', async () => {
    const { writer, sink, release, held } = setUp();
    for (let sent = 0; sent < LIMITS.heldBytesPerSessionMax; sent += 65_536) {
      release.push(Buffer.alloc(65_536));
    }
    await microtasks();
    ok(sink.events.includes('pause'));
    ok(held.total >= LIMITS.heldBytesPerSessionMax);
    writer.commit();
    ok(sink.events.includes('resume'));
  });

  test('a slow agent stops the upstream until it drained', async () => {
    const { writer, sink, release } = setUp();
    sink.slow = true;
    release.push(Buffer.from('a'));
    await microtasks();
    writer.commit();
    release.push(Buffer.from('b'));
    ok(sink.events.includes('pause'));
    sink.slow = false;
    release.drained();
    equal(sink.events.at(-1), 'resume');
  });

  test('a worker over its bound lets another response wait, and wakes it', () => {
    const { sink, release, held } = setUp({ heldMax: 100 });
    held.add(100);
    release.push(Buffer.from('a'));
    ok(sink.events.includes('pause'));
    held.release(100);
    equal(sink.events.at(-1), 'resume');
  });
});
