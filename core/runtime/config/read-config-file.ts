import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { ConfigError, loadConfig, type LoadedConfig } from './load-config.ts';

export interface ReadConfigOptions {
  readonly path: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly flags?: readonly string[];
}

/** The one place where the configuration touches the disk. Throws ConfigError (`config_invalid`). */
export function readConfigFile({ path, env = process.env, flags = [] }: ReadConfigOptions): LoadedConfig {
  const absolute = resolve(path);
  let text: string;
  try {
    text = readFileSync(absolute, 'utf8');
  } catch {
    throw new ConfigError(path, [{ path: '', line: 0, message: 'the file cannot be read' }]);
  }
  return loadConfig({ path: absolute, text, env, flags }, (secretPath) => readFileSync(secretPath, 'utf8'));
}
