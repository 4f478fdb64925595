import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';
import { GatewayError } from '../../core/kernel/errors.ts';
import { LIMITS } from '../../core/kernel/limits.ts';
import type { MaskProfile } from '../contract/shape.ts';
import { SIGNATURES_FILE, verifyBundleSignature, type BundleKey } from './bundle-signature.ts';
import type { InputReads } from './input-writer.ts';
import type { EngineBundle } from './policy-engine.ts';
import { parseReasonTable, type ReasonTable } from './reason-table.ts';
import { readTar } from './tar-reader.ts';

export interface LoadBundleOptions {
  readonly keys: readonly BundleKey[];
  /** Environment of the node. Keys that everybody has (`INSECURE` in their id) count in `demo` only. */
  readonly env: string;
  /** The switch `policy.allowUnsigned`, which `config explain` shows. A signature that is there is checked anyway. */
  readonly allowUnsigned?: boolean;
  /** Revision of the active bundle: a lower one is refused. */
  readonly revisionMin?: number;
}

/** A verified bundle. Plain data: it can be posted to a worker thread, next to the compiled module. */
export interface LoadedBundle {
  /** SHA-256 of the file as it came, 32 bytes. */
  readonly digest: Uint8Array;
  readonly revision: number;
  /** Key that signed, empty when unsigned. */
  readonly keyId: string;
  readonly wasm: Uint8Array;
  readonly dataJson: string;
  readonly entrypoint: string;
  readonly layers: readonly string[];
  readonly reads: InputReads;
  readonly reasons: ReasonTable;
  readonly masks: MaskProfile;
  /** For `BundleCatalogue.parse` and `PeopleMap.parse`: other rooms know what is in there. */
  readonly catalogueJson: string;
  readonly peopleJson: string;
}

const INSECURE = 'INSECURE';
const word = z.string().min(1).max(128);
const manifestSchema = z.strictObject({
  revision: z.string().regex(/^(?:0|[1-9]\d{0,14})$/, 'must be a decimal number'),
  roots: z.array(z.string()),
  wasm: z.array(z.looseObject({ entrypoint: z.string(), module: z.literal('/policy.wasm') })).min(1),
  rego_version: z.literal(1),
  metadata: z.strictObject({ entrypoint: word, layers: z.array(word).min(1).max(16) }),
});
const readsSchema = z.strictObject({
  v: z.literal(1),
  reads: z.union([z.literal('*'), z.array(z.string().min(1).max(256)).max(1_024)]),
});
const operatorSchema = z.enum(['pass', 'redact', 'null', 'fixed', 'zip3', 'year', 'drop']);
const masksSchema = z.strictObject({
  v: z.literal(1),
  name: z.enum(['safe-harbor', 'limited-data-set', 'expert']),
  operators: z.record(
    word,
    z.partialRecord(z.enum(['none', 'partial', 'pseudonym', 'token', 'redact', 'null', 'drop']), operatorSchema),
  ),
});

/**
 * Opens a policy bundle: OPA's format with `catalogue.json`, `masks.json`, `people.json`, `reads.json`, `reasons.json`
 * and `capabilities.json`. Nothing of a bundle is used before all of it was verified.
 *
 * Throws GatewayError `bundle_unsigned` or `bundle_invalid`.
 */
