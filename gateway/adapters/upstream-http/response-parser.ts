import type { HttpHeader } from '../../lanes/http/http-listener.ts';
import type { UpstreamResponseHead } from '../../lanes/http/http-upstream.ts';

/** Receives one response. `chunk` is a view of the pushed bytes: copy what must outlive the call. */
export interface ResponseSink {
  onHead(head: UpstreamResponseHead): void;
  onData(chunk: Buffer): void;
}

export interface ResponseLimits {
  /** Of one head, and of all chunk extensions and trailers of one response together. */
  readonly headerBytesMax: number;
  readonly headersMax: number;
}

/** `done`: the response is complete. `failed` is final. `reading`: everything was taken, more must come. */
export type ParseResult = 'reading' | 'done' | 'failed';

/**
 * Reads HTTP/1.1 responses in place, one after the other on a connection. Grammar (RFC 9112), with what we refuse:
 *
 *     status-line = HTTP/1.1 or HTTP/1.0 SP 3DIGIT [SP reason] CRLF
 *     field-line  = token ":" OWS value OWS CRLF     no bare CR or LF, no NUL or other control octet, no obs-fold
 *     1xx         = skipped, 8 at most; 101 is refused: we never ask for it
 *     body        = none for HEAD, 204, 304 | chunked | Content-Length octets | all until the connection closes
 *     chunk       = 1*12HEXDIG [";" extension] CRLF data CRLF, closed by size 0, trailer fields (dropped) and CRLF
 *
 * TE other than one `chunked`, TE next to CL, TE in HTTP/1.0 and a second CL, equal or not, are refused: whoever frames
 * a message in two ways must not choose which one we believe.
 *
 * Pure: no sockets, no timers. Invariants: `#pendingSize <= headerBytesMax`; a payload octet is never copied or decoded;
 * after `failed` nothing more comes out.
 */
export class ResponseParser {
  readonly #limits: ResponseLimits;
  #pending: Buffer | null = null;
  #pendingSize = 0;
  /** Where the scan of `#pending` goes on: no octet is looked at twice, however small the pieces come. */
  #scanned = 0;
  #state: number = STATE_DONE;
  #isHead = false;
  #remaining = 0;
  #digits = 0;
  #sideBytes = 0;
  #interims = 0;
  #restSize = 0;
  #keepsAlive = false;
  #hasBytes = false;

  constructor(limits: ResponseLimits) {
    this.#limits = limits;
  }

  /** The connection may carry another request after this response. Known when it is done. */
  get keepsAlive(): boolean {
    return this.#keepsAlive;
  }

  /** Octets of the last push behind the end of the response: nobody asked for them. */
  get restSize(): number {
    return this.#restSize;
  }

  /** At least one octet of the current response came, an interim one included. */
  get hasBytes(): boolean {
    return this.#hasBytes;
  }

  begin(method: string): void {
    this.#state = STATE_HEAD;
    this.#isHead = method === 'HEAD';
    this.#pendingSize = 0;
    this.#scanned = 0;
    this.#sideBytes = 0;
    this.#interims = 0;
    this.#restSize = 0;
    this.#keepsAlive = false;
    this.#hasBytes = false;
  }

  /** The connection ended. `done` only for a body that lasts until then. */
  finish(): ParseResult {
    this.#state = this.#state === STATE_UNTIL_CLOSE ? STATE_DONE : STATE_FAILED;
    return this.#state === STATE_DONE ? 'done' : 'failed';
  }

  push(source: Buffer, size: number, sink: ResponseSink): ParseResult {
    this.#hasBytes ||= size > 0;
    let offset = 0;
    while (offset < size && this.#state > STATE_DONE) {
      switch (this.#state) {
        case STATE_HEAD:
          offset = this.#readHead(source, offset, size, sink);
          break;
        case STATE_LENGTH:
        case STATE_CHUNK_DATA:
          offset = this.#readCounted(source, offset, size, sink);
          break;
        case STATE_UNTIL_CLOSE:
          sink.onData(view(source, offset, size));
          offset = size;
          break;
        default:
          offset = this.#readChunkFraming(source, offset, size);
          break;
      }
    }
    if (this.#state === STATE_DONE) {
      this.#restSize = size - offset;
      return 'done';
    }
    return this.#state === STATE_FAILED ? 'failed' : 'reading';
  }

