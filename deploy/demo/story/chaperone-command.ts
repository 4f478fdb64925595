import { spawn } from 'node:child_process';

export interface CommandResult {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The `chaperone` command, as anybody would run it, on the configuration of this run. */
export class ChaperoneCommand {
  readonly mainPath: string;
  readonly configPath: string;
  readonly #running = new Set<() => void>();

  constructor(mainPath: string, configPath: string) {
    this.mainPath = mainPath;
    this.configPath = configPath;
  }

  /** Resolves whatever the exit code is. `CHAPERONE_CONFIG` names the configuration, as the README tells people to. */
  run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<CommandResult> {
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [this.mainPath, ...args], {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, CHAPERONE_CONFIG: this.configPath, ...env },
      });
      const kill = (): void => void child.kill('SIGKILL');
      this.#running.add(kill);
      let stdout = '';
      let stderr = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
      child.once('error', reject);
      child.once('close', (code) => {
        this.#running.delete(kill);
        resolve({ exit: code ?? -1, stdout, stderr });
      });
    });
  }

  /** With `--json`: the object that was printed, and the exit code. */
  async json<T>(
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<{ exit: number; out: T }> {
    const { exit, stdout, stderr } = await this.run([...args, '--json'], env);
    // A verb may print a card before its result: the last line is the result.
    const line = stdout.trimEnd().split('\n').at(-1) ?? '';
    try {
      return { exit, out: JSON.parse(line) as T };
    } catch {
      throw new Error(`chaperone ${args.join(' ')} --json printed no JSON (exit ${exit}): ${stdout}${stderr}`);
    }
  }

  killAll(): void {
    for (const kill of this.#running) {
      kill();
    }
  }
}
