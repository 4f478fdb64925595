import { LIMITS } from '../../../core/kernel/limits.ts';
import type { HttpHeader } from '../../lanes/http/http-listener.ts';

/** Why a request head was refused. Fixed words: they go to records and metrics, never bytes of the peer. */
export const REFUSALS = {
  version: { status: 505, text: 'HTTP Version Not Supported' },
  method: { status: 400, text: 'Bad Request' },
  method_refused: { status: 501, text: 'Not Implemented' },
  target: { status: 400, text: 'Bad Request' },
  target_too_long: { status: 414, text: 'URI Too Long' },
  absolute_form: { status: 400, text: 'Bad Request' },
  field_name: { status: 400, text: 'Bad Request' },
  field_value: { status: 400, text: 'Bad Request' },
  header_count: { status: 431, text: 'Request Header Fields Too Large' },
  header_bytes: { status: 431, text: 'Request Header Fields Too Large' },
  host: { status: 400, text: 'Bad Request' },
  content_length: { status: 400, text: 'Bad Request' },
  transfer_encoding: { status: 400, text: 'Bad Request' },
  framing_conflict: { status: 400, text: 'Bad Request' },
  upgrade: { status: 501, text: 'Not Implemented' },
  expectation: { status: 417, text: 'Expectation Failed' },
  /** The parser below the adapter refused it and gave no detail. */
  parser: { status: 400, text: 'Bad Request' },
} as const satisfies Record<string, { status: number; text: string }>;

export type Refusal = keyof typeof REFUSALS;

export interface RequestHeadLimits {
  readonly headerBytesMax: number;
  readonly headersMax: number;
}

/** What the framing fields of an accepted head say. */
export interface RequestHeadFacts {
  /** Lower case, with the port as sent. */
  readonly host: string;
  /** -1 when chunked, 0 when there is no body. */
  readonly contentLength: number;
  /** The client asked for the connection to be closed. */
  readonly close: boolean;
  readonly expectContinue: boolean;
}

/**
 * The rules that every listener applies to a parsed head before anything else sees the request; stricter than the
 * parsers below them, so that both adapters refuse the same. `headers` has lower-case names and every field as sent,
 * duplicates included. Sources: RFC 9112 sections 2.2, 3.2, 5, 6.1 and 6.3; RFC 9110 sections 5.5, 5.6.2, 7.2, 10.1.1.
 *
 * A head counts as `METHOD SP target SP HTTP/1.1 CRLF`, `name: value CRLF` for each field, and the closing CRLF.
 *
 * Limit: octets above 0x7e in a field value are refused (RFC 9110 lets a recipient treat them as opaque): the parser of
 * uWebSockets.js decodes them as UTF-8 with loss, so they could not be forwarded as sent.
 */
export function checkRequestHead(
  method: string,
  path: string,
  query: string,
  headers: readonly HttpHeader[],
  limits: RequestHeadLimits,
): RequestHeadFacts | Refusal {
  const lineRefusal = checkRequestLine(method, path, query);
  if (lineRefusal !== null) {
    return lineRefusal;
  }
  if (headers.length > limits.headersMax) {
    return 'header_count';
  }
  let bytes = method.length + path.length + (query === '' ? 0 : query.length + 1) + REQUEST_LINE_REST_SIZE + 2;
  const fields: FramingFields = { host: '', contentLength: -1, isChunked: false, close: false, expectContinue: false };
  for (const { name, value } of headers) {
    bytes += name.length + value.length + FIELD_REST_SIZE;
    const refusal = FIELD_VALUE_BAD.test(value) ? 'field_value' : readField(fields, name, value);
    if (refusal !== null) {
      return refusal;
    }
  }
  const { isChunked, contentLength, close, expectContinue } = fields;
  if (isChunked && contentLength !== -1) {
    return 'framing_conflict';
  }
  if (fields.host === '') {
    return 'host';
  }
  if (bytes > limits.headerBytesMax) {
    return 'header_bytes';
  }
  const length = isChunked ? -1 : Math.max(contentLength, 0);
  return { host: fields.host, contentLength: length, close, expectContinue };
}

/**
 * Splits an absolute-form target whose authority is that of `host` into its path and query; null when it differs.
 * `http` only: this listener is not behind TLS of its own, so `https` would be another authority.
 */
export function originFormOf(target: string, host: string): string | null {
  const match = ABSOLUTE_FORM.exec(target);
  if (match === null || match[1]?.toLowerCase() !== host.toLowerCase()) {
    return null;
  }
  const rest = match[2] ?? '';
  return rest.startsWith('/') ? rest : `/${rest}`;
}

/** ` `, ` HTTP/1.1` and CRLF around method and target. */
const REQUEST_LINE_REST_SIZE = 12;
/** `: ` and CRLF around name and value. */
const FIELD_REST_SIZE = 4;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Control octets are written as a range on purpose: they are what must not get through. */
// oxlint-disable-next-line no-control-regex
const FIELD_VALUE_BAD = /[^\t\x20-\x7e]/;
const TARGET_BAD = /[^\x21-\x7e]|#/;
const CONTENT_LENGTH = /^[0-9]{1,15}$/;
const CLOSE_TOKEN = /(?:^|,)[ \t]*close[ \t]*(?:,|$)/i;
const HOST = /^(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?$/i;
const ABSOLUTE_FORM = /^http:\/\/([^/?#]*)([/?].*)?$/i;
const PORT_MAX = 65_535;
const METHODS_USUAL: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']);

function checkRequestLine(method: string, path: string, query: string): Refusal | null {
  if (!METHODS_USUAL.has(method)) {
    if (!TOKEN.test(method)) {
      return 'method';
    }
    if (method === 'CONNECT' || method === 'TRACE') {
      return 'method_refused';
    }
  }
  if (path.charCodeAt(0) !== 0x2f || TARGET_BAD.test(path) || TARGET_BAD.test(query)) {
    return 'target';
  }
  return path.length + query.length > LIMITS.httpTargetBytesMax ? 'target_too_long' : null;
}

interface FramingFields {
  host: string;
  /** -1 when there is none. */
  contentLength: number;
  isChunked: boolean;
  close: boolean;
  expectContinue: boolean;
}

function readField(fields: FramingFields, name: string, value: string): Refusal | null {
  switch (name) {
    case 'host':
      if (fields.host !== '' || !isHost(value)) {
        return 'host';
      }
      fields.host = value.toLowerCase();
      return null;
    case 'content-length':
      // Two equal ones are refused too: a proxy in front that folds them and one that does not disagree about us.
      if (fields.contentLength !== -1 || !CONTENT_LENGTH.test(value)) {
        return 'content_length';
      }
      fields.contentLength = Number(value);
      return null;
    case 'transfer-encoding':
      if (fields.isChunked || value.toLowerCase() !== 'chunked') {
        return 'transfer_encoding';
      }
      fields.isChunked = true;
      return null;
    case 'upgrade':
      return 'upgrade';
    case 'expect':
      if (value.toLowerCase() !== '100-continue') {
        return 'expectation';
      }
      fields.expectContinue = true;
      return null;
    case 'connection':
      fields.close ||= CLOSE_TOKEN.test(value);
      return null;
    case '':
      return 'field_name';
    default:
      return null;
  }
}

function isHost(value: string): boolean {
  const match = HOST.exec(value);
  if (match === null) {
    return false;
  }
  return match[1] === undefined || Number(match[1]) <= PORT_MAX;
}
