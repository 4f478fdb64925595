import { GatewayError } from '../kernel/errors.ts';
import { LIMITS } from '../kernel/limits.ts';
import type { TopicSettings } from './bus.ts';

const NAME = /^[a-z0-9][a-z0-9._-]{0,99}$/;

/** Throws `bus_misconfigured` unless `name` can name a topic or a consumer. Names become file names: no separators. */
export function checkBusName(name: string): void {
  if (!NAME.test(name)) {
    throw new GatewayError('bus_misconfigured', 'a topic or consumer name has 1 to 100 of a-z 0-9 . _ -');
  }
}

/** Throws `bus_misconfigured` when a topic with these settings cannot exist. */
export function checkTopicSettings(settings: TopicSettings): void {
  checkBusName(settings.name);
  const { partitions, retentionMs, replicationFactor, minInSyncReplicas } = settings;
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > LIMITS.busPartitionsMax) {
    throw new GatewayError('bus_misconfigured', `${settings.name}: 1 to ${LIMITS.busPartitionsMax} partitions`);
  }
  for (const value of [retentionMs, replicationFactor, minInSyncReplicas]) {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new GatewayError('bus_misconfigured', `${settings.name}: settings are non-negative integers`);
    }
  }
}

/** Names of the settings in which two topics differ; empty when they are the same. */
export function settingsDifference(a: TopicSettings, b: TopicSettings): string[] {
  const keys = ['name', 'partitions', 'cleanup', 'retentionMs', 'replicationFactor', 'minInSyncReplicas'] as const;
  return keys.filter((key) => a[key] !== b[key]);
}

/** Throws `bus_misconfigured` with the names of the settings that differ. */
export function checkSameSettings(existing: TopicSettings, wanted: TopicSettings): void {
  const different = settingsDifference(existing, wanted);
  if (different.length > 0) {
    throw new GatewayError('bus_misconfigured', `${wanted.name} exists with another ${different.join(', ')}`);
  }
}

/** Throws `bus_misconfigured` when key or values are larger than a bus message may be. */
export function checkMessageSizes(topic: string, key: Buffer, values: readonly Buffer[]): void {
  if (key.length > LIMITS.busKeyBytesMax) {
    throw new GatewayError('bus_misconfigured', `${topic}: a key has at most ${LIMITS.busKeyBytesMax} bytes`);
  }
  let totalBytes = 0;
  for (const value of values) {
    if (value.length > LIMITS.busValueBytesMax) {
      throw new GatewayError('bus_misconfigured', `${topic}: a value has at most ${LIMITS.busValueBytesMax} bytes`);
    }
    totalBytes += value.length;
  }
  if (totalBytes > LIMITS.busPublishBytesMax || values.length > LIMITS.busPublishValuesMax) {
    throw new GatewayError('bus_misconfigured', `${topic}: one publish is too large; split it`);
  }
}
