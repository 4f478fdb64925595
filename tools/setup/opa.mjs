#!/usr/bin/env node
/**
 * Provides the OPA binary for authors and for the checks of `policies/`. OPA is never needed at run time.
 *
 *   node tools/setup/opa.mjs           builds OPA when needed, prints the path of the binary
 *   node tools/setup/opa.mjs --find    prints the path when it is there already, else exits 3 and says why
 *
 * Plain JavaScript without dependencies: it runs before `npm install`. The cache key is the hash of go.sum, so a new
 * version never meets an old binary. `CHAPERONE_TOOL_CACHE` moves the cache.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';

const MODULE_FOLDER = join(dirname(fileURLToPath(import.meta.url)), '..', 'opa');
const GO_MINOR_MIN = 26;
const BUILD_TIMEOUT_MS = 20 * 60_000;

export function toolCache() {
  return (
    process.env.CHAPERONE_TOOL_CACHE ??
    join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'chaperone', 'tools')
  );
}

/** Where the binary of the pinned version is, or would be. `moduleFolder` is the folder of go.mod and go.sum. */
export function opaPath(moduleFolder = MODULE_FOLDER) {
  const key = createHash('sha256')
    .update(readFileSync(join(moduleFolder, 'go.sum')))
    .digest('hex')
    .slice(0, 16);
  return join(toolCache(), `opa-${key}`, process.platform === 'win32' ? 'opa.exe' : 'opa');
}

/** `{path}` when the binary is there, else `{missing}` with the reason and how to get it. Builds nothing. */
export function findOpa(moduleFolder = MODULE_FOLDER) {
  const path = opaPath(moduleFolder);
  if (existsSync(path)) {
    return { path };
  }
  const go = goVersion();
  const how = 'node tools/setup/opa.mjs';
  return { missing: go.ok ? `OPA is not built yet: run \`${how}\`` : `OPA needs ${go.why}, then run \`${how}\`` };
}

/** Builds the pinned OPA when it is not in the cache. Returns the path; throws with the reason. */
export function buildOpa(moduleFolder = MODULE_FOLDER) {
  const path = opaPath(moduleFolder);
  if (existsSync(path)) {
    return path;
  }
  const go = goVersion();
  if (!go.ok) {
    throw new Error(`OPA cannot be built: it needs ${go.why}`);
  }
  mkdirSync(toolCache(), { recursive: true });
  const building = mkdtempSync(join(toolCache(), '.building-opa-'));
  try {
    const built = spawnSync(
      'go',
      // `opa_wasm` makes `opa eval -t wasm` work; without it only `opa build -t wasm` does.
      [
        'build',
        '-buildvcs=false',
        '-trimpath',
        '-tags',
        'opa_wasm',
        '-ldflags',
        '-s -w',
        '-o',
        join(building, 'opa'),
      ].concat('github.com/open-policy-agent/opa'),
      {
        cwd: moduleFolder,
        stdio: ['ignore', 'inherit', 'inherit'],
        timeout: BUILD_TIMEOUT_MS,
        env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=readonly', GOPROXY: proxyWithoutDirect() },
      },
    );
    if (built.status !== 0) {
      throw new Error(`go build of OPA failed (${built.error?.message ?? `exit ${built.status}`})`);
    }
    mkdirSync(dirname(path), { recursive: true });
    // A rename is atomic: another builder at the same time never sees half a binary.
    renameSync(join(building, 'opa'), path);
    return path;
  } finally {
    rmSync(building, { recursive: true, force: true });
  }
}

function proxyWithoutDirect() {
  const proxy = execFileSync('go', ['env', 'GOPROXY'], { encoding: 'utf8' }).trim();
  return proxy
    .split(',')
    .filter((entry) => entry !== 'direct')
    .join(',');
}

function goVersion() {
  const asked = spawnSync('go', ['env', 'GOVERSION'], { encoding: 'utf8' });
  const version = asked.status === 0 ? /^go1\.(\d+)/.exec(asked.stdout.trim()) : null;
  if (version === null) {
    return { ok: false, why: `Go >= 1.${GO_MINOR_MIN} on the PATH (none found)` };
  }
  const ok = Number(version[1]) >= GO_MINOR_MIN;
  return ok ? { ok } : { ok, why: `Go >= 1.${GO_MINOR_MIN} (found ${asked.stdout.trim()})` };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  if (process.argv.includes('--find')) {
    const found = findOpa();
    if (found.path === undefined) {
      process.stderr.write(`${found.missing}\n`);
      process.exitCode = 3;
    } else {
      process.stdout.write(`${found.path}\n`);
    }
  } else {
    try {
      process.stdout.write(`${buildOpa()}\n`);
    } catch (error) {
      process.stderr.write(`${error.message}\n`);
      process.exitCode = 1;
    }
  }
}
