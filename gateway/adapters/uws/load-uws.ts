import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { GatewayError } from '../../../core/kernel/errors.ts';
import { UWS_BINARIES } from './uws-binaries.ts';
import type { UwsModule } from './uws-native.ts';

export type LoadedUws =
  | { readonly kind: 'loaded'; readonly uws: UwsModule }
  /** The caller falls back to node:http and says so: `why` is made for a warning. */
  | { readonly kind: 'absent'; readonly why: string };

export interface LoadUwsOptions {
  /** Folder of the package; found by module resolution when not given. */
  readonly packageDir?: string;
  readonly hashes?: Readonly<Record<string, string>>;
}

/**
 * Loads the native module after comparing its SHA-256 with the committed table.
 *
 * Absent (not installed, no binary for this platform, a libc that cannot load it) is an answer; a binary that is not
 * the one that was looked at throws `config_invalid`: falling back would hide that somebody exchanged it.
 *
 * Limit: the file is hashed and then opened again by the loader; who can write into node_modules between the two can
 * also write the JavaScript around it.
 */
export function loadUws(options: LoadUwsOptions = {}): LoadedUws {
  const require = createRequire(import.meta.url);
  const packageDir = options.packageDir ?? resolvePackageDir(require);
  if (packageDir === null) {
    return { kind: 'absent', why: 'the optional package uWebSockets.js is not installed' };
  }
  const file = `uws_${process.platform}_${process.arch}_${process.versions.modules}.node`;
  const path = join(packageDir, file);
  const expected = (options.hashes ?? UWS_BINARIES)[file];
  if (expected === undefined || !existsSync(path)) {
    return { kind: 'absent', why: `uWebSockets.js has no checked binary for this platform (${file})` };
  }
  if (createHash('sha256').update(readFileSync(path)).digest('hex') !== expected) {
    throw new GatewayError(
      'config_invalid',
      `the uWebSockets.js binary ${file} is not the one whose hash is committed; reinstall from the lockfile, ` +
        'or remove the package to run on node:http',
    );
  }
  try {
    const uws = require(path) as UwsModule;
    // oxlint-disable-next-line no-underscore-dangle -- the name is theirs
    uws._cfg('silent');
    return { kind: 'loaded', uws };
  } catch (error) {
    // Only the loader can fail here (glibc too old, for one): its first line names the missing symbol, no payload.
    const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : 'unknown';
    return { kind: 'absent', why: `uWebSockets.js cannot be loaded on this system: ${reason}` };
  }
}

function resolvePackageDir(require: NodeJS.Require): string | null {
  try {
    return dirname(require.resolve('uWebSockets.js/package.json'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') {
      return null;
    }
    throw error;
  }
}