export function loadBundle(file: Buffer, options: LoadBundleOptions): LoadedBundle {
  const files = readTar(unzipped(file));
  const keyId = verified(files, options);
  const manifest = fileOf(files, '.manifest', manifestSchema);
  const revision = Number(manifest.revision);
  if (revision < (options.revisionMin ?? 0)) {
    throw new GatewayError('bundle_invalid', `revision ${revision} is lower than the active ${options.revisionMin}`);
  }
  const { entrypoint, layers } = manifest.metadata;
  if (!manifest.wasm.some((module) => module.entrypoint === entrypoint)) {
    throw new GatewayError('bundle_invalid', `.manifest: policy.wasm was not built with the entrypoint ${entrypoint}`);
  }
  const { v: _version, ...masks } = fileOf(files, 'masks.json', masksSchema);
  const peopleJson = text(files, 'people.json');
  if (options.env !== 'demo' && /"keyId"\s*:\s*"[^"]*INSECURE/.test(peopleJson)) {
    throw new GatewayError('bundle_invalid', 'people.json holds keys that everybody has; only env: demo accepts them');
  }
  text(files, 'capabilities.json');
  return {
    digest: new Uint8Array(createHash('sha256').update(file).digest()),
    revision,
    keyId,
    wasm: new Uint8Array(required(files, 'policy.wasm')),
    dataJson: text(files, 'data.json'),
    entrypoint,
    layers,
    reads: fileOf(files, 'reads.json', readsSchema).reads,
    reasons: parseReasonTable(parsed(files, 'reasons.json')),
    masks,
    catalogueJson: text(files, 'catalogue.json'),
    peopleJson,
  };
}

/** Compiles the module, once for a node: the result is posted to the workers. Throws GatewayError `bundle_invalid`. */
export function compileBundle(bundle: LoadedBundle): EngineBundle {
  let module: WebAssembly.Module;
  try {
    module = new WebAssembly.Module(bundle.wasm);
  } catch (error) {
    throw new GatewayError('bundle_invalid', 'policy.wasm is not WebAssembly', { cause: error });
  }
  const { digest, revision, dataJson, entrypoint, layers, reads, reasons } = bundle;
  return { digest, revision, module, dataJson, entrypoint, layers, reads, reasons };
}

function unzipped(file: Buffer): Buffer {
  if (file.length > LIMITS.bundleBytesMax) {
    throw new GatewayError('bundle_invalid', `larger than ${LIMITS.bundleBytesMax} bytes`);
  }
  let unpacked: { buffer: Buffer; engine: { bytesWritten: number } };
  try {
    // With `info` the answer says how much of the input was used; the types do not know the option.
    unpacked = gunzipSync(file, { maxOutputLength: LIMITS.bundleBytesMax, info: true }) as unknown as typeof unpacked;
  } catch (error) {
    throw new GatewayError('bundle_invalid', 'not gzip, cut off, or too large when unpacked', { cause: error });
  }
  if (unpacked.engine.bytesWritten !== file.length) {
    throw new GatewayError('bundle_invalid', 'bytes follow the end of the archive');
  }
  return unpacked.buffer;
}

function verified(files: ReadonlyMap<string, Buffer>, options: LoadBundleOptions): string {
  if (!files.has(SIGNATURES_FILE)) {
    if (options.allowUnsigned === true) {
      return '';
    }
    throw new GatewayError('bundle_unsigned');
  }
  const keyId = verifyBundleSignature(files, options.keys);
  if (keyId.includes(INSECURE) && options.env !== 'demo') {
    throw new GatewayError('bundle_invalid', 'signed with a key that everybody has; only env: demo accepts it');
  }
  return keyId;
}

function required(files: ReadonlyMap<string, Buffer>, name: string): Buffer {
  const bytes = files.get(name);
  if (bytes === undefined) {
    throw new GatewayError('bundle_invalid', `${name} is missing`);
  }
  return bytes;
}

function text(files: ReadonlyMap<string, Buffer>, name: string): string {
  const bytes = required(files, name);
  const decoded = bytes.toString('utf8');
  if (!Buffer.from(decoded).equals(bytes)) {
    throw new GatewayError('bundle_invalid', `${name} is not UTF-8`);
  }
  return decoded;
}

function parsed(files: ReadonlyMap<string, Buffer>, name: string): unknown {
  try {
    return JSON.parse(text(files, name)) as unknown;
  } catch (error) {
    throw error instanceof GatewayError ? error : new GatewayError('bundle_invalid', `${name} is not JSON`);
  }
}

function fileOf<T>(files: ReadonlyMap<string, Buffer>, name: string, schema: z.ZodType<T>): T {
  const result = schema.safeParse(parsed(files, name));
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new GatewayError('bundle_invalid', `${name}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
  }
  return result.data;
}
