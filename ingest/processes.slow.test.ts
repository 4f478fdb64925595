import { deepEqual, equal, ok } from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { SystemClock } from '../core/kernel/clock.ts';
import { FileBus } from '../core/bus/file-bus/file-bus.ts';
import { startFileBus } from '../core/bus/file-bus/file-bus-process.ts';
import type { RunningFileBus } from '../core/bus/file-bus/file-bus-process.ts';
import { TOPICS } from '../core/bus/topics.ts';
import { decodeCheckpointValue, openCheckpoint } from '../core/ledger/checkpoint.ts';
import type { OpenedCheckpoint } from '../core/ledger/checkpoint.ts';
import { publicKeyRaw } from '../core/ledger/ed25519.ts';
import { SAMPLE_CA_PEM } from '../core/ledger/testing/sample-node.ts';
import { encodeVerifierKey, SIGNATURE_TYPES, verifierKey } from '../core/ledger/verifier-key.ts';
import { connectClickHouse, selectRows } from './clickhouse/connect.ts';
import type { IngestProcessOptions } from './ingest-process.ts';
import type { SequencerProcessOptions } from './sequence/sequencer-process.ts';
import { watermarkOf } from './testing/archive-contents.ts';
import { EmbeddedClickHouse } from './testing/embedded-clickhouse.ts';
import { eventually } from './testing/eventually.ts';
import { forkProcess } from './testing/fork-process.ts';
import type { ForkedProcess } from './testing/fork-process.ts';
import { headValue, openingValue, publishHeads } from './testing/heads.ts';
import { appendExchange, openedWriter } from './testing/sample-log.ts';
import type { WitnessProcessOptions } from './witness/witness-process.ts';
import { engineMissing } from './testing/engine-missing.ts';

const ORIGIN = 'clinic.example/evidence';
const WITNESS = 'witness.clinic.example/1';
const SESSION = Buffer.alloc(16, 3);
const HTTP_SECRET = 'http-secret-0123456789';
const clock = new SystemClock();
const entry = (path: string): URL => new URL(path, import.meta.url);

