import { closeSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const FILE_BYTES_MAX = 4 * 1024 * 1024;
const LINE_CHARACTERS_MAX = 4_096;

/**
 * What one role says on standard error, in `<role>.log`, and before that in `<role>.log.1`: 8 MiB a role at most.
 *
 * Writing is synchronous: the launcher has nothing else to do, and the last words of a role that dies must be there.
 */
export class RoleLog {
  readonly path: string;
  readonly #bytesMax: number;
  #file: number;
  #bytes: number;

  constructor(directory: string, role: string, bytesMax = FILE_BYTES_MAX) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.path = join(directory, `${role}.log`);
    this.#bytesMax = bytesMax;
    this.#file = openSync(this.path, 'a', 0o600);
    this.#bytes = fstatSync(this.#file).size;
  }

  write(line: string): void {
    const text = Buffer.from(`${line.slice(0, LINE_CHARACTERS_MAX)}\n`, 'utf8');
    if (this.#bytes > 0 && this.#bytes + text.length > this.#bytesMax) {
      closeSync(this.#file);
      renameSync(this.path, `${this.path}.1`);
      this.#file = openSync(this.path, 'w', 0o600);
      this.#bytes = 0;
    }
    writeSync(this.#file, text);
    this.#bytes += text.length;
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** Whether an operator should see the line at once: an error of the role's log, or anything that is not a log line. */
export function isAlarm(line: string): boolean {
  if (!line.startsWith('{')) {
    return line.trim() !== '';
  }
  try {
    const { level } = JSON.parse(line) as { level?: unknown };
    return level === 'error' || level === 'fatal';
  } catch {
    return true; // Looks like a log line and is none: better seen than lost.
  }
}
