import { InvalidArgumentError } from 'commander';

/** Whole seconds up to a day. */
export function positiveSeconds(text: string): number {
  return wholeNumber(text, 86_400, 'seconds');
}

export function positiveCount(text: string): number {
  return wholeNumber(text, 100_000, 'a number');
}

/** Lower-case hex SHA-256. */
export function sha256Hex(text: string): string {
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new InvalidArgumentError('must be 64 lower-case hex digits.');
  }
  return text;
}

function wholeNumber(text: string, max: number, what: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > max) {
    throw new InvalidArgumentError(`must be ${what} from 1 to ${max}.`);
  }
  return value;
}