describe('ingest, sequencer and witness as processes on the file bus', { skip: engineMissing() }, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'chaperone-roles-'));
  const socketPath = join(directory, 'bus.sock');
  const logKey = generateKeyPairSync('ed25519').privateKey;
  const witnessKey = generateKeyPairSync('ed25519').privateKey;
  const logVerifier = verifierKey(ORIGIN, SIGNATURE_TYPES.ed25519, publicKeyRaw(logKey));
  const witnessVerifier = verifierKey(WITNESS, SIGNATURE_TYPES.cosignature, publicKeyRaw(witnessKey));
  const pem = (key: typeof logKey): string => key.export({ format: 'pem', type: 'pkcs8' }) as string;
  let busOwner: RunningFileBus;
  let bus: FileBus;
  let clickhouse: EmbeddedClickHouse;
  let witness: ForkedProcess;
  let sequencer: ForkedProcess;
  let ingest: ForkedProcess;
  const writer = openedWriter(1);

  const startIngest = (): Promise<ForkedProcess> => {
    const options: IngestProcessOptions = {
      busSocketPath: socketPath,
      archiveDirectory: join(directory, 'archive'),
      logDirectory: join(directory, 'log'),
      clusterCas: [SAMPLE_CA_PEM],
      clickhouse: clickhouse.access,
      tenants: ['default'],
      httpSecret: HTTP_SECRET,
    };
    return forkProcess(entry('./ingest-process.js'), options);
  };
  const startSequencer = (): Promise<ForkedProcess> => {
    const url = `http://127.0.0.1:${Number(witness.ready['port'])}`;
    const options: SequencerProcessOptions = {
      busSocketPath: socketPath,
      logDirectory: join(directory, 'log'),
      origin: ORIGIN,
      privateKeyPem: pem(logKey),
      clusterCas: [SAMPLE_CA_PEM],
      witnesses: [{ url, vkey: encodeVerifierKey(witnessVerifier) }],
    };
    return forkProcess(entry('./sequence/sequencer-process.js'), options);
  };
  const checkpoints: OpenedCheckpoint[] = [];

  before(async () => {
    busOwner = await startFileBus({ directory: join(directory, 'bus'), socketPath });
    bus = new FileBus({ socketPath, clock });
    clickhouse = await EmbeddedClickHouse.start();
    const witnessOptions: WitnessProcessOptions = {
      directory: join(directory, 'witness'),
      name: WITNESS,
      privateKeyPem: pem(witnessKey),
      logs: [encodeVerifierKey(logVerifier)],
    };
    witness = await forkProcess(entry('./witness/witness-process.js'), witnessOptions);
    sequencer = await startSequencer();
    ingest = await startIngest();
    bus.tail(TOPICS.checkpoints.name, 'start', (messages) => {
      for (const { value } of messages) {
        checkpoints.push(openCheckpoint(decodeCheckpointValue(value).note, logVerifier, [witnessVerifier]));
      }
    });
  });
  after(async () => {
    await Promise.all([ingest.close(), sequencer.close(), witness.close()]);
    await bus.close();
    await busOwner.close();
    await clickhouse.stop();
    await rm(directory, { recursive: true });
  });

  const exchange = async (): Promise<void> => {
    appendExchange(writer, SESSION, writer.size);
    await bus.publish(TOPICS.batches.name, writer.writerId, [writer.batch()], { acks: 'all' });
    await publishHeads(bus, headValue(writer));
  };
  const settled = async (leaves: number): Promise<void> => {
    await eventually(async () => (await watermarkOf(bus, writer.writerId)) === writer.size, 'archived');
    await eventually(
      () => checkpoints.some(({ checkpoint, cosignatures }) => checkpoint.size === leaves && cosignatures.length === 1),
      `cosigned at ${leaves}`,
    );
  };

  test('a record becomes an object, a row, and part of a cosigned checkpoint', async () => {
    await publishHeads(bus, openingValue(writer));
    await exchange();
    await settled(2);
    const client = connectClickHouse(clickhouse.access);
    await eventually(async () => {
      const [row] = await selectRows<{ n: number }>(client, 'SELECT count() AS n FROM checkpoints').catch(() => []);
      return (row?.n ?? 0) >= 2;
    }, 'checkpoints are rows');
    deepEqual(await selectRows(client, 'SELECT count() AS n, countIf(intact) AS intact FROM integrity_leaves'), [
      { n: writer.size, intact: writer.size },
    ]);
    await client.close();
    const headers = { authorization: `Bearer ${HTTP_SECRET}` };
    const url = `http://127.0.0.1:${Number(ingest.ready['port'])}`;
    const note = await (await fetch(`${url}/log/checkpoint.cosigned`, { headers })).text();
    equal(openCheckpoint(note, logVerifier, [witnessVerifier]).checkpoint.size, 2);
  });

  test('kill -9 of each role loses nothing', async () => {
    for (const restart of [
      async () => void (await ingest.kill(), (ingest = await startIngest())),
      async () => void (await sequencer.kill(), (sequencer = await startSequencer())),
    ]) {
      await exchange();
      await restart();
      await exchange();
    }
    await settled(6);
    const client = connectClickHouse(clickhouse.access);
    await eventually(async () => {
      const [row] = await selectRows<{ n: number }>(client, 'SELECT uniqExact(record_index) AS n FROM events');
      return row?.n === writer.size;
    }, 'rows');
    deepEqual(await selectRows(client, 'SELECT count() AS n FROM events'), [{ n: writer.size }]);
    await client.close();
    const roots = new Map(checkpoints.map(({ checkpoint }) => [checkpoint.size, checkpoint.root.toString('hex')]));
    ok(checkpoints.every(({ checkpoint }) => roots.get(checkpoint.size) === checkpoint.root.toString('hex')));
  });
});