  #fail(): number {
    this.#state = STATE_FAILED;
    return 0;
  }

  #readHead(source: Buffer, start: number, size: number, sink: ResponseSink): number {
    if (this.#pendingSize === 0) {
      const end = scanHead(source, start, size);
      if (end > 0) {
        return end - start > this.#limits.headerBytesMax ? this.#fail() : this.#takeHead(source, start, end, sink);
      }
      return end === SCAN_BAD ? this.#fail() : this.#keep(source, start, size, -end - 1 - start);
    }
    return this.#readSplitHead(source, start, size, sink);
  }

  /** The head came in pieces: they are gathered, and the rest of `source` goes on behind it. */
  #readSplitHead(source: Buffer, start: number, size: number, sink: ResponseSink): number {
    const before = this.#pendingSize;
    const taken = Math.min(size - start, this.#limits.headerBytesMax - before);
    const pending = this.#pendingBuffer();
    source.copy(pending, before, start, start + taken);
    this.#pendingSize = before + taken;
    const end = scanHead(pending, this.#scanned, this.#pendingSize);
    if (end > 0) {
      this.#pendingSize = 0;
      this.#scanned = 0;
      this.#takeHead(pending, 0, end, sink);
      return start + (end - before);
    }
    if (end === SCAN_BAD || this.#pendingSize === this.#limits.headerBytesMax) {
      return this.#fail();
    }
    this.#scanned = -end - 1;
    return size;
  }

  #keep(source: Buffer, start: number, size: number, scanned: number): number {
    if (size - start >= this.#limits.headerBytesMax) {
      return this.#fail();
    }
    source.copy(this.#pendingBuffer(), 0, start, size);
    this.#pendingSize = size - start;
    this.#scanned = scanned;
    return size;
  }

  #pendingBuffer(): Buffer {
    this.#pending ??= Buffer.allocUnsafe(this.#limits.headerBytesMax);
    return this.#pending;
  }

  /** `end` is behind the empty line. Returns it, or 0 with the state failed. */
  #takeHead(source: Buffer, start: number, end: number, sink: ResponseSink): number {
    const text = source.toString('latin1', start, end - 4);
    let lineEnd = text.indexOf('\r\n');
    if (lineEnd === -1) {
      lineEnd = text.length;
    }
    const status = statusOf(text, lineEnd);
    if (status === 0) {
      return this.#fail();
    }
    const headers: HttpHeader[] = [];
    const framing = readFields(text, lineEnd, headers, this.#limits.headersMax);
    if (framing === null) {
      return this.#fail();
    }
    if (status < 200) {
      this.#interims++;
      return status === 101 || this.#interims > INTERIMS_MAX ? this.#fail() : end;
    }
    const isOld = text.charCodeAt(7) === DIGIT_0;
    if (framing.isChunked && (isOld || framing.length !== -1)) {
      return this.#fail();
    }
    this.#keepsAlive = !isOld && !framing.close;
    this.#startBody(status, headers, framing, sink);
    return end;
  }

  #startBody(status: number, headers: readonly HttpHeader[], framing: Framing, sink: ResponseSink): void {
    let { length } = framing;
    if (this.#isHead || status === 204 || status === 304) {
      length = this.#isHead ? length : 0;
      this.#state = STATE_DONE;
    } else if (framing.isChunked) {
      this.#state = STATE_CHUNK_SIZE;
      this.#remaining = 0;
      this.#digits = 0;
    } else if (length === -1) {
      this.#state = STATE_UNTIL_CLOSE;
      this.#keepsAlive = false;
    } else {
      this.#state = length === 0 ? STATE_DONE : STATE_LENGTH;
      this.#remaining = length;
    }
    sink.onHead({ status, headers, contentLength: length });
  }

  #readCounted(source: Buffer, start: number, size: number, sink: ResponseSink): number {
    const end = Math.min(size, start + this.#remaining);
    this.#remaining -= end - start;
    if (this.#remaining === 0) {
      this.#state = this.#state === STATE_LENGTH ? STATE_DONE : STATE_CHUNK_DATA_CR;
    }
    sink.onData(view(source, start, end));
    return end;
  }

  /** Everything of the chunked coding that is not data, octet by octet. */
  #readChunkFraming(source: Buffer, start: number, size: number): number {
    let offset = start;
    while (offset < size) {
      const octet = source[offset] ?? 0;
      offset++;
      const next = this.#nextState(octet);
      this.#state = next;
      if (next <= STATE_DONE || next === STATE_CHUNK_DATA) {
        break;
      }
    }
    return offset;
  }

  #nextState(octet: number): number {
    switch (this.#state) {
      case STATE_CHUNK_SIZE:
        return this.#sizeOctet(octet);
      case STATE_CHUNK_EXTENSION:
        return octet === CR ? STATE_CHUNK_SIZE_LF : this.#sideOctet(octet, STATE_CHUNK_EXTENSION);
      case STATE_CHUNK_SIZE_LF:
        if (octet !== LF) {
          return STATE_FAILED;
        }
        return this.#remaining > 0 ? STATE_CHUNK_DATA : STATE_TRAILER_START;
      case STATE_CHUNK_DATA_CR:
        return octet === CR ? STATE_CHUNK_DATA_LF : STATE_FAILED;
      case STATE_CHUNK_DATA_LF:
        this.#digits = 0;
        return octet === LF ? STATE_CHUNK_SIZE : STATE_FAILED;
      case STATE_TRAILER_START:
        if (octet === CR) {
          return STATE_END_LF;
        }
        return octet === SP || octet === HTAB ? STATE_FAILED : this.#sideOctet(octet, STATE_TRAILER_LINE);
      case STATE_TRAILER_LINE:
        return octet === CR ? STATE_TRAILER_LF : this.#sideOctet(octet, STATE_TRAILER_LINE);
      case STATE_TRAILER_LF:
        return octet === LF ? STATE_TRAILER_START : STATE_FAILED;
      default:
        return octet === LF ? STATE_DONE : STATE_FAILED;
    }
  }

  #sizeOctet(octet: number): number {
    const digit = hexDigit(octet);
    if (digit !== -1) {
      this.#digits++;
      this.#remaining = this.#remaining * 16 + digit;
      return this.#digits > CHUNK_SIZE_DIGITS_MAX ? STATE_FAILED : STATE_CHUNK_SIZE;
    }
    if (this.#digits === 0) {
      return STATE_FAILED;
    }
    if (octet === CR) {
      return STATE_CHUNK_SIZE_LF;
    }
    return octet === SEMICOLON ? STATE_CHUNK_EXTENSION : STATE_FAILED;
  }

  /** An octet of an extension or a trailer: dropped, but bounded and free of control octets. */
  #sideOctet(octet: number, state: number): number {
    this.#sideBytes++;
    const isBad = this.#sideBytes > this.#limits.headerBytesMax || isControl(octet);
    return isBad ? STATE_FAILED : state;
  }
}

