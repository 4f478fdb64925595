import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Why there is no nginx to compare with; null when there is. */
export function nginxMissing(): string | null {
  return spawnSync('nginx', ['-v']).error === undefined ? null : 'nginx is not installed (apt-get install nginx-light)';
}

/** nginx as a bare reverse proxy: one worker, keep-alive on both sides, no access log. The reference of the gate. */
export class Nginx {
  readonly port: number;
  readonly #process: ChildProcess;
  readonly #directory: string;

  static async start(upstreamPort: number): Promise<Nginx> {
    const directory = await mkdtemp(join(tmpdir(), 'chaperone-nginx-'));
    const port = await freePort();
    await writeFile(join(directory, 'nginx.conf'), config(directory, port, upstreamPort));
    const child = spawn('nginx', ['-p', directory, '-c', join(directory, 'nginx.conf')], { stdio: 'inherit' });
    const nginx = new Nginx(child, directory, port);
    await nginx.#answers();
    return nginx;
  }

  constructor(child: ChildProcess, directory: string, port: number) {
    this.#process = child;
    this.#directory = directory;
    this.port = port;
  }

  /** CPU of the master and its worker since they started. */
  cpuUs(): number {
    const master = this.#process.pid ?? 0;
    const children = readFileSync(`/proc/${master}/task/${master}/children`, 'utf8').trim().split(' ');
    return [String(master), ...children].reduce((sum, pid) => sum + processCpuUs(pid), 0);
  }

  async stop(): Promise<void> {
    const gone = once(this.#process, 'exit');
    this.#process.kill('SIGTERM');
    await gone;
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #answers(): Promise<void> {
    while (this.#process.exitCode === null) {
      const socket = connect(this.port, '127.0.0.1');
      const isUp = await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true));
        socket.once('error', () => resolve(false));
      });
      socket.destroy();
      if (isUp) {
        return;
      }
    }
    throw new Error('nginx did not start');
  }
}

/** Nanoseconds on a CPU where the kernel tells them, else clock ticks of 10 ms. */
function processCpuUs(pid: string): number {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1000;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      throw error;
    }
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10_000;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function config(directory: string, port: number, upstreamPort: number): string {
  return `
daemon off;
worker_processes 1;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  upstream origin {
    server 127.0.0.1:${upstreamPort};
    keepalive 128;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
    }
  }
}
`;
}
