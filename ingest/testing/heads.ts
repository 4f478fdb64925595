import { TOPICS } from '../../core/bus/topics.ts';
import type { Bus } from '../../core/bus/bus.ts';
import { encodeEpochEntry, encodeHeadsValue } from '../../core/ledger/cluster-leaf.ts';
import { decodeRecord, encodeRecord } from '../../core/ledger/record.ts';
import type { SampleWriter } from '../../core/ledger/testing/sample-evidence.ts';

export function openingValue(writer: SampleWriter): Buffer {
  const record = encodeRecord({ ...decodeRecord(writer.records[0] as Buffer), units: [] });
  return encodeHeadsValue({ type: 1, body: encodeEpochEntry({ epoch: writer.epoch, record }) });
}

export function headValue(writer: SampleWriter, recovery?: SampleWriter): Buffer {
  return encodeHeadsValue({ type: 2, body: writer.head(recovery) });
}

export async function publishHeads(bus: Bus, ...values: Buffer[]): Promise<void> {
  await bus.publish(TOPICS.heads.name, Buffer.from('k'), values, { acks: 'all' });
}
