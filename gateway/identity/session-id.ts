import { createHmac } from 'node:crypto';
import { assert } from '../../core/kernel/assert.ts';
import type { Subject } from '../contract/subject.ts';

const BLOCK_MS = 8 * 3_600_000;
const SESSION_ID_SIZE = 16;
const LABEL = 'chaperone/session/v1';

interface Remembered {
  readonly connection: string;
  readonly window: string;
  readonly id: Buffer;
}

/**
 * The id of a connectionless session, the same on every worker and node without asking (00 section 6 step 1):
 *
 *     first 16 bytes of HMAC-SHA-256(session key, parts), each part = length u32 || UTF-8 bytes:
 *     "chaperone/session/v1" · tenant · principal iss · sub · kind · actor count · (iss · sub · kind · verified) x n
 *     · run or token family · connection · window
 *
 * The window is the run, else the block of eight hours in UTC, so a session of a long-lived token ends at some point.
 */
export class SessionIds {
  readonly #sessionKey: Buffer;
  readonly #tenant: string;
  /** A subject is one object for as long as its token is cached; most requests repeat its last connection. */
  readonly #last = new WeakMap<Subject, Remembered>();

  constructor(sessionKey: Buffer, tenant: string) {
    assert(sessionKey.length >= 32, 'the session key has at least 256 bits');
    this.#sessionKey = sessionKey;
    this.#tenant = tenant;
  }

  idOf(subject: Subject, connection: string, nowMs: number): Buffer {
    const window = sessionWindow(subject, nowMs);
    const last = this.#last.get(subject);
    if (last !== undefined && last.connection === connection && last.window === window) {
      return last.id;
    }
    const id = this.#compute(subject, connection, window);
    this.#last.set(subject, { connection, window, id });
    return id;
  }

  #compute(subject: Subject, connection: string, window: string): Buffer {
    const { principal, actors } = subject;
    const parts = [LABEL, this.#tenant, principal.iss, principal.sub, principal.kind, String(actors.length)];
    for (const actor of actors) {
      parts.push(actor.iss, actor.sub, actor.kind, actor.verified ? '1' : '0');
    }
    parts.push(subject.runOrFamily, connection, window);
    const hmac = createHmac('sha256', this.#sessionKey);
    const length = Buffer.alloc(4);
    for (const part of parts) {
      const bytes = Buffer.from(part, 'utf8');
      length.writeUInt32BE(bytes.length);
      hmac.update(length).update(bytes);
    }
    return hmac.digest().subarray(0, SESSION_ID_SIZE);
  }
}

export function sessionWindow(subject: Subject, nowMs: number): string {
  return subject.ci === null ? `block:${Math.floor(nowMs / BLOCK_MS)}` : `run:${subject.ci.runId}`;
}