const STATE_FAILED = -1;
const STATE_DONE = 0;
const STATE_HEAD = 1;
const STATE_LENGTH = 2;
const STATE_UNTIL_CLOSE = 3;
const STATE_CHUNK_SIZE = 4;
const STATE_CHUNK_EXTENSION = 5;
const STATE_CHUNK_SIZE_LF = 6;
const STATE_CHUNK_DATA = 7;
const STATE_CHUNK_DATA_CR = 8;
const STATE_CHUNK_DATA_LF = 9;
const STATE_TRAILER_START = 10;
const STATE_TRAILER_LINE = 11;
const STATE_TRAILER_LF = 12;
const STATE_END_LF = 13;

const INTERIMS_MAX = 8;
/** 2^48 octets: far beyond any limit on bodies, far below where a number loses precision. */
const CHUNK_SIZE_DIGITS_MAX = 12;
const CR = 13;
const LF = 10;
const SP = 32;
const HTAB = 9;
const DEL = 127;
const COLON = 58;
const SEMICOLON = 59;
const DIGIT_0 = 48;
const SCAN_BAD = 0;

interface Framing {
  /** -1 when there is no Content-Length. */
  readonly length: number;
  readonly isChunked: boolean;
  readonly close: boolean;
}

function view(source: Buffer, start: number, end: number): Buffer {
  return start === 0 && end === source.length ? source : source.subarray(start, end);
}

