import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../../core/runtime/package-root.ts';
import type { RunFile } from '../run-file.ts';

const MAIN = join(dirname(fileURLToPath(import.meta.url)), '..', 'main.js');

/**
 * `chaperone up` as a process over a temporary data directory: the shipped demo configuration with other ports. Tests
 * talk to it as anybody would, by its ports, its run.json and the command.
 */
export class DemoDeployment {
  readonly directory: string;
  readonly configPath: string;
  /** The upstream itself, behind the gateway's back. */
  readonly clinicUrl: string;
  readonly errors: string[] = [];
  #child: ChildProcess | null = null;
  #exited: Promise<number | null> = Promise.resolve(null);

  private constructor(directory: string, configPath: string, clinicUrl: string) {
    this.directory = directory;
    this.configPath = configPath;
    this.clinicUrl = clinicUrl;
  }

  static async make(): Promise<DemoDeployment> {
    const directory = mkdtempSync(join(tmpdir(), 'chaperone-up-'));
    const demo = join(packageRoot(), 'deploy', 'demo');
    const [clinic, analytics] = await freePorts(2);
    const text = readFileSync(join(demo, 'chaperone.yaml'), 'utf8')
      .replace(/dataDir: .*/, `dataDir: ${join(directory, 'data')}`)
      .replaceAll(/port: \d+/g, 'port: 0')
      .replaceAll('8081', String(clinic))
      .replaceAll('8082', String(analytics))
      .replaceAll(
        /(: |file:|- )(keys|\.\.)(?=[/\n])/g,
        (_match, before: string, path: string) => `${before}${join(demo, path)}`,
      );
    const configPath = join(directory, 'chaperone.yaml');
    writeFileSync(configPath, text);
    return new DemoDeployment(directory, configPath, `http://127.0.0.1:${clinic}`);
  }

  get dataDir(): string {
    return join(this.directory, 'data');
  }

  get run(): RunFile {
    return JSON.parse(readFileSync(join(this.dataDir, 'run.json'), 'utf8')) as RunFile;
  }

  /** Resolves with the line that says that everything serves; rejects with what `up` said, after it has ended. */
  async start(...args: string[]): Promise<Record<string, unknown>> {
    const child = spawn(process.execPath, [MAIN, 'up', '--config', this.configPath, '--json', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.#exited = new Promise((resolve) => child.once('exit', (code) => resolve(code)));
    createInterface({ input: child.stderr }).on('line', (line) => this.errors.push(line));
    const first = new Promise<string>((resolve) => createInterface({ input: child.stdout }).once('line', resolve));
    const line = await Promise.race([
      first,
      this.#exited.then((code) => `nothing and ended with ${code ?? 'a signal'}`),
    ]);
    if (line.startsWith('{"ready":true')) {
      return JSON.parse(line) as Record<string, unknown>;
    }
    const code = await this.#exited;
    throw new Error(`up ended with ${code ?? 'a signal'} and said ${line}\n${this.errors.join('\n')}`);
  }

  /** kill -9 of `up` itself; its roles are left to notice. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#exited;
  }

  /** SIGTERM, unless it has ended; resolves with the exit code. */
  stop(): Promise<number | null> {
    this.#child?.kill('SIGTERM');
    return this.#exited;
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** All are held until the last is known, so that none comes twice. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
