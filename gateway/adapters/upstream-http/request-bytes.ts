import { assert } from '../../../core/kernel/assert.ts';
import type { UpstreamRequest } from '../../lanes/http/http-upstream.ts';
import { assertFieldValue, isAdapterField } from '../http-head/response-head.ts';

/**
 * The head of a request as it goes on the wire (Latin-1). Framing is ours alone: whatever length, coding or connection
 * field the caller passes is dropped. `Expect` is dropped as well: the body is sent without waiting.
 */
export function requestHead(request: UpstreamRequest, authority: string): string {
  const { method, target, body } = request;
  assert(TOKEN.test(method), 'a method is a token');
  assert(!TARGET_BAD.test(target) && target.length > 0, 'a target has no blank or control octets');
  let head = `${method} ${target} HTTP/1.1\r\n`;
  let hasHost = false;
  for (const { name, value } of request.headers) {
    if (isAdapterField(name) || name === 'expect') {
      continue;
    }
    hasHost ||= name === 'host';
    assertFieldValue(value);
    head += `${name}: ${value}\r\n`;
  }
  if (!hasHost) {
    head += `host: ${authority}\r\n`;
  }
  if (request.streamed) {
    return `${head}transfer-encoding: chunked\r\n\r\n`;
  }
  if (body !== null || METHODS_WITH_BODY.has(method)) {
    return `${head}content-length: ${body === null ? 0 : body.length}\r\n\r\n`;
  }
  return `${head}\r\n`;
}

/** Head and body in one buffer: one write, one system call. */
export function withBody(head: string, body: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(head.length + body.length);
  bytes.write(head, 0, 'latin1');
  body.copy(bytes, head.length);
  return bytes;
}

/** `size CRLF data CRLF`. Copies: the caller's chunk is its own again when this returns. */
export function chunkBytes(chunk: Buffer): Buffer {
  assert(chunk.length > 0, 'an empty chunk would end the body');
  return withBody(`${chunk.length.toString(16)}\r\n`, Buffer.concat([chunk, CRLF]));
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const TARGET_BAD = /[^\x21-\x7e]/;
const CRLF = Buffer.from('\r\n');
/** RFC 9110 section 8.6: these say that their body is empty. */
const METHODS_WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);
