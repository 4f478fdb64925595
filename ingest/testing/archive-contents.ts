import { deepEqual, equal, ok } from 'node:assert/strict';
import { TOPICS } from '../../core/bus/topics.ts';
import type { Bus, Tail } from '../../core/bus/bus.ts';
import { ACK_TYPES, decodeAck } from '../../core/ledger/ack.ts';
import type { Ack } from '../../core/ledger/ack.ts';
import { decodeBatch } from '../../core/ledger/batch.ts';
import { decodeHead } from '../../core/ledger/head.ts';
import type { SampleWriter } from '../../core/ledger/testing/sample-evidence.ts';
import type { BlobStore } from '../archive/blob-store.ts';
import { readObject } from '../archive/read-object.ts';
import { TileTree } from '../archive/tile-tree.ts';

/** Every acknowledgement on the bus so far. */
export async function acksOf(bus: Bus): Promise<Ack[]> {
  const [end] = await bus.endOffsets(TOPICS.acks.name);
  const acks: Ack[] = [];
  if (end === 0 || end === undefined) {
    return acks;
  }
  let tail: Tail | null = null;
  await new Promise<void>((resolve) => {
    tail = bus.tail(TOPICS.acks.name, 'start', (messages) => {
      acks.push(...messages.map((message) => decodeAck(message.value)));
      if ((messages.at(-1)?.offset ?? -1) >= end - 1) {
        resolve();
      }
    });
  });
  await (tail as Tail | null)?.close();
  return acks;
}

export async function watermarkOf(bus: Bus, writerId: Buffer): Promise<number> {
  const own = (await acksOf(bus)).filter((ack) => ack.type === ACK_TYPES.watermark && ack.writerId.equals(writerId));
  return own.at(-1)?.index ?? 0;
}

export async function nacksOf(bus: Bus): Promise<string[]> {
  const nacks = (await acksOf(bus)).filter((ack) => ack.type === ACK_TYPES.nack);
  return nacks.map((ack) => `${ack.index} ${ack.reason}`);
}

/** Checks that the archive holds exactly the records of these writers, with a head and tiles that agree. */
export async function checkArchive(blobs: BlobStore, writers: readonly SampleWriter[]): Promise<void> {
  const found = new Map<string, Map<number, Buffer>>();
  for (const name of await blobs.list('objects/')) {
    for (const batch of (await readObject(blobs, name)).batches) {
      const { records, writerId, first } = decodeBatch(batch.value);
      const own = found.get(writerId.toString('hex')) ?? new Map<number, Buffer>();
      records.forEach((record, i) => {
        const known = own.get(first + i);
        ok(known === undefined || known.equals(record), 'an overlap says the same');
        own.set(first + i, record);
      });
      found.set(writerId.toString('hex'), own);
    }
  }
  equal(found.size, writers.length);
  for (const writer of writers) {
    const hex = writer.writerId.toString('hex');
    const records = found.get(hex) ?? new Map<number, Buffer>();
    deepEqual(
      [...records.keys()].sort((a, b) => a - b),
      writer.records.map((_, i) => i),
    );
    writer.records.forEach((record, i) => ok(records.get(i)?.equals(record)));
    const head = decodeHead((await blobs.read(`writers/${hex}/head`)) ?? Buffer.alloc(0));
    equal(head.size, writer.size);
    ok(head.root.equals(writer.root));
    ok((await blobs.read(`writers/${hex}/epoch`))?.equals(writer.epoch));
    ok((await TileTree.open(blobs, `writers/${hex}/`, head.size)).root().equals(writer.root));
  }
}