function isControl(octet: number): boolean {
  return (octet < SP && octet !== HTAB) || octet === DEL;
}

/**
 * Looks for the end of a head, from `from` on. Returns the offset behind the empty line (always
 * positive), SCAN_BAD for octets that no head has, or -(offset to go on from) - 1 when more octets are needed.
 */
function scanHead(source: Buffer, from: number, size: number): number {
  for (let i = from; i < size; i++) {
    const octet = source[i] ?? 0;
    if (octet >= SP && octet !== DEL) {
      continue;
    }
    if (octet === HTAB) {
      continue;
    }
    if (octet !== CR) {
      return SCAN_BAD;
    }
    if (i + 2 >= size) {
      return i + 1 < size && source[i + 1] !== LF ? SCAN_BAD : -i - 1;
    }
    const after = source[i + 2];
    if (source[i + 1] !== LF || after === SP || after === HTAB) {
      return SCAN_BAD;
    }
    if (after === CR) {
      if (i + 3 >= size) {
        return -i - 1;
      }
      return source[i + 3] === LF ? i + 4 : SCAN_BAD;
    }
    i++;
  }
  return -size - 1;
}

/** 0 when the line is no status line. */
function statusOf(text: string, lineEnd: number): number {
  if (!text.startsWith('HTTP/1.') || lineEnd < 12 || text.charCodeAt(8) !== SP) {
    return 0;
  }
  const minor = text.charCodeAt(7) - DIGIT_0;
  const a = text.charCodeAt(9) - DIGIT_0;
  const b = text.charCodeAt(10) - DIGIT_0;
  const c = text.charCodeAt(11) - DIGIT_0;
  const isStatus = (minor === 0 || minor === 1) && a >= 1 && a <= 5 && b >= 0 && b <= 9 && c >= 0 && c <= 9;
  return isStatus && (lineEnd === 12 || text.charCodeAt(12) === SP) ? a * 100 + b * 10 + c : 0;
}

/** Fills `headers` from the lines behind `firstLineEnd`; null when one of them is not a field or frames twice. */
function readFields(text: string, firstLineEnd: number, headers: HttpHeader[], headersMax: number): Framing | null {
  let length = -1;
  let isChunked = false;
  let close = false;
  let start = firstLineEnd + 2;
  while (start < text.length) {
    let end = text.indexOf('\r\n', start);
    if (end === -1) {
      end = text.length;
    }
    const colon = text.indexOf(':', start);
    if (colon === -1 || colon >= end || headers.length === headersMax) {
      return null;
    }
    const name = fieldName(text.slice(start, colon));
    if (name === '') {
      return null;
    }
    const value = trimmed(text, colon + 1, end);
    if (name === 'content-length') {
      if (length !== -1 || !CONTENT_LENGTH.test(value)) {
        return null;
      }
      length = Number(value);
    } else if (name === 'transfer-encoding') {
      if (isChunked || value.toLowerCase() !== 'chunked') {
        return null;
      }
      isChunked = true;
    } else if (name === 'connection') {
      close ||= CLOSE_TOKEN.test(value);
    }
    headers.push({ name, value });
    start = end + 2;
  }
  return { length, isChunked, close };
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const CONTENT_LENGTH = /^[0-9]{1,15}$/;
const CLOSE_TOKEN = /(?:^|,)[ \t]*close[ \t]*(?:,|$)/i;

/** Names as upstreams write them, with their checked lower-case form: a few dozen in practice. */
const NAMES = new Map<string, string>();
const NAMES_MAX = 512;

/** Lower case; empty when it is not a token. */
function fieldName(raw: string): string {
  const known = NAMES.get(raw);
  if (known !== undefined) {
    return known;
  }
  if (!TOKEN.test(raw)) {
    return '';
  }
  const name = raw.toLowerCase();
  if (NAMES.size < NAMES_MAX) {
    NAMES.set(raw, name);
  }
  return name;
}

function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) {
    start++;
  }
  while (end > start && isBlank(text.charCodeAt(end - 1))) {
    end--;
  }
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === SP || code === HTAB;
}

function hexDigit(octet: number): number {
  if (octet >= DIGIT_0 && octet < COLON) {
    return octet - DIGIT_0;
  }
  const lower = octet | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
