/** Ranges up to this size are copied byte by byte: cheaper than a call into the runtime. */
const SHORT_BYTES_MAX = 48;

/** A buffer that grows. Positions stay valid, views do not. Bytes at and past `size` are zero. */
export class ByteSink {
  bytes: Buffer;
  size = 0;

  constructor(capacity = 1024) {
    this.bytes = Buffer.alloc(capacity);
  }

  reserve(more: number): void {
    if (this.size + more <= this.bytes.length) {
      return;
    }
    const grown = Buffer.alloc(Math.max(this.bytes.length * 2, this.size + more));
    this.bytes.copy(grown, 0, 0, this.size);
    this.bytes = grown;
  }

  u32(value: number): void {
    this.reserve(4);
    const { bytes, size } = this;
    bytes[size] = value;
    bytes[size + 1] = value >>> 8;
    bytes[size + 2] = value >>> 16;
    bytes[size + 3] = value >>> 24;
    this.size = size + 4;
  }

  u64(low: number, high: number): void {
    this.u32(low);
    this.u32(high);
  }

  varuint(value: number): void {
    this.reserve(5);
    let rest = value;
    while (rest >= 0x80) {
      this.bytes[this.size++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.bytes[this.size++] = rest;
  }

  slice(source: Buffer, start: number, end: number): void {
    this.reserve(end - start);
    if (end - start > SHORT_BYTES_MAX) {
      source.copy(this.bytes, this.size, start, end);
      this.size += end - start;
      return;
    }
    const target = this.bytes;
    let at = this.size;
    for (let i = start; i < end; i++) {
      target[at++] = source[i] as number;
    }
    this.size = at;
  }

  text(value: string): void {
    const bytes = Buffer.from(value, 'utf8');
    this.varuint(bytes.length);
    this.slice(bytes, 0, bytes.length);
  }

  /** Zero bytes: they are zero already. */
  zeros(count: number): void {
    this.reserve(count);
    this.size += count;
  }

  reset(): void {
    this.bytes.fill(0, 0, this.size);
    this.size = 0;
  }
}
