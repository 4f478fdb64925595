/** Standard base64 (RFC 4648 section 4) with padding, strictly: undefined for anything that encodes otherwise. */
export function decodeBase64(text: string): Buffer | undefined {
  // Node skips what it does not know, so the check is that the same text comes out again.
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}
