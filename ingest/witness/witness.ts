import type { Clock } from '../../core/kernel/clock.ts';
import { GatewayError } from '../../core/kernel/errors.ts';
import { decodeBase64 } from '../../core/ledger/base64.ts';
import { decodeCheckpoint, openCheckpoint } from '../../core/ledger/checkpoint.ts';
import type { Checkpoint } from '../../core/ledger/checkpoint.ts';
import { cosignatureLine } from '../../core/ledger/cosignature.ts';
import type { Cosigner } from '../../core/ledger/cosignature.ts';
import { HASH_SIZE, sha256 } from '../../core/ledger/hash.ts';
import { verifyConsistency } from '../../core/ledger/merkle.ts';
import { parseNote } from '../../core/ledger/note.ts';
import type { VerifierKey } from '../../core/ledger/verifier-key.ts';
import type { BlobStore } from '../archive/blob-store.ts';

export interface WitnessOptions {
  readonly cosigner: Cosigner;
  /** The logs that this witness knows; the key name is the origin. */
  readonly logs: readonly VerifierKey[];
  readonly blobs: BlobStore;
  readonly clock: Clock;
}

export interface WitnessReply {
  readonly status: 200 | 400 | 403 | 404 | 409 | 422;
  readonly contentType: string;
  readonly body: string;
}

interface Seen {
  readonly size: number;
  readonly root: Buffer;
}

const PROOF_HASHES_MAX = 63;
const OLD = /^old (0|[1-9][0-9]{0,15})$/;
const PLAIN = 'text/plain; charset=utf-8';
const SIZE_TYPE = 'text/x.tlog.size';

const refuse = (status: 400 | 403 | 404 | 422, body: string): WitnessReply => ({ status, contentType: PLAIN, body });
const conflict = (size: number): WitnessReply => ({ status: 409, contentType: SIZE_TYPE, body: `${size}\n` });

/**
 * A C2SP tlog-witness: cosigns a checkpoint of a log only when it extends what it cosigned last.
 *
 *     old <size>\n (base64 hash \n)* \n <checkpoint note>
 *
 * Invariants: what was seen is durable before its cosignature leaves; it only grows; one request of a log at a time.
 */
export class Witness {
  readonly #options: WitnessOptions;
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(options: WitnessOptions) {
    this.#options = options;
  }

  async addCheckpoint(body: string): Promise<WitnessReply> {
    const request = parseRequest(body);
    if (request === null) {
      return refuse(400, 'malformed request\n');
    }
    const log = this.#options.logs.find((key) => key.name === request.origin);
    if (log === undefined) {
      return refuse(404, 'unknown log\n');
    }
    let checkpoint: Checkpoint;
    try {
      ({ checkpoint } = openCheckpoint(request.note, log));
    } catch (error) {
      if (error instanceof GatewayError) {
        return refuse(403, 'not signed by the log\n');
      }
      throw error;
    }
    return this.#inTurn(log.name, () => this.#judge(log, request, checkpoint));
  }

  async #judge(log: VerifierKey, request: Request, checkpoint: Checkpoint): Promise<WitnessReply> {
    const { size, root } = checkpoint;
    const seen = await this.#seen(log);
    if (request.old > size) {
      return refuse(400, 'old size is over the size of the checkpoint\n');
    }
    if (request.old !== seen.size) {
      return conflict(seen.size);
    }
    if (seen.size === size) {
      if (size > 0 && !seen.root.equals(root)) {
        return conflict(seen.size);
      }
      if (request.proof.length > 0) {
        return refuse(422, 'a proof between equal sizes is empty\n');
      }
    } else if (!extendsSeen(seen, checkpoint, request.proof)) {
      return refuse(422, 'the proof does not hold\n');
    }
    await this.#remember(log, { size, root });
    // If we die here, the checkpoint counts as seen and was not cosigned: the log asks again with old = size.
    const { cosigner, clock } = this.#options;
    const line = cosignatureLine(cosigner, request.text, Math.floor(clock.nowMs() / 1000));
    return { status: 200, contentType: PLAIN, body: line };
  }

  async #seen(log: VerifierKey): Promise<Seen> {
    const bytes = await this.#options.blobs.read(stateName(log));
    if (bytes === null) {
      return { size: 0, root: Buffer.alloc(HASH_SIZE) };
    }
    const [size, root] = bytes.toString('utf8').trim().split(' ');
    return { size: Number(size), root: Buffer.from(root ?? '', 'hex') };
  }

  async #remember(log: VerifierKey, { size, root }: Seen): Promise<void> {
    await this.#options.blobs.replace(stateName(log), Buffer.from(`${size} ${root.toString('hex')}\n`));
  }

  #inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(name) ?? Promise.resolve()).then(work);
    this.#turns.set(
      name,
      turn.catch(() => undefined),
    );
    return turn;
  }
}

interface Request {
  readonly old: number;
  readonly proof: readonly Buffer[];
  readonly note: string;
  readonly text: string;
  readonly origin: string;
}

/** The rule for an empty old tree is here, at the call site: it is extended by every tree, and the proof is empty. */
function extendsSeen(seen: Seen, checkpoint: Checkpoint, proof: readonly Buffer[]): boolean {
  if (seen.size === 0) {
    return proof.length === 0;
  }
  return verifyConsistency(seen.size, checkpoint.size, seen.root, checkpoint.root, proof);
}

function parseRequest(body: string): Request | null {
  const split = body.indexOf('\n\n');
  if (split === -1) {
    return null;
  }
  const [first, ...lines] = body.slice(0, split).split('\n');
  const old = OLD.exec(first ?? '')?.[1];
  const proof = lines.map((line) => decodeBase64(line));
  if (old === undefined || lines.length > PROOF_HASHES_MAX || proof.some((hash) => hash?.length !== HASH_SIZE)) {
    return null;
  }
  const note = body.slice(split + 2);
  try {
    const { text } = parseNote(note);
    return { old: Number(old), proof: proof as Buffer[], note, text, origin: decodeCheckpoint(text).origin };
  } catch {
    // Not a checkpoint.
    return null;
  }
}

function stateName(log: VerifierKey): string {
  return `seen/${sha256(Buffer.from(log.name, 'utf8')).toString('hex')}`;
}
