/** Forms in which a value could lie somewhere in clear: as it is, in hex, in base64 at each of the three alignments. */
export function formsOf(value: string | Buffer): Buffer[] {
  const bytes = Buffer.from(value);
  const forms = new Set([bytes.toString('latin1'), bytes.toString('hex'), bytes.toString('hex').toUpperCase()]);
  for (const lead of [0, 1, 2]) {
    // The first and last characters depend on neighbours, so they are left out.
    const padded = Buffer.concat([Buffer.alloc(lead), bytes, Buffer.alloc(2)]);
    for (const encoding of ['base64', 'base64url'] as const) {
      const text = padded.toString(encoding);
      forms.add(text.slice(Math.ceil((lead * 8) / 6), Math.floor(((lead + bytes.length) * 8) / 6)));
    }
  }
  if (forms.size < 3 || [...forms].some((form) => form.length < 6)) {
    throw new Error('too short to be told from chance');
  }
  return [...forms].map((form) => Buffer.from(form, 'latin1'));
}

/** Which of the canaries are in any of the places, as `canary in place`. */
export function canariesIn(
  canaries: readonly (string | Buffer)[],
  places: Readonly<Record<string, string | Buffer>>,
): string[] {
  const found: string[] = [];
  for (const canary of canaries) {
    const forms = formsOf(canary);
    for (const [place, content] of Object.entries(places)) {
      const bytes = typeof content === 'string' ? Buffer.from(content) : content;
      if (forms.some((form) => bytes.includes(form))) {
        found.push(`${canary.toString('latin1')} in ${place}`);
      }
    }
  }
  return found;
}

/** A journal without the zeros of its unused end, so that many searches are quick. */
export function withoutZeros(files: readonly Buffer[]): Buffer {
  return Buffer.concat(
    files.map((bytes) => {
      let end = bytes.length;
      const block = Buffer.alloc(64 * 1024);
      while (end >= block.length && bytes.subarray(end - block.length, end).equals(block)) {
        end -= block.length;
      }
      return bytes.subarray(0, end);
    }),
  );
}
