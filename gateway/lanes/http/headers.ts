import type { HttpHeader } from './http-listener.ts';

/** RFC 9110 section 7.6.1, and what only concerns one hop or one credential. Names are lower case. */
const NEVER_FORWARDED: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'content-length',
  'expect',
  'host',
  // Credentials of the agent end here; the gateway presents its own.
  'authorization',
  'cookie',
  // The gateway asks for identity, whole and unconditional: it must see every byte that it lets through.
  'accept-encoding',
  'range',
  'if-range',
  'if-none-match',
  'if-match',
  'if-modified-since',
  'if-unmodified-since',
  // Claims of the client about itself and its way here.
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-real-ip',
  'prefer',
]);

/** Response headers that carry no data of the resource. Everything else is withheld, as unknown (promise P3). */
const RELEASED: ReadonlySet<string> = new Set([
  'content-type',
  'content-language',
  'cache-control',
  'vary',
  'allow',
  'retry-after',
]);

/** Headers that go upstream, without hop-by-hop ones, those that Connection names, and credentials. */
export function forwardedHeaders(headers: readonly HttpHeader[]): HttpHeader[] {
  let named: Set<string> | null = null;
  for (const { name, value } of headers) {
    if (name === 'connection') {
      named ??= new Set();
      for (const token of value.split(',')) {
        named.add(token.trim().toLowerCase());
      }
    }
  }
  const out: HttpHeader[] = [];
  for (const header of headers) {
    if (!NEVER_FORWARDED.has(header.name) && named?.has(header.name) !== true) {
      out.push(header);
    }
  }
  return out;
}

/** Headers of the upstream's answer that the agent may see. */
export function releasedHeaders(headers: readonly HttpHeader[]): HttpHeader[] {
  return headers.filter((header) => RELEASED.has(header.name));
}

export function headerValue(headers: readonly HttpHeader[], name: string): string | undefined {
  for (const header of headers) {
    if (header.name === name) {
      return header.value;
    }
  }
  return undefined;
}

/** The token of `Authorization: Bearer …` (RFC 6750 section 2.1), undefined when there is none or more than one. */
export function bearerToken(headers: readonly HttpHeader[]): string | undefined {
  let found: string | undefined;
  for (const { name, value } of headers) {
    if (name === 'authorization') {
      if (found !== undefined || value.length < 8 || value.slice(0, 7).toLowerCase() !== 'bearer ') {
        return undefined;
      }
      found = value.slice(7).trim();
    }
  }
  return found === '' ? undefined : found;
}
