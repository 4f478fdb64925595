import { GatewayError } from '../core/kernel/errors.ts';
import { tenantTag } from '../core/ledger/leaf.ts';
import { generateX25519, type HpkeSealed, hpkeOpen, hpkeSeal, x25519PublicKey } from '../core/runtime/envelope/hpke.ts';

/** Which wrapping pair: one per tenant, class and month. */
export interface MonthKeyName {
  readonly tenant: string;
  /** 1 payload, 2 originals. */
  readonly keyClass: 1 | 2;
  /** YYYYMM */
  readonly month: number;
}

/** Someone who may open: an auditor (payload) or the vault itself (originals). */
export interface Holder {
  readonly id: string;
  /** X25519, 32 bytes. */
  readonly publicKey: Buffer;
}

/** A wrapping pair as it is stored: the private half only sealed to its holders. */
export interface MonthKey extends MonthKeyName {
  readonly publicKey: Buffer;
  readonly wraps: readonly (HpkeSealed & { readonly holder: string })[];
}

/*
 * The private half of a wrapping pair, sealed to one holder: HPKE as for wrapped keys, plaintext = the 32-byte private
 * key, info = "chaperone/month/v1\n", and
 *
 *   aad = class u8 || month u32 || tenant tag bytes16 || public key bytes32 || holder id UTF-8
 *
 * A stored pair is one record named "month/<tenant tag hex>/<class>/<month>", its value JSON:
 *   {tenant, class, month, publicKey, wraps: [{holder, enc, ciphertext}]}, byte strings as base64url.
 */
const MONTH_INFO = 'chaperone/month/v1\n';

export function monthKeyRecordName({ tenant, keyClass, month }: MonthKeyName): string {
  return `month/${tenantTag(tenant).toString('hex')}/${keyClass}/${month}`;
}

/** Makes a pair. Its private half exists in clear only inside this call. */
export async function createMonthKey(name: MonthKeyName, holders: readonly Holder[]): Promise<MonthKey> {
  const pair = generateX25519();
  try {
    const wraps = await Promise.all(
      holders.map(async ({ id, publicKey }) => {
        const aad = monthAad(name, pair.publicKey, id);
        return { holder: id, ...(await hpkeSeal(publicKey, MONTH_INFO, aad, pair.privateKey)) };
      }),
    );
    return { ...name, publicKey: pair.publicKey, wraps };
  } finally {
    pair.privateKey.fill(0);
  }
}

/** The holder's side: the private half. Rejects `evidence_altered` unless it is the holder's, of exactly this month. */
export async function openMonthKey(
  name: MonthKeyName,
  wrap: HpkeSealed & { readonly publicKey: Buffer },
  holder: { readonly id: string; readonly privateKey: Buffer },
): Promise<Buffer> {
  const aad = monthAad(name, wrap.publicKey, holder.id);
  const privateKey = await hpkeOpen(holder.privateKey, MONTH_INFO, aad, wrap);
  if (!x25519PublicKey(privateKey).equals(wrap.publicKey)) {
    privateKey.fill(0);
    throw new GatewayError('evidence_altered', 'a month key is not of the pair that it names');
  }
  return privateKey;
}

export function encodeMonthKey(key: MonthKey): Buffer {
  const text = (bytes: Buffer): string => bytes.toString('base64url');
  return Buffer.from(
    JSON.stringify({
      tenant: key.tenant,
      class: key.keyClass,
      month: key.month,
      publicKey: text(key.publicKey),
      wraps: key.wraps.map((w) => ({ holder: w.holder, enc: text(w.enc), ciphertext: text(w.ciphertext) })),
    }),
  );
}

export function decodeMonthKey(bytes: Buffer): MonthKey {
  const value = JSON.parse(bytes.toString()) as {
    tenant: string;
    class: 1 | 2;
    month: number;
    publicKey: string;
    wraps: { holder: string; enc: string; ciphertext: string }[];
  };
  const decoded = (text: string): Buffer => Buffer.from(text, 'base64url');
  return {
    tenant: value.tenant,
    keyClass: value.class,
    month: value.month,
    publicKey: decoded(value.publicKey),
    wraps: value.wraps.map((w) => ({ holder: w.holder, enc: decoded(w.enc), ciphertext: decoded(w.ciphertext) })),
  };
}

function monthAad({ tenant, keyClass, month }: MonthKeyName, publicKey: Buffer, holder: string): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(keyClass, 0);
  head.writeUInt32BE(month, 1);
  return Buffer.concat([head, tenantTag(tenant), publicKey, Buffer.from(holder)]);
}
