import { STATUS_CODES } from 'node:http';
import { assert } from '../../../core/kernel/assert.ts';

/** Status codes whose answers never have a body (RFC 9110 section 6.4.1), whatever was asked. */
export function isBodyless(method: string, status: number): boolean {
  return method === 'HEAD' || status === 204 || status === 304;
}

export function statusLine(status: number): string {
  const known = STATUS_LINES.get(status);
  if (known !== undefined) {
    return known;
  }
  assert(Number.isInteger(status) && status >= 200 && status <= 599, 'a final status is 200 to 599');
  return `${status} Unknown`;
}

/** True for fields that only the adapter may write: they frame the message or belong to the connection. */
export function isAdapterField(name: string): boolean {
  return ADAPTER_FIELDS.has(name);
}

/** Fields reach this point parsed and rebuilt; an octet that could end a line here is a bug of ours, not of the peer. */
export function assertFieldValue(value: string): void {
  assert(!FIELD_VALUE_BAD.test(value), 'a field value has no control octets and no characters above 0xff');
}

const ADAPTER_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'transfer-encoding',
  'keep-alive',
  'upgrade',
  'trailer',
]);
// oxlint-disable-next-line no-control-regex
const FIELD_VALUE_BAD = /[^\t\x20-\x7e\x80-\xff]/;
const STATUS_LINES: ReadonlyMap<number, string> = new Map(
  Object.entries(STATUS_CODES).map(([code, text]) => [Number(code), `${code} ${text ?? ''}`]),
);
